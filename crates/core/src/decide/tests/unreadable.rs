//! What this operator cannot read: status of another version, a spec that broke in mid-run, clocks that are wrong.

use std::time::Duration;

use jiff::SignedDuration;

use super::world::{Outcome, World, finding};
use crate::facts::{Fence, Known, WaitingPod};
use crate::phase::Phase;
use crate::request::SpecError;
use crate::rules::{Finding, Severity};
use crate::status::CatalogueStatus;

fn broken_spec() -> SpecError {
    SpecError {
        field: "acceptedRisks[0].rule".to_owned(),
        problem: "is no rule".to_owned(),
    }
}

#[test]
fn an_unknown_phase_or_step_stops_the_run_where_it_is_and_can_be_aborted() {
    for unknown_phase in [true, false] {
        let mut world = World::new();
        world.installer = Outcome::Hangs;
        world.until(|world| world.fences.values().any(|fence| *fence == Fence::Pod));
        let known = world.status.clone();
        if unknown_phase {
            world.status.phase = Some("Rehearsing".to_owned());
        } else {
            world.status.step.as_mut().unwrap().name = "Rehearse".to_owned();
        }
        let effects = world.effects.len();
        let unknown = (world.status.phase.clone(), world.status.step.clone());
        world.settle();
        assert_eq!(world.reason(), "UnknownStatus");
        assert!(world.message().contains("Rehears"), "{}", world.message());
        assert_eq!(world.effects.len(), effects, "{:?}", world.effects);
        assert_eq!((world.status.phase.clone(), world.status.step.clone()), unknown);
        let mut back = world.clone();
        (back.status.phase, back.status.step) = (known.phase, known.step);
        back.installer = Outcome::Good;
        back.settle();
        assert_eq!(back.phase(), Phase::Done, "whoever knows it goes on");
        world.installer = Outcome::Good;
        world.object.abort = Some("now".to_owned());
        world.settle();
        assert_eq!(world.phase(), Phase::Aborted);
        assert_eq!(world.starts.values().sum::<u32>(), 1);
    }
}

#[test]
fn a_spec_that_breaks_in_mid_run_says_so_and_what_runs_is_followed_afterwards() {
    for phase in [Phase::Backup, Phase::Deploying, Phase::Verifying] {
        let mut world = World::new();
        world.until(|world| world.phase() == phase);
        let right = std::mem::replace(&mut world.request, Err(broken_spec()));
        world.settle();
        assert_eq!((world.phase(), world.reason().as_str()), (phase, "InvalidSpec"));
        assert!(world.message().contains("acceptedRisks[0].rule"), "{}", world.message());
        world.request = right;
        world.settle();
        assert_eq!(world.phase(), Phase::Done);
    }
}

#[test]
fn an_abort_needs_neither_a_right_spec_nor_a_readable_platform() {
    let mut world = World::new();
    world.until(|world| world.phase() == Phase::Preflight);
    world.request = Err(broken_spec());
    world.namespace = Known::Unknown("connection refused".to_owned());
    world.unreadable = true;
    world.settle();
    let began = world.now;
    world.object.abort = Some("now".to_owned());
    world.until(|world| world.phase() == Phase::Aborted);
    assert!(
        world.now.duration_since(began).as_secs() < 30,
        "nothing was changed: nothing is waited for, {} {:#?}",
        world.now.duration_since(began),
        world.status
    );
    assert_eq!(world.status.last_handled_abort.as_deref(), Some("now"));
}

#[test]
fn the_clock_of_a_job_makes_no_backup_fresh_or_old() {
    for hours in [-30_i64, 30] {
        let mut world = World::new();
        world.job_clock = hours;
        world.settle();
        assert_eq!(
            (world.phase(), world.did("CreateJob backup")),
            (Phase::Done, 2),
            "{hours}"
        );
    }
}

#[test]
fn backups_that_take_longer_than_their_age_limit_do_not_go_round_for_ever() {
    let mut world = World::new();
    world.timing.backup_max_age = Duration::from_secs(1);
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    assert_eq!(world.did("CreateJob backup"), 2);
}

