//! Servers that answer what no API server answers: each is an error within its bound, and no byte of it is repeated.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{ListParams, WatchParams};
use kube::{Api, Client, Config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{AnswerError, Connector, Limits, Peer};

const SECRET: &str = "canary-in-the-answer";
const SOON: Duration = Duration::from_secs(30);

/// How the server answers everything.
#[derive(Clone)]
enum Answer {
    /// Head and body.
    Fixed(String, String),
    /// Head, then this piece for ever.
    Endless(String, Vec<u8>),
}

/// A server, and how many bytes of bodies it could get rid of.
async fn serve(answer: Answer) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, answer.clone(), count.clone()));
        }
    });
    (address, sent)
}

async fn converse(mut stream: TcpStream, answer: Answer, delivered: Arc<AtomicU64>) {
    let mut request = Vec::new();
    let mut block = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut block).await {
            Ok(length) if length > 0 => request.extend_from_slice(&block[..length]),
            _ => return,
        }
    }
    match answer {
        Answer::Fixed(head, body) => {
            let text = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Answer::Endless(head, piece) => {
            let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
            if stream.write_all(head.as_bytes()).await.is_err() {
                return;
            }
            while stream.write_all(&piece).await.is_ok() {
                delivered.fetch_add(u64::try_from(piece.len()).unwrap(), Ordering::Relaxed);
            }
        }
    }
    let _ = stream.shutdown().await;
}

fn client(address: SocketAddr) -> Client {
    let config = Config::new(format!("http://{address}").parse().unwrap());
    Connector::default().connect(&seed(), config).unwrap()
}

fn seed() -> Peer {
    Peer::Seed { name: "eu".to_owned() }
}

fn json(status: &str) -> String {
    format!("{status}\r\nContent-Type: application/json")
}

/// The guard's own error, wherever in the chain it is.
fn guarded<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a AnswerError> {
    let mut error = Some(error);
    while let Some(link) = error {
        if let Some(found) = link.downcast_ref::<AnswerError>() {
            return Some(found);
        }
        error = link.source();
    }
    None
}

async fn get(answer: Answer) -> (Result<Namespace, kube::Error>, Arc<AtomicU64>) {
    let (address, sent) = serve(answer).await;
    let api = Api::<Namespace>::all(client(address));
    let result = tokio::time::timeout(SOON, api.get("kube-system")).await;
    (result.expect("the answer has no end"), sent)
}

#[tokio::test]
async fn an_api_server_is_understood() {
    let body = r#"{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system","uid":"u"}}"#;
    let (result, _) = get(Answer::Fixed(json("200 OK"), body.to_owned())).await;
    assert_eq!(result.unwrap().metadata.uid.as_deref(), Some("u"));
}

#[tokio::test]
async fn an_endless_answer_is_cut_at_its_limit() {
    let (result, sent) = get(Answer::Endless(json("200 OK"), vec![b' '; 64 * 1024])).await;
    let error = result.unwrap_err();
    let limit = Limits::of(&seed()).answer;
    assert_eq!(guarded(&error), Some(&AnswerError::TooLong { limit }));
    let sent = sent.load(Ordering::Relaxed);
    assert!(
        sent < u64::try_from(limit).unwrap() + 16 * 1024 * 1024,
        "{sent} bytes were taken"
    );
}

#[tokio::test]
async fn an_announced_gibibyte_is_not_even_read() {
    let head = format!("{}\r\nContent-Length: 1073741824", json("200 OK"));
    let (result, sent) = get(Answer::Endless(head, vec![b'{'; 64 * 1024])).await;
    assert!(matches!(
        guarded(&result.unwrap_err()),
        Some(AnswerError::TooLong { .. })
    ));
    assert!(sent.load(Ordering::Relaxed) < 16 * 1024 * 1024);
}

