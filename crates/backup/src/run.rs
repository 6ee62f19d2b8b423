//! The program edge: `backup` as a command of the operator's binary, run in a Job, one per target.
//!
//! Talks to the cluster, reading only, and to the volume. Must never return success without a verified backup.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use kkp_upgrade_connection::{Connector, Peer};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Serialize;

use crate::BackupError;
use crate::api::{ReadLimits, Source};
use crate::discovery::{ClusterIdentity, identify};
use crate::scope::Scope;
use crate::snapshot::{SnapshotRequest, Written, write_snapshot};
use crate::verify::{
    LiveComparison, Verified, compare_at_revision, compare_unchanged, read_back, read_receipt, write_receipt,
};
use crate::volume::AttemptFolder;

/// Snapshots that are started before giving up on a revision that lives long enough.
const FRESH_STARTS: u32 = 3;
/// The kubelet keeps no more of a termination message.
const RESULT_LIMIT: usize = 4096;

/// Back up one target, or verify a backup.
#[derive(Debug, Clone, Args)]
pub struct BackupArguments {
    /// Kubeconfig of the target; without it, the cluster in which this Pod runs.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Name of the target: the master, or the name of a Seed.
    #[arg(long)]
    pub target: String,
    /// KKP's namespace.
    #[arg(long, default_value = "kubermatic")]
    pub namespace: String,
    /// Folder where the backup volume is mounted.
    #[arg(long, value_name = "DIR")]
    pub destination: PathBuf,
    /// Name of the run, unique on the volume.
    #[arg(long)]
    pub name: String,
    /// Version of KKP, for the manifest.
    #[arg(long, default_value = "")]
    pub platform_version: String,
    /// UID that the namespace `kube-system` of the target must have: another cluster is not read any further.
    #[arg(long, value_name = "UID")]
    pub cluster_uid: Option<String>,
    /// Where the result goes as one line of JSON.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    pub result_file: PathBuf,
    /// Take no backup; verify the newest complete one of this run and target.
    #[arg(long)]
    pub verify_only: bool,
    /// With --verify-only: the digest that the manifest must have.
    #[arg(long, requires = "verify_only")]
    pub manifest_digest: Option<String>,
}

/// What a run achieved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupResult {
    /// Digest of the manifest file.
    pub manifest_digest: String,
    /// Digest of the archive file.
    pub archive_digest: String,
    /// Number of objects.
    pub objects: u64,
    /// Size of the archive.
    pub bytes: u64,
    /// The pinned revision.
    pub revision: String,
    /// When it was verified.
    pub verified_time: Timestamp,
    /// Folder on the volume.
    pub path: String,
    /// How it was compared with the API server.
    pub comparison: LiveComparison,
}

/// Does what the arguments say, and leaves the result, good or bad, in the result file.
///
/// # Errors
/// When there is no verified backup at the end, or the result cannot be written.
pub async fn run(arguments: BackupArguments, connector: &Connector) -> Result<BackupResult, BackupError> {
    let outcome = execute(&arguments, connector).await;
    let text = match &outcome {
        Ok(result) => serde_json::to_string(result),
        Err(error) => serde_json::to_string(&serde_json::json!({"error": shortened(&error.to_string())})),
    };
    let written = text
        .map_err(std::io::Error::from)
        .and_then(|text| std::fs::write(&arguments.result_file, format!("{text}\n")))
        .map_err(|error| BackupError::volume("write the result to", &arguments.result_file, error));
    match (outcome, written) {
        (Ok(result), Ok(())) => Ok(result),
        (Ok(_), Err(error)) | (Err(error), _) => Err(error),
    }
}

