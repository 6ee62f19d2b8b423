//! The program edge: `backup` as a command of the operator's binary, run in a Job, one per target.
//!
//! Talks to the cluster, reading only, and to the store. Must never return success without a verified backup.

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
use crate::key::{Opener, Recipients};
use crate::outcome::{leave, shortened};
use crate::retention::count;
use crate::scope::Reach;
use crate::snapshot::{Snapshot, SnapshotRequest, Written, write_snapshot};
use crate::store::{AttemptFolder, Store, StoreArguments};
use crate::verify::{
    LiveComparison, Verified, compare_at_revision, compare_unchanged, on_a_thread, open_with, read_back, read_receipt,
    still_the_same, write_receipt,
};

/// Snapshots that are started before giving up on a revision that lives long enough.
const FRESH_STARTS: u32 = 3;

/// Back up one target, or verify a backup.
#[derive(Debug, Clone, Args)]
pub struct BackupArguments {
    /// Kubeconfig of a seed, which may read everything there; without it, the cluster in which this Pod runs, by what its
    /// ServiceAccount may read.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Name of the target: the master, or the name of a Seed.
    #[arg(long)]
    pub target: String,
    /// KKP's namespace.
    #[arg(long, default_value = "kubermatic")]
    pub namespace: String,
    /// Where it is written.
    #[command(flatten)]
    pub store: StoreArguments,
    /// Name of the run, unique on the store.
    #[arg(long)]
    pub name: String,
    /// Version of KKP, for the manifest.
    #[arg(long, default_value = "")]
    pub platform_version: String,
    /// Public key of age (age1…) that the archive is encrypted for; may be repeated, up to 16 times.
    #[arg(long = "recipient", value_name = "KEY", required_unless_present = "verify_only")]
    pub recipients: Vec<String>,
    /// UID that the namespace `kube-system` of the target must have: another cluster is not read any further.
    #[arg(long, value_name = "UID")]
    pub cluster_uid: Option<String>,
    /// Where the result goes as one line of JSON.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    pub result_file: PathBuf,
    /// Take no backup; verify the newest complete one of this run and target: that it is what was verified when it was
    /// made, or, with --identity, its content.
    #[arg(long)]
    pub verify_only: bool,
    /// With --verify-only: the digest that the manifest must have.
    #[arg(long, requires = "verify_only")]
    pub manifest_digest: Option<String>,
    /// With --verify-only: file with the private key of a recipient; everything is decrypted and compared then.
    #[arg(long, value_name = "FILE", requires = "verify_only")]
    pub identity: Option<PathBuf>,
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
    /// Folder on the volume, or `s3://…`.
    pub path: String,
    /// How it was compared with the API server.
    pub comparison: LiveComparison,
    /// How many backups of this target lie in the store, this one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<u64>,
    /// Why they could not be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncounted: Option<String>,
}

/// Does what the arguments say, and leaves the result, good or bad, in the result file.
///
/// # Errors
/// When there is no verified backup at the end, or the result cannot be written.
pub async fn run(arguments: BackupArguments, connector: &Connector) -> Result<BackupResult, BackupError> {
    let outcome = execute(&arguments, connector).await;
    let left = leave(outcome.as_ref(), &arguments.result_file);
    let result = outcome?;
    left?;
    Ok(result)
}

/// Enough for an event, and short enough beside the rest of a result.
fn first_letters(message: &str) -> String {
    shortened(message).chars().take(200).collect()
}

