//! What is refused, and what has to wait.

use jiff::SignedDuration;

use super::world::{FROM, Outcome, TO, UID, World, finding};
use crate::conditions::ConditionType;
use crate::facts::{Known, LeaseFacts, OtherUpgrade};
use crate::phase::Phase;
use crate::request::{Mode, SpecError};
use crate::version::KkpVersion;

fn other(name: &str, created: jiff::Timestamp) -> OtherUpgrade {
    OtherUpgrade {
        uid: format!("uid-{name}"),
        name: name.to_owned(),
        created,
        waits_for_queue: false,
        terminal: false,
        hop_seconds: Vec::new(),
    }
}

#[test]
fn a_blocker_stalls_at_once_and_its_end_lets_the_run_go_on() {
    let mut world = World::new();
    world.findings = Known::Is(vec![finding(false)]);
    let began = world.now;
    world.until(World::stalled);
    assert!(world.now.duration_since(began) < SignedDuration::from_secs(30));
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Preflight, "PreflightBlocked")
    );
    assert!(
        world.message().contains("cluster-version-unsupported"),
        "{}",
        world.message()
    );
    assert!(
        world.message().ends_with("where the rule allows it"),
        "{}",
        world.message()
    );
    assert_eq!(world.effects, ["WritePlan"]);
    world.findings = Known::Is(Vec::new());
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn a_blocker_that_came_after_preflight_and_went_again_leaves_no_trace_in_what_follows() {
    for phase in [Phase::Backup, Phase::Deploying] {
        let mut world = World::new();
        world.until(|world| world.phase() == phase);
        world.findings = Known::Is(vec![finding(false)]);
        world.until(World::stalled);
        assert!(!world.status.is_true(ConditionType::PreflightPassed));
        world.findings = Known::Is(Vec::new());
        world.until(|world| world.did("CreateJob installer") > 0);
        assert!(world.status.is_true(ConditionType::PreflightPassed), "{phase}");
        world.settle();
        assert_eq!(world.phase(), Phase::Done);
    }
}

#[test]
fn blockers_that_rest_on_unread_facts_are_retried_for_a_minute() {
    let mut world = World::new();
    world.findings = Known::Is(vec![finding(true)]);
    world.until(|world| world.reason() == "Retrying");
    let began = world.now;
    world.until(World::stalled);
    let waited = world.now.duration_since(began);
    assert!(
        waited >= SignedDuration::from_secs(60) && waited <= SignedDuration::from_secs(80),
        "{waited}"
    );
    assert_eq!(world.reason(), "PreflightBlocked");
}

#[test]
fn unread_rules_never_let_anything_through() {
    let mut world = World::new();
    world.findings = Known::Unknown("429".to_owned());
    world.until(|world| world.reason() == "Retrying");
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Preflight, "PreflightBlocked")
    );
    assert!(world.effects.is_empty());
    for late in [Phase::Backup, Phase::Deploying] {
        let mut world = World::new();
        world.until(|world| world.phase() == late);
        world.findings = Known::Unknown("429".to_owned());
        world.settle();
        assert_eq!((world.phase(), world.did("CreateJob installer")), (late, 0));
    }
}

#[test]
fn place_spec_and_direction_are_refused_without_a_trace() {
    let mut elsewhere = World::new();
    elsewhere.namespace = Known::Is("kkp".to_owned());
    let mut invalid = World::new();
    invalid.request = Err(SpecError {
        field: "targetVersion".to_owned(),
        problem: "is no version".to_owned(),
    });
    let mut older = World::new();
    older.version = Some(KkpVersion::new(2, 32, 0));
    for (mut world, reason) in [
        (elsewhere, "WrongNamespace"),
        (invalid, "InvalidSpec"),
        (older, "DowngradeNotSupported"),
    ] {
        world.settle();
        assert_eq!(
            (world.phase(), world.reason().as_str(), world.stalled()),
            (Phase::Pending, reason, true)
        );
        assert!(world.effects.is_empty() && !world.object.finalizer);
        assert_eq!(world.status.observed_generation, 1);
    }
}

#[test]
fn plan_mode_writes_the_plan_and_nothing_else() {
    let mut world = World::new();
    world.spec(|spec| spec.mode = Mode::Plan);
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Preflight, "PlanReady")
    );
    assert_eq!(world.effects, ["WritePlan"]);
    assert!(!world.object.finalizer);
    world.findings = Known::Is(vec![finding(false)]);
    world.settle();
    assert_eq!(world.reason(), "PreflightBlocked");
    assert_eq!(world.effects, ["WritePlan", "WritePlan"]);
}

#[test]
fn a_platform_that_is_already_there_is_done_without_a_change() {
    let mut world = World::new();
    world.version = Some(TO);
    world.since_install = Some(9);
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Done, "AlreadyAtTarget")
    );
    assert!(world.effects.is_empty());
}

