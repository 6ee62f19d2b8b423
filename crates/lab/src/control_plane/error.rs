//! Why a control plane failed. Pure.

use std::io;
use std::path::PathBuf;

use super::{PkiError, PortError, ProcessError, START};

/// Why a control plane failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    /// The folder's path is too long to hold a socket.
    #[error("the folder {0} is too long for a socket: use a shorter temporary folder (TMPDIR)")]
    LongPath(PathBuf),
    /// A file could not be used.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Ports.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A program could not be handled.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The client could not be made.
    #[error("cannot make a client for cluster {name}: {message}")]
    Client {
        /// Name of the cluster.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A program ended while it was waited for.
    #[error("{component} of cluster {name} ended ({status}), log {log}:\n{tail}")]
    Ended {
        /// Name of the cluster.
        name: String,
        /// The program.
        component: &'static str,
        /// How it ended.
        status: String,
        /// The whole log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// A program did not serve in time.
    #[error("{component} of cluster {name} did not serve within {} s ({message}), log {log}:\n{tail}", START.as_secs())]
    NotReady {
        /// Name of the cluster.
        name: String,
        /// The program.
        component: &'static str,
        /// The last answer.
        message: String,
        /// The whole log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
}
