//! What a sandboxed container is made of; goes from the pod runner to the stages as JSON.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One container process, everything resolved: no names, only paths and numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The image's root file system on the host; never written to.
    pub rootfs: PathBuf,
    /// An empty folder of this container on the host, used as mount point only.
    pub scratch: PathBuf,
    /// Host folders and files to show inside.
    pub mounts: Vec<Mount>,
    /// Show the host's system libraries (for dynamically linked programs).
    pub host_libraries: bool,
    /// `securityContext.readOnlyRootFilesystem`.
    pub read_only_root: bool,
    /// Host name inside.
    pub hostname: String,
    /// User and groups of the program.
    pub credentials: Credentials,
    /// Working directory inside; made if it is missing.
    pub working_directory: PathBuf,
    /// The program file inside.
    pub program: PathBuf,
    /// Arguments; the first one is the name the program sees.
    pub argv: Vec<String>,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// File on the host that gets stdout and stderr.
    pub log: PathBuf,
}

/// One bind mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Existing folder or file on the host.
    pub source: PathBuf,
    /// Absolute path inside the container.
    pub target: PathBuf,
    /// Writes are refused.
    pub read_only: bool,
}

/// User and groups of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
    /// Supplementary groups (`supplementalGroups` and `fsGroup`).
    pub groups: Vec<u32>,
}

/// What `sandbox-stage1` says on stdout, one JSON object per line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Report {
    /// The program runs, as this process (seen from the pod runner).
    Started(i32),
    /// The program could not be started.
    Failed(String),
    /// The program ended: exit code, or the signal that killed it.
    Exited {
        /// Exit code; 128 + signal if a signal ended it.
        code: i32,
        /// The signal, if one ended it.
        signal: Option<i32>,
    },
}
