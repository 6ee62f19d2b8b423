//! Several hops in one request.

use super::world::{Outcome, World, finding};
use crate::conditions::ConditionType;
use crate::effect::JobWork;
use crate::facts::Known;
use crate::phase::Phase;
use crate::status::Status;
use crate::version::KkpVersion;

const START: KkpVersion = KkpVersion::new(2, 29, 10);
const BETWEEN: KkpVersion = KkpVersion::new(2, 30, 6);

fn two_hops() -> World {
    let mut world = World::new();
    world.version = Some(START);
    world.crd = START;
    world.stops = vec![BETWEEN, super::world::TO];
    world
}

fn second(world: &World) -> bool {
    world.status.hop.as_ref().is_some_and(|hop| hop.index == 2)
}

fn hop(status: &Status) -> (i32, i32, &str, &str) {
    let hop = status.hop.as_ref().unwrap();
    (hop.index, hop.total, &hop.from, &hop.to)
}

#[test]
fn each_hop_has_its_own_preflight_backup_installer_and_proof() {
    use Phase::{Backup, Deploying, Done, Preflight, Verifying};
    let mut world = two_hops();
    let mut installers = Vec::new();
    let mut versions = vec![];
    for _ in 0..2000 {
        let decision = world.round();
        if let Some(crate::effect::Effect::CreateJob(intent)) = &decision.effect
            && matches!(intent.work, JobWork::Installer { .. })
            && installers.last() != Some(&intent.hop)
        {
            installers.push(intent.hop.clone());
        }
        let version = world.status.current_version.clone();
        if versions.last() != Some(&version) {
            versions.push(version);
        }
        world.tick(std::time::Duration::from_secs(5));
        if world.phase() == Phase::Done {
            break;
        }
    }
    world.settle();
    assert_eq!(installers, ["2.30.6", "2.31.0"]);
    let named: Vec<&str> = versions.iter().flatten().map(String::as_str).collect();
    assert_eq!(named, ["2.29.10", "2.30.6", "2.31.0"]);
    assert_eq!(
        world.phases,
        [
            Preflight, Backup, Deploying, Verifying, Preflight, Backup, Deploying, Verifying, Done
        ],
        "after Pending"
    );
    assert_eq!(
        world.did("CreateJob backup master"),
        2,
        "a backup for every hop: {:?}",
        world.effects
    );
    assert_eq!(world.did("AcquireLease"), 1, "the platform is kept between hops");
    assert_eq!(
        (world.field, world.mark.clone()),
        (Some(20), Known::Is(None)),
        "the limit is back"
    );
    assert_eq!(
        world.did("SetThrottle"),
        2,
        "the limit is borrowed for the time of a hop"
    );
    assert_eq!(world.status.path, ["2.29.10", "2.30.6", "2.31.0"]);
    assert_eq!(hop(&world.status), (2, 2, "2.30.6", "2.31.0"));
    let entry = world.status.history.first().unwrap();
    assert_eq!(
        (entry.from.as_deref(), entry.to.as_str(), entry.result.as_str()),
        (Some("2.29.10"), "2.31.0", "Done")
    );
    assert_eq!(world.status.history.len(), 1, "one run, one entry");
    assert!(
        entry.hop_seconds.len() == 2 && entry.hop_seconds.iter().all(|seconds| *seconds > 60),
        "{entry:?}"
    );
}

#[test]
fn the_next_hop_begins_with_nothing_of_the_last_one() {
    let mut world = two_hops();
    world.until(second);
    let status = &world.status;
    assert_eq!((world.phase(), world.point().as_str()), (Phase::Preflight, "Ahead"));
    assert_eq!(status.current_version.as_deref(), Some("2.30.6"));
    assert_eq!(status.locked, Some(true), "a run that has begun stays locked");
    assert!(status.targets.is_empty() && status.changes.is_empty() && status.throttle.is_none());
    for stage in crate::conditions::STAGES {
        let condition = status.condition(stage).unwrap();
        assert_eq!(
            (condition.reason.as_str(), condition.status.as_str()),
            ("NextHop", "Unknown"),
            "{stage}"
        );
    }
}

