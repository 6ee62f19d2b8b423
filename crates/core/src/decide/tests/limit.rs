//! The limit on parallel reconciles when other hands are at work.

use super::world::{TO, UID, World};
use crate::effect::Effect;
use crate::facts::{Known, ThrottleMark};
use crate::phase::Phase;

fn mark(owner: &str) -> ThrottleMark {
    ThrottleMark {
        owner: owner.to_owned(),
        original: Some(20),
        applied: 5,
    }
}

fn human(world: &mut World, value: Option<i64>) {
    world.field = value;
    world.revision += 1;
}

#[test]
fn a_foreign_value_before_the_installer_stops_it_and_is_never_written_over() {
    let mut world = World::new();
    world.until(|world| {
        world
            .status
            .throttle
            .as_ref()
            .is_some_and(|throttle| throttle.state == "InForce")
    });
    human(&mut world, Some(50));
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Deploying, "ThrottleContested")
    );
    assert!(world.stalled() && world.message().contains("50"), "{}", world.message());
    assert_eq!((world.did("CreateJob installer"), world.field), (0, Some(50)));
    human(&mut world, Some(3));
    world.settle();
    assert_eq!((world.phase(), world.field), (Phase::Done, Some(20)));
}

#[test]
fn a_foreign_value_between_intent_and_job_stops_the_job_too() {
    let mut world = World::new();
    loop {
        let decision = world.decide();
        world.record(&decision);
        let starts = world.step_job().is_some_and(|job| job.contains("installer"));
        if starts {
            break; // the operator dies before the effect
        }
        if let Some(effect) = &decision.effect {
            world.carry_out(effect);
        }
        world.tick(std::time::Duration::from_secs(10));
    }
    human(&mut world, Some(50));
    world.settle();
    assert_eq!(
        (world.reason().as_str(), world.did("CreateJob installer")),
        ("ThrottleContested", 0)
    );
}

#[test]
fn a_foreign_value_after_the_installer_stalls_behind_the_wave_and_an_abort_leaves_it() {
    let mut world = World::new();
    world.until(|world| world.since_install.is_some());
    human(&mut world, Some(50));
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Deploying, "ThrottleContested")
    );
    world.object.abort = Some("now".to_owned());
    world.settle();
    assert_eq!((world.phase(), world.field), (Phase::Aborted, Some(50)));
    assert_eq!(world.did("RestoreThrottle Some(20) false"), 1);
    assert_eq!(world.mark, Known::Is(None));
}

#[test]
fn the_mark_of_an_ended_run_is_adopted_with_its_original() {
    let mut world = World::new();
    (world.field, world.mark) = (Some(5), Known::Is(Some(mark("gone"))));
    world.settle();
    assert_eq!((world.phase(), world.field), (Phase::Done, Some(20)));
    let mut world = World::new();
    (world.field, world.mark) = (Some(8), Known::Is(Some(mark("gone"))));
    world.settle();
    assert_eq!(
        world.field,
        Some(8),
        "a value that a person has set since is the original"
    );
}

#[test]
fn a_lost_note_does_not_lose_the_original() {
    let mut world = World::new();
    world.until(|world| world.did("SetThrottle") == 1);
    world.mark = Known::Is(None); // taken off while seeds are rolling out
    world.revision += 1;
    world.settle();
    assert_eq!((world.phase(), world.field), (Phase::Done, Some(20)));
    let mut world = World::new();
    world.until(|world| world.phase() == Phase::Verifying);
    world.mark = Known::Is(None);
    world.revision += 1;
    world.settle();
    assert_eq!((world.phase(), world.field), (Phase::Done, Some(20)));
}

