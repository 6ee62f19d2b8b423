//! HTTPS on a free local port with a certificate of its own. Answers admission reviews, nothing else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Json, Path, State};
use axum::routing::post;
use axum::serve::Listener;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::validate;
use crate::Error;
use crate::script::{Script, pause};
use crate::start::Process;

/// Where the webhook answers, and with which certificate.
pub(super) struct Address {
    /// `https://127.0.0.1:<port>`.
    pub(super) origin: String,
    /// PEM.
    pub(super) certificate: String,
}

/// A bound server.
pub(super) struct Server {
    listener: TcpListener,
    local: SocketAddr,
    acceptor: TlsAcceptor,
    certificate: String,
}

impl Server {
    /// Takes a free port and makes a certificate for it.
    pub(super) async fn bind() -> Result<Self, Error> {
        let failed = |reason: String| Error::Refused(format!("cannot serve webhooks: {reason}"));
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .map_err(|error| failed(error.to_string()))?;
        let local = listener.local_addr().map_err(|error| failed(error.to_string()))?;
        let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])
            .map_err(|error| failed(error.to_string()))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            listener,
            local,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificate: own.cert.pem(),
        })
    }

    /// What to publish.
    pub(super) fn address(&self) -> Address {
        Address {
            origin: format!("https://{}", self.local),
            certificate: self.certificate.clone(),
        }
    }

    /// Answers for ever.
    pub(super) async fn run(self, process: Arc<Process>) -> Result<(), Error> {
        let routes = Router::new()
            .route("/validate/{resource}", post(validating))
            .route("/mutate/{resource}", post(mutating))
            .with_state(process);
        let (sender, connections) = mpsc::channel(64);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(self.listener, self.acceptor, sender));
        axum::serve(
            Connections {
                connections,
                local: self.local,
            },
            routes,
        )
        .await
        .map_err(|error| Error::Refused(format!("the webhook ended: {error}")))
    }
}

/// Handshakes beside each other, so that one slow client does not keep the others waiting.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            connection = listener.accept() => {
                let Ok((stream, peer)) = connection else { continue };
                let (acceptor, ready) = (acceptor.clone(), ready.clone());
                handshakes.spawn(async move {
                    if let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_secs(5), acceptor.accept(stream)).await {
                        // The receiver is gone only when the server ends.
                        drop(ready.send((stream, peer)).await);
                    }
                });
            }
            Some(_) = handshakes.join_next() => {}
        }
    }
}

/// Connections whose handshake is done.
struct Connections {
    connections: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    local: SocketAddr,
}

impl Listener for Connections {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.local)
    }
}

async fn validating(
    State(process): State<Arc<Process>>,
    Path(resource): Path<String>,
    Json(review): Json<Value>,
) -> Json<Value> {
    let script = Script::load().webhook;
    pause(script.answer_ms).await;
    let request = review.get("request").unwrap_or(&Value::Null);
    let verdict = match script.refuse.get(&resource) {
        Some(message) => Err(message.clone()),
        None => validate::validate(&process, &resource, request).await,
    };
    Json(answer(request, verdict))
}

async fn mutating(Path(_): Path<String>, Json(review): Json<Value>) -> Json<Value> {
    let request = review.get("request").unwrap_or(&Value::Null);
    Json(answer(request, Ok(())))
}

fn answer(request: &Value, verdict: Result<(), String>) -> Value {
    let uid = request.get("uid").cloned().unwrap_or(Value::Null);
    let response = match verdict {
        Ok(()) => json!({ "uid": uid, "allowed": true }),
        Err(message) => json!({ "uid": uid, "allowed": false, "status": { "code": 403, "message": message } }),
    };
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
}
