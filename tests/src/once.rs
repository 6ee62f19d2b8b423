//! What must be true after a run that was disturbed: it is Done with one of everything.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use kkp_lab::platform::MASTER;
use kkp_upgrade_core::status::Status;

use crate::bed::{Bed, NAMESPACE};

/// The run of `u` is Done with one installer run, one backup of the one cluster, no Job left, and the platform's own limit; its
/// status.
///
/// # Errors
/// When it does not end as Done in time, or anything is doubled, missing or left.
pub async fn of_everything(bed: &Bed, limit: i64, deadline: Duration) -> anyhow::Result<Status> {
    let done = |status: &Status| status.phase.as_deref() == Some("Done") && status.step.is_none();
    let status = bed.until("u", deadline, done).await?;
    bed.installers_ended_well(1)?;
    for target in &status.targets {
        let attempts = (target.attempts.unwrap_or(0), target.backup_attempts.unwrap_or(0));
        ensure!(attempts.0 <= 1 && attempts.1 <= 1, "{target:?}");
    }
    let found = backups(&bed.node_folder(MASTER)?.join("claims"));
    ensure!(found.len() == 1, "{found:?}");
    let (found, note) = (bed.limit().await?, bed.limit_note().await?);
    ensure!(found == Some(limit) && note.is_none(), "limit {found:?}, note {note:?}");
    ensure!(status.changes.is_empty() && status.run_id == Some(1), "{status:?}");
    ensure!(status.history.len() == 1, "{:?}", status.history);
    let missing = bed.running.platform.missing("2.31.0").await?;
    ensure!(missing.is_empty(), "{missing:?}");
    bed.wait("the removal of every Job", deadline, || async {
        let jobs = bed
            .kubectl(&["get", "jobs", "-n", NAMESPACE, "-o", "name"])
            .await
            .ok()?;
        (!jobs.contains("kkpu-")).then_some(())
    })
    .await?;
    Ok(status)
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
