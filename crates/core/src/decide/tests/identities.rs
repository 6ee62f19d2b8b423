//! The cluster behind a Seed changes, or is somebody else's.

use std::time::Duration;

use super::world::World;
use crate::effect::{Effect, JobWork};
use crate::phase::Phase;

fn move_seed(world: &mut World, to: Option<&str>) {
    for seed in world.seeds.iter_mut().filter(|seed| seed.name == "eu") {
        seed.cluster = to.map(str::to_owned);
    }
}

fn known(world: &World) -> Vec<(&str, &str)> {
    let clusters = &world.status.seed_clusters;
    clusters
        .iter()
        .map(|known| (known.seed.as_str(), known.cluster_uid.as_str()))
        .collect()
}

#[test]
fn preflight_notes_the_clusters_and_the_run_holds_them() {
    let mut world = World::new();
    world.until(|world| world.phase() == Phase::Preflight);
    world.until(|world| world.status.plan.is_some());
    move_seed(&mut world, Some("new-cluster"));
    world.until(|world| world.phase() == Phase::Backup);
    assert_eq!(known(&world), [("kubermatic", "master-cluster"), ("eu", "new-cluster")]);
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    assert_eq!(known(&world), [("kubermatic", "master-cluster"), ("eu", "new-cluster")]);
}

#[test]
fn another_cluster_is_waited_out_in_every_phase_and_never_believed() {
    for phase in [Phase::Backup, Phase::Deploying, Phase::Verifying] {
        let mut world = World::new();
        world.until(|world| world.phase() == phase);
        move_seed(&mut world, Some("other-cluster"));
        for _ in 0..60 {
            let decision = world.round();
            if let Some(Effect::CreateJob(intent)) = &decision.effect {
                assert_ne!(intent.target, "eu", "{phase}: a backup of another cluster");
                assert!(
                    matches!(intent.work, JobWork::Backup { .. }),
                    "{phase}: the installer was started beside a stranger"
                );
            }
            world.tick(Duration::from_secs(5));
        }
        assert_ne!(world.phase(), Phase::Done, "{phase}");
        let told = serde_json::to_string(&world.status).unwrap();
        for word in ["Seed eu", "other-cluster", "was eu-cluster", "put its kubeconfig back"] {
            assert!(told.contains(word), "{phase}: {word} is not in {told}");
        }
        move_seed(&mut world, Some("eu-cluster"));
        world.settle();
        assert_eq!(world.phase(), Phase::Done, "{phase}");
        assert_eq!(world.starts.len(), 1, "{phase}: {:?}", world.starts);
    }
}

#[test]
fn a_backup_names_the_cluster_that_it_is_of() {
    let mut world = World::new();
    world.until(|world| world.jobs.values().any(|job| job.intent.target == "eu"));
    let job = world.jobs.values().find(|job| job.intent.target == "eu").unwrap();
    assert!(
        matches!(&job.intent.work, JobWork::Backup { cluster_uid: Some(uid), .. } if uid == "eu-cluster"),
        "{:?}",
        job.intent
    );
}

#[test]
fn two_seeds_of_one_cluster_go_no_further_than_preflight() {
    let mut world = World::new();
    move_seed(&mut world, Some("master-cluster"));
    world.until(World::stalled);
    assert_eq!(world.phase(), Phase::Preflight);
    let message = world.message();
    for word in ["kubermatic", "eu", "same cluster", "master-cluster"] {
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(world.jobs.len(), 0);
    move_seed(&mut world, Some("eu-cluster"));
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn a_seed_that_was_replaced_is_named_and_a_retry_takes_the_new_one() {
    let mut world = World::new();
    world.until(|world| world.phase() == Phase::Backup && !world.status.targets.is_empty());
    let index = world
        .status
        .seed_clusters
        .iter()
        .position(|known| known.seed == "eu")
        .unwrap();
    // As if the run had begun with another Seed of this name.
    world.status.seed_clusters[index].seed_uid = "uid-of-the-old-one".to_owned();
    for _ in 0..60 {
        let _ = world.round();
        world.tick(Duration::from_secs(5));
    }
    assert_eq!(world.phase(), Phase::Backup);
    assert!(
        world.message().contains("uid-eu, was uid-of-the-old-one") && world.message().contains("abort and retry"),
        "{}",
        world.message()
    );
    world.object.abort = Some("now".to_owned());
    world.settle();
    assert_eq!(world.phase(), Phase::Aborted);
    world.object.retry = Some("now".to_owned());
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    assert_eq!(world.status.seed_clusters[index].seed_uid, "uid-eu");
}

#[test]
fn a_retry_with_another_cluster_makes_a_new_backup() {
    let mut world = World::new();
    world.until(|world| {
        let target = world.status.target("eu");
        world.phase() == Phase::Deploying && target.is_some_and(|target| target.backup.is_some())
    });
    world.object.abort = Some("now".to_owned());
    world.settle();
    move_seed(&mut world, Some("new-cluster"));
    world.object.retry = Some("now".to_owned());
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    let backups = world.jobs.len();
    let again = world
        .effects
        .iter()
        .filter(|effect| effect.contains("CreateJob"))
        .count();
    assert!(again >= 4, "{backups} {again} {:?}", world.effects);
    assert_eq!(known(&world), [("kubermatic", "master-cluster"), ("eu", "new-cluster")]);
}

#[test]
fn a_seed_that_was_never_identified_is_noted_when_it_is() {
    let mut world = World::new();
    world.until(|world| world.phase() == Phase::Deploying);
    world.status.seed_clusters.retain(|known| known.seed != "eu");
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    assert_eq!(known(&world), [("kubermatic", "master-cluster"), ("eu", "eu-cluster")]);
}
