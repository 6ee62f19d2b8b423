//! Runs one container process in its own mount, PID and UTS namespace, by re-executing the program.
//!
//! Nothing here talks to a cluster. A namespace can only be entered by a program with one thread, so the pod runner
//! never unshares itself: it starts the current program again with a stage name as first argument
//! (`std::env::current_exe()`), and that process does it. The `main` of the program has to hand such a call to
//! [`stage1`] before it starts any thread.
//!
//! - `sandbox-stage1` reads a [`ContainerSpec`] on stdin, unshares, builds the root file system, starts
//!   `sandbox-stage2`, and reports on stdout with one JSON line each when the program started and how it ended;
//! - `sandbox-stage2` is PID 1 of the container: mounts `/proc`, changes its root, drops to the user and becomes the program;
//! - `sandbox-stage-exec` runs one more program inside a running container (probes, `preStop`);
//! - `sandbox-stage-check` answers whether this machine allows all that.
//!
//! The container's root is an overlay whose upper layer is a tmpfs of the new mount namespace: it is gone with the
//! container, and the image folder is never written to. Killing PID 1 ends every process of the container.

mod credentials;
mod exec;
mod process;
mod root_file_system;
pub mod rooted_path;
mod spec;
mod stages;

use std::ffi::OsString;
use std::process::ExitCode;

pub use exec::{ExecSpec, exec};
pub use process::{ContainerProcess, Exit, StartError, check};
pub use spec::{ContainerSpec, Credentials, Mount};

/// A step of building the sandbox that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {source}")]
pub struct SandboxError {
    /// What was tried.
    pub action: String,
    /// The answer of the system.
    #[source]
    pub source: std::io::Error,
}

/// Names the step in the error of a system call.
pub(crate) trait Step<T> {
    /// Turns the error into a [`SandboxError`] that names what was tried.
    fn step(self, action: impl FnOnce() -> String) -> Result<T, SandboxError>;
}

impl<T> Step<T> for std::io::Result<T> {
    fn step(self, action: impl FnOnce() -> String) -> Result<T, SandboxError> {
        self.map_err(|source| SandboxError {
            action: action(),
            source,
        })
    }
}

impl<T> Step<T> for nix::Result<T> {
    fn step(self, action: impl FnOnce() -> String) -> Result<T, SandboxError> {
        self.map_err(std::io::Error::from).step(action)
    }
}

/// Entry point of every re-executed `sandbox-stage…`; `args` starts with the name of the stage.
///
/// The calling process must have one thread.
#[must_use]
pub fn stage1(args: &[OsString]) -> ExitCode {
    match args.first().and_then(|name| name.to_str()) {
        Some("sandbox-stage1") => stages::stage1(),
        Some("sandbox-stage2") => stages::stage2(),
        Some("sandbox-stage-exec") => exec::stage(),
        Some("sandbox-stage-check") => stages::check(),
        _ => ExitCode::from(64),
    }
}
