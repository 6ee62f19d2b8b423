//! Consent: `approval.mode: Manual` waits for exactly the plan that somebody approved.

use super::world::{World, finding};
use crate::conditions::ConditionType;
use crate::facts::Known;
use crate::phase::Phase;
use crate::request::Mode;
use crate::rules::{Finding, Severity};

fn manual() -> World {
    let mut world = World::new();
    world.spec(|request| request.approval.manual = true);
    world
}

fn waiting() -> World {
    let mut world = manual();
    world.until(|world| world.reason() == "AwaitingApproval");
    world.settle();
    world
}

fn digest(world: &World) -> String {
    world.status.plan.as_ref().unwrap().digest.clone()
}

fn warning() -> Finding {
    Finding {
        severity: Severity::Warning,
        rule: "another-rule".to_owned(),
        ..finding(false)
    }
}

#[test]
fn without_consent_nothing_is_changed_and_nothing_is_held() {
    let world = waiting();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Preflight, "AwaitingApproval")
    );
    assert_eq!(world.effects, ["WritePlan"]);
    assert_eq!(world.lease.holder, None);
    assert!(!world.stalled());
    let plan = world.status.plan.clone().unwrap();
    let awaiting = plan.awaiting.unwrap();
    assert_eq!(
        (awaiting.hop.as_str(), awaiting.digest),
        ("2.30.3 → 2.31.0", plan.digest.clone())
    );
    assert_eq!(
        world.status.condition(ConditionType::Approved).unwrap().status,
        "Unknown"
    );
    assert!(world.message().contains(&plan.digest), "{}", world.message());
    assert!(
        world.message().ends_with("in spec.approval.digests"),
        "{}",
        world.message()
    );
}

#[test]
fn the_digest_in_git_or_by_annotation_lets_the_run_go_on_and_history_says_who() {
    for by_annotation in [true, false] {
        let mut world = waiting();
        let digest = digest(&world);
        if by_annotation {
            world.object.approve = Some(digest.clone());
            world.object.approve_manager = Some("kubectl-annotate".to_owned());
        } else {
            world.spec(|request| request.approval.digests = vec!["sha256:0".to_owned(), digest.clone()]);
        }
        world.settle();
        assert_eq!(world.phase(), Phase::Done, "{by_annotation}");
        assert_eq!(
            world.status.last_handled_approve,
            by_annotation.then_some(digest.clone())
        );
        let entry = &world.status.history[0];
        let by = entry.approved_by.clone().unwrap();
        let expected = if by_annotation {
            "annotation upgrade.k8c.io/approve, written by kubectl-annotate"
        } else {
            "spec.approval.digests"
        };
        assert_eq!((by.as_str(), entry.plan_digest.as_ref()), (expected, Some(&digest)));
        assert!(
            world
                .status
                .plan
                .as_ref()
                .unwrap()
                .approved_by
                .as_ref()
                .unwrap()
                .time
                .is_some()
        );
    }
}

#[test]
fn the_digest_of_another_plan_is_no_consent() {
    let mut world = waiting();
    world.object.approve = Some(format!("sha256:{}", "0".repeat(64)));
    world.settle();
    assert_eq!(world.reason(), "AwaitingApproval");
    assert!(world.message().contains("another plan"), "{}", world.message());
    assert_eq!(world.effects, ["WritePlan"]);
}

#[test]
fn a_plan_that_changes_before_the_run_begins_has_to_be_approved_anew_and_status_says_what_changed() {
    let mut world = waiting();
    // Somebody else has the platform, so that the approved run waits.
    world.lease.resource_version = Some("1".to_owned());
    world.lease.holder = Some("uid-other".to_owned());
    world.others = Known::Is(vec![crate::facts::OtherUpgrade {
        uid: "uid-other".to_owned(),
        name: "other".to_owned(),
        created: world.object.created,
        waits_for_queue: false,
        terminal: false,
        hop_seconds: Vec::new(),
    }]);
    let approved = digest(&world);
    world.object.approve = Some(approved.clone());
    world.until(|world| world.reason() == "AnotherUpgradeRunning");
    assert!(world.status.is_true(ConditionType::Approved));
    world.findings = Known::Is(vec![warning()]);
    world.spec(|request| request.maximum_parallel_reconciles = Some(7));
    world.until(|world| world.reason() == "AwaitingApproval");
    assert!(
        world.message().contains("(limit, master, findings)"),
        "{}",
        world.message()
    );
    assert!(!world.status.is_true(ConditionType::Approved));
    // The very plan that was approved is approved.
    world.findings = Known::Is(Vec::new());
    world.spec(|request| request.maximum_parallel_reconciles = Some(3));
    world.until(|world| world.reason() == "AnotherUpgradeRunning");
    assert_eq!(digest(&world), approved);
}

#[test]
fn consent_by_annotation_stays_when_the_annotation_goes_and_consent_by_git_goes_with_its_entry() {
    for by_annotation in [true, false] {
        let mut world = waiting();
        world.spec(|request| request.paused = true);
        let digest = digest(&world);
        if by_annotation {
            world.object.approve = Some(digest);
        } else {
            world.spec(|request| request.approval.digests = vec![digest]);
        }
        world.until(|world| world.status.is_true(ConditionType::Approved));
        world.object.approve = None;
        world.spec(|request| request.approval.digests.clear());
        world.spec(|request| request.paused = false);
        world.settle();
        let expected = if by_annotation { Phase::Done } else { Phase::Preflight };
        assert_eq!(world.phase(), expected);
    }
}

#[test]
fn a_plan_alone_needs_no_consent_and_a_blocker_comes_first() {
    let mut world = manual();
    world.spec(|request| request.mode = Mode::Plan);
    world.settle();
    assert_eq!(world.reason(), "PlanReady");
    let mut world = manual();
    world.findings = Known::Is(vec![finding(false)]);
    world.settle();
    assert_eq!(world.reason(), "PreflightBlocked");
    assert!(world.status.plan.as_ref().unwrap().awaiting.is_none());
}

#[test]
fn an_abort_ends_the_waiting() {
    let mut world = waiting();
    world.object.abort = Some("1".to_owned());
    world.settle();
    assert_eq!((world.phase(), world.effects.len()), (Phase::Aborted, 1));
}
