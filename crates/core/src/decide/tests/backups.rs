//! Backup Jobs: what counts as a backup, pauses between attempts, and a result that is read twice.

use std::time::Duration;

use super::world::{Outcome, World};
use crate::phase::Phase;

/// Seconds until the next attempt, as soon as one has failed `times` times.
fn pause_after(world: &mut World, times: usize) -> i64 {
    world.until(|world| {
        let step = world.status.step.as_ref();
        world.did("CreateJob backup master") == times && step.is_some_and(|step| step.retry_time.is_some())
    });
    let retry = world.status.step.as_ref().unwrap().retry_time.unwrap().timestamp();
    let failed = world.now;
    world.until(|world| world.did("CreateJob backup master") > times || world.phase() == Phase::Failed);
    assert!(world.now >= retry, "tried again at {}, not before {retry}", world.now);
    retry.duration_since(failed).as_secs()
}

#[test]
fn each_pause_between_attempts_is_twice_the_one_before() {
    let mut world = World::new();
    world.backup = Outcome::FailsEarly;
    world.timing.backup_attempts = 4;
    world.timing.retry_pause = Duration::from_secs(100);
    let pauses: Vec<i64> = (1..4).map(|times| pause_after(&mut world, times)).collect();
    // A round passes between the decision and the look.
    for (pause, wanted) in pauses.iter().zip([100, 200, 400]) {
        assert!((wanted - 15..=wanted).contains(pause), "{pauses:?}");
    }
}

#[test]
fn a_result_that_is_read_twice_is_recorded_once() {
    let mut world = World::new();
    let recorded = |world: &World| world.status.target("master").and_then(|target| target.backup.clone());
    world.until(|world| world.status.step.as_ref().is_some_and(|step| step.job.is_some()));
    // Recorded, and killed before the Job was removed.
    let mut decision = world.decide();
    for _ in 0..50 {
        if decision
            .status
            .target("master")
            .is_some_and(|target| target.backup.is_some())
        {
            break;
        }
        let _ = world.round();
        world.tick(Duration::from_secs(10));
        decision = world.decide();
    }
    world.record(&decision);
    let first = recorded(&world).unwrap();
    world.tick(Duration::from_mins(5));
    let again = world.decide();
    assert!(again.effect.is_some(), "the Job is removed now");
    assert!(again.events.is_empty(), "{:?}", again.events);
    world.record(&again);
    assert_eq!(recorded(&world), Some(first));
}

#[test]
fn a_digest_that_status_cannot_hold_proves_nothing() {
    let mut world = World::new();
    world.digest = format!("sha256:{}", "a".repeat(100));
    world.settle();
    assert_eq!((world.phase(), world.did("SetThrottle")), (Phase::Failed, 0));
    world.digest = format!("sha256:{}", "a".repeat(64));
    world.object.retry = Some("1".to_owned());
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn a_pause_before_the_limit_changes_nothing() {
    let mut world = World::new();
    world.until(|world| world.phase() == Phase::Deploying);
    assert_eq!(world.did("SetThrottle"), 0);
    world.spec(|spec| spec.paused = true);
    world.settle();
    assert_eq!((world.reason().as_str(), world.did("SetThrottle")), ("Paused", 0));
    world.spec(|spec| spec.paused = false);
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
}
