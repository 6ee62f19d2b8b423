//! Abort by annotation, by Git and by deletion, in every phase.

use super::world::{FROM, Outcome, World};
use crate::facts::{Fence, Known};
use crate::phase::Phase;
use crate::request::SpecError;

type Point = fn(&World) -> bool;
type Way = fn(&mut World);

const POINTS: [(&str, Point); 8] = [
    ("preflight", |world| world.object.finalizer),
    ("lease", |world| world.lease.holder.is_some()),
    ("backup", |world| {
        world.phase() == Phase::Backup && !world.jobs.is_empty()
    }),
    ("limit", |world| world.did("SetThrottle") == 1),
    ("installer before its fence", |world| {
        !world.installers().is_empty() && world.fences.is_empty()
    }),
    ("installer", |world| !world.fences.is_empty()),
    ("converging", |world| {
        world.status.step.as_ref().is_some_and(|step| step.name == "Seeds")
    }),
    ("verifying", |world| world.phase() == Phase::Verifying),
];

const WAYS: [(&str, Way); 3] = [
    ("token", |world| world.object.abort = Some("now".to_owned())),
    ("git", |world| world.spec(|spec| spec.target = FROM)),
    ("deletion", |world| world.object.deleting = true),
];

#[test]
fn abort_at_every_point_by_every_way() {
    for (point, reached) in POINTS {
        for (way, abort) in WAYS {
            let mut world = World::new();
            world.until(reached);
            let started = world.installers().len();
            let created = world.did("CreateJob");
            abort(&mut world);
            world.settle();
            let told = format!("{way} at {point}: {:#?} {:?}", world.status, world.effects);
            if way == "git" && started == 0 && world.since_install.is_none() {
                // Before the installer the spec simply asks for what is there, or the run is aborted towards it.
                assert!(world.phase() != Phase::Done, "{told}");
            } else if way == "token" {
                assert_eq!(world.phase(), Phase::Aborted, "{told}");
                assert_eq!(world.status.last_handled_abort.as_deref(), Some("now"), "{told}");
            } else if way == "deletion" {
                assert!(world.gone && !world.object.finalizer, "{told}");
            }
            if way != "git" {
                assert_eq!(world.did("CreateJob"), created, "no new work: {told}");
            }
            assert!(world.jobs.is_empty(), "{told}");
            assert!(world.status.has_ended() || way == "git", "{told}");
            if world.crd == FROM {
                assert_eq!((world.field, &world.mark), (Some(20), &Known::Is(None)), "{told}");
            }
        }
    }
}

#[test]
fn a_git_revert_on_an_unchanged_platform_ends_done_at_the_old_version() {
    let mut world = World::new();
    world.until(|world| world.did("SetThrottle") == 1);
    world.spec(|spec| spec.target = FROM);
    world.until(|world| world.phase() == Phase::Aborted);
    assert_eq!(world.field, Some(20));
    (world.installed, world.since_install) = (FROM, Some(9)); // the evidence is for the version that is asked for
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Done, "AlreadyAtTarget")
    );
    assert_eq!((world.status.run_id, world.lease.holder.clone()), (Some(2), None));
}

#[test]
fn a_git_revert_behind_the_point_of_no_return_stays_aborted() {
    let mut world = World::new();
    world.until(|world| !world.fences.is_empty());
    world.spec(|spec| spec.target = FROM);
    world.settle();
    assert_eq!(
        (world.phase(), world.status.run_id, world.lease.holder.clone()),
        (Phase::Aborted, Some(1), None)
    );
    assert_eq!(world.point(), "Passed");
}

#[test]
fn an_installer_that_has_not_started_loses_its_fence_first() {
    let mut world = World::new();
    world.stuck_before_fence = true;
    world.until(|world| !world.installers().is_empty());
    world.object.abort = Some("now".to_owned());
    world.settle();
    assert_eq!(
        world.effects[world.effects.len() - 5..],
        [
            "TakeFence",
            "DeleteJob",
            "RestoreThrottle Some(20) true",
            "ReleaseLease",
            "RemoveFinalizer"
        ]
    );
    assert!(world.starts.is_empty());
}

#[test]
fn a_running_installer_is_waited_for() {
    let mut world = World::new();
    world.installer = Outcome::Hangs;
    world.until(|world| world.fences.values().any(|fence| *fence == Fence::Pod));
    world.object.deleting = true;
    world.settle();
    assert_eq!(
        (world.reason().as_str(), world.jobs.len()),
        ("ProgressDeadlineExceeded", 1)
    );
    assert!(world.message().contains("never killed"));
    assert_eq!(world.did("DeleteJob"), 2, "the backups' only");
    world.installer = Outcome::Good;
    world.settle();
    assert!(world.gone && world.jobs.is_empty());
}

#[test]
fn deletion_ends_though_the_platform_is_unreadable() {
    for (point, reached) in POINTS {
        let mut world = World::new();
        world.until(reached);
        (world.unreadable, world.object.deleting) = (true, true);
        world.namespace = Known::Unknown("connection refused".to_owned());
        world.request = Err(SpecError {
            field: "targetVersion".to_owned(),
            problem: "is gone".to_owned(),
        });
        world.settle();
        assert!(world.gone && world.jobs.is_empty(), "{point}: {:#?}", world.status);
        let held = !world.status.changes.is_empty();
        assert_eq!(world.did("Leave"), usize::from(held), "{point}");
        assert_eq!(held, world.did("SetThrottle") == 1, "{point}");
    }
}

#[test]
fn tokens_at_first_sight_are_answered_and_not_executed() {
    let mut world = World::new();
    world.object.abort = Some("x".repeat(400));
    world.object.retry = Some("old".to_owned());
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    assert_eq!(world.status.last_handled_retry.as_deref(), Some("old"));
    assert!(
        world
            .status
            .last_handled_abort
            .as_ref()
            .is_some_and(|token| token.len() <= 256)
    );
}

#[test]
fn abort_beats_a_retry_that_comes_with_it() {
    let mut world = World::new();
    world.backup = Outcome::FailsEarly;
    world.settle();
    world.backup = Outcome::Good;
    (world.object.abort, world.object.retry) = (Some("1".to_owned()), Some("1".to_owned()));
    world.settle();
    assert_eq!(world.phase(), Phase::Failed);
    world.object.retry = Some("2".to_owned());
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn an_aborted_run_that_held_nothing_can_be_retried() {
    let mut world = World::new();
    world.until(|world| world.phase() == Phase::Backup);
    world.object.abort = Some("1".to_owned());
    world.settle();
    assert_eq!((world.phase(), world.reason().as_str()), (Phase::Aborted, "Aborted"));
    world.object.retry = Some("1".to_owned());
    world.settle();
    assert_eq!((world.phase(), world.field), (Phase::Done, Some(20)));
}