#[test]
fn an_installer_that_cannot_start_is_removed_by_its_pod_and_only_as_it_was_seen() {
    let mut world = World::new();
    world.installer = Outcome::Hangs;
    world.until(|world| world.fences.values().any(|fence| *fence == Fence::Pod));
    world.waiting = Some(WaitingPod {
        why: "ErrImagePull: no such image".to_owned(),
        name: "pod".to_owned(),
        uid: "pod-uid".to_owned(),
        resource_version: "7".to_owned(),
    });
    world.object.abort = Some("now".to_owned());
    world.until(|world| world.did("DeleteWaitingPod pod 7") == 1);
    assert_eq!(world.did("DeleteJob"), 2, "the backups' only: the Job ends by itself");
}

#[test]
fn a_lost_or_deleted_plan_is_written_again() {
    let mut world = World::new();
    world.findings = Known::Is(vec![super::world::finding(false)]);
    world.settle();
    assert!(world.plan.is_some());
    let written = world.did("WritePlan");
    // Killed between the intent and the write, or removed by a person.
    world.plan = None;
    world.settle();
    assert!(world.plan.is_some());
    assert_eq!(world.did("WritePlan"), written + 1);
}

#[test]
fn an_effect_that_is_refused_says_so_and_stalls() {
    for phase in [Phase::Preflight, Phase::Backup] {
        let mut world = World::new();
        world.until(|world| world.phase() == phase && world.status.is_locked() == (phase == Phase::Backup));
        world.refused = Some("create Job: exceeded quota: pods=2".to_owned());
        world.until(|world| world.message().contains("exceeded quota"));
        assert_eq!(world.reason(), "Retrying");
        world.until(World::stalled);
        assert!(world.message().contains("exceeded quota"), "{}", world.message());
        assert_eq!((world.phase(), world.starts.len()), (phase, 0));
        world.refused = None;
        world.until(|world| world.phase().is_terminal());
        assert_eq!(world.phase(), Phase::Done);
    }
}

#[test]
fn a_warning_at_the_target_that_could_not_be_decided_is_looked_at_again_for_a_while_and_not_for_ever() {
    let undecided = Finding {
        severity: Severity::Warning,
        ..finding(true)
    };
    for passes in [true, false] {
        let mut world = World::new();
        world.until(|world| world.phase() == Phase::Verifying);
        world.findings = Known::Is(vec![undecided.clone()]);
        world.until(|world| world.reason() == "Retrying");
        let began = world.now;
        if passes {
            world.findings = Known::Is(Vec::new());
        }
        world.settle();
        assert_eq!(world.phase(), Phase::Done, "{passes}");
        assert_eq!(world.status.findings.is_empty(), passes);
        let waited = world.now.duration_since(began);
        assert!(passes || waited >= SignedDuration::from_secs(60), "{waited}");
    }
}

#[test]
fn status_names_the_catalogue_that_its_findings_come_from() {
    let named = |digest: &str| {
        Some(CatalogueStatus {
            digest: digest.to_owned(),
            ..CatalogueStatus::default()
        })
    };
    let mut world = World::new();
    world.findings = Known::Is(vec![finding(false)]);
    world.catalogue = named("one");
    world.until(World::stalled);
    assert_eq!(world.status.catalogue, named("one"));
    let plan = world.status.plan.clone().unwrap();
    // The digest of the plan changes where findings do, not with every word of the catalogue.
    world.catalogue = named("two");
    world.settle();
    assert_eq!(world.status.catalogue, named("two"));
    assert_eq!(world.status.plan.clone().unwrap().digest, plan.digest);
    world.findings = Known::Unknown("ConfigMap kkp-upgrade-catalogue: 403".to_owned());
    world.catalogue = None;
    let _ = world.round();
    assert_eq!(world.status.catalogue, named("two"), "nothing was found since");
}
