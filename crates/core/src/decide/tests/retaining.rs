//! After Done: when older backups are removed, and that nothing about it can spoil the end of a run.

use std::time::Duration;

use super::world::{Outcome, World};
use crate::effect::{Effect, JobWork};
use crate::facts::Known;
use crate::phase::Phase;
use crate::reason::Reason;

/// Everything that a run does when it is done and has no older backups to remove.
const END: [&str; 3] = ["RestoreThrottle Some(20) true", "ReleaseLease", "RemoveFinalizer"];

/// A platform with so many backups of each target in its storage.
fn with_stored(stored: i64) -> World {
    let mut world = World::new();
    world.retention.stored = Some(stored);
    world
}

/// The effects from the put-back on.
fn end(world: &World) -> Vec<&str> {
    let from = world
        .effects
        .iter()
        .position(|effect| effect.starts_with("RestoreThrottle"));
    world.effects[from.unwrap()..].iter().map(String::as_str).collect()
}

#[test]
fn there_is_a_job_only_where_there_is_more_than_is_kept() {
    for (stored, keep, jobs) in [(5, 5, 0), (6, 5, 1), (6, 0, 0), (2, 1, 1)] {
        let mut world = with_stored(stored);
        world.timing.backups_to_keep = keep;
        world.settle();
        assert_eq!(world.phase(), Phase::Done);
        assert_eq!(
            world.did("CreateJob retention"),
            jobs,
            "{stored} stored, {keep} to keep"
        );
        assert_eq!(world.status.retention.is_some(), jobs == 1);
    }
    let mut uncounted = World::new();
    uncounted.settle();
    assert_eq!(end(&uncounted), END);
}

#[test]
fn done_comes_first_and_the_job_is_followed_to_its_end() {
    let mut world = with_stored(9);
    world.until(|world| world.phase() == Phase::Done);
    assert_eq!(world.did("CreateJob retention"), 0);
    world.until(|world| world.did("CreateJob retention") == 1);
    assert!(!world.stalled() && world.reason() == "UpgradeSucceeded");
    let job = world.jobs.values().next().unwrap();
    let JobWork::Retention { keep, clusters, .. } = &job.intent.work else {
        panic!("{:?}", job.intent)
    };
    let cluster = |target: &str, uid: &str| (target.to_owned(), uid.to_owned());
    assert_eq!(*keep, 5);
    assert!(clusters.contains(&cluster("master", "master-cluster")) && clusters.contains(&cluster("eu", "eu-cluster")));
    world.settle();
    let [put_back, release, finalizer] = END;
    assert_eq!(
        end(&world),
        [
            put_back,
            "CreateJob retention master 1",
            "DeleteJob",
            release,
            finalizer
        ]
    );
    let record = world.status.retention.clone().unwrap();
    assert_eq!((record.removed, record.kept, record.problem), (4, 5, None));
    assert!(world.jobs.is_empty() && world.status.step.is_none());
    let rest = world.decide();
    assert!(rest.effect.is_none() && rest.status == world.status);
}

#[test]
fn a_job_that_fails_is_tried_again_and_never_spoils_the_end() {
    let mut world = with_stored(9);
    world.retention.outcome = Outcome::FailsEarly;
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Done, "UpgradeSucceeded")
    );
    assert_eq!(world.did("CreateJob retention"), 3);
    let problem = world.status.retention.as_ref().unwrap().problem.clone();
    assert!(
        problem.is_some() && !world.object.finalizer && world.jobs.is_empty(),
        "{problem:?}"
    );
}

#[test]
fn a_job_that_never_ends_is_stopped() {
    let mut world = with_stored(9);
    world.retention.outcome = Outcome::Hangs;
    world.until(|world| world.did("CreateJob retention") == 1);
    let began = world.now;
    world.until(|world| !world.object.finalizer);
    assert!(world.jobs.is_empty() && world.did("CreateJob retention") == 1);
    assert!(world.now.duration_since(began).as_mins() >= 29);
    let problem = world.status.retention.as_ref().unwrap().problem.clone().unwrap();
    assert!(problem.contains("30 minutes"), "{problem}");
}

#[test]
fn a_platform_that_cannot_be_read_keeps_nobody_for_ever() {
    let mut world = with_stored(9);
    world.until(|world| world.phase() == Phase::Done);
    world.unreadable = true;
    world.until(|world| !world.object.finalizer);
    assert_eq!((world.phase(), world.did("CreateJob retention")), (Phase::Done, 0));
    assert!(world.status.retention.as_ref().unwrap().problem.is_some());
}

#[test]
fn a_deletion_and_another_run_stop_it() {
    for deleting in [true, false] {
        let mut world = with_stored(9);
        world.retention.outcome = Outcome::Hangs;
        world.until(|world| world.did("CreateJob retention") == 1);
        if deleting {
            world.object.deleting = true;
            world.until(|world| world.gone);
        } else {
            let target = world.request.as_ref().unwrap().target;
            world.spec(|spec| spec.via = vec![target]);
            world.until(|world| world.status.run() == 2);
            assert!(world.status.retention.is_none());
        }
        assert!(world.jobs.is_empty(), "deleting: {deleting}");
        let created = world
            .effects
            .iter()
            .position(|effect| effect.starts_with("CreateJob retention"));
        assert_eq!(world.effects[created.unwrap() + 1], "DeleteJob");
    }
}

#[test]
fn a_refusal_that_is_meant_ends_it_and_a_lost_effect_is_made_again() {
    let mut world = with_stored(9);
    world.until(|world| world.phase() == Phase::Done);
    let decision = world.decide();
    assert!(
        matches!(decision.effect, Some(Effect::CreateJob(_))),
        "{:?}",
        decision.effect
    );
    // Recorded, and killed before the Job was created.
    world.record(&decision);
    assert_eq!(world.decide().effect, decision.effect);
    world.refused = Some("create Job: 403 Forbidden".to_owned());
    world.refusal_stands = true;
    let given_up = world.decide();
    let problem = given_up
        .status
        .retention
        .as_ref()
        .and_then(|record| record.problem.clone());
    assert!(
        problem.is_some_and(|problem| problem.contains("403")),
        "{:?}",
        given_up.status.retention
    );
    let told = given_up
        .events
        .iter()
        .find(|event| event.reason == Reason::BackupRetentionFailed);
    assert!(told.is_some_and(|event| event.warning));
}

#[test]
fn backups_that_cannot_be_counted_are_told_and_none_is_removed() {
    let mut world = World::new();
    world.retention.uncounted = Some("cannot list s3://b: it answers 403".to_owned());
    let mut told = 0;
    for _ in 0..500 {
        let decision = world.round();
        told += decision
            .events
            .iter()
            .filter(|event| event.warning && event.reason == Reason::BackupRetentionFailed)
            .count();
        world.tick(Duration::from_secs(5));
    }
    assert_eq!(
        (world.phase(), told, world.did("CreateJob retention")),
        (Phase::Done, 2, 0)
    );
}

#[test]
fn a_job_that_cannot_be_read_is_waited_for() {
    let mut world = with_stored(9);
    world.until(|world| world.did("CreateJob retention") == 1);
    world.job_unreadable = true;
    let decision = world.decide();
    assert!(decision.effect.is_none() && matches!(world.facts().job, Known::Unknown(_)));
    world.job_unreadable = false;
    world.settle();
    assert!(
        world
            .status
            .retention
            .as_ref()
            .is_some_and(|record| record.removed == 4)
    );
}
