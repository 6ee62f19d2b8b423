//! An object storage in memory behind a real socket: path style, multipart, conditional creation; and a script of faults.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use futures::{StreamExt as _, stream};

use crate::store::{Bucket, BucketArguments, BucketLimits, Store};

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// Refused with this status and S3's word for it.
    Status(u16, &'static str),
    /// Never answered.
    Hang,
    /// The connection ends in the middle of the answer.
    Reset,
    /// Done, and then answered as failed.
    LostAnswer,
    /// Done, with another `ETag` than it has.
    WrongTag,
    /// Stored or read by half, and nobody is told.
    Short,
    /// One bit is wrong in what is stored or read.
    Flip,
    /// Another object's content is read.
    Old(Vec<u8>),
    /// Read byte by byte.
    Trickle,
    /// Written over, although it was asked not to.
    WriteOver,
}

type Script = Box<dyn FnMut(usize, &str) -> Option<Fault> + Send>;

#[derive(Default)]
pub(super) struct Stored {
    pub(super) objects: BTreeMap<String, Vec<u8>>,
    pub(super) uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    /// Method, path and query of each request.
    pub(super) log: Vec<String>,
    /// Access keys of the requests, as they change.
    pub(super) keys: Vec<String>,
    /// The access key that is valid; `None` = any.
    pub(super) accepted: Option<String>,
    begun: u32,
    script: Option<Script>,
}

#[derive(Clone)]
pub(super) struct Stub {
    pub(super) stored: Arc<Mutex<Stored>>,
    pub(super) credentials: Arc<tempfile::TempDir>,
    address: std::net::SocketAddr,
}

/// Short enough for tests that wait for them.
pub(super) const IMPATIENT: BucketLimits = BucketLimits {
    call: Duration::from_millis(400),
    part: Duration::from_millis(400),
    wait: Duration::from_millis(400),
    progress: 1 << 20,
    tries: 3,
    pause: Duration::from_millis(1),
    part_bytes: 1000,
};

/// Never the reason why a test fails.
pub(super) const PATIENT: BucketLimits = BucketLimits {
    call: Duration::from_mins(1),
    part: Duration::from_mins(1),
    wait: Duration::from_mins(1),
    ..IMPATIENT
};

pub(super) const SECRET: &str = "the-very-secret-key";

impl Stub {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stub = Self {
            stored: Arc::default(),
            credentials: Arc::new(tempfile::tempdir().unwrap()),
            address: listener.local_addr().unwrap(),
        };
        stub.write_credentials("key-one");
        let router = Router::new().fallback(answer).with_state(stub.stored.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        stub
    }

    pub(super) fn write_credentials(&self, key: &str) {
        std::fs::write(self.credentials.path().join("accessKeyID"), key).unwrap();
        std::fs::write(self.credentials.path().join("secretAccessKey"), format!("{SECRET}\n")).unwrap();
    }

    pub(super) fn arguments(&self) -> BucketArguments {
        BucketArguments {
            bucket: Some("backups".to_owned()),
            endpoint: Some(format!("http://{}", self.address)),
            prefix: "platform/prod".to_owned(),
            region: "eu-central-1".to_owned(),
            credentials: Some(self.credentials.path().to_owned()),
            ..BucketArguments::default()
        }
    }

    pub(super) fn store(&self, limits: BucketLimits) -> Store {
        Store::Bucket(Bucket::open(&self.arguments(), limits).unwrap())
    }

    /// Called for each request, with its number and line.
    pub(super) fn script(&self, script: impl FnMut(usize, &str) -> Option<Fault> + Send + 'static) {
        self.stored.lock().unwrap().script = Some(Box::new(script));
    }

    pub(super) fn heal(&self) {
        self.stored.lock().unwrap().script = None;
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&mut Stored) -> T) -> T {
        look(&mut self.stored.lock().unwrap())
    }
}

