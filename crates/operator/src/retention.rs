//! The program edge: `retention` as a command of the operator's binary, run in a Job after a run is done.
//!
//! Talks to the master, reading KKPUpgrades only, and to the store. Before each single removal it asks both again: no KKPUpgrade
//! needs the backup, and it and the newer ones for whose sake it goes are there as they were seen. Must never remove on what it
//! could not read.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_backup::outcome::{leave, shortened};
use kkp_upgrade_backup::retention::{self, KnownCluster, VerifiedBackup};
use kkp_upgrade_backup::{BackupError, BucketFault, Store, StoreArguments, VolumeFault};
use kkp_upgrade_connection::{Connector, Peer};
use kkp_upgrade_core::retention::{Claimant, Removal, StoredBackup, is_needed, removals};
use kube::api::ListParams;
use kube::{Api, Client, Config, ResourceExt};
use serde::Serialize;

use crate::call::{CallError, call};

/// Most removals of one Job; what is left goes the next time.
const MOST: usize = 100;

/// Remove older backups that nobody needs.
#[derive(Debug, Clone, Args)]
pub struct RetentionArguments {
    /// KKP's namespace.
    #[arg(long, default_value = "kubermatic")]
    pub namespace: String,
    /// How many verified backups of each cluster stay, at least.
    #[arg(long, value_name = "NUMBER")]
    pub keep: NonZeroU32,
    /// A cluster of the platform: target, and UID of its namespace `kube-system`. Only backups of these are looked at.
    #[arg(long = "cluster", value_name = "TARGET=UID", required = true, value_parser = cluster)]
    pub clusters: Vec<KnownCluster>,
    /// Where the backups lie.
    #[command(flatten)]
    pub store: StoreArguments,
    /// Where the result goes as one line of JSON.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    pub result_file: PathBuf,
}

