//! Fixes: asked for, planned, made one after the other before the installer, and put back where they are temporary.

use serde_json::json;

use super::world::World;
use super::world_fixes::SimObject;
use crate::decide::StepName;
use crate::effect::Effect;
use crate::phase::Phase;

pub(super) const VERSION: &str = "cluster-version-unsupported";

pub(super) fn world(fixes: &[&str], objects: Vec<SimObject>) -> World {
    let mut world = World::new();
    world.spec(|spec| {
        spec.maximum_parallel_reconciles = Some(2);
        spec.fixes = fixes.iter().map(|rule| (*rule).to_owned()).collect();
    });
    world.fixable = objects;
    world
}

fn writes(world: &World) -> Vec<&str> {
    let writes = world.effects.iter().filter(|effect| effect.starts_with("WriteFix"));
    writes.map(String::as_str).collect()
}

fn at_step(world: &World, step: StepName) -> bool {
    world.status.step.as_ref().is_some_and(|at| at.name == step.to_string())
}

#[test]
fn without_consent_the_finding_blocks_and_says_that_there_is_a_fix() {
    let mut world = world(&[], vec![SimObject::cluster("eu/a", &["1.33.0"])]);
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Preflight, "PreflightBlocked")
    );
    assert_eq!(world.status.findings[0].fix.as_deref(), Some("available"));
    assert_eq!(writes(&world), Vec::<&str>::new());
}

#[test]
fn what_was_asked_for_is_mended_between_the_limit_and_the_installer() {
    let mut world = world(&[VERSION], vec![SimObject::cluster("eu/a", &["1.33.0"])]);
    world.until(|world| world.phase() == Phase::Backup);
    let plan = world.status.plan.clone().unwrap();
    assert_eq!((plan.findings.blockers, plan.findings.to_be_fixed), (0, 1));
    assert_eq!(world.status.findings[0].fix.as_deref(), Some("requested"));
    assert_eq!(world.status.findings[0].severity, "blocker");
    world.until(|world| world.did("WriteFix") == 1);
    assert!(world.did("SetThrottle") == 1 && world.did("CreateJob installer") == 0);
    let mark = world.fixable[0].marks[0].clone();
    assert_eq!(
        (mark.original, mark.applied),
        (Some(json!("1.32.13")), Some(json!("1.33.0")))
    );
    assert_eq!(world.status.fixing, ["cluster eu/a"], "told from the intent on");
    world.until(|world| world.message().contains("its control plane is at 1.32.13"));
    assert_eq!(world.status.fixing, ["cluster eu/a"]);
    assert_eq!(world.did("CreateJob installer"), 0);
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    assert_eq!(writes(&world), ["WriteFix cluster eu/a 1.33.0"]);
    assert_eq!(world.status.history[0].fixes, [format!("{VERSION}: 1")]);
    let change = &world.status.changes[0];
    assert_eq!(
        (change.original.as_str(), change.applied.as_str(), change.permanent),
        ("1.32.13", "1.33.0", true)
    );
    assert!(!world.status.owes() && world.status.fixing.is_empty());
}

#[test]
fn a_cluster_goes_minor_by_minor_and_keeps_its_first_version_in_the_note() {
    let mut world = world(&[VERSION], vec![SimObject::cluster("eu/a", &["1.33.0", "1.34.1"])]);
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    assert_eq!(
        writes(&world),
        ["WriteFix cluster eu/a 1.33.0", "WriteFix cluster eu/a 1.34.1"]
    );
    assert_eq!(world.fixable[0].marks.len(), 1);
    assert_eq!(world.fixable[0].marks[0].original, Some(json!("1.32.13")));
}

#[test]
fn no_more_clusters_than_the_limit_are_on_their_way() {
    let clusters = (0..7).map(|number| SimObject::cluster(&format!("eu/c{number}"), &["1.33.0"]));
    let mut world = world(&[VERSION], clusters.collect());
    // `write_fix` asserts the limit.
    world.until(|world| world.fixable.iter().filter(|object| object.moves.is_some()).count() == 2);
    world.settle();
    assert_eq!((world.phase(), world.did("WriteFix")), (Phase::Done, 7));
    assert_eq!(world.status.fixes[0].made, 7);
}

#[test]
fn without_a_limit_one_cluster_at_a_time_is_moved() {
    let clusters = (0..3).map(|number| SimObject::cluster(&format!("eu/c{number}"), &["1.33.0"]));
    let mut world = world(&[VERSION], clusters.collect());
    world.spec(|spec| spec.maximum_parallel_reconciles = None);
    world.settle();
    assert_eq!((world.phase(), world.did("WriteFix")), (Phase::Done, 3));
}