#[test]
fn a_master_that_is_already_there_is_not_installed_again_while_clusters_converge() {
    let mut world = World::new();
    world.version = Some(TO);
    for _ in 0..10 {
        world.since_install = Some(1); // only the master
        let _ = world.round();
    }
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Preflight, "ConvergingUserClusters")
    );
    assert!(
        world.message().contains("the master already runs"),
        "{}",
        world.message()
    );
    world.since_install = Some(9);
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Done, "AlreadyAtTarget")
    );
    assert!(world.effects.is_empty());
}

#[test]
fn a_version_that_the_platform_only_claims_is_not_done() {
    let mut world = World::new();
    world.version = Some(TO);
    world.until(|world| world.phase() == Phase::Backup);
    assert_eq!(world.did("WritePlan"), 1);
}

#[test]
fn the_older_one_and_the_holder_come_first() {
    let mut world = World::new();
    let mut older = other("older", world.now.checked_sub(SignedDuration::from_secs(5)).unwrap());
    older.waits_for_queue = true;
    world.others = Known::Is(vec![older.clone()]);
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Preflight, "AnotherUpgradeRunning")
    );
    assert!(world.message().contains("`older`"));
    older.waits_for_queue = false;
    world.others = Known::Is(vec![older.clone()]);
    world.lease = LeaseFacts {
        resource_version: Some("7".to_owned()),
        holder: Some(older.uid.clone()),
    };
    world.settle();
    assert_eq!(world.reason(), "AnotherUpgradeRunning");
    older.terminal = true;
    world.others = Known::Is(vec![older]);
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn a_younger_one_waits_behind_and_a_vanished_holder_is_taken_over() {
    let mut world = World::new();
    let mut younger = other("younger", world.now.checked_add(SignedDuration::from_secs(5)).unwrap());
    younger.waits_for_queue = true;
    world.others = Known::Is(vec![younger]);
    world.lease = LeaseFacts {
        resource_version: Some("7".to_owned()),
        holder: Some("vanished".to_owned()),
    };
    world.until(|world| world.phase() == Phase::Backup);
    assert_eq!(world.lease.holder.as_deref(), Some(UID));
}

#[test]
fn an_unreadable_queue_waits() {
    let mut world = World::new();
    world.others = Known::Unknown("forbidden".to_owned());
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Preflight, "PreflightBlocked")
    );
    assert_eq!(world.did("AcquireLease"), 0);
    world.others = Known::Is(Vec::new());
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn who_is_paused_or_blocked_after_taking_the_lease_gives_it_back() {
    for blocked in [true, false] {
        let mut world = World::new();
        world.until(|world| world.lease.holder.is_some());
        if blocked {
            world.findings = Known::Is(vec![finding(false)]);
        } else {
            world.spec(|spec| spec.paused = true);
        }
        world.settle();
        assert_eq!((world.phase(), world.lease.holder.as_deref()), (Phase::Preflight, None));
    }
}

#[test]
fn a_backup_that_fails_thrice_fails_the_run_before_any_change() {
    let mut world = World::new();
    world.backup = Outcome::FailsEarly;
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Failed, "BackupFailed")
    );
    assert_eq!(world.did("CreateJob backup master"), 3);
    assert_eq!(world.did("SetThrottle") + world.did("CreateJob installer"), 0);
    assert!(world.jobs.is_empty() && world.lease.holder.is_none() && !world.object.finalizer);
    assert_eq!(
        world.status.failed_in.as_ref().map(|failed| failed.phase.as_str()),
        Some("Backup")
    );
    assert_eq!(world.status.current_version, Some(FROM.to_string()));
    // A retry gets the full number of attempts again.
    world.object.retry = Some("again".to_owned());
    world.settle();
    assert_eq!(
        (world.phase(), world.did("CreateJob backup master")),
        (Phase::Failed, 6)
    );
}

#[test]
fn a_seed_that_an_ended_run_left_without_backup_is_backed_up_by_the_retry() {
    let mut world = World::new();
    world.until(|world| {
        world
            .status
            .target("master")
            .is_some_and(|master| master.backup.is_some())
    });
    world.backup = Outcome::FailsEarly;
    world.settle();
    assert_eq!(world.phase(), Phase::Failed);
    world.backup = Outcome::Good;
    world.object.retry = Some("again".to_owned());
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    assert!(world.status.target("eu").is_some_and(|eu| eu.backup.is_some()));
}

#[test]
fn a_seed_that_cannot_be_identified_is_not_skipped() {
    let mut world = World::new();
    world.seeds[1].cluster = None;
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Backup, "ProgressDeadlineExceeded")
    );
    assert!(world.message().contains("seed `eu`"));
}
