//! Etcd backups of user clusters: how many at once, what fails, who accepts, and what no crash may repeat.

use super::world::{Outcome, UID, World};
use super::world_etcd::{Answer, SimEtcd};
use crate::etcd::FAILED_RULE;
use crate::phase::Phase;
use crate::request::AcceptedRisk;
use crate::status::EtcdCounts;

const CLUSTERS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

fn world() -> World {
    let mut world = World::new();
    world.etcd = SimEtcd::with(&CLUSTERS);
    world
}

fn counts(world: &World, seed: &str) -> Option<EtcdCounts> {
    world.status.target(seed).and_then(|target| target.etcd_backups)
}

fn asked(world: &World) -> usize {
    world.did("CreateEtcdBackups")
}

#[test]
fn every_user_cluster_has_a_backup_before_the_limit_is_touched() {
    let mut world = world();
    world.timing.etcd_backups_in_parallel = 3;
    world.until(|world| world.did("SetThrottle") > 0);
    let wanted = EtcdCounts {
        total: 7,
        completed: 7,
        ..EtcdCounts::default()
    };
    assert_eq!([counts(&world, "kubermatic"), counts(&world, "eu")], [Some(wanted); 2]);
    assert_eq!((world.etcd.made(), world.etcd.most), (14, 3));
    world.settle();
    assert_eq!((world.phase(), world.etcd.made()), (Phase::Done, 14));
}

#[test]
fn nothing_is_asked_for_where_nobody_wants_it_or_no_seed_has_a_destination() {
    let mut nowhere = world();
    nowhere.etcd.destination = None;
    let mut disabled = world();
    disabled.spec(|request| request.backup.user_cluster_etcd = false);
    let mut skipped = world();
    skipped.spec(|request| request.backup.required = false);
    for mut world in [nowhere, disabled, skipped] {
        world.until(|world| world.phase() == Phase::Deploying);
        assert_eq!((asked(&world), counts(&world, "eu")), (0, None));
    }
}

#[test]
fn paused_clusters_are_left_out_also_while_they_are_waited_for() {
    let mut world = world();
    world.etcd.paused.insert("b".to_owned());
    world.etcd.answers.insert("a".to_owned(), Answer::Never);
    world.until(|world| counts(world, "eu").is_some_and(|counts| counts.completed == 5));
    assert_eq!(counts(&world, "eu").map(|counts| counts.left_out), Some(1));
    world.etcd.paused.insert("a".to_owned());
    world.until(|world| world.phase() == Phase::Deploying);
}

#[test]
fn a_failed_backup_is_tried_once_more_under_another_name() {
    let mut world = world();
    world.etcd.answers.insert("c".to_owned(), Answer::GoodAfter(1));
    world.until(|world| world.phase() == Phase::Deploying);
    assert_eq!(world.did("CreateEtcdBackups eu c#2"), 1);
    assert_eq!(world.etcd.made(), 16);
}

#[test]
fn what_fails_in_every_attempt_ends_the_run_by_name_and_a_retry_tries_again() {
    let mut world = world();
    world.etcd.answers.insert("c".to_owned(), Answer::GoodAfter(2));
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Failed, "EtcdBackupFailed")
    );
    assert!(world.message().contains("/c"), "{}", world.message());
    assert!(world.message().contains("no bucket"), "{}", world.message());
    assert_eq!(
        (
            world.did("SetThrottle"),
            counts(&world, "eu").map(|counts| counts.failed)
        ),
        (0, Some(1))
    );
    world.object.retry = Some("1".to_owned());
    world.settle();
    assert_eq!((world.phase(), world.did("CreateEtcdBackups eu c#3")), (Phase::Done, 1));
    assert_eq!(world.etcd.made(), 14 + 4, "what was completed is not made again");
}

#[test]
fn what_never_begins_ends_after_its_time() {
    let mut world = world();
    world.etcd.answers.insert("c".to_owned(), Answer::Never);
    world.spec(|request| request.progress_deadline = std::time::Duration::from_hours(9));
    world.until(|world| world.phase() == Phase::Failed);
    assert!(
        world.message().contains("not completed within 1200 s"),
        "{}",
        world.message()
    );
}

