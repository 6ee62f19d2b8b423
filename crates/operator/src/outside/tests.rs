//! A server over TLS that answers once in one way, and what becomes of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::discovery::address;
use super::*;

/// An issuer at `https://localhost:<port>/dex/`.
pub(crate) struct Server {
    address: SocketAddr,
    /// The authority that vouches for it (PEM).
    pub(crate) bundle: String,
    requests: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn issuer(&self) -> String {
        format!("https://localhost:{}/dex/", self.address.port())
    }

    fn trust(&self) -> Trust {
        Trust {
            bundle: Some(self.bundle.clone()),
            unread: None,
        }
    }
}

/// Answers every request with `answer`, and notes what was asked.
pub(crate) async fn server(answer: String) -> Server {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("localhost:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = requests.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { break };
                head.push(byte);
            }
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            assert!(
                head.starts_with("get /dex/.well-known/openid-configuration http/1.1"),
                "{head}"
            );
            assert!(!head.contains("authorization") && !head.contains("cookie"), "{head}");
            seen.fetch_add(1, Ordering::SeqCst);
            // A client that has seen enough may hang up.
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    Server {
        address,
        bundle: cert.pem(),
        requests,
    }
}

pub(crate) fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) const DOCUMENT: &str = r#"{"issuer": "https://kkp.example.test/dex", "scopes_supported": ["openid", "offline_access"],
    "code_challenge_methods_supported": ["S256"], "other": {"secret": [1, 2]}}"#;

#[tokio::test]
async fn the_document_is_read_once_and_kept() {
    let server = server(http("200 OK", DOCUMENT)).await;
    let outside = Outside::default();
    let expected = Outcome::Answered(Answer {
        status: 200,
        document: Some(Document {
            issuer: Some("https://kkp.example.test/dex".to_owned()),
            scopes: Some(vec!["openid".to_owned(), "offline_access".to_owned()]),
            grants: None,
            challenges: Some(vec!["S256".to_owned()]),
        }),
    });
    for _ in 0..3 {
        assert_eq!(outside.discovery(&server.issuer(), &server.trust()).await, expected);
    }
    assert_eq!(server.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn who_is_not_vouched_for_is_not_believed() {
    let server = server(http("200 OK", DOCUMENT)).await;
    let other = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut trust = Trust {
        bundle: Some(other.cert.pem()),
        unread: None,
    };
    let outcome = Outside::default().discovery(&server.issuer(), &trust).await;
    assert!(
        matches!(&outcome, Outcome::Refused(why) if why.starts_with("its certificate is not trusted: ")),
        "{outcome:?}"
    );
    trust.unread = Some("the CA bundle was not read: 403".to_owned());
    let outcome = Outside::default().discovery(&server.issuer(), &trust).await;
    assert!(
        matches!(&outcome, Outcome::Silent(why) if why.ends_with("and the CA bundle was not read: 403")),
        "{outcome:?}"
    );
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn other_answers_are_what_they_are() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(300 << 10));
    let refused = |text: &str| Outcome::Refused(text.to_owned());
    let answered = |status, document| Outcome::Answered(Answer { status, document });
    for (answer, expected) in [
        (http("404 Not Found", DOCUMENT), answered(404, None)),
        (http("200 OK", "<html>log in</html>"), answered(200, None)),
        (http("200 OK", "[]"), answered(200, None)),
        (http("200 OK", r#"{"issuer": 5}"#), answered(200, None)),
        (http("200 OK", "{}"), answered(200, Some(Document::default()))),
        (
            "HTTP/1.1 302 Found\r\nlocation: https://169.254.169.254/\r\ncontent-length: 0\r\n\r\n".to_owned(),
            refused("it answers 302, a redirect, which is not followed"),
        ),
        (endless, refused("its answer is longer than 256 KiB")),
    ] {
        let server = server(answer.clone()).await;
        let outcome = Outside::default().discovery(&server.issuer(), &server.trust()).await;
        assert_eq!(outcome, expected, "{}", answer.chars().take(200).collect::<String>());
        assert_eq!(server.requests.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn nobody_there_is_no_verdict() {
    let listener = TcpListener::bind("localhost:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let issuer = format!("https://localhost:{}/dex", address.port());
    // No system has to be there that a test runs on: the own bundle is enough.
    let own = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let trust = Trust {
        bundle: Some(own.cert.pem()),
        unread: None,
    };
    let outcome = Outside::default().discovery(&issuer, &trust).await;
    assert!(
        matches!(&outcome, Outcome::Silent(why) if !why.is_empty()),
        "{outcome:?}"
    );
}

#[test]
fn only_https_without_user_and_query_is_asked() {
    let good = address("https://kkp.example.test:8443/dex/").unwrap();
    assert_eq!(
        good,
        "https://kkp.example.test:8443/dex/.well-known/openid-configuration"
    );
    let root = address("https://login.example.test").unwrap();
    assert_eq!(root, "https://login.example.test/.well-known/openid-configuration");
    for (bad, expected) in [
        ("http://kkp.example.test/dex", "does not begin with https"),
        ("ftp://kkp.example.test/dex", "does not begin with https"),
        ("kkp.example.test", "does not begin with https"),
        ("https://me:secret@kkp.example.test/dex", "a user in it"),
        ("https://kkp.example.test/dex?a=b", "a query"),
        ("https://kkp.example.test/dex#a", "a query or a fragment"),
        ("https://kkp example", "no URL"),
        (&format!("https://{}", "a".repeat(2000)), "longer than"),
    ] {
        let why = address(bad).unwrap_err();
        assert!(why.contains(expected), "{bad}: {why}");
        assert!(!why.contains("secret"), "{why}");
    }
}

#[tokio::test]
async fn names_lead_to_addresses_or_to_a_reason() {
    let outside = Outside::default();
    assert_eq!(outside.addresses("192.0.2.7").await, Ok(vec!["192.0.2.7".to_owned()]));
    let local = outside.addresses("localhost").await.unwrap();
    assert!(
        local.iter().any(|address| address == "127.0.0.1" || address == "::1"),
        "{local:?}"
    );
    for bad in ["", "a b", "kkp.example.test/path", &"a".repeat(300)] {
        let why = outside.addresses(bad).await.unwrap_err();
        assert!(why.contains("no name"), "{bad}: {why}");
    }
}

#[test]
fn answers_are_forgotten() {
    let mut answers = Answers::default();
    answers.keep("a".to_owned(), 1, true);
    answers.keep("b".to_owned(), 2, false);
    let now = Instant::now();
    assert_eq!((answers.fresh("a", now), answers.fresh("b", now)), (Some(1), Some(2)));
    assert_eq!(answers.fresh("c", now), None);
    let later = now + OTHER;
    assert_eq!((answers.fresh("a", later), answers.fresh("b", later)), (Some(1), None));
    assert_eq!(answers.fresh("a", now + SETTLED), None);
    for number in 0..2 * MOST {
        answers.keep(number.to_string(), 0, true);
    }
    assert_eq!(answers.0.len(), MOST);
}
