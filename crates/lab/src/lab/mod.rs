//! The handle of a lab, for tests and the demo.
//!
//! A lab is one child process in its own PID and mount namespace that ends when its stdin closes. So it ends with its
//! owner, however the owner ends, and takes everything with it that it started. Talks to the lab's clusters only when
//! its clients are used.

mod channel;
pub(crate) mod folder;
mod protocol;
mod server;
pub(crate) mod stages;
mod topology;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::topology::{ClusterSpec, Topology};

use self::channel::Channel;
use self::protocol::{Command, Outcome, Started};
use crate::control_plane::{Action, Component, client_from};

/// How long one call of kubectl may take.
const KUBECTL: Duration = Duration::from_mins(2);
const SUMMARY: &str = "lab.json";

/// Why a lab could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The lab's folder could not be made.
    #[error("cannot make the folder of the lab: {0}")]
    Folder(io::Error),
    /// The lab's program could not be executed.
    #[error("cannot execute {program} as a lab: {source}")]
    Execute {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The lab's process ended.
    #[error("the lab in {folder} has ended; its error output says why")]
    Ended {
        /// Folder of the lab.
        folder: PathBuf,
    },
    /// The lab could not do what it was asked.
    #[error("{message}")]
    Failed {
        /// What the lab said.
        message: String,
    },
    /// There is no such cluster.
    #[error("the lab has no cluster {name}; it has {known}")]
    UnknownCluster {
        /// The name.
        name: String,
        /// Names that exist.
        known: String,
    },
    /// A client for a cluster could not be made.
    #[error("cannot make a client for cluster {name}: {message}")]
    Client {
        /// Name of the cluster.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// kubectl could not be run.
    #[error("cannot run kubectl for cluster {name}: {source}")]
    Kubectl {
        /// Name of the cluster.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// One cluster of a running lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterHandle {
    /// Name of the cluster.
    pub name: String,
    /// Address of the API server.
    pub server: String,
    /// Port of the API server on 127.0.0.1.
    pub port: u16,
    /// A kubeconfig with administrator rights.
    pub kubeconfig_path: PathBuf,
    /// Folder with logs, data and certificates.
    pub folder: PathBuf,
    /// How long the control plane took to be ready.
    pub start_time: Duration,
}

impl ClusterHandle {
    /// A new client with administrator rights, without retries of its own.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub async fn client(&self) -> Result<kube::Client, LabError> {
        client_from(&self.kubeconfig_path)
            .await
            .map_err(|message| LabError::Client {
                name: self.name.clone(),
                message,
            })
    }
}

/// What is known of a running lab from its folder alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabSummary {
    /// Folder of the lab.
    pub folder: PathBuf,
    /// Folder with kubectl and the other programs.
    pub programs: PathBuf,
    /// The image folder.
    pub images: PathBuf,
    /// The clusters.
    pub clusters: Vec<ClusterHandle>,
}

impl LabSummary {
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(folder.join(SUMMARY))?)?)
    }
}

/// A running lab; dropping it ends everything that it started.
#[derive(Debug)]
pub struct Lab {
    summary: LabSummary,
    channel: Channel,
}