async fn execute(arguments: &BackupArguments, connector: &Connector) -> Result<BackupResult, BackupError> {
    let client = client(arguments.kubeconfig.as_deref(), connector).await?;
    let source = Source::new(client, ReadLimits::default());
    let cluster = identify(&source).await?;
    expected(arguments, &cluster)?;
    let run = Run {
        source,
        store: arguments.store.open()?,
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

pub(crate) async fn client(kubeconfig: Option<&Path>, connector: &Connector) -> Result<Client, BackupError> {
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
    pub(crate) store: Store,
    pub(crate) arguments: BackupArguments,
    pub(crate) cluster: ClusterIdentity,
    pub(crate) clock: fn() -> Timestamp,
}

impl Run {
    /// A verified backup of this run and target: one that is there already, or a new one.
    pub(crate) async fn back_up(&self) -> Result<BackupResult, BackupError> {
        let result = self.one().await?;
        let (store, _, target) = self.place();
        // A backup is none the worse for it when its neighbours cannot be counted.
        Ok(match on_a_thread(move || count(&store, &target)).await {
            Ok(stored) => BackupResult {
                stored: Some(stored),
                ..result
            },
            Err(error) => {
                tracing::warn!(%error, "the backups that lie there cannot be counted");
                BackupResult {
                    uncounted: Some(first_letters(&error.to_string())),
                    ..result
                }
            }
        })
    }

    async fn one(&self) -> Result<BackupResult, BackupError> {
        let recipients = Recipients::parse(&self.arguments.recipients)?;
        if let Some(result) = self.reuse(&recipients).await? {
            return Ok(result);
        }
        let started = (self.clock)();
        let mut attempt = 1;
        loop {
            let last = attempt == FRESH_STARTS;
            match self.attempt(started, &recipients, last).await {
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
        let folder = self.newest().await?;
        let digest = self.arguments.manifest_digest.as_deref();
        let Some(identity) = &self.arguments.identity else {
            return self.unchanged(&folder, digest).await;
        };
        let (written, ledger) = open_with(&folder, digest, &Opener::from_file(identity)?).await?;
        self.same_cluster(&folder, &written)?;
        let (place, digest) = (folder.clone(), written.manifest_digest.clone());
        let receipt = on_a_thread(move || read_receipt(&place, &digest)).await?;
        let comparison = if let Some(receipt) = receipt {
            receipt.comparison
        } else {
            compare_at_revision(&self.source, &written.manifest, &ledger).await?;
            LiveComparison::SameRevision
        };
        self.conclude(&folder, written, comparison).await
    }

    /// A backup that was verified, and has not changed since.
    async fn unchanged(&self, folder: &AttemptFolder, digest: Option<&str>) -> Result<BackupResult, BackupError> {
        let (written, receipt) = still_the_same(folder, digest).await?;
        self.same_cluster(folder, &written)?;
        Ok(self.result(folder, written, receipt.comparison))
    }

    async fn attempt(
        &self,
        started: Timestamp,
        recipients: &Recipients,
        last: bool,
    ) -> Result<BackupResult, BackupError> {
        let (store, name, target) = self.place();
        let (folder_name, folder_target) = (name.clone(), target.clone());
        let folder = on_a_thread(move || AttemptFolder::claim(store, &folder_name, &folder_target)).await?;
        let request = SnapshotRequest {
            name,
            target,
            platform_version: self.arguments.platform_version.clone(),
            namespace: self.arguments.namespace.clone(),
            reach: match self.arguments.kubeconfig {
                Some(_) => Reach::Everywhere,
                None => Reach::Named,
            },
            recipients: recipients.clone(),
            cluster: self.cluster.clone(),
            started,
        };
        let snapshot = write_snapshot(&self.source, &request, &folder).await?;
        // Both at once: one waits for the API server, the other for the store.
        let (comparison, written) = tokio::join!(self.compare(&snapshot, last), read_back(&folder, &snapshot));
        let (comparison, written) = (comparison?, written?);
        self.conclude(&folder, written, comparison).await
    }

    /// Verification (a), or what is left of it when this was the last chance.
    async fn compare(&self, snapshot: &Snapshot, last: bool) -> Result<LiveComparison, BackupError> {
        let (manifest, ledger) = (&snapshot.written.manifest, &snapshot.ledger);
        match compare_at_revision(&self.source, manifest, ledger).await {
            Ok(()) => Ok(LiveComparison::SameRevision),
            Err(error) if error.is_expired() && last => {
                let drift = compare_unchanged(&self.source, manifest, ledger).await?;
                Ok(LiveComparison::Unchanged(drift))
            }
            Err(error) => Err(error),
        }
    }

    /// An earlier attempt for the same recipients that was verified and is what it was. Left-overs of a crash, those that were
    /// never verified, and bad ones are passed over, and stay.
    async fn reuse(&self, recipients: &Recipients) -> Result<Option<BackupResult>, BackupError> {
        for (folder, complete) in self.earlier().await? {
            let passed_over =
                |why: &str| tracing::warn!(folder = folder.relative(), "an earlier attempt is not used: {why}");
            if !complete {
                passed_over("it was interrupted");
                continue;
            }
            match still_the_same(&folder, None).await {
                Ok((written, receipt)) => {
                    self.same_cluster(&folder, &written)?;
                    if written.manifest.archive.recipients == recipients.names() {
                        return Ok(Some(self.result(&folder, written, receipt.comparison)));
                    }
                    passed_over("it is for other recipients");
                }
                Err(error) if error.is_bad_backup() => passed_over(&error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
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
    async fn conclude(
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
        let folder = folder.clone();
        on_a_thread(move || write_receipt(&folder, &receipt)).await?;
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
            path: folder.location(),
            comparison,
            stored: None,
            uncounted: None,
        }
    }

    /// Earlier attempts of this run and target, oldest first, and whether they are complete.
    async fn earlier(&self) -> Result<Vec<(AttemptFolder, bool)>, BackupError> {
        let (store, name, target) = self.place();
        on_a_thread(move || {
            let folders = AttemptFolder::existing(store, &name, &target)?.into_iter();
            folders
                .map(|folder| folder.is_complete().map(|complete| (folder, complete)))
                .collect()
        })
        .await
    }

    /// The newest complete one.
    async fn newest(&self) -> Result<AttemptFolder, BackupError> {
        let newest = self.earlier().await?.into_iter().rfind(|(_, complete)| *complete);
        newest.map(|(folder, _)| folder).ok_or_else(|| BackupError::NoBackup {
            path: self.store.path(&self.arguments.name),
        })
    }

    fn place(&self) -> (Store, String, String) {
        let BackupArguments { name, target, .. } = &self.arguments;
        (self.store.clone(), name.clone(), target.clone())
    }
}
