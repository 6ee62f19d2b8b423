//! Sizes and texts of status on a big platform.

use super::world::{Outcome, World, finding};
use crate::facts::Known;
use crate::phase::Phase;

#[test]
fn status_of_fifty_seeds_with_ten_thousand_clusters_each_stays_small() {
    let mut world = World::new();
    world.clusters = 10_000;
    let seed = world.seeds[1].clone();
    for number in 0..48 {
        let mut seed = seed.clone();
        seed.name = format!("seed-with-a-rather-long-name-in-region-{number}");
        seed.cluster = Some(format!("cluster-{number}"));
        world.seeds.push(seed);
    }
    let mut warnings = vec![finding(false); 40];
    for warning in &mut warnings {
        warning.severity = crate::rules::Severity::Warning;
        warning.remedy = "ü".repeat(300);
    }
    world.findings = Known::Is(warnings);
    world.until(|world| world.status.evidence_since.is_some());
    world.evidence_gone = true;
    world.settle();
    assert_eq!(world.phase(), Phase::Verifying);
    world.evidence_gone = false;
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    assert!(
        world.largest > 16 * 1024 && world.largest <= 64 * 1024,
        "{} bytes",
        world.largest
    );
}

#[test]
fn a_long_failure_keeps_its_next_step() {
    let mut world = World::new();
    world.installer = Outcome::FailsLate;
    world.object.name = "n".repeat(60);
    world.findings = Known::Is(vec![finding(false)]);
    world.settle();
    assert!(
        world.message().len() <= 256 && world.message().contains("; mend what"),
        "{}",
        world.message()
    );
}
