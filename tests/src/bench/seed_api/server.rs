//! The HTTPS side of a light seed. Listens on the loopback address only.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::store::{Key, Next, Selection, Store};

/// Longest watch where the client names no time.
const WATCH: Duration = Duration::from_mins(5);
/// A page of a client that names no limit.
const PAGE: usize = 100_000;

/// A running light seed; it ends with the value.
pub struct SeedApi {
    /// Its objects.
    pub store: Arc<Store>,
    /// A kubeconfig for it.
    pub kubeconfig: String,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl SeedApi {
    /// Serves on a free port.
    ///
    /// # Errors
    /// When there is no port or no certificate.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)?;
        let store = Arc::new(Store::default());
        let (sender, connections) = mpsc::channel(64);
        let accepting = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), sender));
        let router = Router::new().fallback(answer).with_state(store.clone());
        let serving = tokio::spawn(async move {
            let connections = Connections { address, connections };
            // Ends with its task.
            let _ = axum::serve(connections, router).await;
        });
        Ok(Self {
            store,
            kubeconfig: kubeconfig(address, &own.cert.pem()),
            _tasks: [AbortOnDropHandle::new(accepting), AbortOnDropHandle::new(serving)],
        })
    }
}

fn kubeconfig(address: SocketAddr, certificate: &str) -> String {
    use base64::Engine as _;
    let authority = base64::engine::general_purpose::STANDARD.encode(certificate);
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "seed",
        "clusters": [{"name": "seed", "cluster": {
            "server": format!("https://{address}"), "certificate-authority-data": authority,
        }}],
        "users": [{"name": "operator", "user": {"token": "light-seed"}}],
        "contexts": [{"name": "seed", "context": {"cluster": "seed", "user": "operator"}}],
    })
    .to_string()
}

/// Handshakes beside each other: one slow client must not hold up the rest.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, sender: mpsc::Sender<TlsStream<TcpStream>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = sender.send(stream).await;
            }
        });
    }
}

struct Connections {
    address: SocketAddr,
    connections: mpsc::Receiver<TlsStream<TcpStream>>,
}

impl Listener for Connections {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(stream) => (stream, self.address),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(self.address)
    }
}

/// What a query asks for.
#[derive(Default)]
struct Query {
    watch: bool,
    limit: Option<usize>,
    after: Option<Key>,
    revision: Option<u64>,
    timeout: Option<Duration>,
    name: Option<String>,
}

fn query(text: &str) -> Query {
    let mut query = Query::default();
    for (key, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
        match key {
            "watch" => query.watch = value == "true" || value == "1",
            "limit" => query.limit = value.parse().ok(),
            "resourceVersion" => query.revision = value.parse().ok(),
            "timeoutSeconds" => query.timeout = value.parse().ok().map(Duration::from_secs),
            "continue" => {
                let (namespace, name) = value.split_once('.').unwrap_or(("", value));
                query.after = Some((namespace.to_owned(), name.to_owned()));
            }
            "fieldSelector" => {
                let value = value.replace("%3D", "=");
                query.name = value.strip_prefix("metadata.name=").map(str::to_owned);
            }
            _ => {}
        }
    }
    query
}

/// `/api/v1/…` or `/apis/<group>/<version>/…`, with `namespaces/<namespace>/` in front of a namespaced resource.
fn selection(path: &str) -> Option<Selection> {
    let mut parts = path.trim_matches('/').split('/');
    match parts.next()? {
        "api" => drop(parts.next()?),
        "apis" => drop((parts.next()?, parts.next()?)),
        _ => return None,
    }
    let rest: Vec<&str> = parts.collect();
    let owned = |text: &&str| (*text).to_owned();
    Some(match rest.as_slice() {
        ["namespaces", namespace, resource, name @ ..] => Selection {
            resource: (*resource).to_owned(),
            namespace: Some((*namespace).to_owned()),
            name: name.first().map(owned),
        },
        [resource, name @ ..] => Selection {
            resource: (*resource).to_owned(),
            namespace: None,
            name: name.first().map(owned),
        },
        [] => return None,
    })
}