#[test]
fn an_unreadable_note_is_waited_for_and_then_left_with_its_original() {
    let mut world = World::new();
    world.until(|world| {
        world
            .status
            .throttle
            .as_ref()
            .is_some_and(|throttle| throttle.state == "InForce")
    });
    world.mark = Known::Unknown("not JSON".to_owned());
    world.object.abort = Some("now".to_owned());
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Aborted, "HeldAfterFailure")
    );
    assert_eq!(
        world.status.changes.first().map(|change| change.original.as_str()),
        Some("20")
    );
    assert!(world.object.finalizer);
    world.mark = Known::Is(Some(ThrottleMark {
        owner: UID.to_owned(),
        original: Some(20),
        applied: 3,
    }));
    world.settle();
    assert_eq!((world.field, world.object.finalizer), (Some(20), false));
    assert!(world.status.changes.is_empty());
}

#[test]
fn fifty_seeds_without_the_limit_fit_into_status() {
    let mut world = World::new();
    let seed = world.seeds[1].clone();
    for number in 0..50 {
        let mut seed = seed.clone();
        seed.name = format!("seed-{number}");
        seed.cluster = Some(format!("cluster-{number}"));
        world.seeds.push(seed);
    }
    world.settle();
    assert_eq!(
        (world.phase(), world.status.current_version.clone()),
        (Phase::Done, Some(TO.to_string()))
    );
    assert_eq!(world.did("CreateJob backup"), 52, "one backup for each cluster");
}

/// A platform at the target with the mark of another KKPUpgrade.
fn upgraded_with(mark: ThrottleMark) -> World {
    let mut world = World::new();
    (world.version, world.crd, world.since_install) = (Some(TO), TO, Some(9));
    (world.field, world.mark) = (Some(mark.applied), Known::Is(Some(mark)));
    world
}

#[test]
fn what_a_vanished_upgrade_left_goes_back_though_nothing_is_to_be_upgraded() {
    let mut world = upgraded_with(mark("vanished"));
    world.until(|world| world.did("RestoreThrottle") == 1);
    assert_eq!((world.field, &world.mark), (Some(20), &Known::Is(None)));
    // Its roll-out is no reason to install anything.
    world.evidence_gone = true;
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Preflight, "ProgressDeadlineExceeded")
    );
    world.evidence_gone = false;
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Done, "AlreadyAtTarget")
    );
    assert_eq!((world.did("CreateJob"), world.did("RestoreThrottle")), (0, 1));
}

#[test]
fn a_mark_whose_upgrade_still_exists_and_a_plan_leave_it_alone() {
    let mut world = upgraded_with(mark("alive"));
    world.others = Known::Is(vec![crate::facts::OtherUpgrade {
        uid: "alive".to_owned(),
        name: "other".to_owned(),
        created: world.now,
        waits_for_queue: false,
        terminal: true,
        hop_seconds: Vec::new(),
    }]);
    world.settle();
    assert_eq!(
        (world.phase(), world.did("RestoreThrottle"), world.field),
        (Phase::Done, 0, Some(5))
    );
    let mut world = upgraded_with(mark("vanished"));
    world.spec(|spec| spec.mode = crate::request::Mode::Plan);
    world.settle();
    assert_eq!(
        (world.phase(), world.did("RestoreThrottle"), world.field),
        (Phase::Done, 0, Some(5))
    );
}

#[test]
fn a_limit_that_was_intended_and_not_written_is_overtaken_before_the_run_ends() {
    let mut world = World::new();
    world.until(|world| world.status.step.as_ref().is_some_and(|step| step.name == "Throttle"));
    let decision = world.decide();
    let Some(late @ Effect::SetThrottle { .. }) = decision.effect.clone() else {
        panic!("{:?}", decision.effect);
    };
    // The process hangs between intent and effect, and another one ends the run.
    world.record(&decision);
    world.object.abort = Some("1".to_owned());
    world.settle();
    assert_eq!((world.phase(), world.field), (Phase::Aborted, Some(20)));
    world.carry_out(&late);
    assert_eq!((world.field, &world.mark), (Some(20), &Known::Is(None)));
}
