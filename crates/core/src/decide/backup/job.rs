//! The Job of a backup: where it writes, with whose kubeconfig it reads, and who can open what it makes. Pure.

use super::super::{Decision, round::Round};
use crate::effect::{Effect, JobIntent, JobWork, job_name};
use crate::facts::{BackupKey, Known, PlatformFacts};
use crate::plan::MASTER;
use crate::reason::Reason;
use crate::request::{Request, Storage};
use crate::retention::folder_name;
use crate::status::Status;

/// Who can open the backup; an error says what is known of the key in the cluster, which is then needed and missing.
pub(super) fn recipients<'a>(
    request: &Request,
    platform: &'a PlatformFacts,
) -> Result<Vec<String>, &'a Known<Option<BackupKey>>> {
    if !request.backup.recipients.is_empty() {
        return Ok(request.backup.recipients.clone());
    }
    match &platform.backup_key {
        Known::Is(Some(key)) => Ok(vec![key.recipient.clone()]),
        other => Err(other),
    }
}

pub(super) fn without_key(round: Round<'_>, key: &Known<Option<BackupKey>>) -> Decision {
    if let Known::Is(None) = key {
        let text = "making the key that backups are encrypted with";
        return round.act(Effect::CreateBackupKey, Reason::BackingUp, text);
    }
    let text = format!(
        "the key that backups are encrypted with cannot be used: {}",
        key.why_not()
    );
    round.retrying(&text)
}

/// Where a backup goes, and who can open it.
pub(super) struct Destination {
    pub(super) storage: Storage,
    pub(super) recipients: Vec<String>,
}

/// The Seed whose kubeconfig the Job reads with. The master's own account may read Secrets only in the namespaces of KKP and its
/// charts: where the master is a seed, those of user clusters are read as on every seed.
/// What was noted counts before what is seen: a seed that does not answer for a moment does not make it another Job.
fn reader(status: &Status, platform: &PlatformFacts, target: &str) -> Option<String> {
    if target != MASTER {
        return Some(target.to_owned());
    }
    let master = Some(platform.cluster_uid.as_str());
    let shared = platform.seeds.iter().find(|seed| {
        let noted = super::super::identity::cluster_uid(status, &seed.name);
        noted.or(seed.cluster_uid.as_deref()) == master
    });
    shared.map(|seed| seed.name.clone())
}

/// The Job of an attempt; the same round always gives the same.
pub(super) fn intent(
    round: &Round<'_>,
    platform: &PlatformFacts,
    Destination { storage, recipients }: Destination,
    target: &str,
    attempt: i32,
) -> JobIntent {
    let (status, uid) = (&round.status, round.facts.object.uid.clone());
    let reader = reader(status, platform, target);
    let expected = super::super::identity::cluster_uid(status, reader.as_deref().unwrap_or(target));
    let hop = status.hop.clone().unwrap_or_default();
    let step = "backup";
    JobIntent {
        name: job_name(&uid, status.run(), &hop.to, step, target, attempt),
        run: status.run(),
        step: step.to_owned(),
        target: target.to_owned(),
        attempt,
        plan: status.plan.as_ref().map(|plan| plan.digest.clone()).unwrap_or_default(),
        work: JobWork::Backup {
            storage,
            recipients,
            folder: folder_name(&hop.from, &hop.to, &uid, status.run(), attempt),
            platform_version: hop.from.clone(),
            cluster_uid: expected.map(str::to_owned),
            reader,
        },
        hop: hop.to,
        uid,
    }
}