#[test]
fn hundreds_of_fixed_objects_fit_into_status() {
    let clusters = (0..60).map(|number| SimObject::cluster(&format!("eu/{}{number}", "c".repeat(60)), &["1.33.0"]));
    let mut world = world(&[VERSION], clusters.collect());
    world.settle();
    assert_eq!((world.phase(), world.did("WriteFix")), (Phase::Done, 60));
    assert!(world.status.changes.len() <= 20, "{}", world.status.changes.len());
    assert_eq!(world.status.changes.last().unwrap().object, "42 more");
    assert_eq!(world.status.fixes[0].made, 60);
}

#[test]
fn the_platform_comes_last() {
    let objects = vec![SimObject::gate(), SimObject::cluster("eu/a", &["1.33.0"])];
    let mut world = world(&[VERSION, "gateway-sync-off"], objects);
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    assert_eq!(
        writes(&world),
        ["WriteFix cluster eu/a 1.33.0", "WriteFix KubermaticConfiguration unset"]
    );
}

#[test]
fn a_fix_that_is_refused_blocks_and_says_why() {
    let mut object = SimObject::cluster("eu/a", &["1.33.0"]);
    object.refused = Some("its oldest node runs kubelet 1.29.1".to_owned());
    let mut world = world(&[VERSION], vec![object]);
    world.settle();
    assert_eq!(world.reason(), "PreflightBlocked");
    assert_eq!(world.status.findings[0].fix.as_deref(), Some("refused"));
    assert_eq!(world.did("WriteFix"), 0);
}