#[tokio::test]
async fn an_endless_error_is_cut_sooner() {
    let (result, sent) = get(Answer::Endless(
        json("500 Internal Server Error"),
        vec![b' '; 64 * 1024],
    ))
    .await;
    let limit = Limits::of(&seed()).error;
    assert_eq!(guarded(&result.unwrap_err()), Some(&AnswerError::TooLong { limit }));
    assert!(sent.load(Ordering::Relaxed) < 16 * 1024 * 1024);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let body = r#"{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system","uid":"master"}}"#;
    let (elsewhere, _) = serve(Answer::Fixed(json("200 OK"), body.to_owned())).await;
    let requests = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    for code in ["301", "302", "307", "308"] {
        let trap = requests.local_addr().unwrap();
        for goal in [elsewhere, trap] {
            let head = format!("{}\r\nLocation: http://{goal}/", json(&format!("{code} Elsewhere")));
            let (result, _) = get(Answer::Fixed(head, String::new())).await;
            let error = result.unwrap_err();
            assert!(matches!(guarded(&error), Some(AnswerError::Redirect { .. })), "{error}");
        }
    }
    let nobody = tokio::time::timeout(Duration::from_millis(100), requests.accept()).await;
    assert!(nobody.is_err(), "somebody followed the redirect");
}

#[tokio::test]
async fn a_page_for_people_is_named_and_not_repeated() {
    for code in ["200 OK", "404 Not Found", "502 Bad Gateway"] {
        let head = format!("{code}\r\nContent-Type: text/html; charset=utf-8");
        let (result, _) = get(Answer::Fixed(head, format!("<html>{SECRET}</html>"))).await;
        let error = result.unwrap_err();
        assert!(matches!(guarded(&error), Some(AnswerError::NotJson { .. })), "{error}");
        assert!(!format!("{error} {error:?}").contains(SECRET));
    }
}

#[tokio::test]
async fn json_without_end_in_depth_is_an_error_and_no_crash() {
    let deep = format!(r#"{{"metadata":{{"annotations":{}"#, "[".repeat(1_000_000));
    let (result, _) = get(Answer::Fixed(json("200 OK"), deep)).await;
    assert!(matches!(result.unwrap_err(), kube::Error::SerdeError(_)));
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let error = serde_json::from_str::<serde_json::Value>(&deep).unwrap_err();
    assert!(error.to_string().starts_with("recursion limit exceeded"), "{error}");
}

#[tokio::test]
async fn a_plain_text_error_keeps_its_code() {
    let head = "404 Not Found\r\nContent-Type: text/plain; charset=utf-8".to_owned();
    let (result, _) = get(Answer::Fixed(head, "404 page not found".to_owned())).await;
    assert!(matches!(result.unwrap_err(), kube::Error::Api(status) if status.code == 404));
}

#[tokio::test]
async fn one_endless_event_ends_the_watch_and_a_long_watch_goes_on() {
    let limit = Limits::of(&seed()).event;
    let (address, sent) = serve(Answer::Endless(json("200 OK"), vec![b'x'; 64 * 1024])).await;
    let api = Api::<Pod>::all(client(address));
    let mut events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    let error = tokio::time::timeout(SOON, events.try_next())
        .await
        .unwrap()
        .unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(told.contains("LineTooLong") || told.contains("longer than"), "{told}");
    assert!(sent.load(Ordering::Relaxed) < u64::try_from(limit).unwrap() + 16 * 1024 * 1024);

    let event = r#"{"type":"MODIFIED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}}"#;
    let padded = format!("{event}{}\n", " ".repeat(512 * 1024));
    let (address, _) = serve(Answer::Endless(json("200 OK"), padded.into_bytes())).await;
    let api = Api::<Pod>::all(client(address));
    let events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    // More than the longest single event, all in all.
    let seen = events
        .take(32)
        .filter(|event| std::future::ready(event.is_ok()))
        .count();
    assert_eq!(tokio::time::timeout(SOON, seen).await.unwrap(), 32);
}

#[tokio::test]
async fn a_list_is_bounded_like_everything() {
    let (address, _) = serve(Answer::Endless(json("200 OK"), vec![b'['; 64 * 1024])).await;
    let api = Api::<Pod>::all(client(address));
    let error = tokio::time::timeout(SOON, api.list(&ListParams::default()))
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(guarded(&error), Some(AnswerError::TooLong { .. })), "{error}");
}
