//! A server that calls itself a seed's API server and lies: for tests of what the operator believes and how much memory
//! it spends on it. Listens on this machine only.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// UID of the namespace `kube-system` that it claims to have.
pub const CLAIMED_UID: &str = "66666666-0000-4000-8000-666666666666";
/// Stands in everything that it says and is never to be repeated.
pub const CANARY: &str = "canary-of-the-hostile-seed";

/// How it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lie {
    /// It is another cluster: it says who it is, and every list is empty.
    OtherCluster,
    /// Every answer is without end.
    Endless,
    /// It says who it is, and every list has a gibibyte.
    GibibyteLists,
    /// It says who it is, and every list goes on after each page.
    NeverLastPage,
    /// Every answer is nested a million times, where objects may hold any JSON.
    Deep,
    /// Every answer is a page for people.
    Page,
    /// Every answer breaks off.
    BreaksOff,
    /// Every answer sends to this address.
    Redirect(String),
    /// Every answer comes with one byte a second.
    Slow,
}

/// The server; it ends with its value.
#[derive(Debug)]
pub struct HostileSeed {
    address: SocketAddr,
    certificate: String,
    lie: watch::Sender<Lie>,
    requests: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Drop for HostileSeed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HostileSeed {
    /// Starts the server.
    ///
    /// # Errors
    /// When it cannot have a certificate or a port.
    pub async fn start(lie: Lie) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
        let certificate = parameters.self_signed(&key)?;
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr().context("the address of the listener")?;
        let lie = watch::Sender::new(lie);
        let requests = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(serve(listener, acceptor, lie.subscribe(), requests.clone()));
        Ok(Self {
            address,
            certificate: certificate.pem(),
            lie,
            requests,
            task: task.abort_handle(),
        })
    }

    /// From now on lies like this.
    pub fn lie(&self, lie: Lie) {
        self.lie.send_replace(lie);
    }

    /// Requests that it has heard.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// A kubeconfig that leads to it.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        let authority = base64::engine::general_purpose::STANDARD.encode(&self.certificate);
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "seed",
            "contexts": [{"name": "seed", "context": {"cluster": "seed", "user": "seed"}}],
            "clusters": [{"name": "seed", "cluster": {
                "server": format!("https://{}", self.address), "certificate-authority-data": authority,
            }}],
            "users": [{"name": "seed", "user": {"token": "a-token"}}],
        })
        .to_string()
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, lie: watch::Receiver<Lie>, requests: Arc<AtomicU64>) {
    // Its connections end with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (acceptor, lie, requests) = (acceptor.clone(), lie.clone(), requests.clone());
        connections.spawn(async move {
            // Whoever hangs up has heard enough.
            let _ = converse(stream, acceptor, lie, requests).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    lie: watch::Receiver<Lie>,
    requests: Arc<AtomicU64>,
) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let path = request(&mut stream).await?;
    requests.fetch_add(1, Ordering::Relaxed);
    let lie = lie.borrow().clone();
    let whoami = path.ends_with("/namespaces/kube-system");
    match lie {
        Lie::OtherCluster | Lie::GibibyteLists | Lie::NeverLastPage if whoami => {
            let namespace = json!({"kind": "Namespace", "apiVersion": "v1",
                "metadata": {"name": "kube-system", "uid": CLAIMED_UID}});
            whole(&mut stream, "200 OK", "application/json", &namespace.to_string()).await?;
        }
        Lie::OtherCluster => whole(&mut stream, "200 OK", "application/json", &page("")).await?,
        Lie::NeverLastPage => whole(&mut stream, "200 OK", "application/json", &page("more")).await?,
        Lie::Endless => forever(&mut stream, u64::MAX).await?,
        Lie::GibibyteLists => forever(&mut stream, 1 << 30).await?,
        Lie::Deep => {
            // The one place of an object's metadata where any JSON may stand: elsewhere depth is the wrong type at once.
            let nested = "[".repeat(1_000_000);
            let deep = format!("{{\"metadata\": {{\"managedFields\": [{{\"fieldsV1\": {{\"a\": {nested}");
            whole(&mut stream, "200 OK", "application/json", &deep).await?;
        }
        Lie::Page => whole(&mut stream, "200 OK", "text/html", &format!("<html>{CANARY}</html>")).await?,
        Lie::BreaksOff => {
            let half = format!("{{\"kind\": \"Namespace\", \"metadata\": {{\"name\": \"{CANARY}");
            whole(&mut stream, "200 OK", "application/json", &half).await?;
        }
        Lie::Redirect(goal) => {
            let head = format!("302 Found\r\nLocation: {goal}");
            whole(
                &mut stream,
                &head,
                "application/json",
                &format!("{{\"a\": \"{CANARY}\"}}"),
            )
            .await?;
        }
        Lie::Slow => {
            for byte in head("200 OK", "application/json")
                .bytes()
                .chain(std::iter::repeat(b' '))
            {
                stream.write_all(&[byte]).await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
    stream.shutdown().await
}

/// Path of the request.
async fn request(stream: &mut TlsStream<TcpStream>) -> io::Result<String> {
    let mut heard = Vec::new();
    let mut piece = [0; 4096];
    while !heard.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut piece).await?;
        if count == 0 || heard.len() > 64 * 1024 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        heard.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
    let text = String::from_utf8_lossy(&heard);
    let target = text.split_whitespace().nth(1).unwrap_or_default();
    Ok(target.split('?').next().unwrap_or_default().to_owned())
}

fn head(status: &str, kind: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n")
}

async fn whole(stream: &mut TlsStream<TcpStream>, status: &str, kind: &str, body: &str) -> io::Result<()> {
    stream.write_all(head(status, kind).as_bytes()).await?;
    stream.write_all(body.as_bytes()).await
}

/// A string that never closes, of so many bytes.
async fn forever(stream: &mut TlsStream<TcpStream>, bytes: u64) -> io::Result<()> {
    stream.write_all(head("200 OK", "application/json").as_bytes()).await?;
    stream.write_all(b"{\"metadata\": {\"continue\": \"").await?;
    let piece = vec![b'x'; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        stream.write_all(&piece).await?;
        left = left.saturating_sub(64 * 1024);
    }
    Ok(())
}

/// An empty page; with a token there is always one more.
fn page(token: &str) -> String {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1", "continue": token}, "items": []})
        .to_string()
}
