//! The way that everything is meant to go.

use super::world::{FROM, TO, World};
use crate::phase::Phase;

type Point = fn(&World) -> bool;

#[test]
fn every_effect_in_its_order() {
    let mut world = World::new();
    world.settle();
    assert_eq!(
        world.effects,
        [
            "WritePlan",
            "AddFinalizer",
            "AcquireLease",
            "CreateJob backup master 1",
            "DeleteJob",
            "CreateJob backup eu 1",
            "DeleteJob",
            "SetThrottle Some(20)->3",
            "CreateJob installer master 1",
            "DeleteJob",
            "RestoreThrottle Some(20) true",
            "ReleaseLease",
            "RemoveFinalizer",
        ]
    );
    assert_eq!(
        world.phases,
        [
            Phase::Preflight,
            Phase::Backup,
            Phase::Deploying,
            Phase::Verifying,
            Phase::Done
        ]
    );
    assert_eq!(world.reason(), "UpgradeSucceeded");
    assert_eq!(world.status.current_version, Some(TO.to_string()));
    assert_eq!(world.status.from_version, Some(FROM.to_string()));
    assert!(world.status.changes.is_empty() && !world.status.is_locked() && world.lease.holder.is_none());
    assert_eq!(
        world.status.progress.as_ref().map(|progress| progress.targets_done),
        Some(3)
    );
    let rest = world.decide();
    assert!(rest.effect.is_none() && rest.status == world.status);
}

#[test]
fn an_unset_limit_is_unset_again() {
    let mut world = World::new();
    world.field = None;
    world.settle();
    assert_eq!((world.phase(), world.field), (Phase::Done, None));
    assert_eq!(world.did("SetThrottle None->3"), 1);
    assert_eq!(world.did("RestoreThrottle None true"), 1);
}

#[test]
fn no_limit_asked_for_touches_no_limit() {
    let mut world = World::new();
    world.spec(|spec| spec.maximum_parallel_reconciles = None);
    world.settle();
    assert_eq!((world.phase(), world.field), (Phase::Done, Some(20)));
    assert_eq!(world.did("SetThrottle") + world.did("RestoreThrottle"), 0);
}

#[test]
fn a_stale_backup_is_made_again() {
    let mut world = World::new();
    world.until(|world| world.status.target("eu").is_some_and(|eu| eu.backup.is_some()));
    world.spec(|spec| spec.paused = true);
    world.settle();
    assert_eq!((world.phase(), world.reason().as_str()), (Phase::Backup, "Paused"));
    world.now = world.now.checked_add(jiff::SignedDuration::from_hours(2)).unwrap();
    world.spec(|spec| spec.paused = false);
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    assert_eq!(world.did("CreateJob backup master 2"), 1);
    assert_eq!(world.did("CreateJob backup eu 2"), 1);
}

#[test]
fn the_same_object_applied_again_stays_done_and_another_target_is_a_new_run() {
    let mut world = World::new();
    world.settle();
    let (effects, status) = (world.effects.clone(), world.status.clone());
    world.spec(|spec| spec.soak = std::time::Duration::from_mins(2));
    world.settle();
    assert_eq!((world.phase(), &world.effects), (Phase::Done, &effects));
    assert_eq!((world.status.run_id, status.run_id), (Some(1), Some(1)));
    world.spec(|spec| spec.target = crate::version::KkpVersion::new(2, 31, 1));
    world.since_install = None;
    world.until(|world| world.phase() == Phase::Backup);
    assert_eq!(world.status.run_id, Some(2));
    assert_eq!(world.status.path, ["2.31.0", "2.31.1"]);
    assert_eq!(world.status.history.len(), 1);
}

#[test]
fn paused_at_each_safe_point_does_nothing_and_goes_on() {
    let points: [(&str, Point); 5] = [
        ("preflight", |world| world.phase() == Phase::Preflight),
        ("backup", |world| {
            world
                .status
                .target("master")
                .is_some_and(|master| master.backup.is_some())
        }),
        ("limit", |world| world.phase() == Phase::Deploying),
        ("installer", |world| {
            world.status.step.as_ref().is_some_and(|step| step.name == "Master")
        }),
        ("verified", |world| world.phase() == Phase::Verifying),
    ];
    for (name, point) in points {
        let mut world = World::new();
        world.until(point);
        world.spec(|spec| spec.paused = true);
        world.settle();
        assert_eq!(world.reason(), "Paused", "{name}");
        assert!(world.message().ends_with("set spec.paused to false"), "{name}");
        world.spec(|spec| spec.paused = false);
        world.settle();
        assert_eq!(world.phase(), Phase::Done, "{name}");
        assert_eq!(world.did("CreateJob installer"), 1, "{name}");
    }
}