#[test]
fn consent_is_given_to_each_hop_and_the_first_is_none_to_the_second() {
    let mut world = two_hops();
    world.spec(|request| request.approval.manual = true);
    world.until(|world| world.reason() == "AwaitingApproval");
    let first = world.status.plan.clone().unwrap().digest;
    world.spec(|request| request.approval.digests = vec![first.clone()]);
    world.until(second);
    world.until(|world| world.reason() == "AwaitingApproval");
    let plan = world.status.plan.clone().unwrap();
    assert_ne!(plan.digest, first);
    assert_eq!(plan.awaiting.unwrap().hop, "2.30.6 → 2.31.0");
    assert!(world.message().contains("waits for approval"), "{}", world.message());
    let lease = world.lease.clone();
    world.settle();
    assert_eq!(world.lease, lease, "the platform is kept while a hop waits");
    assert_eq!(world.did("CreateJob installer"), 1);
    world.object.approve = Some(plan.digest);
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn a_stop_between_two_hops_is_a_valid_end() {
    let mut waiting = two_hops();
    waiting.spec(|request| request.approval.manual = true);
    waiting.until(|world| world.reason() == "AwaitingApproval");
    let digest = waiting.status.plan.clone().unwrap().digest;
    waiting.object.approve = Some(digest);
    waiting.until(|world| second(world) && world.reason() == "AwaitingApproval");

    let mut aborted = waiting.clone();
    aborted.object.abort = Some("now".to_owned());
    aborted.settle();
    assert_eq!((aborted.phase(), aborted.lease.holder.clone()), (Phase::Aborted, None));
    assert_eq!(aborted.status.current_version.as_deref(), Some("2.30.6"));
    assert_eq!((aborted.field, aborted.did("CreateJob installer")), (Some(20), 1));

    let mut settled = waiting.clone();
    settled.spec(|request| request.target = BETWEEN);
    settled.stops = vec![BETWEEN];
    settled.settle();
    assert_eq!(
        (settled.phase(), settled.reason().as_str()),
        (Phase::Done, "AlreadyAtTarget")
    );

    let mut reverted = waiting;
    reverted.spec(|request| request.target = START);
    reverted.settle();
    assert_eq!(
        reverted.phase(),
        Phase::Aborted,
        "KKP does not go back: {}",
        reverted.message()
    );
    assert_eq!(reverted.status.current_version.as_deref(), Some("2.30.6"));
}

#[test]
fn a_blocker_of_the_second_hop_holds_there_and_goes_on_by_itself() {
    let mut world = two_hops();
    world.until(second);
    world.findings = Known::Is(vec![finding(false)]);
    world.until(World::stalled);
    world.settle();
    assert_eq!(
        (world.phase(), world.reason().as_str()),
        (Phase::Preflight, "PreflightBlocked")
    );
    assert_eq!(world.lease.holder.as_deref(), Some(super::world::UID));
    world.findings = Known::Is(Vec::new());
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn what_blocks_a_later_hop_is_told_and_holds_nothing_up_before() {
    let mut world = two_hops();
    let mut early = finding(false);
    early.ahead = true;
    world.findings = Known::Is(vec![early]);
    world.until(|world| world.phase() == Phase::Backup);
    let told = world.status.findings.first().unwrap();
    assert_eq!(told.hop.as_deref(), Some("2.30.3 → 2.31.0"));
    assert_eq!(world.status.plan.as_ref().unwrap().findings.blockers, 0);
    assert!(world.status.is_true(ConditionType::PreflightPassed));
}

#[test]
fn a_retry_takes_the_hop_that_failed_and_none_before_it() {
    let mut world = two_hops();
    world.until(second);
    world.installer = Outcome::FailsEarly;
    world.settle();
    assert_eq!(world.phase(), Phase::Failed);
    assert_eq!(hop(&world.status), (2, 2, "2.30.6", "2.31.0"));
    world.installer = Outcome::Good;
    world.object.retry = Some("again".to_owned());
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    let of_first = world
        .effects
        .iter()
        .filter(|effect| effect.starts_with("CreateJob installer"))
        .count();
    assert_eq!(of_first, 3, "one of the first hop, two of the second");
}

#[test]
fn a_platform_that_somebody_moved_before_the_run_began_gets_its_route_anew() {
    let mut world = two_hops();
    world.spec(|request| request.paused = true);
    world.until(|world| world.reason() == "Paused");
    let mut half = world.clone();
    (half.version, half.crd) = (Some(BETWEEN), BETWEEN);
    (half.installed, half.since_install) = (BETWEEN, Some(9));
    half.until(second);
    half.spec(|request| request.paused = false);
    half.settle();
    assert_eq!((half.phase(), half.did("CreateJob installer")), (Phase::Done, 1));

    (world.version, world.crd) = (Some(super::world::TO), super::world::TO);
    world.since_install = Some(9);
    world.until(|world| world.phase() == Phase::Done);
    assert_eq!(
        (world.reason().as_str(), world.did("CreateJob")),
        ("AlreadyAtTarget", 0)
    );
    assert_eq!(world.status.path, ["2.31.0", "2.31.0"]);
}

#[test]
fn a_run_that_was_aborted_before_it_had_a_route_gets_one_when_it_is_retried() {
    let mut world = two_hops();
    let _ = world.round();
    assert!(world.status.hop.is_none());
    world.object.abort = Some("no".to_owned());
    world.settle();
    assert_eq!(world.phase(), Phase::Aborted);
    world.object.retry = Some("yes".to_owned());
    world.settle();
    assert_eq!((world.phase(), world.status.hop_seconds.len()), (Phase::Done, 2));
}
