//! Laws of single decisions, at random points of random runs: what cannot be read never helps, the same is decided twice,
//! and deciding again changes nothing.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{Outcome, World, finding};
use super::world_fixes::SimObject;
use crate::decide::{Decision, decide};
use crate::effect::Effect;
use crate::facts::{Evidence, Facts, Known, PlatformFacts};
use crate::phase::Phase;

/// A run at a random point.
fn point() -> impl Strategy<Value = World> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Good),
        1 => Just(Outcome::FailsEarly),
        1 => Just(Outcome::FailsLate),
        1 => Just(Outcome::Hangs),
    ];
    (outcome, 0_usize..60, any::<[bool; 5]>(), any::<u8>()).prop_map(|(outcome, rounds, turns, when)| {
        let [flaps, human, aborted, paused, blocked] = turns;
        let mut world = World::new();
        world.installer = outcome;
        if when % 2 == 1 {
            world.spec(|spec| spec.fixes = vec!["cluster-version-unsupported".to_owned()]);
            world.fixable = vec![
                SimObject::cluster("eu/a", &["1.33.0", "1.34.1"]),
                SimObject::cluster("eu/b", &["1.33.0"]),
            ];
        }
        for round in 0..rounds {
            if round == usize::from(when) % 60 {
                world.evidence_gone = flaps && when > 128;
                world.field = if human && when % 3 == 0 { Some(50) } else { world.field };
                world.object.abort = (aborted && when % 2 == 0).then(|| "now".to_owned());
                if paused && when % 5 == 0 {
                    world.spec(|spec| spec.paused = true);
                }
                if blocked && when % 4 == 0 {
                    world.findings = Known::Is(vec![finding(false)]);
                }
            }
            let decision = world.round();
            world.tick(if decision.requeue.is_zero() {
                Duration::from_secs(1)
            } else {
                Duration::from_secs(10)
            });
        }
        world
    })
}

/// Makes the chosen facts unknown, those that were read and those inside of others.
fn blind(facts: &mut Facts, chosen: &[bool; 13]) {
    fn forget<T>(fact: &mut Known<T>, chosen: bool) {
        if chosen && matches!(fact, Known::Is(_)) {
            *fact = Known::Unknown("timeout".to_owned());
        }
    }
    forget(&mut facts.platform_namespace, chosen[0]);
    forget(&mut facts.findings, chosen[1]);
    forget(&mut facts.others, chosen[2]);
    forget(&mut facts.lease, chosen[3]);
    forget(&mut facts.job, chosen[4]);
    if let Known::Is(platform) = &mut facts.platform {
        let PlatformFacts {
            configuration,
            crd_version,
            evidence,
            seeds,
            installer,
            ..
        } = platform;
        forget(&mut configuration.throttle_mark, chosen[5]);
        forget(crd_version, chosen[6]);
        forget(installer, chosen[7]);
        let lost = || Evidence::Unknown("timeout".to_owned());
        if chosen[8] {
            *evidence = lost();
        }
        for seed in seeds {
            forget(&mut seed.limit_in_force, chosen[9]);
            forget(&mut seed.clusters, chosen[10]);
            if chosen[10] {
                seed.evidence = lost();
            }
        }
    }
    forget(&mut facts.platform, chosen[11]);
    forget(&mut facts.marked, chosen[12]);
}

/// The effect, where it begins something: what puts away may also be done for less.
fn begins(decision: &Decision) -> Option<&Effect> {
    decision.effect.as_ref().filter(|effect| {
        matches!(
            effect,
            Effect::CreateJob(_)
                | Effect::SetThrottle { .. }
                | Effect::WriteFix(_)
                | Effect::AcquireLease { .. }
                | Effect::AddFinalizer
        )
    })
}

fn answer(world: &World, facts: &Facts) -> Decision {
    decide(world.request.as_ref(), &world.status, facts, &world.timing)
}

fn phase(decision: &Decision) -> Phase {
    decision.status.phase().unwrap_or(Phase::Pending)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_unknown_never_passes_and_never_begins_anything(mut world in point(), chosen in any::<[bool; 13]>()) {
        let facts = world.facts();
        let clear = answer(&world, &facts);
        let mut less = facts.clone();
        blind(&mut less, &chosen);
        let dim = answer(&world, &less);
        let (before, with, without) = (world.phase(), phase(&clear), phase(&dim));
        let stays = without == before || without == with || matches!(without, Phase::Failed | Phase::Aborted);
        prop_assert!(stays, "{before} became {without} and not {with}\n{less:#?}");
        prop_assert!(
            begins(&dim).is_none() || begins(&dim) == begins(&clear),
            "{:?} instead of {:?}", dim.effect, clear.effect
        );
    }

    #[test]
    fn the_same_is_decided_twice_and_deciding_again_changes_nothing(mut world in point()) {
        let facts = world.facts();
        let (once, twice) = (answer(&world, &facts), answer(&world, &facts));
        prop_assert_eq!(&once, &twice);
        // An effect changes the facts, and a look again at once asks for others.
        if once.effect.is_none() && !once.requeue.is_zero() {
            world.status = once.status.clone();
            let again = answer(&world, &facts);
            prop_assert_eq!(&again.status, &once.status);
            prop_assert!(again.effect.is_none() && again.events.is_empty(), "{:?}", again.events);
        }
    }
}
