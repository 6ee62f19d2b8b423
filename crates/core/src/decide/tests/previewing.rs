//! Previews: what is said without changing anything is what the operator does.

use super::world::{World, finding};
use crate::conditions::ConditionType;
use crate::decide::{Preview, preview, preview_basis};
use crate::facts::{Facts, Known, LeaseFacts, OtherUpgrade};
use crate::phase::Phase;
use crate::rules::Severity;
use crate::status::Ending;

/// A preview of the world as it is; `None` while a run is under way.
fn look(world: &World) -> Option<Preview> {
    let mut basis = preview_basis(world.request.as_ref().ok(), &world.status)?;
    loop {
        let mut seen = World {
            status: basis.clone(),
            object: crate::decide::preview::without_commands(&world.object),
            ..world.clone()
        };
        let facts = Facts {
            object: world.object.clone(),
            ..seen.facts()
        };
        let preview = preview(world.request.as_ref(), basis.clone(), &facts, &world.timing);
        if !preview.goes_on(&basis) {
            return Some(preview);
        }
        basis = preview.status;
    }
}

fn reason(preview: &Preview) -> String {
    preview.status.condition(ConditionType::Ready).unwrap().reason.clone()
}

#[test]
fn the_plan_is_the_one_that_the_operator_makes() {
    let mut world = World::new();
    let before = look(&world).unwrap();
    assert!(before.begins && before.blocked.is_none(), "{before:?}");
    world.until(|world| world.status.plan.is_some());
    let digest = world.status.plan.as_ref().unwrap().digest.clone();
    assert_eq!(before.plan.unwrap().digest(), digest);
    // Beside the operator's own status, too.
    assert_eq!(look(&world).unwrap().plan.unwrap().digest(), digest);
}

#[test]
fn a_blocker_is_told_whether_or_not_it_may_pass() {
    for unknown in [false, true] {
        let mut world = World::new();
        world.findings = Known::Is(vec![finding(unknown)]);
        let preview = look(&world).unwrap();
        assert!(!preview.begins);
        assert!(
            preview.blocked.unwrap().starts_with("cluster-version-unsupported: "),
            "{unknown}"
        );
        assert!(preview.plan.is_some());
    }
}

#[test]
fn it_says_what_is_waited_for() {
    let mut world = World::new();
    world.spec(|request| request.approval.manual = true);
    let asked = look(&world).unwrap();
    assert_eq!((reason(&asked).as_str(), asked.begins), ("AwaitingApproval", false));
    world.object.approve = asked.status.plan.map(|plan| plan.digest);
    assert!(look(&world).unwrap().begins);

    let mut world = World::new();
    world.spec(|request| request.paused = true);
    assert_eq!(reason(&look(&world).unwrap()), "Paused");

    let mut world = World::new();
    world.lease = LeaseFacts {
        resource_version: Some("1".to_owned()),
        holder: Some("other".to_owned()),
    };
    world.others = Known::Is(vec![OtherUpgrade {
        uid: "other".to_owned(),
        name: "first".to_owned(),
        created: world.now,
        waits_for_queue: false,
        terminal: false,
        hop_seconds: Vec::new(),
    }]);
    assert_eq!(reason(&look(&world).unwrap()), "AnotherUpgradeRunning");
}

#[test]
fn a_platform_at_the_target_an_older_target_and_a_broken_spec_need_no_plan() {
    let mut world = World::new();
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    let done = look(&world).unwrap();
    assert_eq!((reason(&done).as_str(), done.plan), ("AlreadyAtTarget", None));

    let mut world = World::new();
    world.version = Some(crate::version::KkpVersion::new(2, 32, 0));
    assert_eq!(reason(&look(&world).unwrap()), "DowngradeNotSupported");

    let mut world = World::new();
    world.request = Err(crate::request::SpecError {
        field: "targetVersion".to_owned(),
        problem: "no version".to_owned(),
    });
    assert_eq!(reason(&look(&world).unwrap()), "InvalidSpec");
}

#[test]
fn commands_are_not_obeyed_and_a_failed_run_is_looked_at_as_after_a_retry() {
    let mut world = World::new();
    world.object.abort = Some("now".to_owned());
    assert!(look(&world).unwrap().begins);

    let mut world = World::new();
    world.until(|world| world.status.plan.is_some());
    let path = world.status.path.clone();
    world.status.phase = Some(Phase::Failed.to_string());
    world.object.abort = None;
    let retried = look(&world).unwrap();
    assert_eq!(retried.status.path, path);
    assert!(retried.plan.is_some());
}

#[test]
fn a_run_under_way_is_past_asking() {
    let mut world = World::new();
    world.until(|world| world.phase() == Phase::Backup);
    assert_eq!(look(&world), None);
    let mut world = World::new();
    world.status.ending = Some(Ending::default());
    assert_eq!(look(&world), None);
}

#[test]
fn a_warning_blocks_nothing_and_is_part_of_the_plan() {
    let mut world = World::new();
    let warning = crate::rules::Finding {
        severity: Severity::Warning,
        ..finding(false)
    };
    world.findings = Known::Is(vec![warning]);
    let preview = look(&world).unwrap();
    assert!(preview.begins);
    assert_eq!(preview.plan.unwrap().findings.len(), 1);
}
