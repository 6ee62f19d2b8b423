//! What a kubelet serves of logs: the API server asks here for those of a container when somebody reads `pods/log`.
//!
//! Reads the log files of its own Pods, for whoever has a certificate of the cluster's authority. Only whole logs: what would need
//! the runtime's timestamps or its rotation is refused, never answered with something else.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path as Segments, RawQuery, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::serve::Listener;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::PodRunnerError;
use super::containers::log_file;

/// Longest that a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A bound server.
pub(super) struct Server {
    connections: Connections,
    logs: Logs,
}

/// What the answers are made from.
#[derive(Clone)]
struct Logs {
    work_folder: PathBuf,
    present: watch::Receiver<bool>,
}

type Answer = Result<Vec<u8>, (StatusCode, String)>;

impl Server {
    /// Takes a free port of the loopback address, with a certificate of its own, which an API server does not check.
    pub(super) async fn bind(
        work_folder: PathBuf,
        authority: &Path,
        present: watch::Receiver<bool>,
    ) -> Result<Self, PodRunnerError> {
        let failed = |error: &dyn std::fmt::Display| PodRunnerError::Logs(error.to_string());
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .map_err(|error| failed(&error))?;
        let local = listener.local_addr().map_err(|error| failed(&error))?;
        let acceptor = acceptor(authority).map_err(|error| failed(&error))?;
        Ok(Self {
            connections: Connections {
                listener,
                local,
                acceptor,
            },
            logs: Logs { work_folder, present },
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.connections.local.port()
    }

    /// Answers for ever.
    pub(super) async fn run(self) {
        let routes = Router::new()
            .route("/containerLogs/{namespace}/{pod}/{container}", get(whole_log))
            .with_state(self.logs);
        if let Err(error) = axum::serve(self.connections, routes).await {
            tracing::error!(%error, "the server of logs ended");
        }
    }
}

fn acceptor(authority: &Path) -> Result<TlsAcceptor, Box<dyn std::error::Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority)? {
        roots.add(certificate?)?;
    }
    let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![own.cert.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn whole_log(
    State(logs): State<Logs>,
    Segments((namespace, pod, container)): Segments<(String, String, String)>,
    RawQuery(options): RawQuery,
) -> Answer {
    if !*logs.present.borrow() {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "the node is lost".to_owned()));
    }
    if let Some(options) = options.filter(|options| !options.is_empty()) {
        let text = format!("the lab gives whole logs only, without {options}");
        return Err((StatusCode::BAD_REQUEST, text));
    }
    let names = [&namespace, &pod, &container];
    if names.iter().any(|name| name.contains(['/', '_'])) {
        return Err((StatusCode::BAD_REQUEST, "that is no name".to_owned()));
    }
    let file = log_file(&logs.work_folder, &namespace, &pod, &container);
    tokio::fs::read(&file).await.map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let text = format!("no log of container {container} of Pod {namespace}/{pod}: {error}");
        (code, text)
    })
}

/// Connections with their handshake done. One after the other: only one API server calls here.
struct Connections {
    listener: TcpListener,
    local: SocketAddr,
    acceptor: TlsAcceptor,
}

impl Listener for Connections {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.local)
    }
}
