//! Backup Jobs: what counts as a backup, pauses between attempts, and a result that is read twice.

use std::time::Duration;

use super::world::{Outcome, World};
use crate::effect::JobWork;
use crate::facts::Known;
use crate::phase::Phase;

type Point = fn(&World) -> bool;

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

#[test]
fn what_has_become_too_old_while_the_run_waited_is_made_again_before_anything_is_touched() {
    let points: [(&str, Point, &str); 2] = [
        (
            "before the limit",
            |world| world.phase() == Phase::Deploying,
            "SetThrottle",
        ),
        (
            "before the installer",
            |world| {
                let step = world.status.step.as_ref();
                step.is_some_and(|step| step.name == "Master" && step.job.is_none())
            },
            "CreateJob installer",
        ),
    ];
    for (name, point, next) in points {
        let mut world = World::new();
        world.until(point);
        world.spec(|spec| spec.paused = true);
        world.settle();
        assert_eq!(
            (world.phase(), world.reason().as_str()),
            (Phase::Deploying, "Paused"),
            "{name}"
        );
        world.now = world.now.checked_add(jiff::SignedDuration::from_hours(2)).unwrap();
        world.spec(|spec| spec.paused = false);
        world.until(|world| world.did("CreateJob backup eu 2") == 1);
        assert_eq!(world.phase(), Phase::Backup, "{name}");
        assert_eq!(world.did(next), 0, "{name}: {:?}", world.effects);
        world.settle();
        assert_eq!(world.phase(), Phase::Done, "{name}");
        assert_eq!(world.did("CreateJob backup master 2"), 1, "{name}");
    }
}

#[test]
fn nothing_is_renewed_for_a_run_that_waits_for_a_person() {
    let mut world = World::new();
    world.until(|world| world.did("SetThrottle") == 1);
    (world.field, world.revision) = (Some(50), world.revision + 1);
    world.settle();
    assert_eq!(world.reason(), "ThrottleContested");
    for _ in 0..5 {
        world.now = world.now.checked_add(jiff::SignedDuration::from_hours(2)).unwrap();
        world.settle();
    }
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Deploying, "ThrottleContested")
    );
    assert_eq!(world.did("CreateJob backup master 2"), 0, "{:?}", world.effects);
}

#[test]
fn what_could_not_be_compared_is_told() {
    let comparison = |compared: i64| {
        let drift = serde_json::json!({"compared": compared, "changed": 3, "created": 2, "deleted": 1});
        serde_json::json!({"unchanged": drift})
    };
    let mut world = World::new();
    world.comparison = Some(comparison(6));
    world.until(|world| world.phase() == Phase::Deploying);
    let drift = world
        .status
        .target("eu")
        .and_then(|eu| eu.backup.as_ref()?.drift.clone());
    assert_eq!(drift.map(|drift| (drift.compared, drift.deleted)), Some((6, 1)));
    let condition = world.status.condition(crate::conditions::ConditionType::BackupVerified);
    let told = "6 objects were compared that have not been written since; 3 changed, 2 came and 1 went meanwhile";
    assert!(
        condition.is_some_and(|condition| condition.message.contains(told)),
        "{condition:?}"
    );
    let mut world = World::new();
    world.comparison = Some(comparison(0));
    world.settle();
    assert_eq!((world.phase(), world.did("SetThrottle")), (Phase::Failed, 0));
}

/// Recipients and reader of the backup Jobs that were made, by target.
fn jobs(world: &World) -> Vec<(String, Vec<String>, Option<String>)> {
    let backups = world.jobs.values().filter_map(|job| match &job.intent.work {
        JobWork::Backup { recipients, reader, .. } => {
            Some((job.intent.target.clone(), recipients.clone(), reader.clone()))
        }
        JobWork::Installer { .. } | JobWork::Retention { .. } => None,
    });
    backups.collect()
}

#[test]
fn the_key_in_the_cluster_is_made_once_before_the_first_backup() {
    let mut world = World::new();
    world.backup_key = Known::Is(None);
    world.until(|world| !jobs(world).is_empty());
    // The master is a seed, too: it is read with the kubeconfig of that seed.
    let made = vec!["age1made".to_owned()];
    assert_eq!(
        jobs(&world),
        [("master".to_owned(), made.clone(), Some("kubermatic".to_owned()))]
    );
    world.until(|world| jobs(world).iter().any(|job| job.0 == "eu"));
    assert!(jobs(&world).contains(&("eu".to_owned(), made, Some("eu".to_owned()))));
    world.settle();
    assert_eq!((world.phase(), world.did("CreateBackupKey")), (Phase::Done, 1));
}

#[test]
fn recipients_of_the_spec_need_no_key_in_the_cluster() {
    let mut world = World::new();
    world.backup_key = Known::Is(None);
    world.seeds.retain(|seed| seed.name == "eu");
    world.spec(|spec| spec.backup.recipients = vec!["age1own".to_owned()]);
    world.until(|world| !jobs(world).is_empty());
    // A master that is no seed is read with the Job's own account.
    assert_eq!(jobs(&world), [("master".to_owned(), vec!["age1own".to_owned()], None)]);
    world.settle();
    assert_eq!((world.phase(), world.did("CreateBackupKey")), (Phase::Done, 0));
}

#[test]
fn a_key_that_cannot_be_read_is_waited_for_and_never_made_anew() {
    let mut world = World::new();
    world.backup_key = Known::Unknown("Secret kubermatic/k: timeout".to_owned());
    world.until(|world| world.message().contains("Secret kubermatic/k: timeout"));
    assert_eq!((world.phase(), world.did("CreateBackupKey")), (Phase::Backup, 0));
    assert!(jobs(&world).is_empty());
    world.backup_key = World::new().backup_key;
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
}
