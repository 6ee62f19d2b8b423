//! A gate before every write of an operator: the test sees the write before the API server does, and may take the request
//! and deliver it later, as a network does.
//!
//! The operator's side is a layer around its clients, in the test program only and only where the environment names a
//! gate. It asks over TCP and waits for the answer; a gate that is gone lets everything through.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use http::Method;
use kkp_upgrade_connection::{Connector, Peer};
use kube::Client;
use kube::client::Body;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Environment variable with the gate's address.
pub const VARIABLE: &str = "KKP_TEST_GATE";

/// A write that is about to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// UID of the Pod.
    pub pod: String,
    /// What is written, in words: the same for the same write of another operator.
    pub what: String,
    /// Whether it is the leader's lease.
    pub election: bool,
    /// The request itself.
    pub request: Request,
}

/// A request that can be sent by somebody else: late, as bytes that were on their way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    method: String,
    uri: String,
    content_type: String,
    body: String,
    /// The Pod's own token: for the API server it is the Pod that writes.
    token: String,
}

/// Where a Pod's token is.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

impl Request {
    fn new(head: &http::request::Parts, body: &[u8]) -> Self {
        let content_type = head.headers.get(http::header::CONTENT_TYPE);
        Self {
            method: head.method.to_string(),
            uri: head.uri.to_string(),
            content_type: content_type.map_or_else(String::new, |value| {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            }),
            body: String::from_utf8_lossy(body).into_owned(),
            token: std::fs::read_to_string(TOKEN).unwrap_or_default(),
        }
    }

    /// Sends it; the status of the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn deliver(&self, kubeconfig: &Path) -> anyhow::Result<u16> {
        let options = KubeConfigOptions::default();
        let file = Kubeconfig::read_from(kubeconfig)?;
        let mut config = kube::Config::from_custom_kubeconfig(file, &options).await?;
        config.auth_info = AuthInfo {
            token: Some(self.token.clone().into()),
            ..AuthInfo::default()
        };
        config.default_retry = false;
        let request = http::Request::builder()
            .method(&*self.method)
            .uri(&self.uri)
            .header(http::header::CONTENT_TYPE, &self.content_type)
            .body(Body::from(self.body.clone().into_bytes()))?;
        let answer = Client::try_from(config)?.send(request).await?;
        Ok(answer.status().as_u16())
    }
}

/// The connector of a process whose environment names a gate.
#[must_use]
pub fn connector() -> Option<Connector> {
    let address: SocketAddr = std::env::var(VARIABLE).ok()?.parse().ok()?;
    let pod = std::env::var("POD_UID").unwrap_or_default();
    Some(Connector::around(move |peer, client| {
        guarded(address, &pod, peer, client)
    }))
}

fn guarded(address: SocketAddr, pod: &str, peer: &Peer, client: Client) -> Client {
    let election = *peer == Peer::LeaderElection;
    let (pod, namespace) = (pod.to_owned(), client.default_namespace().to_owned());
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (client, pod) = (client.clone(), pod.clone());
        async move {
            let tries = request.uri().query().is_some_and(|query| query.contains("dryRun="));
            let asks_only = tries || request.uri().path().contains("/authorization.k8s.io/");
            if request.method() == Method::GET || asks_only {
                return client.send(request).await;
            }
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await?;
            let call = Call {
                what: in_words(&head.method, head.uri.path(), &body),
                pod,
                election,
                request: Request::new(&head, &body),
            };
            // Without a gate there is nothing to wait for.
            if ask(address, &call).await.is_ok_and(|answer| answer == TAKEN) {
                return std::future::pending().await;
            }
            client.send(http::Request::from_parts(head, Body::from(body))).await
        }
    });
    Client::new(service, namespace)
}

/// Answer to a write that is sent by its own process.
const PASSED: u8 = b'p';
/// Answer to a write that the test sends.
const TAKEN: u8 = b't';

async fn ask(address: SocketAddr, call: &Call) -> std::io::Result<u8> {
    let mut stream = TcpStream::connect(address).await?;
    let mut line = serde_json::to_vec(call)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.read_u8().await
}

/// Verb, resource and name, and of a status where the run stands.
fn in_words(method: &Method, path: &str, body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut place = path.split('/').skip_while(|part| *part != "namespaces").skip(2);
    let resource = place.next().unwrap_or(path);
    let name = place.next().unwrap_or_else(|| text("/metadata/name"));
    if resource == "events" {
        return format!("{method} events {}", text("/reason"));
    }
    if place.next() == Some("status") {
        let ready = body
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .and_then(|all| {
                all.iter()
                    .find(|condition| condition.get("type") == Some(&Value::from("Ready")))
            });
        let reason = ready
            .and_then(|ready| ready.get("reason")?.as_str())
            .unwrap_or_default();
        let job = if text("/status/step/job").is_empty() {
            ""
        } else {
            " with its Job"
        };
        return format!(
            "status {}/{}{job} {reason}",
            text("/status/phase"),
            text("/status/step/name")
        );
    }
    let detail = match (resource, method) {
        ("leases", _) => text("/spec/holderIdentity").to_owned(),
        (_, &Method::PATCH) => what_changes(body.clone()),
        _ => String::new(),
    };
    format!("{method} {resource}/{name} {detail}").trim_end().to_owned()
}

