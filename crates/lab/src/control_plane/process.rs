//! One program of a control plane: start, signal, wait, and its log file.
//!
//! Never talks to a cluster. A process never outlives its value.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::log_tail::log_tail;

/// How long a program may take to end after SIGTERM before it is killed.
const TERMINATION: Duration = Duration::from_secs(20);

/// Why a program could not be started, signalled or ended.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program or its log file could not be opened.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program is not there to receive a signal.
    #[error("{name} is not running, log {log}:\n{tail}")]
    NotRunning {
        /// Name of the program.
        name: &'static str,
        /// The whole log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// The signal could not be delivered.
    #[error("cannot send {signal} to {name}: {source}")]
    Signal {
        /// Name of the program.
        name: &'static str,
        /// The signal.
        signal: Signal,
        /// What the system said.
        source: nix::Error,
    },
    /// The end of the program could not be seen.
    #[error("cannot wait for {name}: {source}")]
    Wait {
        /// Name of the program.
        name: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A program with its command line; running or not.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    pub(crate) fn new(name: &'static str, program: PathBuf, arguments: Vec<OsString>, log: PathBuf) -> Self {
        Self {
            name,
            program,
            arguments,
            log,
            child: None,
        }
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Starts the program unless it is running.
    pub(crate) fn start(&mut self) -> Result<(), ProcessError> {
        if !self.needs_start() {
            return Ok(());
        }
        let failed = |source| ProcessError::Start {
            program: self.program.clone(),
            source,
        };
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(failed)?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        self.child = Some(child);
        Ok(())
    }

    /// Whether the program was never started or has ended.
    pub(crate) fn needs_start(&mut self) -> bool {
        self.child.is_none() || self.exited().is_some()
    }

    /// How the program ended, if it was started and has ended.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    pub(crate) fn tail(&self) -> String {
        log_tail(&self.log)
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> Result<(), ProcessError> {
        let pid = self
            .child
            .as_ref()
            .and_then(Child::id)
            .and_then(|id| i32::try_from(id).ok());
        let Some(pid) = pid.filter(|_| self.exited().is_none()) else {
            return Err(ProcessError::NotRunning {
                name: self.name,
                log: self.log.clone(),
                tail: self.tail(),
            });
        };
        kill(Pid::from_raw(pid), signal).map_err(|source| ProcessError::Signal {
            name: self.name,
            signal,
            source,
        })
    }

    /// Kills the program and returns when it is gone; a program that is not running is fine.
    pub(crate) async fn kill(&mut self) -> Result<(), ProcessError> {
        match self.child.take() {
            Some(mut child) => child.kill().await.map_err(|source| ProcessError::Wait {
                name: self.name,
                source,
            }),
            None => Ok(()),
        }
    }

    /// Asks the program to end and returns when it is gone; a program that is not running is fine.
    pub(crate) async fn terminate(&mut self) -> Result<(), ProcessError> {
        match self.signal(Signal::SIGTERM) {
            Ok(()) => {}
            Err(ProcessError::NotRunning { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        // A stopped process does not see SIGTERM.
        self.signal(Signal::SIGCONT).or_else(|error| match error {
            ProcessError::NotRunning { .. } => Ok(()),
            other => Err(other),
        })?;
        let Some(child) = self.child.as_mut() else {
            return Ok(());
        };
        match tokio::time::timeout(TERMINATION, child.wait()).await {
            Ok(Ok(_)) => {
                self.child = None;
                Ok(())
            }
            Ok(Err(source)) => Err(ProcessError::Wait {
                name: self.name,
                source,
            }),
            Err(_) => self.kill().await,
        }
    }
}
