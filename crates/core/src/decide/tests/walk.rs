//! Random walks with adversaries: crashes, lost answers, stale writes, unreadable facts, foreign hands.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::world::{Outcome, World};
use crate::effect::Effect;
use crate::facts::{Fence, Known};
use crate::phase::Phase;

/// What happens in one round besides the round itself.
#[derive(Debug, Clone, Copy)]
enum Event {
    Nothing,
    CrashBeforeEffect,
    StatusLost,
    EffectRepeated,
    PlatformUnknown,
    FindingsUnknown,
    JobUnknown,
    QueueUnknown,
    MarkUnknown,
    MarkRemoved,
    HumanLimit(Option<i64>),
    EvidenceFlaps,
    JobRemoved,
    Pause,
    Abort,
    Retry,
    Delete,
    Wait,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => Just(Event::Nothing),
        5 => Just(Event::CrashBeforeEffect),
        3 => Just(Event::StatusLost),
        4 => Just(Event::EffectRepeated),
        2 => Just(Event::PlatformUnknown),
        1 => Just(Event::FindingsUnknown),
        2 => Just(Event::JobUnknown),
        1 => Just(Event::QueueUnknown),
        1 => Just(Event::MarkUnknown),
        1 => Just(Event::MarkRemoved),
        1 => prop_oneof![Just(Some(50)), Just(None), Just(Some(7))].prop_map(Event::HumanLimit),
        2 => Just(Event::EvidenceFlaps),
        1 => Just(Event::JobRemoved),
        1 => Just(Event::Pause),
        1 => Just(Event::Abort),
        1 => Just(Event::Retry),
        1 => Just(Event::Wait),
    ]
}

fn walk() -> impl Strategy<Value = (Outcome, bool, Vec<Event>)> {
    let outcome = prop_oneof![4 => Just(Outcome::Good), 1 => Just(Outcome::FailsEarly), 1 => Just(Outcome::FailsLate)];
    (
        outcome,
        prop::bool::weighted(0.1),
        prop::collection::vec(event(), 10..90),
    )
}

/// The last value that anybody but the operator gave to the limit.
struct Human(Option<i64>);

fn disturbed_round(world: &mut World, event: Event, last: &mut Option<Effect>, human: &mut Human) {
    let mark = world.mark.clone();
    let (findings, others) = (world.findings.clone(), world.others.clone());
    match event {
        Event::PlatformUnknown => world.unreadable = true,
        Event::JobUnknown => world.job_unreadable = true,
        Event::FindingsUnknown => world.findings = Known::Unknown("429".to_owned()),
        Event::QueueUnknown => world.others = Known::Unknown("429".to_owned()),
        Event::MarkUnknown => world.mark = Known::Unknown("not JSON".to_owned()),
        Event::MarkRemoved => (world.mark, world.revision) = (Known::Is(None), world.revision + 1),
        Event::HumanLimit(value) => {
            (world.field, world.revision, human.0) = (value, world.revision + 1, value);
        }
        Event::EvidenceFlaps => world.evidence_gone = !world.evidence_gone,
        Event::JobRemoved => world.jobs.clear(),
        Event::Pause => world.spec(|spec| spec.paused = !spec.paused),
        Event::Abort => world.object.abort = Some(world.serial.to_string()),
        Event::Retry => world.object.retry = Some(world.serial.to_string()),
        Event::Delete => world.object.deleting = true,
        Event::Wait => world.now = world.now.checked_add(Duration::from_secs(70)).unwrap(),
        Event::Nothing | Event::CrashBeforeEffect | Event::StatusLost | Event::EffectRepeated => {}
    }
    let decision = world.decide();
    if event == Event::MarkUnknown {
        world.mark = mark;
    }
    (world.findings, world.others) = (findings, others);
    (world.unreadable, world.job_unreadable) = (false, false);
    if event != Event::StatusLost {
        world.record(&decision);
        if event != Event::CrashBeforeEffect
            && let Some(effect) = &decision.effect
        {
            world.check_start(effect);
            world.carry_out(effect);
            *last = Some(effect.clone());
        }
    }
    if event == Event::EffectRepeated
        && let Some(effect) = last.as_ref()
    {
        // A late call of a process that was thought dead.
        world.carry_out(effect);
    }
    if let Known::Is(Some(_)) = &world.mark {
        assert!(
            !world.status.changes.is_empty(),
            "the limit is changed and status has forgotten it"
        );
    }
    world.tick(if decision.requeue.is_zero() {
        Duration::from_secs(1)
    } else {
        Duration::from_secs(10)
    });
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

fn check_end(world: &World, human: &Human) {
    if world.gone {
        return;
    }
    let phase = world.phase();
    assert!(phase.is_terminal() || world.stalled(), "no end: {:#?}", world.status);
    if phase != Phase::Done {
        assert!(world.message().contains("; "), "no next step: {}", world.message());
    }
    if phase.is_terminal() && world.status.changes.is_empty() {
        assert_eq!(
            world.field, human.0,
            "the limit is not what it was: {:#?} {:?}",
            world.status, world.effects
        );
        assert_eq!(world.mark, Known::Is(None));
    }
    if phase.is_terminal() {
        assert!(world.lease.holder.is_none(), "an ended run holds the platform");
        assert!(
            world.installers().iter().all(|job| job.ended.is_some()),
            "an ended run leaves a Job running"
        );
    }
    assert!(world.starts.values().all(|starts| *starts == 1));
}

#[test]
fn walks_with_adversaries_end_well_or_say_what_to_do() {
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    runner
        .run(&walk(), |(outcome, deleted, events)| {
            let mut world = World::new();
            let (mut last, mut human) = (None, Human(world.field));
            world.installer = outcome;
            for (number, event) in events.iter().enumerate() {
                let event = if deleted && number + 5 == events.len() {
                    Event::Delete
                } else {
                    *event
                };
                disturbed_round(&mut world, event, &mut last, &mut human);
                if world.gone {
                    break;
                }
            }
            world.evidence_gone = false;
            if world.request.as_ref().unwrap().paused {
                world.spec(|spec| spec.paused = false);
            }
            if world.object.deleting && !world.object.finalizer {
                world.gone = true;
            }
            if !world.gone {
                world.settle();
            }
            check_end(&world, &human);
            prop_assert!(
                world
                    .fences
                    .values()
                    .all(|fence| [Fence::Pod, Fence::Operator].contains(fence))
            );
            Ok(())
        })
        .unwrap();
}