/// A patch without its preconditions.
fn what_changes(mut patch: Value) -> String {
    if let Some(metadata) = patch.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
        metadata.remove("uid");
    }
    patch.to_string()
}

/// The test's side.
pub struct Gate {
    /// Where it listens.
    pub address: SocketAddr,
    closed: Arc<AtomicBool>,
    calls: mpsc::UnboundedReceiver<Held>,
    task: AbortHandle,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A write that waits at the gate. Dropped, it is let through as well.
pub struct Held {
    /// The write.
    pub call: Call,
    stream: BufReader<TcpStream>,
}

impl Held {
    /// Lets it through.
    pub async fn pass(mut self) {
        // Who is dead by now does not take the answer.
        let _ = self.stream.write_u8(PASSED).await;
    }

    /// Takes the request out of the process's hands: it has left the process and is on its way. The process itself waits
    /// for an answer that never comes.
    pub async fn take(mut self) -> Request {
        let _ = self.stream.write_u8(TAKEN).await;
        self.call.request
    }
}

impl Gate {
    /// Makes a gate that stands open: nothing waits until it is closed.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub async fn new() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("the gate's port")?;
        let address = listener.local_addr()?;
        let (sender, calls) = mpsc::unbounded_channel();
        let closed = Arc::new(AtomicBool::new(false));
        let is_closed = closed.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, is_closed) = (sender.clone(), is_closed.clone());
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.is_ok()
                        && let Ok(call) = serde_json::from_str(&line)
                    {
                        let held = Held { call, stream };
                        // Dropped, it is let through.
                        if is_closed.load(Ordering::SeqCst) {
                            drop(sender.send(held));
                        }
                    }
                });
            }
        });
        Ok(Self {
            address,
            closed,
            calls,
            task: task.abort_handle(),
        })
    }

    /// From now on every write waits.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// From now on no write waits.
    pub fn open(&mut self) {
        self.closed.store(false, Ordering::SeqCst);
        // Those that wait are let through by being dropped.
        while self.calls.try_recv().is_ok() {}
    }

    /// The next write that waits.
    ///
    /// # Errors
    /// When the gate is broken.
    pub async fn next(&mut self) -> anyhow::Result<Held> {
        self.calls.recv().await.context("the gate takes no calls any more")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_write_of_another_operator_has_the_same_words() {
        let words = |method: Method, path: &str, body: &str| in_words(&method, path, body.as_bytes());
        let status = r#"{"metadata":{"name":"u"},"status":{"phase":"Backup","step":{"name":"Backup","job":"j","holder":"a.1"},
            "conditions":[{"type":"Ready","reason":"BackingUp"}]}}"#;
        let upgrades = "/apis/upgrade.k8c.io/v1alpha1/namespaces/kubermatic/kkpupgrades";
        assert_eq!(
            words(Method::PUT, &format!("{upgrades}/u/status"), status),
            "status Backup/Backup with its Job BackingUp"
        );
        let patch = r#"{"metadata":{"uid":"1","resourceVersion":"2","finalizers":["f"]}}"#;
        assert_eq!(
            words(Method::PATCH, &format!("{upgrades}/u"), patch),
            r#"PATCH kkpupgrades/u {"metadata":{"finalizers":["f"]}}"#
        );
        let jobs = "/apis/batch/v1/namespaces/kubermatic/jobs";
        assert_eq!(words(Method::POST, jobs, r#"{"metadata":{"name":"j"}}"#), "POST jobs/j");
        assert_eq!(words(Method::DELETE, &format!("{jobs}/j"), "{}"), "DELETE jobs/j");
    }

    #[tokio::test]
    async fn a_write_waits_until_it_is_let_through_and_a_gate_that_is_gone_stops_nobody() {
        let mut gate = Gate::new().await.unwrap();
        let address = gate.address;
        gate.close();
        let call = Call {
            pod: "p".to_owned(),
            what: "POST jobs/j".to_owned(),
            election: false,
            request: Request {
                method: "POST".to_owned(),
                uri: "/".to_owned(),
                content_type: String::new(),
                body: "{}".to_owned(),
                token: String::new(),
            },
        };
        let asked = tokio::spawn({
            let call = call.clone();
            async move { ask(address, &call).await }
        });
        let held = gate.next().await.unwrap();
        assert_eq!(held.call, call);
        assert!(!asked.is_finished());
        held.pass().await;
        assert_eq!(asked.await.unwrap().unwrap(), PASSED);
        drop(gate);
        tokio::task::yield_now().await;
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), ask(address, &call))
            .await
            .unwrap();
    }
}