async fn answer(State(stored): State<Arc<Mutex<Stored>>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let line = format!("{} {}", parts.method, parts.uri);
    let (fault, answer) = {
        let mut stored = stored.lock().unwrap();
        let number = stored.log.len();
        stored.log.push(line.clone());
        let mut script = stored.script.take();
        let fault = script.as_mut().and_then(|script| script(number, &line));
        stored.script = script;
        let key = access_key(&parts.headers);
        if stored.keys.last() != Some(&key) {
            stored.keys.push(key.clone());
        }
        let answer = match (&fault, &stored.accepted) {
            (Some(Fault::Status(code, word)), _) => refuse(*code, word),
            (_, Some(accepted)) if *accepted != key => refuse(403, "InvalidAccessKeyId"),
            _ => stored.carry_out(&parts.method, &parts.uri, &parts.headers, &body, fault.as_ref()),
        };
        (fault, answer)
    };
    match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Trickle) if parts.method != Method::GET => std::future::pending().await,
        Some(Fault::LostAnswer) => refuse(500, "InternalError"),
        Some(Fault::Reset) => cut_off(answer).await,
        Some(Fault::Trickle) => trickle(answer).await,
        _ => answer,
    }
}

impl Stored {
    fn carry_out(
        &mut self,
        method: &Method,
        uri: &axum::http::Uri,
        headers: &HeaderMap,
        body: &Bytes,
        fault: Option<&Fault>,
    ) -> Response<Body> {
        let path = uri.path().to_owned();
        let query: BTreeMap<&str, &str> = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .collect();
        if path != "/backups" && !path.starts_with("/backups/") {
            return refuse(404, "NoSuchBucket");
        }
        if query.contains_key("list-type") {
            return self.list(&query["prefix"].replace("%2F", "/"));
        }
        match (method.as_str(), query.get("uploadId").copied()) {
            ("GET", _) => self.read(&path, fault),
            ("PUT", Some(upload)) => {
                let number = query["partNumber"].parse().unwrap();
                self.put_part(upload, number, spoiled(body.to_vec(), fault), fault)
            }
            ("PUT", None) => {
                let only_new = headers.contains_key("if-none-match") && !matches!(fault, Some(Fault::WriteOver));
                if only_new && self.objects.contains_key(&path) {
                    return refuse(412, "PreconditionFailed");
                }
                let content = spoiled(body.to_vec(), fault);
                let tag = tag(&content, fault);
                self.objects.insert(path, content);
                tagged(&tag, String::new())
            }
            ("POST", None) => {
                self.begun += 1;
                let upload = format!("upload-{}", self.begun);
                self.uploads.insert(upload.clone(), BTreeMap::new());
                let text = format!(
                    "<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
                );
                tagged("", text)
            }
            ("POST", Some(upload)) => self.complete(&path, upload, &String::from_utf8_lossy(body), fault),
            ("DELETE", Some(upload)) => {
                self.uploads.remove(upload);
                empty(204)
            }
            ("DELETE", None) => {
                self.objects.remove(&path);
                empty(204)
            }
            _ => refuse(405, "MethodNotAllowed"),
        }
    }

    fn list(&self, prefix: &str) -> Response<Body> {
        let names = self.objects.iter().filter_map(|(path, content)| {
            let name = path.strip_prefix("/backups/").filter(|name| name.starts_with(prefix))?;
            Some(format!(
                "<Contents><Key>{name}</Key><LastModified>2026-11-21T12:00:00.000Z</LastModified><ETag>\"t\"</ETag>\
                 <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
                content.len()
            ))
        });
        let names: String = names.collect();
        let text = format!("<ListBucketResult><IsTruncated>false</IsTruncated>{names}</ListBucketResult>");
        tagged("", text)
    }