fn cluster(text: &str) -> Result<KnownCluster, String> {
    match text.split_once('=') {
        Some((target, uid)) if !target.is_empty() && !uid.is_empty() => Ok((target.to_owned(), uid.to_owned())),
        _ => Err("give it as TARGET=UID".to_owned()),
    }
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RetentionResult {
    /// Backups that were removed.
    pub removed: u64,
    /// Verified ones that stay.
    pub kept: u64,
    /// Why not all that may go are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Why the removal could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The store, or the file of the result.
    #[error(transparent)]
    Store(#[from] BackupError),
    /// The API server.
    #[error("no backup is removed without a look at the KKPUpgrades: {0}")]
    Upgrades(#[from] CallError),
    /// No client could be made.
    #[error("no access to the API server: {0}")]
    Client(String),
}

/// Does what the arguments say, and leaves the result, good or bad, in the result file.
///
/// # Errors
/// When the store or the API server fails, or the result cannot be written.
pub async fn run(arguments: RetentionArguments, connector: &Connector) -> Result<RetentionResult, RetentionError> {
    let outcome = execute(&arguments, connector).await;
    let left = leave(outcome.as_ref(), &arguments.result_file);
    let result = outcome?;
    left?;
    Ok(result)
}

async fn execute(arguments: &RetentionArguments, connector: &Connector) -> Result<RetentionResult, RetentionError> {
    let config = Config::incluster().map_err(|error| RetentionError::Client(error.to_string()))?;
    let client = connector
        .connect(&Peer::Backup, config)
        .map_err(|error| RetentionError::Client(error.to_string()))?;
    let shelf = Shelf {
        client,
        namespace: arguments.namespace.clone(),
        store: arguments.store.open()?,
        clusters: arguments.clusters.clone(),
    };
    shelf.tidy(arguments.keep).await
}

/// A store, and those who may need what lies there.
pub(crate) struct Shelf {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) store: Store,
    pub(crate) clusters: Vec<KnownCluster>,
}

impl Shelf {
    /// Removes what may go, one after the other, then what is left of removals that were interrupted.
    pub(crate) async fn tidy(&self, keep: NonZeroU32) -> Result<RetentionResult, RetentionError> {
        let clusters = self.clusters.clone();
        let found = self.ask(move |store| retention::verified(store, &clusters)).await?;
        let stored: Vec<StoredBackup> = found.iter().map(stored).collect();
        let claimants = self.claimants().await?;
        let removals = removals(&stored, &claimants, keep);
        let mut result = RetentionResult {
            kept: stored.len() as u64,
            ..RetentionResult::default()
        };
        for removal in removals.iter().take(MOST) {
            match self.remove(removal).await {
                Ok(true) => {
                    result.removed += 1;
                    result.kept = result.kept.saturating_sub(1);
                }
                Ok(false) => {}
                Err(RetentionError::Store(error)) if is_meant(&error) => {
                    tracing::warn!(%error, "older backups stay");
                    result.problem = Some(shortened(&error.to_string()));
                    return Ok(result);
                }
                Err(error) => return Err(error),
            }
        }
        let clusters = self.clusters.clone();
        match self.ask(move |store| retention::finish(store, &clusters)).await {
            Err(error) if is_meant(&error) => result.problem = Some(shortened(&error.to_string())),
            outcome => {
                outcome?;
            }
        }
        Ok(result)
    }

    /// Asks both once more, and removes; `false` where one of them says no by now.
    async fn remove(&self, removal: &Removal<'_>) -> Result<bool, RetentionError> {
        let (backup, newer) = (seen(removal.backup), removal.newer.iter().copied().map(seen));
        let newer: Vec<VerifiedBackup> = newer.collect();
        let place = format!("{}/{}", backup.run, backup.folder);
        if is_needed(removal.backup, &self.claimants().await?) {
            tracing::info!(place, "it stays: a KKPUpgrade needs it by now");
            return Ok(false);
        }
        self.ask(move |store| {
            for witness in newer.iter().chain([&backup]) {
                if !retention::is_still_there(store, witness)? {
                    tracing::warn!(place, "it stays: {}/{} is not what it was", witness.run, witness.folder);
                    return Ok(false);
                }
            }
            tracing::info!(place, digest = backup.manifest_digest, "removing an older backup");
            retention::remove(store, &backup).map(|()| true)
        })
        .await
        .map_err(RetentionError::from)
    }

    /// The KKPUpgrades as they are now.
    async fn claimants(&self) -> Result<Vec<Claimant>, CallError> {
        let upgrades = Api::<KKPUpgradeObject>::namespaced(self.client.clone(), &self.namespace);
        let list = call("list of KKPUpgrades", upgrades.list(&ListParams::default())).await?;
        let claimant = |object: &KKPUpgradeObject| {
            let status = object.parse_status().ok().flatten();
            Claimant::new(&object.uid().unwrap_or_default(), status.as_ref())
        };
        Ok(list.items.iter().map(claimant).collect())
    }

    /// Asks the store on a thread that may wait.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, BackupError> + Send + 'static,
    ) -> Result<T, BackupError> {
        let store = self.store.clone();
        let task = tokio::task::spawn_blocking(move || work(&store));
        task.await.map_err(|error| BackupError::Worker(error.to_string()))?
    }
}

/// Whether the store means it: another attempt would be refused as well.
fn is_meant(error: &BackupError) -> bool {
    matches!(
        error,
        BackupError::Bucket {
            fault: BucketFault::Denied,
            ..
        } | BackupError::Volume {
            fault: VolumeFault::ReadOnly | VolumeFault::Permission,
            ..
        }
    )
}

fn stored(backup: &VerifiedBackup) -> StoredBackup {
    StoredBackup {
        folder: backup.run.clone(),
        attempt: backup.folder.clone(),
        target: backup.target.clone(),
        cluster_uid: backup.cluster_uid.clone(),
        digest: backup.manifest_digest.clone(),
        revision: backup.revision,
        started: backup.started,
        condemned: backup.condemned,
    }
}

fn seen(backup: &StoredBackup) -> VerifiedBackup {
    VerifiedBackup {
        run: backup.folder.clone(),
        folder: backup.attempt.clone(),
        target: backup.target.clone(),
        cluster_uid: backup.cluster_uid.clone(),
        manifest_digest: backup.digest.clone(),
        revision: backup.revision,
        started: backup.started,
        condemned: backup.condemned,
    }
}

#[cfg(test)]
mod tests;
