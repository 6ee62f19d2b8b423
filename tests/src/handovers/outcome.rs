//! What must be true after a run in which operators changed places: it is Done with one of everything, and no operator
//! that was no longer the leader changed anything.

use anyhow::ensure;
use kkp_upgrade_core::status::Status;

use super::judge::{Judgement, judge};
use super::replicas::{DEADLINE, ORIGINAL};
use crate::bed::Bed;
use crate::once;

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
    once::of_everything(bed, ORIGINAL, DEADLINE).await?;
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
