//! Temporary fixes go back, permanent ones stay.

use serde_json::json;

use super::fixing::{VERSION, world};
use super::world::Outcome;
use super::world_fixes::SimObject;
use crate::effect::Effect;
use crate::phase::Phase;

#[test]
fn a_temporary_fix_is_put_back_at_the_end_and_a_permanent_one_stays() {
    let objects = vec![SimObject::cluster("eu/a", &["1.33.0"]), SimObject::paused("eu/b")];
    let mut world = world(&[VERSION, "cluster-paused"], objects);
    world.until(|world| world.phase() == Phase::Verifying);
    assert_eq!(world.fixable[1].value, Some(json!(false)));
    assert!(world.status.owes_fixes());
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    assert_eq!(
        (&world.fixable[1].value, world.fixable[1].marks.len()),
        (&Some(json!(true)), 0)
    );
    assert_eq!(world.fixable[0].value, Some(json!("1.33.0")));
    assert!(!world.status.owes());
}

#[test]
fn a_temporary_value_that_a_person_has_changed_stays() {
    let mut world = world(&["cluster-paused"], vec![SimObject::paused("eu/b")]);
    world.until(|world| world.phase() == Phase::Verifying);
    world.human_writes(0, None);
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    assert_eq!((&world.fixable[0].value, world.fixable[0].marks.len()), (&None, 0));
}

#[test]
fn an_abort_begins_nothing_more_and_puts_back_what_is_temporary() {
    let objects = vec![
        SimObject::paused("eu/b"),
        SimObject::cluster("eu/c", &["1.33.0"]),
        SimObject::cluster("eu/d", &["1.33.0"]),
        SimObject::cluster("eu/e", &["1.33.0"]),
    ];
    let mut world = world(&[VERSION, "cluster-paused"], objects);
    world.until(|world| world.did("WriteFix") == 2);
    let before = world.did("WriteFix");
    assert_eq!(world.fixable[0].value, Some(json!(false)), "{:?}", world.effects);
    world.object.abort = Some("now".to_owned());
    world.settle();
    assert_eq!((world.phase(), world.did("CreateJob installer")), (Phase::Aborted, 0));
    assert_eq!(world.did("WriteFix"), before + 1, "only the temporary one goes back");
    assert_eq!(world.fixable[0].value, Some(json!(true)));
    assert_eq!(world.fixable[1].value, Some(json!("1.33.0")), "what is permanent stays");
    assert!(world.status.changes.iter().all(|change| change.permanent) && !world.status.changes.is_empty());
    assert!(world.lease.holder.is_none() && !world.object.finalizer);
}

#[test]
fn a_temporary_fix_whose_write_was_lost_is_not_owed_for_ever() {
    let mut world = world(&["cluster-paused"], vec![SimObject::paused("eu/b")]);
    let late = loop {
        let decision = world.decide();
        world.record(&decision);
        if let Some(effect @ Effect::WriteFix(_)) = &decision.effect {
            break effect.clone(); // the operator dies before the effect
        }
        if let Some(effect) = &decision.effect {
            world.carry_out(effect);
        }
        world.tick(std::time::Duration::from_secs(10));
    };
    assert!(world.status.owes_fixes(), "known before it happens");
    world.object.abort = Some("now".to_owned());
    world.settle();
    assert_eq!(world.phase(), Phase::Aborted);
    assert!(!world.status.owes(), "{:?}", world.status.changes);
    let Effect::WriteFix(intent) = &late else { panic!() };
    assert_eq!(intent.resource_version, "1");
}

#[test]
fn after_a_failed_installer_temporary_fixes_stay_until_the_platform_has_settled() {
    let mut world = world(&["cluster-paused"], vec![SimObject::paused("eu/b")]);
    world.installer = Outcome::FailsLate;
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Failed, "HeldAfterFailure")
    );
    assert_eq!(world.fixable[0].value, Some(json!(false)));
    world.installer = Outcome::Good;
    world.object.retry = Some("1".to_owned());
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    assert_eq!(world.fixable[0].value, Some(json!(true)));
}
