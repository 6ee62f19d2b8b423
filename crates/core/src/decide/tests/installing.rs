//! The installer: failures, lost Jobs, retries.

use super::world::{Outcome, TO, World};
use crate::facts::Fence;
use crate::phase::Phase;

fn failed(installer: Outcome) -> World {
    let mut world = World::new();
    world.installer = installer;
    world.settle();
    assert_eq!(world.phase(), Phase::Failed);
    world
}

fn running() -> World {
    let mut world = World::new();
    world.installer = Outcome::Hangs;
    world.until(|world| world.fences.values().any(|fence| *fence == Fence::Pod));
    world
}

#[test]
fn a_failure_before_the_crds_puts_the_limit_back_at_once() {
    let mut world = failed(Outcome::FailsEarly);
    assert_eq!((world.reason().as_str(), world.field), ("InstallerFailed", Some(20)));
    assert_eq!(world.point(), "Ahead");
    assert!(!world.object.finalizer && world.lease.holder.is_none() && world.jobs.is_empty());
    assert!(world.message().contains("no such host") && world.message().contains("upgrade.k8c.io/retry"));
    world.installer = Outcome::Good;
    world.object.retry = Some("1".to_owned());
    world.settle();
    assert_eq!(
        (world.phase(), world.did("CreateJob installer master 2"), world.field),
        (Phase::Done, 1, Some(20))
    );
}

#[test]
fn a_failure_after_the_crds_holds_the_limit_until_a_retry_succeeds() {
    let mut world = failed(Outcome::FailsLate);
    assert_eq!((world.reason().as_str(), world.field), ("HeldAfterFailure", Some(3)));
    assert_eq!(
        (
            world.point().as_str(),
            world.object.finalizer,
            world.lease.holder.clone()
        ),
        ("Passed", true, None)
    );
    world.installer = Outcome::Good;
    world.object.retry = Some("1".to_owned());
    world.settle();
    assert_eq!(
        (world.phase(), world.did("CreateJob installer master 2"), world.field),
        (Phase::Done, 1, Some(20))
    );
    assert_eq!(world.did("SetThrottle"), 1, "the limit was in force all the time");
}

#[test]
fn the_release_token_puts_a_held_limit_back() {
    let mut world = failed(Outcome::FailsLate);
    world.object.release = Some("1".to_owned());
    world.settle();
    assert_eq!(
        (world.phase(), world.field, world.object.finalizer),
        (Phase::Failed, Some(20), false)
    );
    assert_eq!(world.reason(), "InstallerFailed");
}

#[test]
fn a_held_limit_goes_back_when_everything_has_converged() {
    let mut world = failed(Outcome::FailsLate);
    world.since_install = Some(0);
    world.settle();
    assert_eq!(
        (world.phase(), world.field, world.object.finalizer),
        (Phase::Failed, Some(20), false)
    );
}

#[test]
fn a_new_run_after_a_held_failure_keeps_what_is_held() {
    let mut world = failed(Outcome::FailsLate);
    world.spec(|spec| spec.target = crate::version::KkpVersion::new(2, 31, 1));
    world.until(|world| world.phase() == Phase::Backup);
    assert_eq!((world.status.run_id, world.point().as_str()), (Some(2), "Passed"));
    assert_eq!(
        world.status.current_version.as_deref(),
        Some("2.30.3"),
        "nothing newer was verified"
    );
    world.object.abort = Some("1".to_owned());
    world.settle();
    assert_eq!((world.phase(), world.field), (Phase::Aborted, Some(3)));
}

#[test]
fn a_job_that_is_gone_behind_its_fence_has_an_unknown_outcome() {
    let mut world = running();
    world.jobs.clear();
    world.settle();
    assert_eq!(
        (world.phase(), world.status.failed_in.clone().unwrap().reason),
        (Phase::Failed, "InstallerOutcomeUnknown".to_owned())
    );
    assert_eq!(world.did("CreateJob installer"), 1);
}

#[test]
fn a_job_that_is_gone_before_its_fence_is_made_again_by_the_same_name() {
    let mut world = World::new();
    world.stuck_before_fence = true;
    world.until(|world| !world.installers().is_empty());
    let name = world.installers()[0].intent.name.clone();
    world.jobs.clear();
    world.stuck_before_fence = false;
    world.settle();
    assert_eq!(
        (world.phase(), world.did("CreateJob installer master 1")),
        (Phase::Done, 2)
    );
    assert_eq!(world.starts.keys().collect::<Vec<_>>(), [&name]);
}

#[test]
fn a_foreign_job_fails_the_run_and_is_left_alone() {
    let mut world = World::new();
    world.until(|world| world.step_job().is_some_and(|job| job.contains("installer")));
    world.foreign = true;
    world.settle();
    assert_eq!((world.phase(), world.jobs.len()), (Phase::Failed, 1));
    assert!(
        world
            .status
            .failed_in
            .as_ref()
            .is_some_and(|failed| failed.message.contains("was not made for this step"))
    );
}

#[test]
fn an_unreadable_job_is_neither_gone_nor_done() {
    let mut world = running();
    world.job_unreadable = true;
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Deploying, "ProgressDeadlineExceeded")
    );
    assert_eq!(world.did("CreateJob installer"), 1);
}

#[test]
fn nothing_moving_stalls_and_is_still_watched() {
    let mut world = running();
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Deploying, "ProgressDeadlineExceeded")
    );
    world.installer = Outcome::Good;
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn a_crash_before_the_second_job_is_no_success_of_the_second_attempt() {
    let mut world = World::new();
    world.until(|world| world.since_install.is_some() && world.installers().is_empty());
    world.object.abort = Some("1".to_owned());
    world.evidence_gone = true;
    world.until(|world| world.phase() == Phase::Aborted);
    world.object.retry = Some("1".to_owned());
    loop {
        let decision = world.decide();
        world.record(&decision);
        if world
            .status
            .step
            .as_ref()
            .is_some_and(|step| step.attempt == Some(2) && step.name == "Master")
        {
            break; // the operator dies before the effect
        }
        if let Some(effect) = &decision.effect {
            world.carry_out(effect);
        }
        world.tick(std::time::Duration::from_secs(10));
    }
    world.settle();
    assert_eq!(world.did("CreateJob installer master 2"), 1);
    world.evidence_gone = false;
    world.settle();
    assert_eq!(
        (world.phase(), world.status.current_version.clone()),
        (Phase::Done, Some(TO.to_string()))
    );
}

#[test]
fn evidence_that_goes_away_restarts_the_soak_and_then_needs_a_person() {
    let mut world = World::new();
    world.until(|world| world.status.evidence_since.is_some());
    world.evidence_gone = true;
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Verifying, "VerificationFailed")
    );
    world.evidence_gone = false;
    let before = world.now;
    world.until(|world| world.phase() == Phase::Done);
    assert!(
        world.now.duration_since(before) >= jiff::SignedDuration::from_secs(60),
        "the whole soak again"
    );
}
