//! The platform slower, or faster, than anybody looks.

use std::time::Duration;

use super::world::{World, finding};
use crate::facts::Known;
use crate::phase::Phase;

#[test]
fn the_installer_waits_until_the_last_seed_runs_with_the_limit() {
    let mut world = World::new();
    world.until(|world| world.did("SetThrottle") == 1);
    for _ in 0..20 {
        world.seeds[1].limit = 10; // the value stands in the configuration, and this seed has not rolled out
        let _ = world.round();
        world.tick(Duration::from_secs(10));
    }
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Deploying, "Throttling")
    );
    assert!(world.message().contains("seed eu"), "{}", world.message());
    assert_eq!(world.did("CreateJob installer"), 0);
    world.settle();
    assert_eq!((world.phase(), world.did("CreateJob installer")), (Phase::Done, 1));
}

#[test]
fn a_roll_out_that_is_over_at_the_first_look_is_not_waited_for() {
    let mut world = World::new();
    world.until(|world| world.installers().iter().any(|job| job.ended == Some(true)));
    world.since_install = Some(100);
    world.settle();
    assert_eq!((world.phase(), world.did("CreateJob installer")), (Phase::Done, 1));
}

#[test]
fn a_blocker_that_comes_while_the_limit_rolls_out_stops_the_installer() {
    let mut world = World::new();
    world.until(|world| world.did("SetThrottle") == 1);
    world.findings = Known::Is(vec![finding(false)]);
    world.settle();
    assert_eq!((world.phase(), world.did("CreateJob installer")), (Phase::Deploying, 0));
    assert!(
        world.stalled() && world.message().starts_with("cluster-version-unsupported"),
        "{}",
        world.message()
    );
    world.findings = Known::Is(Vec::new());
    world.settle();
    assert_eq!((world.phase(), world.did("CreateJob installer")), (Phase::Done, 1));
}
