//! A sandboxed container as the pod runner sees it.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::spec::{ContainerSpec, Report};

/// Longest time between asking for a container and its program running.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// Why a container does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The sandbox or the program was refused; the program never ran.
    #[error("{0}")]
    Refused(String),
    /// The program that runs the sandbox can't be started at all.
    #[error("cannot start the sandbox: {0}")]
    Sandbox(#[from] std::io::Error),
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; 128 + signal if a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// A running container. Dropping it kills the whole container.
#[derive(Debug)]
pub struct ContainerProcess {
    child: Child,
    reports: Lines<BufReader<ChildStdout>>,
    pid: i32,
}

impl ContainerProcess {
    /// Starts the program; returns when it runs.
    ///
    /// # Errors
    /// The sandbox can't be built, or the program can't be executed.
    pub async fn start(spec: &ContainerSpec) -> Result<Self, StartError> {
        tokio::time::timeout(START_DEADLINE, Self::start_unbounded(spec))
            .await
            .unwrap_or_else(|_| Err(StartError::Refused("the sandbox did not come up in time".to_owned())))
    }

    async fn start_unbounded(spec: &ContainerSpec) -> Result<Self, StartError> {
        let mut child = stage("sandbox-stage1")?;
        if let Some(mut input) = child.stdin.take() {
            input
                .write_all(&serde_json::to_vec(spec).map_err(std::io::Error::from)?)
                .await?;
        }
        let output = child.stdout.take().ok_or_else(|| std::io::Error::other("no stdout"))?;
        let mut reports = BufReader::new(output).lines();
        match next_report(&mut reports).await {
            Some(Report::Started(pid)) => Ok(Self { child, reports, pid }),
            Some(Report::Failed(message)) => Err(StartError::Refused(message)),
            Some(Report::Exited { .. }) | None => Err(StartError::Refused(
                "the sandbox ended without a word: is its stage handled in `main`?".to_owned(),
            )),
        }
    }

    /// Process id of the container's PID 1, seen from here.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for the end of the program. May be cancelled and called again.
    pub async fn wait(&mut self) -> Exit {
        let report = next_report(&mut self.reports).await;
        let _ = self.child.wait().await;
        match report {
            Some(Report::Exited { code, signal }) => Exit { code, signal },
            _ => Exit {
                code: 137,
                signal: Some(9),
            },
        }
    }

    /// Sends a signal to PID 1 of the container. As for every PID 1, signals without a handler are ignored but SIGKILL.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid), signal);
    }
}

async fn next_report(reports: &mut Lines<BufReader<ChildStdout>>) -> Option<Report> {
    let line = reports.next_line().await.ok().flatten()?;
    serde_json::from_str(&line).ok()
}

/// Starts the running program again as one of the sandbox's stages.
pub(super) fn stage(name: &str) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg(name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Whether this machine and this program can run sandboxes.
///
/// # Errors
/// What is missing, in words for the user.
pub async fn check() -> Result<(), String> {
    let child =
        stage("sandbox-stage-check").map_err(|error| format!("cannot start the running program again: {error}"))?;
    let output = tokio::time::timeout(START_DEADLINE, child.wait_with_output())
        .await
        .map_err(|_| "the running program does not answer as a sandbox stage".to_owned())?
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Err(format!(
        "namespaces can't be made (run as root or allow user namespaces): {}",
        said.trim()
    ))
}
