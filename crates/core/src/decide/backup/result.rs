//! What a backup Job has to say, and what of it is recorded. Pure.

use super::{BACKED_UP, Round};
use crate::reason::Reason;
use crate::status::{BackupRecord, Drift};

/// Longest digest that status takes, in bytes.
const DIGEST_BYTES: usize = 80;

/// What a backup Job says in its termination message.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BackupResult {
    path: String,
    manifest_digest: String,
    objects: i64,
    bytes: i64,
    /// Backups of this target in the storage; absent where they could not be counted.
    #[serde(default)]
    stored: Option<i64>,
    /// Why not.
    #[serde(default)]
    uncounted: Option<String>,
    /// How it was compared with the cluster.
    #[serde(default)]
    comparison: Comparison,
}

/// How a backup was compared with the cluster.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
enum Comparison {
    /// Every object, at the very same revision.
    #[default]
    SameRevision,
    /// The API server had forgotten the revision each time: what has not been written since.
    Unchanged(Drift),
}

impl BackupResult {
    /// The last word of a Job that ended well.
    ///
    /// # Errors
    /// Why it is no proof of a backup.
    pub(super) fn proving(message: &str) -> Result<Self, &'static str> {
        let unproven = "the Job ended well and said nothing that proves a backup";
        let result: Self = serde_json::from_str(message).map_err(|_| unproven)?;
        match result.comparison {
            _ if result.manifest_digest.len() > DIGEST_BYTES => Err(unproven),
            Comparison::Unchanged(Drift { compared: ..=0, .. }) if result.objects > 0 => Err(
                "the API server forgot its revision each time, and everything was written since: nothing could be compared",
            ),
            _ => Ok(result),
        }
    }
}

/// Notes a verified backup, once, however often its Job is read.
pub(super) fn record(round: &mut Round<'_>, target: &str, result: BackupResult) {
    let already = round.status.target(target).is_some_and(|entry| {
        entry.state == BACKED_UP
            && entry
                .backup
                .as_ref()
                .is_some_and(|backup| backup.digest == result.manifest_digest)
    });
    if already {
        return;
    }
    round.event_about(
        target,
        Reason::BackupVerified,
        format!(
            "backup of {target} verified: {} objects in {}",
            result.objects, result.path
        ),
    );
    if let Some(why) = result.uncounted.filter(|_| round.timing.backups_to_keep > 0) {
        let text = format!("older backups of {target} cannot be counted, so none is removed: {why}");
        round.event(true, Reason::BackupRetentionFailed, text);
    }
    let drift = match result.comparison {
        Comparison::SameRevision => None,
        Comparison::Unchanged(drift) => Some(drift),
    };
    if let Some(drift) = &drift {
        round.event(
            true,
            Reason::BackupVerified,
            format!("backup of {target}: {}", drifted(drift)),
        );
    }
    let record = BackupRecord {
        drift,
        stored: result.stored,
        location: crate::status::message(&result.path),
        digest: result.manifest_digest,
        objects: result.objects,
        bytes: result.bytes,
        start_time: round.status.step.as_ref().and_then(|step| step.start_time),
        verified_time: Some(round.time()),
    };
    round.status.update_target(target, |entry| {
        entry.backup = Some(record);
        BACKED_UP.clone_into(&mut entry.state);
    });
    round.status.last_progress_time = Some(round.time());
}

/// What could be compared, and what not.
pub(super) fn drifted(drift: &Drift) -> String {
    let Drift {
        compared,
        changed,
        created,
        deleted,
    } = drift;
    format!(
        "the API server had forgotten its revision, so {compared} objects were compared that have not been written since; \
         {changed} changed, {created} came and {deleted} went meanwhile"
    )
}
