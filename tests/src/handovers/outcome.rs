//! What must be true after a run in which operators changed places: it is Done with one of everything, and no operator
//! that was no longer the leader changed anything.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use kkp_lab::platform::MASTER;
use kkp_upgrade_core::status::Status;

use super::judge::{Judgement, judge};
use super::replicas::{DEADLINE, ORIGINAL};
use crate::bed::{Bed, NAMESPACE};

/// Waits until the run is over; its status.
///
/// # Errors
/// When it does not end as Done.
pub async fn done(bed: &Bed) -> anyhow::Result<Status> {
    let done = |status: &Status| status.phase.as_deref() == Some("Done") && status.step.is_none();
    bed.until("u", DEADLINE, done).await
}

/// The run is Done with one of everything; what the audit log says about who wrote.
///
/// # Errors
/// When anything is doubled, missing or left, or a stale write was accepted.
pub async fn one_of_everything(bed: &Bed) -> anyhow::Result<Judgement> {
    let status = done(bed).await?;
    bed.installers_ended_well(1)?;
    for target in &status.targets {
        let attempts = (target.attempts.unwrap_or(0), target.backup_attempts.unwrap_or(0));
        ensure!(attempts.0 <= 1 && attempts.1 <= 1, "{target:?}");
    }
    let found = backups(&bed.node_folder(MASTER)?.join("claims"));
    ensure!(found.len() == 1, "{found:?}");
    let (limit, note) = (bed.limit().await?, bed.limit_note().await?);
    ensure!(
        limit == Some(ORIGINAL) && note.is_none(),
        "limit {limit:?}, note {note:?}"
    );
    ensure!(status.changes.is_empty() && status.run_id == Some(1), "{status:?}");
    ensure!(status.history.len() == 1, "{:?}", status.history);
    let missing = bed.running.platform.missing("2.31.0").await?;
    ensure!(missing.is_empty(), "{missing:?}");
    bed.wait("the removal of every Job", DEADLINE, || async {
        let jobs = bed
            .kubectl(&["get", "jobs", "-n", NAMESPACE, "-o", "name"])
            .await
            .ok()?;
        (!jobs.contains("kkpu-")).then_some(())
    })
    .await?;
    let judgement = judge(&bed.audit_log()?)?;
    ensure!(
        judgement.stale.is_empty(),
        "stale writes were accepted: {:#?}",
        judgement.stale
    );
    once(&judgement)?;
    Ok(judgement)
}

/// Every effect of a run was accepted as often as without any handover.
fn once(judgement: &Judgement) -> anyhow::Result<()> {
    let mut jobs = 0;
    for (effect, count) in &judgement.effects {
        let (verb, object) = effect.split_once(' ').unwrap_or_default();
        // One that came too late was removed once more.
        let late = judgement.late_jobs.iter().filter(|late| *late == object).count();
        let expected = match (verb, object.split_once('/').unwrap_or_default().0) {
            ("create", "jobs") => {
                jobs += 1;
                1 + late
            }
            ("delete", "jobs") => 1 + late,
            // On and off.
            ("patch", "kubermaticconfigurations" | "kkpupgrades") => 2,
            _ => continue,
        };
        ensure!(*count == expected, "{effect}: {count} times instead of {expected}");
    }
    ensure!(
        jobs == 2,
        "{jobs} Jobs instead of a backup and an installer: {:?}",
        judgement.effects
    );
    Ok(())
}

/// Folders with a backup's manifest below the claims.
fn backups(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if folder.join("manifest.json").exists() {
            found.push(folder);
            continue;
        }
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        // The folder of a claim has a link by its name beside it.
        folders.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    found
}
