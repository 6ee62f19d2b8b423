//! The program edge: `restore` as a command of the operator's binary, run in a Job, first for the plan, then with its digest.
//!
//! Talks to the cluster and, reading only, to the store. Must never write without `--confirm`.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use kkp_upgrade_connection::Connector;

use super::archive::CheckedArchive;
use super::error::RestoreError;
use super::plan::Session;
use super::report::RestoreReport;
use super::target::{Target, WriteLimits};
use crate::api::{ReadLimits, Source};
use crate::discovery::identify;
use crate::key::Opener;
use crate::outcome::leave;
use crate::run::client;
use crate::snapshot::Written;
use crate::store::{AttemptFolder, Store, StoreArguments};
use crate::verify::{on_a_thread, read_manifest};
use crate::{BackupError, ClusterIdentity};

/// Put a backup of one target back: first the plan, then, with its digest, what it says.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(false))]
pub struct RestoreArguments {
    /// Kubeconfig of a seed; without it, the cluster in which this Pod runs.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Name of the target: the master, or the name of a Seed.
    #[arg(long)]
    pub target: String,
    /// Where it lies.
    #[command(flatten)]
    pub store: StoreArguments,
    /// Name of the run whose backup it is.
    #[arg(long)]
    pub name: String,
    /// Digest that the manifest must have, as in the status of the KKPUpgrade. Default: the newest complete backup of this run and target.
    #[arg(long, value_name = "DIGEST")]
    pub manifest_digest: Option<String>,
    /// File with the private key of a recipient.
    #[arg(long, value_name = "FILE")]
    pub identity: PathBuf,
    /// Only make the plan.
    #[arg(long, group = "what")]
    pub plan_only: bool,
    /// Do what the plan of this digest says; refused when anything else would be done now.
    #[arg(long, value_name = "DIGEST", group = "what")]
    pub confirm: Option<String>,
    /// UID of the cluster whose backup it is, when that is not this one: a new cluster after a disaster.
    #[arg(long, value_name = "UID")]
    pub other_cluster: Option<String>,
    /// Let CRDs go back to the release of the backup.
    #[arg(long)]
    pub crds_backward: bool,
    /// Most writes and dry runs per second.
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rate: u32,
    /// Where the whole report goes as JSON.
    #[arg(long, value_name = "FILE")]
    pub report_file: Option<PathBuf>,
    /// Where the sum goes as one line of JSON.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    pub result_file: PathBuf,
}

/// Does what the arguments say, and leaves the sum, good or bad, in the result file.
///
/// # Errors
/// When there is no plan, or it could not be done to its end; the message says how to go on.
pub async fn restore(arguments: RestoreArguments, connector: &Connector) -> Result<RestoreReport, RestoreError> {
    let outcome = execute(&arguments, connector).await;
    leave_all(&arguments, outcome)
}

/// Leaves the sum, good or bad, and the whole report where the arguments say.
pub(crate) fn leave_all(
    arguments: &RestoreArguments,
    outcome: Result<RestoreReport, RestoreError>,
) -> Result<RestoreReport, RestoreError> {
    let left = leave(outcome.as_ref().map(sum), &arguments.result_file);
    let report = outcome?;
    left.map_err(RestoreError::Result)?;
    if let Some(file) = &arguments.report_file {
        write_report(&report, file).map_err(RestoreError::Result)?;
    }
    Ok(report)
}

/// What of the report fits into a Job's termination message.
fn sum(report: &RestoreReport) -> serde_json::Value {
    serde_json::json!({
        "planDigest": report.plan_digest,
        "counts": report.counts,
        "written": report.written,
        "findings": report.findings_in_all,
    })
}

fn write_report(report: &RestoreReport, file: &Path) -> Result<(), BackupError> {
    let text = serde_json::to_string(report).map_err(|error| BackupError::Worker(error.to_string()))?;
    std::fs::write(file, text).map_err(|error| BackupError::volume("write the result to", file, error))
}

async fn execute(arguments: &RestoreArguments, connector: &Connector) -> Result<RestoreReport, RestoreError> {
    let client = client(arguments.kubeconfig.as_deref(), connector).await?;
    let cluster = identify(&Source::new(client.clone(), ReadLimits::default())).await?;
    let limits = WriteLimits {
        rate: arguments.rate,
        ..WriteLimits::default()
    };
    run(arguments, Target::new(client, limits), cluster).await
}

/// The same, with everything that comes from outside.
pub(crate) async fn run(
    arguments: &RestoreArguments,
    target: Target,
    cluster: ClusterIdentity,
) -> Result<RestoreReport, RestoreError> {
    let session = open(arguments, target, cluster).await?;
    let plan = session.plan().await?;
    let Some(confirmed) = &arguments.confirm else {
        return Ok(plan.report);
    };
    if *confirmed != plan.report.plan_digest {
        return Err(RestoreError::PlanChanged {
            confirmed: confirmed.clone(),
            found: plan.report.plan_digest,
        });
    }
    session.execute(plan).await
}

/// Chooses the backup, and refuses one that cannot be trusted or is not of this cluster, before it is opened.
async fn open(arguments: &RestoreArguments, target: Target, cluster: ClusterIdentity) -> Result<Session, RestoreError> {
    let opener = Opener::from_file(&arguments.identity)?;
    let (folder, written) = chosen(arguments).await?;
    let found = &written.manifest.cluster_uid;
    if *found != cluster.uid && arguments.other_cluster.as_ref() != Some(found) {
        return Err(RestoreError::OtherCluster {
            found: found.clone(),
            expected: cluster.uid,
        });
    }
    Ok(Session {
        target,
        archive: CheckedArchive::check(folder, written, opener).await?,
        cluster_uid: cluster.uid,
        crds_backward: arguments.crds_backward,
    })
}

/// The backup of the digest that was given, or the newest complete one.
async fn chosen(arguments: &RestoreArguments) -> Result<(AttemptFolder, Written), RestoreError> {
    let (store, name, target) = (
        arguments.store.open()?,
        arguments.name.clone(),
        arguments.target.clone(),
    );
    let Some(digest) = arguments.manifest_digest.clone() else {
        return Ok(on_a_thread(move || newest(&store, &name, &target)).await?);
    };
    let found = on_a_thread({
        let digest = digest.clone();
        move || of_digest(&store, &name, &target, &digest)
    });
    found.await?.ok_or_else(|| RestoreError::NoSuchManifest {
        name: arguments.name.clone(),
        target: arguments.target.clone(),
        digest,
    })
}

fn newest(store: &Store, name: &str, target: &str) -> Result<(AttemptFolder, Written), BackupError> {
    for folder in AttemptFolder::existing(store, name, target)?.into_iter().rev() {
        if folder.is_complete()? {
            let written = read_manifest(&folder, None)?;
            return Ok((folder, written));
        }
    }
    Err(BackupError::NoBackup { path: store.path(name) })
}

/// A store that cannot be read is an error, and not the same as a backup that is not there.
fn of_digest(
    store: &Store,
    name: &str,
    target: &str,
    digest: &str,
) -> Result<Option<(AttemptFolder, Written)>, BackupError> {
    for folder in AttemptFolder::existing(store, name, target)? {
        match read_manifest(&folder, Some(digest)) {
            Ok(written) => return Ok(Some((folder, written))),
            Err(BackupError::NoBackup { .. }) => {}
            Err(error) if error.is_bad_backup() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
