//! A KKP platform on the lab's control planes: master, seeds, user clusters.
//!
//! Installs KKP as a person would: by the official installer's Job, then Seeds and user clusters through the API. Knows neither
//! stand-ins nor operator: what the images contain is the caller's.

mod cache;
mod convergence;
mod field;
mod folder;
mod install;
mod installer_job;
mod objects;
mod plane;
mod sampler;
mod topology;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

pub use self::cache::{Running, StartOptions};
pub use self::folder::{ImageRequest, PlatformFolder, PlatformImages};
pub use self::installer_job::InstallerRun;
pub use self::plane::Plane;
pub use self::sampler::MostReconciling;
pub use self::topology::{COMMUNITY_SEED, MASTER, SeedSpec, Topology};

use crate::LabError;
use crate::image_folder::ImageError;

const POLL: Duration = Duration::from_millis(150);
/// How often the progress is told.
const REPORT: Duration = Duration::from_secs(5);

/// Why a platform could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// The topology can't work.
    #[error("topology can't work: {0}")]
    Topology(String),
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The image folder.
    #[error(transparent)]
    ImageFolder(#[from] ImageError),
    /// The caller could not make an image.
    #[error("image {reference} can't be made: {message}")]
    Image {
        /// Its reference.
        reference: String,
        /// Why.
        message: String,
    },
    /// A folder of the platform.
    #[error("platform folder can't be used: {0}")]
    Folder(#[source] std::io::Error),
    /// A file of a control plane.
    #[error("{path} can't be read: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The answer of the system.
        source: std::io::Error,
    },
    /// A call to an API server.
    #[error("control plane {plane} refused to {action}: {message}")]
    Api {
        /// Control plane.
        plane: String,
        /// What was tried.
        action: String,
        /// The answer.
        message: String,
    },
    /// The installer's Job failed.
    #[error("Job {job} failed with exit code {code:?}: {message}")]
    Installer {
        /// Name of the Job.
        job: String,
        /// Exit code, if the container ran.
        code: Option<i64>,
        /// Last lines of its log.
        message: String,
    },
    /// Not in time.
    #[error("{what} was not there after {seconds} s; missing: {missing}", missing = missing.join(", "))]
    Deadline {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
        /// What was missing at the end.
        missing: Vec<String>,
    },
}

/// A platform that runs in a lab.
pub struct Platform {
    topology: Topology,
    planes: Vec<Plane>,
    folder: PlatformFolder,
}

impl Platform {
    /// The topology that it was made from.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The control planes, the master's first.
    #[must_use]
    pub fn planes(&self) -> &[Plane] {
        &self.planes
    }

    /// The control plane of a name; `master` for the master.
    #[must_use]
    pub fn plane(&self, name: &str) -> Option<&Plane> {
        self.planes.iter().find(|plane| plane.name == name)
    }

    /// Images, script and ledger.
    #[must_use]
    pub fn folder(&self) -> &PlatformFolder {
        &self.folder
    }

    /// Every record of every installer run.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn ledger(&self) -> Result<Vec<Value>, PlatformError> {
        self.folder.ledger()
    }

    /// Replaces latencies and faults of the stand-ins.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn script(&self, yaml: &str) -> Result<(), PlatformError> {
        self.folder.script(yaml)
    }

    /// What is missing until the whole platform runs `version`; empty = converged.
    ///
    /// # Errors
    /// When a control plane does not answer.
    pub async fn missing(&self, version: &str) -> Result<Vec<String>, PlatformError> {
        convergence::missing(&self.topology, &self.planes, version).await
    }

    /// Waits until the whole platform runs `version`.
    ///
    /// # Errors
    /// [`PlatformError::Deadline`] with what is missing.
    pub async fn wait_for(&self, version: &str, deadline: Duration) -> Result<(), PlatformError> {
        let (start, mut told) = (Instant::now(), Instant::now());
        loop {
            // An API server that just started may not answer yet: that is missing as well, until the deadline.
            let missing = self
                .missing(version)
                .await
                .unwrap_or_else(|error| vec![error.to_string()]);
            if missing.is_empty() {
                return Ok(());
            }
            if start.elapsed() > deadline {
                let what = format!("the platform at {version}");
                return Err(PlatformError::Deadline {
                    what,
                    seconds: deadline.as_secs(),
                    missing,
                });
            }
            if told.elapsed() > REPORT {
                told = Instant::now();
                let next = missing.first().map_or("", String::as_str);
                tracing::info!(missing = missing.len(), next, "waiting for the platform at {version}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Counts user clusters that are not up to date, per seed, until the value is dropped.
    #[must_use]
    pub fn most_reconciling_at_once(&self) -> MostReconciling {
        let seeds = self.topology.seeds.iter();
        let pairs = seeds.filter_map(|seed| Some((seed.name.clone(), self.plane(seed.plane())?.clone())));
        MostReconciling::start(pairs.collect())
    }
}