/// So that the JSON fits even when every character has to be escaped; control characters would take more.
fn shortened(message: &str) -> String {
    let mut text: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut end = text.len().min(RESULT_LIMIT / 2 - 64);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

async fn execute(arguments: &BackupArguments, connector: &Connector) -> Result<BackupResult, BackupError> {
    let client = client(arguments.kubeconfig.as_deref(), connector).await?;
    let source = Source::new(client, ReadLimits::default());
    let cluster = identify(&source).await?;
    expected(arguments, &cluster)?;
    let run = Run {
        source,
        arguments: arguments.clone(),
        cluster,
        clock: Timestamp::now,
    };
    if arguments.verify_only {
        run.verify_newest().await
    } else {
        run.back_up().await
    }
}

/// A kubeconfig may have been exchanged since the run decided whom to back up.
fn expected(arguments: &BackupArguments, cluster: &ClusterIdentity) -> Result<(), BackupError> {
    match &arguments.cluster_uid {
        Some(expected) if *expected != cluster.uid => Err(BackupError::WrongCluster {
            target: arguments.target.clone(),
            found: cluster.uid.clone(),
            expected: expected.clone(),
        }),
        _ => Ok(()),
    }
}

async fn client(kubeconfig: Option<&Path>, connector: &Connector) -> Result<Client, BackupError> {
    let origin = kubeconfig.map_or_else(|| "in-cluster".to_owned(), |file| file.display().to_string());
    let refuse = |message: String| BackupError::Kubeconfig {
        origin: origin.clone(),
        message,
    };
    let config = match kubeconfig {
        Some(file) => {
            let kubeconfig = Kubeconfig::read_from(file).map_err(|error| refuse(error.to_string()))?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .map_err(|error| refuse(error.to_string()))?
        }
        None => Config::incluster().map_err(|error| refuse(error.to_string()))?,
    };
    connector
        .connect(&Peer::Backup, config)
        .map_err(|error| refuse(error.to_string()))
}

/// A run with everything that it needs.
pub(crate) struct Run {
    pub(crate) source: Source,
    pub(crate) arguments: BackupArguments,
    pub(crate) cluster: ClusterIdentity,
    pub(crate) clock: fn() -> Timestamp,
}

impl Run {
    /// A verified backup of this run and target: one that is there already, or a new one.
    pub(crate) async fn back_up(&self) -> Result<BackupResult, BackupError> {
        if let Some(result) = self.reuse().await? {
            return Ok(result);
        }
        let started = (self.clock)();
        let mut attempt = 1;
        loop {
            let last = attempt == FRESH_STARTS;
            match self.attempt(started, last).await {
                Err(error) if error.is_expired() && !last => {
                    tracing::warn!(%error, attempt, "starting a fresh snapshot");
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// The newest complete backup of this run and target, verified again.
    pub(crate) async fn verify_newest(&self) -> Result<BackupResult, BackupError> {
        let Arguments {
            destination,
            name,
            target,
        } = self.place();
        let folder = AttemptFolder::existing(destination, name, target)?
            .into_iter()
            .rfind(AttemptFolder::is_complete)
            .ok_or_else(|| BackupError::NoBackup {
                path: destination.join(name),
            })?;
        let written = read_back(&folder, self.arguments.manifest_digest.as_deref()).await?;
        self.same_cluster(&folder, &written)?;
        let comparison = match compare_at_revision(&self.source, &written.manifest).await {
            Ok(()) => LiveComparison::SameRevision,
            Err(error) if error.is_expired() => match read_receipt(&folder, &written.manifest_digest) {
                Some(receipt) => receipt.comparison,
                None => LiveComparison::Unchanged(compare_unchanged(&self.source, &written.manifest).await?),
            },
            Err(error) => return Err(error),
        };
        match comparison {
            LiveComparison::SameRevision => self.conclude(&folder, written, comparison),
            // Too late to prove it: told, but no receipt that would let a later run take it as proven.
            LiveComparison::Unchanged(_) => Ok(self.result(&folder, written, comparison)),
        }
    }

    async fn attempt(&self, started: Timestamp, last: bool) -> Result<BackupResult, BackupError> {
        let Arguments {
            destination,
            name,
            target,
        } = self.place();
        let folder = AttemptFolder::claim(destination, name, target)?;
        let request = SnapshotRequest {
            name: name.to_owned(),
            target: target.to_owned(),
            platform_version: self.arguments.platform_version.clone(),
            scope: Scope::kkp(&self.arguments.namespace),
            cluster: self.cluster.clone(),
            started,
        };
        let written = write_snapshot(&self.source, &request, &folder).await?;
        let comparison = match compare_at_revision(&self.source, &written.manifest).await {
            Ok(()) => LiveComparison::SameRevision,
            Err(error) if error.is_expired() && last => {
                LiveComparison::Unchanged(compare_unchanged(&self.source, &written.manifest).await?)
            }
            Err(error) => return Err(error),
        };
        let written = read_back(&folder, Some(&written.manifest_digest)).await?;
        self.conclude(&folder, written, comparison)
    }

    /// A complete earlier attempt that still verifies. Left-overs of a crash and bad ones are passed over, and stay.
    async fn reuse(&self) -> Result<Option<BackupResult>, BackupError> {
        let Arguments {
            destination,
            name,
            target,
        } = self.place();
        for folder in AttemptFolder::existing(destination, name, target)? {
            if !folder.is_complete() {
                tracing::warn!(
                    folder = folder.relative(),
                    "left-over of an interrupted attempt: not used"
                );
                continue;
            }
            match self.check_again(&folder).await {
                Ok(result) => return Ok(Some(result)),
                Err(error) if error.is_bad_backup() || error.is_expired() => {
                    tracing::warn!(folder = folder.relative(), %error, "an earlier attempt does not verify: not used");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn check_again(&self, folder: &AttemptFolder) -> Result<BackupResult, BackupError> {
        let written = read_back(folder, None).await?;
        self.same_cluster(folder, &written)?;
        let comparison = if let Some(receipt) = read_receipt(folder, &written.manifest_digest) {
            receipt.comparison
        } else {
            compare_at_revision(&self.source, &written.manifest).await?;
            LiveComparison::SameRevision
        };
        self.conclude(folder, written, comparison)
    }

    fn same_cluster(&self, folder: &AttemptFolder, written: &Written) -> Result<(), BackupError> {
        if written.manifest.cluster_uid == self.cluster.uid {
            return Ok(());
        }
        Err(BackupError::OtherCluster {
            path: folder.path().to_owned(),
            found: written.manifest.cluster_uid.clone(),
            expected: self.cluster.uid.clone(),
        })
    }

    /// Leaves the receipt and gives the result.
    fn conclude(
        &self,
        folder: &AttemptFolder,
        written: Written,
        comparison: LiveComparison,
    ) -> Result<BackupResult, BackupError> {
        let result = self.result(folder, written, comparison);
        let receipt = Verified {
            manifest_digest: result.manifest_digest.clone(),
            objects: result.objects,
            bytes: result.bytes,
            verified_time: result.verified_time,
            comparison: result.comparison.clone(),
        };
        write_receipt(folder, &receipt)?;
        Ok(result)
    }

    fn result(&self, folder: &AttemptFolder, written: Written, comparison: LiveComparison) -> BackupResult {
        let Written {
            manifest,
            manifest_digest,
        } = written;
        BackupResult {
            manifest_digest,
            archive_digest: manifest.archive.digest,
            objects: manifest.objects,
            bytes: manifest.archive.bytes,
            revision: manifest.revision,
            verified_time: (self.clock)(),
            path: folder.relative().to_owned(),
            comparison,
        }
    }

    fn place(&self) -> Arguments<'_> {
        let BackupArguments {
            destination,
            name,
            target,
            ..
        } = &self.arguments;
        Arguments {
            destination,
            name,
            target,
        }
    }
}

struct Arguments<'a> {
    destination: &'a Path,
    name: &'a str,
    target: &'a str,
}