#[test]
fn a_failed_backup_can_be_accepted_for_one_cluster_or_all_until_an_end() {
    let risk = |targets: &[&str], hours: i64, world: &World| AcceptedRisk {
        rule: FAILED_RULE.to_owned(),
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        reason: "rebuilt tomorrow".to_owned(),
        expiration_time: world.now + jiff::SignedDuration::from_hours(hours),
    };
    for (targets, hours, wanted) in [
        (&[][..], 100, Phase::Done),
        (&["cluster eu/c", "kubermatic/c"], 100, Phase::Done),
        (&["cluster eu/c"], 100, Phase::Failed),
        (&[], 0, Phase::Failed),
    ] {
        let mut world = world();
        world.etcd.answers.insert("c".to_owned(), Answer::GoodAfter(9));
        let risk = risk(targets, hours, &world);
        world.spec(|request| request.accepted_risks = vec![risk]);
        world.settle();
        assert_eq!(world.phase(), wanted, "{targets:?} {hours}");
    }
}

#[test]
fn a_broken_bucket_ends_the_run_before_every_cluster_was_tried() {
    let mut world = world();
    let names: Vec<String> = (0..200).map(|n| format!("c{n:03}")).collect();
    for name in &names {
        world.etcd.answers.insert(name.clone(), Answer::GoodAfter(9));
    }
    world.etcd.clusters = names;
    world.settle();
    assert_eq!(world.phase(), Phase::Failed);
    assert!(world.etcd.made() < 100, "{}", world.etcd.made());
}

#[test]
fn a_seed_that_cannot_be_listed_is_waited_for_and_the_others_go_on() {
    let mut world = world();
    world.etcd.unreadable.insert("eu".to_owned());
    world.until(|world| counts(world, "kubermatic").is_some_and(|counts| counts.completed == 7));
    world.until(World::stalled);
    assert!(world.message().contains("seed eu"), "{}", world.message());
    assert_eq!(world.phase(), Phase::Backup);
    world.etcd.unreadable.clear();
    world.until(|world| world.phase() == Phase::Deploying);
}

#[test]
fn a_crash_before_or_after_any_effect_asks_for_nothing_twice() {
    for lost in 0..8 {
        let mut world = world();
        world.timing.etcd_backups_in_parallel = 2;
        world.until(|world| {
            world
                .status
                .step
                .as_ref()
                .is_some_and(|step| step.name == "EtcdBackups")
        });
        for round in 0..40 {
            if world.phase() != Phase::Backup {
                break;
            }
            let decision = world.decide();
            let kept = world.status.clone();
            if let Some(effect) = &decision.effect {
                world.carry_out(effect);
            }
            world.record(&decision);
            if round % 8 == lost {
                // The effect happened, and status is as if it had not.
                world.status = kept;
            }
            world.tick(std::time::Duration::from_secs(10));
        }
        world.until(|world| world.phase() == Phase::Deploying);
        assert_eq!((world.etcd.made(), world.etcd.most), (14, 2), "lost {lost}");
    }
}

#[test]
fn a_pause_begins_nothing_new() {
    let mut world = world();
    world.timing.etcd_backups_in_parallel = 1;
    world.until(|world| world.etcd.made() == 2);
    world.spec(|request| request.paused = true);
    world.settle();
    assert_eq!((world.reason().as_str(), world.etcd.made()), ("Paused", 2));
    world.spec(|request| request.paused = false);
    world.until(|world| world.phase() == Phase::Deploying);
}

#[test]
fn another_run_has_other_names() {
    let mut world = world();
    world.installer = Outcome::FailsEarly;
    world.settle();
    let before = world.etcd.made();
    assert_eq!((world.phase(), before), (Phase::Failed, 14));
    world.installer = Outcome::Good;
    world.spec(|request| request.edition = Some(crate::request::Edition::CE));
    world.settle();
    assert_eq!((world.phase(), world.etcd.made()), (Phase::Done, 28), "{UID}");
}