async fn answer(State(store): State<Arc<Store>>, request: Request) -> Response {
    let path = request.uri().path();
    if path == "/version" {
        store.note("get", "version");
        return json_answer(
            json!({"major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": "linux/amd64"})
            .to_string(),
        );
    }
    let Some(mut selection) = selection(path) else {
        return missing(path);
    };
    let query = query(request.uri().query().unwrap_or_default());
    let accepted = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let metadata_only = accepted.contains("as=PartialObjectMetadata");
    let is_one = selection.name.is_some();
    selection.name = selection.name.or(query.name.clone());
    match (request.method().as_str(), is_one, query.watch) {
        ("GET", false, true) => {
            store.note("watch", &selection.resource);
            follow(store, selection, &query, metadata_only)
        }
        ("GET", false, false) => {
            store.note("list", &selection.resource);
            json_answer(list(&store, &selection, &query, metadata_only))
        }
        (method @ ("GET" | "PATCH"), true, _) => {
            store.note(if method == "GET" { "get" } else { "patch" }, &selection.resource);
            let key = (
                selection.namespace.unwrap_or_default(),
                selection.name.unwrap_or_default(),
            );
            match store.get(&selection.resource, &key) {
                Some(found) => json_answer(found.text(metadata_only).to_string()),
                None => missing(&key.1),
            }
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, "a light seed is only read").into_response(),
    }
}

fn json_answer(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn missing(what: &str) -> Response {
    let status = status(404, "NotFound", &format!("{what} not found"));
    (
        StatusCode::NOT_FOUND,
        [(header::CONTENT_TYPE, "application/json")],
        status.to_string(),
    )
        .into_response()
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": message})
}

fn list(store: &Store, selection: &Selection, query: &Query, metadata_only: bool) -> String {
    let limit = query.limit.filter(|limit| *limit > 0).unwrap_or(PAGE);
    let (items, revision, next) = store.list(selection, query.after.as_ref(), limit);
    let next = next.map_or_else(String::new, |(namespace, name)| format!("{namespace}.{name}"));
    let metadata = json!({"resourceVersion": revision.to_string(), "continue": next});
    let items: Vec<&str> = items.iter().map(|item| &**item.text(metadata_only)).collect();
    format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"metadata\":{metadata},\"items\":[{}]}}",
        items.join(",")
    )
}

/// Where a watch stands.
struct Cursor {
    store: Arc<Store>,
    selection: Selection,
    revision: u64,
    metadata_only: bool,
    end: Instant,
    changes: tokio::sync::watch::Receiver<u64>,
}

fn follow(store: Arc<Store>, selection: Selection, query: &Query, metadata_only: bool) -> Response {
    let changes = store.changes();
    let revision = query.revision.unwrap_or(0);
    let end = Instant::now() + query.timeout.unwrap_or(WATCH);
    let cursor = Cursor {
        store,
        selection,
        revision,
        metadata_only,
        end,
        changes,
    };
    let stream = futures::stream::unfold(Some(cursor), |cursor| async move {
        let (lines, cursor) = cursor?.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(lines)), cursor))
    });
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(stream)).into_response()
}

impl Cursor {
    async fn next(mut self) -> Option<(String, Option<Self>)> {
        loop {
            self.changes.mark_unchanged();
            match self.store.since(&self.selection, self.revision, self.metadata_only) {
                Next::Gone => {
                    let object = status(410, "Expired", "too old resource version");
                    return Some((format!("{}\n", json!({"type": "ERROR", "object": object})), None));
                }
                Next::Lines(lines, revision) => {
                    self.revision = revision;
                    if !lines.is_empty() {
                        return Some((lines.concat(), Some(self)));
                    }
                }
            }
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                () = tokio::time::sleep_until(self.end) => return None,
            }
        }
    }
}