impl Lab {
    /// Starts a lab and returns when the API server of every cluster is ready. The first start on a machine builds the
    /// programs, which takes minutes.
    ///
    /// # Errors
    /// See [`LabError`].
    pub async fn start(topology: Topology) -> Result<Self, LabError> {
        let folder = folder::create().map_err(LabError::Folder)?;
        let program = match &topology.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(|source| LabError::Execute {
                program: PathBuf::from("the running program"),
                source,
            })?,
        };
        let channel = Channel::open(&program, &folder).map_err(|source| LabError::Execute { program, source })?;
        match channel.ask(Command::Start { topology }).await {
            Some(Outcome::Started(started)) => {
                let summary = summary(folder, started);
                let text = serde_json::to_vec_pretty(&summary).map_err(|error| LabError::Folder(error.into()))?;
                std::fs::write(summary.folder.join(SUMMARY), text).map_err(LabError::Folder)?;
                Ok(Self { summary, channel })
            }
            Some(Outcome::Failed { message }) => Err(LabError::Failed { message }),
            Some(Outcome::Done) | None => Err(LabError::Ended { folder }),
        }
    }

    /// A cluster by name.
    ///
    /// # Errors
    /// When there is none.
    pub fn cluster(&self, name: &str) -> Result<&ClusterHandle, LabError> {
        self.summary
            .clusters
            .iter()
            .find(|cluster| cluster.name == name)
            .ok_or_else(|| LabError::UnknownCluster {
                name: name.to_owned(),
                known: self
                    .summary
                    .clusters
                    .iter()
                    .map(|cluster| cluster.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// All clusters, in the order of the topology.
    #[must_use]
    pub fn clusters(&self) -> &[ClusterHandle] {
        &self.summary.clusters
    }

    /// The lab's temporary folder, removed at its end.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.summary.folder
    }

    /// The image folder.
    #[must_use]
    pub fn images(&self) -> &Path {
        &self.summary.images
    }

    /// Everything one has to know to use the lab from another process.
    #[must_use]
    pub fn summary(&self) -> &LabSummary {
        &self.summary
    }

    /// Process id of the lab's outermost process: killing it ends the lab.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.channel.pid()
    }

    /// Runs kubectl with administrator rights; a failing kubectl is not an error here.
    ///
    /// # Errors
    /// When kubectl cannot be run or takes too long.
    pub async fn kubectl<S: AsRef<OsStr>>(&self, cluster: &str, arguments: &[S]) -> Result<Output, LabError> {
        let cluster = self.cluster(cluster)?;
        let failed = |source| LabError::Kubectl {
            name: cluster.name.clone(),
            source,
        };
        let output = tokio::process::Command::new(self.summary.programs.join("kubectl"))
            .args(arguments)
            .env("KUBECONFIG", &cluster.kubeconfig_path)
            .env("KUBECACHEDIR", cluster.folder.join("kubectl-cache"))
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output();
        match tokio::time::timeout(KUBECTL, output).await {
            Ok(output) => output.map_err(failed),
            Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Kills, freezes, thaws, starts or restarts a program of a control plane.
    ///
    /// # Errors
    /// When the program is not in a state for it or does not come back.
    pub async fn apply(&self, cluster: &str, component: Component, action: Action) -> Result<(), LabError> {
        self.cluster(cluster)?;
        self.ask(Command::Component {
            cluster: cluster.to_owned(),
            component,
            action,
        })
        .await
    }

    /// Loses the node of a cluster: its Pods' processes end and nothing reports it.
    ///
    /// # Errors
    /// When the lab has ended.
    pub async fn stop_pod_runner(&self, cluster: &str) -> Result<(), LabError> {
        self.cluster(cluster)?;
        self.ask(Command::PodRunner {
            cluster: cluster.to_owned(),
            run: false,
        })
        .await
    }

    /// Brings the node of a cluster back.
    ///
    /// # Errors
    /// When the lab has ended.
    pub async fn start_pod_runner(&self, cluster: &str) -> Result<(), LabError> {
        self.cluster(cluster)?;
        self.ask(Command::PodRunner {
            cluster: cluster.to_owned(),
            run: true,
        })
        .await
    }

    /// Copies data and certificates of all clusters, for [`Topology::data_from`]. Each control plane is down meanwhile.
    ///
    /// # Errors
    /// When a control plane does not stop or come back, or the copy fails.
    pub async fn snapshot(&self, into: &Path) -> Result<(), LabError> {
        let into = std::path::absolute(into).map_err(LabError::Folder)?;
        self.ask(Command::Snapshot { into }).await
    }

    /// Puts the data of such a copy of this very lab back, under the same addresses. All Pods' processes end before; those that
    /// the copy knows start again. Volumes of claims stay as they are.
    ///
    /// # Errors
    /// When a control plane does not stop or come back, or the copy fails.
    pub async fn restore(&self, from: &Path) -> Result<(), LabError> {
        let from = std::path::absolute(from).map_err(LabError::Folder)?;
        self.ask(Command::Restore { from }).await
    }

    /// Keeps the folder after the lab's end, for a day, and says where it is.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn keep_folder(&self) -> Result<&Path, LabError> {
        folder::keep(self.folder()).map_err(LabError::Folder)?;
        Ok(self.folder())
    }

    /// Ends the lab and waits until everything is gone; dropping does the same but swallows the error.
    ///
    /// # Errors
    /// When the lab had to be killed.
    pub fn stop(mut self) -> Result<(), LabError> {
        self.channel.close().map_err(|error| LabError::Failed {
            message: error.to_string(),
        })
    }

    async fn ask(&self, command: Command) -> Result<(), LabError> {
        match self.channel.ask(command).await {
            Some(Outcome::Failed { message }) => Err(LabError::Failed { message }),
            Some(_) => Ok(()),
            None => Err(LabError::Ended {
                folder: self.folder().to_owned(),
            }),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A failed test is the one moment when somebody wants to read the logs.
        if std::thread::panicking() && folder::keep(self.folder()).is_ok() {
            use std::io::Write as _;
            let _ = writeln!(
                io::stderr().lock(),
                "kkp-lab: logs are kept for a day in {}",
                self.folder().display()
            );
        }
    }
}

fn summary(folder: PathBuf, started: Started) -> LabSummary {
    let clusters = started.clusters.into_iter().map(|cluster| ClusterHandle {
        server: format!("https://127.0.0.1:{}", cluster.port),
        name: cluster.name,
        port: cluster.port,
        kubeconfig_path: cluster.kubeconfig,
        folder: cluster.folder,
        start_time: Duration::from_millis(cluster.start_milliseconds),
    });
    LabSummary {
        folder,
        programs: started.programs,
        images: started.images,
        clusters: clusters.collect(),
    }
}
