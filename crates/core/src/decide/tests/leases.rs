//! The platform's lease in other hands while a run is on, and operators with clocks that are off.

use std::time::Duration;

use jiff::SignedDuration;

use super::world::{UID, World};
use crate::facts::LeaseFacts;
use crate::phase::Phase;

const RUNNING: [Phase; 3] = [Phase::Backup, Phase::Deploying, Phase::Verifying];

fn effects_of_a_run() -> Vec<String> {
    let mut world = World::new();
    world.settle();
    world.effects
}

#[test]
fn a_lease_that_is_removed_or_forged_while_a_run_is_on_is_taken_again() {
    for phase in RUNNING {
        for holder in [None, Some("forged".to_owned())] {
            let mut world = World::new();
            world.until(|world| world.phase() == phase);
            world.lease = LeaseFacts {
                resource_version: holder.as_ref().map(|_| "999".to_owned()),
                holder: holder.clone(),
            };
            let decision = world.round();
            assert!(decision.events.iter().any(|event| event.warning), "{phase} {holder:?}");
            assert!(world.message().contains("kkp-upgrade-active"), "{}", world.message());
            assert_eq!(world.lease.holder.as_deref(), Some(UID), "{phase} {holder:?}");
            world.settle();
            assert_eq!((world.phase(), world.lease.holder.clone()), (Phase::Done, None));
            let mut effects = world.effects.clone();
            let again = effects.iter().rposition(|effect| effect == "AcquireLease").unwrap();
            effects.remove(again);
            assert_eq!(effects, effects_of_a_run(), "{phase} {holder:?}");
        }
    }
}

#[test]
fn operators_whose_clocks_are_twenty_minutes_apart_make_the_same_run() {
    let apart = SignedDuration::from_mins(20);
    for first in [1_usize, 0] {
        let mut world = World::new();
        for number in 0..10_000 {
            // Every round is another operator's.
            let off = if number % 2 == first {
                apart
            } else {
                SignedDuration::ZERO
            };
            let now = world.now;
            world.now = now.checked_add(off).unwrap();
            let decision = world.round();
            // What one of them calls late the other does not: that is said, and changes nothing.
            assert!(
                !world.stalled() || world.reason() == "ProgressDeadlineExceeded",
                "{}",
                world.message()
            );
            world.now = now;
            world.tick(decision.requeue.max(Duration::from_millis(100)));
            if world.did("RemoveFinalizer") == 1 && decision.effect.is_none() {
                break;
            }
        }
        assert_eq!(world.phase(), Phase::Done, "{}; {:?}", world.message(), world.effects);
        assert_eq!(world.effects, effects_of_a_run());
    }
}