    fn read(&self, path: &str, fault: Option<&Fault>) -> Response<Body> {
        let Some(content) = self.objects.get(path) else {
            return refuse(404, "NoSuchKey");
        };
        let content = match fault {
            Some(Fault::Old(old)) => old.clone(),
            // Another bit than the one that was spoiled when it was stored.
            Some(Fault::Flip) => {
                let mut flipped = content.clone();
                let third = content.len() / 3;
                flipped.iter_mut().skip(third).take(1).for_each(|byte| *byte ^= 8);
                flipped
            }
            fault => spoiled(content.clone(), fault),
        };
        Response::builder()
            .header("etag", tag(&content, fault))
            .header("last-modified", "Sat, 21 Nov 2026 12:00:00 GMT")
            .header("content-length", content.len())
            .body(Body::from(content))
            .unwrap()
    }

    fn put_part(&mut self, upload: &str, number: u32, content: Vec<u8>, fault: Option<&Fault>) -> Response<Body> {
        let Some(parts) = self.uploads.get_mut(upload) else {
            return refuse(404, "NoSuchUpload");
        };
        let tag = tag(&content, fault);
        parts.insert(number, content);
        tagged(&tag, String::new())
    }

    /// As a real storage: each part has to be named with the `ETag` that it has.
    fn complete(&mut self, path: &str, upload: &str, text: &str, fault: Option<&Fault>) -> Response<Body> {
        let Some(parts) = self.uploads.get(upload) else {
            return refuse(404, "NoSuchUpload");
        };
        let right = parts.values().all(|part| {
            let tag = tag(part, None);
            text.contains(tag.trim_matches('"'))
        });
        if !right {
            return refuse(400, "InvalidPart");
        }
        let whole: Vec<u8> = parts.values().flatten().copied().collect();
        let whole = spoiled(whole, fault);
        let tag = tag(&whole, fault);
        self.uploads.remove(upload);
        self.objects.insert(path.to_owned(), whole);
        let text = format!("<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>");
        tagged(&tag, text)
    }
}

fn spoiled(mut content: Vec<u8>, fault: Option<&Fault>) -> Vec<u8> {
    let middle = content.len() / 2;
    match fault {
        Some(Fault::Short) => content.truncate(middle),
        Some(Fault::Flip) => content.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 4),
        _ => {}
    }
    content
}

fn tag(content: &[u8], fault: Option<&Fault>) -> String {
    let right = crate::digest(content);
    match fault {
        Some(Fault::WrongTag) => "\"wrong\"".to_owned(),
        _ => format!("\"{}\"", right.trim_start_matches("sha256:")),
    }
}

fn access_key(headers: &HeaderMap) -> String {
    let header = headers.get("authorization").and_then(|value| value.to_str().ok());
    let credential = header.and_then(|text| text.split_once("Credential="));
    credential
        .and_then(|(_, rest)| rest.split_once('/'))
        .map_or_else(String::new, |(key, _)| key.to_owned())
}

fn empty(status: u16) -> Response<Body> {
    Response::builder().status(status).body(Body::empty()).unwrap()
}

fn tagged(tag: &str, text: String) -> Response<Body> {
    Response::builder().header("etag", tag).body(Body::from(text)).unwrap()
}

fn refuse(status: u16, code: &str) -> Response<Body> {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as scripted</Message></Error>");
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .body(Body::from(text))
        .unwrap()
}

/// Half of the body, and then the end of the connection.
async fn cut_off(answer: Response<Body>) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    let content = to_bytes(body, usize::MAX).await.unwrap();
    parts.headers.remove("content-length");
    parts.headers.insert("content-length", (content.len() + 10).into());
    let half = content.slice(..content.len() / 2);
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let pieces = stream::iter([Ok(half), Err(broken)]);
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// A byte every 20 ms.
async fn trickle(answer: Response<Body>) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    let content = to_bytes(body, usize::MAX).await.unwrap();
    let bytes = stream::iter(content).then(|byte| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<_, Infallible>(Bytes::copy_from_slice(&[byte]))
    });
    Response::from_parts(parts, Body::from_stream(bytes))
}
