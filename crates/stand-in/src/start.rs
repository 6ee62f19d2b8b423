//! From a command line to a running controller: logging, TLS provider, runtime, leader lease, orderly end on SIGTERM.

use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use kube::Client;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::Error;
use crate::cluster_access::own_client;
use crate::flags::Flags;
use crate::lease::LeaderLease;
use crate::release::Release;

/// What every controller gets.
pub(crate) struct Process {
    /// The own cluster.
    pub(crate) client: Client,
    /// The command line.
    pub(crate) flags: Flags,
    /// KKP's namespace, `kubermatic`.
    pub(crate) namespace: String,
    /// What is compiled in.
    pub(crate) release: Release,
}

/// A controller: runs until it fails.
pub(crate) type Body = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Runs a controller as this process.
pub(crate) fn controller(program: &str, args: &[OsString], body: fn(Arc<Process>) -> Body) -> ExitCode {
    let filter = EnvFilter::try_from_env("KKP_STAND_IN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // KKP logs JSON lines (`-log-format=json`). A second call in one process keeps the first subscriber.
    drop(
        tracing_subscriber::fmt()
            .json()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .try_init(),
    );
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(program, &error.to_string()),
    };
    match runtime.block_on(supervise(program, Flags::parse(args), body)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(program, &error.to_string()),
    }
}

/// Refuses a name that is none of ours.
pub(crate) fn unknown(program: &str) -> ExitCode {
    failed(program, "no stand-in has this name")
}

fn failed(program: &str, reason: &str) -> ExitCode {
    tracing::error!(program, reason, "ends");
    // Standard error may be closed; the exit code says it too.
    drop(writeln!(std::io::stderr().lock(), "{program}: {reason}"));
    ExitCode::FAILURE
}

async fn supervise(program: &str, flags: Flags, body: fn(Arc<Process>) -> Body) -> Result<(), Error> {
    // First of all: a Pod may be told to stop while it starts, and process 1 of a container ignores a signal without handler.
    let mut stop = Stop::listen()?;
    let release = Release::load()?;
    let client = own_client().await?;
    let namespace = flags.text("namespace").unwrap_or("kubermatic").to_owned();
    tracing::info!(program, version = release.version, "starts");
    if program == "kubermatic-webhook" {
        let process = Arc::new(Process {
            client,
            flags,
            namespace,
            release,
        });
        return tokio::select! {
            ended = body(process) => ended,
            () = stop.told() => Ok(()),
        };
    }
    let lease = LeaderLease::new(client.clone(), &namespace, format!("{program}-leader-lock"));
    tokio::select! {
        () = lease.acquire() => {}
        () = stop.told() => return Ok(()),
    }
    let process = Arc::new(Process {
        client,
        flags,
        namespace,
        release,
    });
    let ended = tokio::select! {
        ended = body(process) => ended,
        lost = lease.keep() => Err(lost),
        () = stop.told() => Ok(()),
    };
    lease.release().await;
    ended
}

/// The two signals that end a process.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::Refused(format!("cannot listen for signals: {error}"));
        let terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        Ok(Self { terminate, interrupt })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