#[test]
fn a_refusal_of_the_server_stalls_with_its_words_and_goes_on_when_it_ends() {
    let mut world = world(&[VERSION], vec![SimObject::cluster("eu/a", &["1.33.0"])]);
    world.until(|world| at_step(world, StepName::Prepare));
    (world.refused, world.refusal_stands) = (Some("403 Forbidden: denied the request".to_owned()), true);
    for _ in 0..20 {
        drop(world.round());
    }
    assert_eq!(world.reason(), "FixRefused");
    for part in ["cluster eu/a", ".spec.version", "denied the request"] {
        assert!(world.message().contains(part), "{}", world.message());
    }
    (world.refused, world.refusal_stands) = (None, false);
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn any_other_error_is_tried_again() {
    let mut world = world(&[VERSION], vec![SimObject::cluster("eu/a", &["1.33.0"])]);
    world.until(|world| at_step(world, StepName::Prepare));
    world.refused = Some("no answer within 20 s".to_owned());
    for _ in 0..5 {
        drop(world.round());
    }
    assert_eq!(world.reason(), "Retrying");
    world.refused = None;
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn a_person_who_takes_a_fix_back_is_not_written_over() {
    let mut world = world(&[VERSION], vec![SimObject::cluster("eu/a", &["1.33.0"])]);
    world.until(|world| !world.status.fixing.is_empty());
    world.human_writes(0, Some(json!("1.32.12")));
    world.fixable[0].moves = None;
    for _ in 0..30 {
        drop(world.round());
    }
    assert_eq!((world.reason().as_str(), world.did("WriteFix")), ("FixContested", 1));
    assert!(world.message().contains("1.32.12"), "{}", world.message());
    world.human_writes(0, Some(json!("1.33.0")));
    world.settle();
    assert_eq!((world.phase(), world.did("WriteFix")), (Phase::Done, 1));
}

#[test]
fn a_stale_write_loses_and_is_decided_again() {
    let mut world = world(&[VERSION], vec![SimObject::cluster("eu/a", &["1.33.0"])]);
    loop {
        let decision = world.decide();
        world.record(&decision);
        if matches!(decision.effect, Some(Effect::WriteFix(_))) {
            world.fixable[0].revision += 1; // somebody writes a label
            world.carry_out(decision.effect.as_ref().unwrap());
            break;
        }
        if let Some(effect) = &decision.effect {
            world.carry_out(effect);
        }
        world.tick(std::time::Duration::from_secs(10));
    }
    assert_eq!(world.fixable[0].value, Some(json!("1.32.13")));
    world.settle();
    assert_eq!((world.phase(), world.did("WriteFix")), (Phase::Done, 2));
}

#[test]
fn a_cluster_that_never_arrives_stalls_the_run_and_starts_no_installer() {
    let mut world = world(&[VERSION], vec![SimObject::cluster("eu/a", &["1.33.0"])]);
    world.until(|world| world.did("WriteFix") == 1);
    world.fixable[0].moves = Some(1_000_000);
    world.until(World::stalled);
    assert_eq!(world.reason(), "ProgressDeadlineExceeded");
    assert_eq!(world.did("CreateJob installer"), 0);
    world.fixable[0].moves = None;
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn a_cluster_that_comes_up_before_the_installer_is_mended_too() {
    let mut world = world(&[VERSION], vec![]);
    world.until(|world| at_step(world, StepName::Master));
    world.fixable.push(SimObject::cluster("eu/late", &["1.33.0"]));
    world.settle();
    assert_eq!((world.phase(), world.did("WriteFix")), (Phase::Done, 1));
    let position = |word: &str| world.effects.iter().position(|effect| effect.starts_with(word));
    assert!(position("WriteFix") < position("CreateJob installer"));
}

#[test]
fn consent_that_is_taken_back_before_the_write_blocks_again() {
    let mut world = world(&[VERSION], vec![SimObject::cluster("eu/a", &["1.33.0"])]);
    world.until(|world| at_step(world, StepName::Prepare));
    world.spec(|spec| spec.fixes.clear());
    world.until(World::stalled);
    assert_eq!(
        (world.reason().as_str(), world.did("WriteFix")),
        ("PreflightBlocked", 0)
    );
}

#[test]
fn another_blocker_keeps_fixes_from_being_made() {
    let mut world = world(&[VERSION], vec![SimObject::cluster("eu/a", &["1.33.0"])]);
    world.until(|world| at_step(world, StepName::Prepare));
    world.findings = crate::facts::Known::Is(vec![super::world::finding(false)]);
    world.until(World::stalled);
    assert_eq!(
        (world.reason().as_str(), world.did("WriteFix")),
        ("PreflightBlocked", 0)
    );
}

#[test]
fn the_plan_is_the_same_whatever_the_clusters_are_called_and_another_with_a_fix() {
    let digest = |fixes: &[&str], name: &str| {
        let mut world = world(fixes, vec![SimObject::cluster(name, &["1.33.0"])]);
        world.until(|world| world.status.plan.is_some());
        world.status.plan.unwrap().digest
    };
    assert_eq!(digest(&[VERSION], "eu/a"), digest(&[VERSION], "eu/b"));
    assert_ne!(digest(&[VERSION], "eu/a"), digest(&[], "eu/a"));
}

#[test]
fn a_pause_between_fixes_stops_the_next_one_and_reads_no_rules() {
    let clusters = (0..3).map(|number| SimObject::cluster(&format!("eu/c{number}"), &["1.33.0"]));
    let mut world = world(&[VERSION], clusters.collect());
    world.until(|world| world.did("WriteFix") == 1);
    world.spec(|spec| spec.paused = true);
    for _ in 0..20 {
        drop(world.round());
        world.tick(std::time::Duration::from_secs(10));
    }
    assert_eq!((world.reason().as_str(), world.did("WriteFix")), ("Paused", 1));
    let needs = crate::decide::needs(world.request.as_ref().ok(), &world.status, &world.object);
    assert!(needs.marked && needs.rules.is_none());
    world.spec(|spec| spec.paused = false);
    world.settle();
    assert_eq!((world.phase(), world.did("WriteFix")), (Phase::Done, 3));
}

#[test]
fn a_seed_that_leads_elsewhere_is_never_written_to() {
    let mut world = world(&[VERSION], vec![SimObject::cluster("eu/a", &["1.33.0"])]);
    world.until(|world| at_step(world, StepName::Prepare));
    world.seeds[1].cluster = Some("another-cluster".to_owned());
    for _ in 0..10 {
        drop(world.round());
    }
    assert_eq!(world.did("WriteFix"), 0);
    assert!(world.message().contains("another cluster"), "{}", world.message());
    world.seeds[1].cluster = Some("eu-cluster".to_owned());
    world.settle();
    assert_eq!((world.phase(), world.did("WriteFix")), (Phase::Done, 1));
}

#[test]
fn a_blocker_that_came_and_went_leaves_no_trace_when_a_fix_is_made() {
    let mut world = world(&[VERSION], vec![SimObject::cluster("eu/a", &["1.33.0"])]);
    world.until(|world| at_step(world, StepName::Prepare));
    world.findings = crate::facts::Known::Is(vec![super::world::finding(false)]);
    world.until(World::stalled);
    world.findings = crate::facts::Known::Is(Vec::new());
    world.until(|world| world.did("WriteFix") == 1);
    assert!(world.status.is_true(crate::conditions::ConditionType::PreflightPassed));
}
