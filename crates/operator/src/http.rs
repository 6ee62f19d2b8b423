//! Probes and metrics over HTTP. Talks to no cluster.
//!
//! The server has a thread of its own: the probes must answer while the operator's threads are busy. No answer waits
//! for anything but the short lock around the metrics.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::metrics::{CONTENT_TYPE, Metrics};

/// How long open connections may finish after the shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Whether this process lives and is ready. Clones share their state.
#[derive(Debug, Clone)]
pub struct Health(Arc<Vitals>);

#[derive(Debug)]
struct Vitals {
    start: Instant,
    patience: Duration,
    /// Milliseconds from `start` to the last beat, plus one; 0 = no beat yet.
    last_beat: AtomicU64,
    ended: AtomicBool,
    parts: Vec<(&'static str, AtomicBool)>,
}

impl Health {
    /// Alive, and ready as soon as every one of `parts` is. After the first beat, more than `patience` without another
    /// counts as dead.
    #[must_use]
    pub fn new(parts: &[&'static str], patience: Duration) -> Self {
        Self(Arc::new(Vitals {
            start: Instant::now(),
            patience,
            last_beat: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            parts: parts.iter().map(|part| (*part, AtomicBool::new(false))).collect(),
        }))
    }

    /// One of the declared parts is ready.
    pub fn set_ready(&self, part: &'static str) {
        if let Some((_, ready)) = self.0.parts.iter().find(|(name, _)| *name == part) {
            ready.store(true, Ordering::Release);
        } else {
            tracing::error!(part, "readiness of a part that was never declared");
        }
    }

    /// The loop is alive. To be called from a task of the runtime that the loop runs on.
    pub fn beat(&self) {
        let now = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_beat.store(now.saturating_add(1), Ordering::Release);
    }

    /// The loop has ended: this process will do nothing any more.
    pub fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
    }

    /// What is wrong with this process, if anything. A standby that has no loop yet is well.
    fn ailment(&self) -> Option<String> {
        if self.0.ended.load(Ordering::Acquire) {
            return Some("the reconcile loop has ended".to_owned());
        }
        let beat = self.0.last_beat.load(Ordering::Acquire).checked_sub(1)?;
        let silence = self.0.start.elapsed().saturating_sub(Duration::from_millis(beat));
        (silence > self.0.patience).then(|| format!("the reconcile loop is silent for {} s", silence.as_secs()))
    }

    fn missing(&self) -> Vec<&'static str> {
        let missing = self.0.parts.iter().filter(|(_, ready)| !ready.load(Ordering::Acquire));
        missing.map(|(name, _)| *name).collect()
    }
}

/// Serves `/healthz`, `/readyz` and `/metrics` on `address` until `shutdown`.
///
/// # Errors
/// When the address cannot be listened on, or the server fails.
pub async fn serve(
    address: SocketAddr,
    metrics: Metrics,
    health: Health,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("listening on {address} for probes"))?;
    serve_on(listener, metrics, health, shutdown).await
}

async fn serve_on(
    listener: TcpListener,
    metrics: Metrics,
    health: Health,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    listener
        .set_nonblocking(true)
        .context("preparing the port of the probes")?;
    let stop = shutdown.child_token();
    // Whoever stops waiting for the server stops it, too.
    let _guard = stop.clone().drop_guard();
    let (end, ended) = oneshot::channel();
    let router = router(metrics, health);
    let thread = move || {
        let _ = end.send(run_server(listener, router, &stop));
    };
    std::thread::Builder::new()
        .name("http".to_owned())
        .spawn(thread)
        .context("starting the thread of the probes")?;
    ended.await.context("the thread of the probes ended without a result")?
}

fn run_server(listener: TcpListener, router: Router, stop: &CancellationToken) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime of the probes")?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).context("taking over the port of the probes")?;
        let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        let too_long = async {
            stop.cancelled().await;
            tokio::time::sleep(SHUTDOWN_GRACE).await;
        };
        tokio::select! {
            result = server => result.context("serving probes and metrics"),
            () = too_long => Ok(()),
        }
    })
}

fn router(metrics: Metrics, health: Health) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(health)
        .merge(Router::new().route("/metrics", get(scrape)).with_state(metrics))
}

async fn healthz(State(health): State<Health>) -> (StatusCode, String) {
    match health.ailment() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(ailment) => (StatusCode::SERVICE_UNAVAILABLE, format!("{ailment}\n")),
    }
}

async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    let missing = health.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let list = format!("waiting for {}\n", missing.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, list)
}

async fn scrape(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.encode())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    fn request(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_lists_what_is_missing() {
        let health = Health::new(&["upgrades", "seeds"], Duration::from_mins(1));
        let answer = readyz(State(health.clone())).await;
        let list = "waiting for upgrades, seeds\n".to_owned();
        assert_eq!(answer, (StatusCode::SERVICE_UNAVAILABLE, list));
        health.set_ready("upgrades");
        health.set_ready("never declared");
        let answer = readyz(State(health.clone())).await;
        assert_eq!(answer.1, "waiting for seeds\n");
        health.set_ready("seeds");
        assert_eq!(readyz(State(health)).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_silent_loop_is_dead_and_a_standby_is_not() {
        let health = Health::new(&[], Duration::ZERO);
        assert_eq!(healthz(State(health.clone())).await.0, StatusCode::OK);
        health.beat();
        let dead = async {
            while healthz(State(health.clone())).await.0 == StatusCode::OK {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), dead).await.unwrap();

        let health = Health::new(&[], Duration::from_mins(1));
        health.beat();
        assert_eq!(healthz(State(health.clone())).await.0, StatusCode::OK);
        health.end();
        assert_eq!(
            healthz(State(health)).await,
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the reconcile loop has ended\n".to_owned()
            )
        );
    }

    /// The runtime of this test has one thread, and the requests block it.
    #[tokio::test]
    async fn answers_while_the_callers_runtime_is_blocked_and_stops() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let health = Health::new(&[], Duration::from_mins(1));
        let server = tokio::spawn(serve_on(listener, Metrics::new("9.9.9"), health, shutdown.clone()));
        tokio::task::yield_now().await;

        assert!(request(address, "/healthz").starts_with("HTTP/1.1 200"));
        let page = request(address, "/metrics");
        assert!(page.contains(&format!("content-type: {CONTENT_TYPE}")), "{page}");
        assert!(page.contains("kkp_upgrade_build_info{version=\"9.9.9\"} 1"), "{page}");
        assert!(request(address, "/other").starts_with("HTTP/1.1 404"));

        shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), server).await;
        ended.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let health = Health::new(&[], Duration::ZERO);
        let problem = serve(address, Metrics::new("9.9.9"), health, CancellationToken::new())
            .await
            .unwrap_err();
        assert!(problem.to_string().contains(&address.to_string()), "{problem}");
    }
}
