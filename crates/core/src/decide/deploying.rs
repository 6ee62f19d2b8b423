//! Deploying: limit, installer on the master, then master, seeds and user clusters converge. Pure.

use super::backup::{set_job, still_fresh};
use super::gates::ask_again;
use super::{Decision, StepName, hop, prepare, round::Round, throttle, verifying};
use crate::conditions::{ConditionType, Truth};
use crate::effect::{Effect, JobIntent, JobWork, job_name};
use crate::facts::{Evidence, Fence, InstallerFacts, JobFacts, Known, PlatformFacts};
use crate::phase::{Outcome, Phase};
use crate::plan::MASTER;
use crate::reason::Reason;
use crate::request::Request;
use crate::status::PointOfNoReturn;

pub(super) fn decide(round: Round<'_>) -> Decision {
    let (mut round, request, platform) = match round.opening() {
        Ok(opening) => opening,
        Err(decision) => return *decision,
    };
    throttle::settle(&mut round, platform);
    match round.step() {
        Some(StepName::Prepare) => prepare::decide(round, request, platform),
        Some(StepName::Master) => master(round, request, platform),
        Some(StepName::MasterEvidence) => master_evidence(round, platform),
        Some(StepName::Seeds) => seeds(round, platform),
        Some(StepName::UserClusters) => user_clusters(round, platform),
        _ if request.paused => round.working(Reason::Paused, "paused before the limit is set"),
        _ => {
            if round.step() != Some(StepName::Throttle) {
                round.enter_step(StepName::Throttle, None);
            }
            throttle::decide(round, request, platform)
        }
    }
}

fn master(round: Round<'_>, request: &Request, platform: &PlatformFacts) -> Decision {
    if round.status.step.as_ref().is_some_and(|step| step.job.is_some()) {
        return follow_installer(round, request, platform);
    }
    let attempted = round
        .status
        .target(MASTER)
        .is_some_and(|target| target.attempts.unwrap_or(0) > 0);
    if attempted && platform.evidence.is_proven() {
        // A retry after a later step failed: the master's work is proven done and is not done again.
        return installed(round);
    }
    start_installer(round, request, platform)
}

/// What stops the start of an installer.
///
/// # Errors
/// The decision that is taken instead.
fn may_start<'a>(round: Round<'a>, request: &Request, platform: &PlatformFacts) -> Result<Round<'a>, Box<Decision>> {
    if request.paused {
        return Err(Box::new(round.working(Reason::Paused, "paused before the installer")));
    }
    if throttle::foreign_hand(&round, platform).is_some() {
        return Err(Box::new(throttle::contested(round, &platform.configuration)));
    }
    let mut seeds = platform.seeds.iter();
    if let Some(late) = seeds.find(|seed| round.status.target(&seed.name).is_none())
        && request.backup.required
    {
        let text = format!("seed {} came after the backups were made and has none", late.name);
        return Err(Box::new(fail(round, Reason::BackupFailed, &text)));
    }
    let mut round = ask_again(round, Reason::UpgradingMaster)?;
    let findings = round.facts.findings.value().map_or(&[][..], Vec::as_slice);
    if prepare::wanted(&round, findings).next().is_some() {
        // What a fix was to mend is there again, or has only now come up.
        let (reason, text) = prepare::enter(&mut round, request);
        return Err(Box::new(round.again(reason, text)));
    }
    still_fresh(round, request)
}

fn start_installer(round: Round<'_>, request: &Request, platform: &PlatformFacts) -> Decision {
    let mut round = match may_start(round, request, platform) {
        Ok(round) => round,
        Err(decision) => return *decision,
    };
    let Known::Is(installer) = &platform.installer else {
        let text = format!("the installer cannot be prepared: {}", platform.installer.why_not());
        return round.retrying(&text);
    };
    let attempt = round
        .status
        .target(MASTER)
        .and_then(|target| target.attempts)
        .unwrap_or(0)
        + 1;
    round.status.update_target(MASTER, |target| {
        target.attempts = Some(attempt);
        // What an earlier attempt reached is no result of this one.
        "Installing".clone_into(&mut target.state);
    });
    create_installer(round, request, installer, attempt)
}

/// Arms the point of no return and names the Job, then creates it.
fn create_installer(mut round: Round<'_>, request: &Request, installer: &InstallerFacts, attempt: i32) -> Decision {
    if round.step() != Some(StepName::Master) {
        round.enter_step(StepName::Master, Some(MASTER));
    }
    if round
        .status
        .point_of_no_return
        .as_ref()
        .is_none_or(|point| point.state != "Passed")
    {
        round.status.point_of_no_return = Some(PointOfNoReturn {
            state: "Armed".to_owned(),
            time: Some(round.time()),
            reason: "the installer may start".to_owned(),
        });
    }
    let hop = round.status.hop.clone().unwrap_or_default();
    let uid = round.facts.object.uid.clone();
    let intent = JobIntent {
        name: job_name(&uid, round.status.run(), &hop.to, "installer", MASTER, attempt),
        run: round.status.run(),
        step: "installer".to_owned(),
        target: MASTER.to_owned(),
        attempt,
        plan: round
            .status
            .plan
            .as_ref()
            .map(|plan| plan.digest.clone())
            .unwrap_or_default(),
        work: JobWork::Installer {
            stack: "kubermatic-master".to_owned(),
            image: installer.image.clone(),
            flags: installer.flags.clone(),
            proxies: installer.proxies.clone(),
            values_digest: installer.values_digest.clone(),
            values_secret: installer.values_secret.clone(),
            helm_timeout_seconds: request.installer.helm_timeout.as_secs(),
        },
        hop: hop.to.clone(),
        uid,
    };
    set_job(&mut round.status, &intent);
    round.status.last_progress_time = Some(round.time());
    let text = format!("installer {} runs on the master (attempt {attempt})", hop.to);
    round.act(Effect::CreateJob(Box::new(intent)), Reason::UpgradingMaster, &text)
}

fn follow_installer(mut round: Round<'_>, request: &Request, platform: &PlatformFacts) -> Decision {
    let step = round.status.step.clone().unwrap_or_default();
    let (job, attempt) = (step.job.clone().unwrap_or_default(), step.attempt.unwrap_or(1));
    let done = round
        .status
        .target(MASTER)
        .is_some_and(|target| target.state == INSTALLED);
    match &round.facts.job {
        Known::Is(JobFacts::Absent { .. }) if done => installed(round),
        Known::Is(JobFacts::Absent { fence: Fence::Pod }) => {
            let text = format!("installer Job {job} was let through and is gone before its result was read");
            fail(round, Reason::InstallerOutcomeUnknown, &text)
        }
        Known::Is(JobFacts::Absent { .. }) => match &platform.installer {
            // Never created, or removed before its fence was taken: the same attempt, by the same name, is safe; but
            // nothing runs yet, so what stops a start stops it here too.
            _ if request.paused => round.working(Reason::Paused, "paused before the installer"),
            _ if throttle::foreign_hand(&round, platform).is_some() => {
                throttle::contested(round, &platform.configuration)
            }
            Known::Is(installer) => match still_fresh(round, request) {
                Ok(round) => create_installer(round, request, installer, attempt),
                Err(decision) => *decision,
            },
            unknown => {
                let text = format!("the installer cannot be prepared: {}", unknown.why_not());
                round.retrying(&text)
            }
        },
        Known::Is(JobFacts::Foreign) => {
            let text = format!("Job {job} exists and was not made for this step: remove it, then retry");
            fail(round, Reason::InstallerFailed, &text)
        }
        Known::Is(JobFacts::Running { waiting, .. }) => {
            let text = match waiting {
                Some(pod) => format!("installer Job {job} cannot start: {}", pod.why),
                None => format!("installer Job {job} is running"),
            };
            round.watch(Reason::UpgradingMaster, &text)
        }
        Known::Is(JobFacts::Succeeded { uid, .. }) => {
            let uid = uid.clone();
            if !done {
                round
                    .status
                    .update_target(MASTER, |target| INSTALLED.clone_into(&mut target.state));
                passed(&mut round, "the installer succeeded");
                round.event(false, Reason::UpgradingMaster, format!("installer Job {job} succeeded"));
            }
            round.act(
                Effect::DeleteJob { name: job, uid },
                Reason::UpgradingMaster,
                "the installer is done",
            )
        }
        Known::Is(JobFacts::Failed { message, .. }) => {
            let text = format!("installer Job {job} failed: {message}");
            fail(round, Reason::InstallerFailed, &text)
        }
        unknown => {
            let text = format!("cannot read Job {job}: {}", unknown.why_not());
            round.retrying(&text)
        }
    }
}

/// State of the master after its installer succeeded.
const INSTALLED: &str = "Installed";

/// Notes that the platform cannot go back any more.
pub(super) fn passed(round: &mut Round<'_>, reason: &str) {
    if round
        .status
        .point_of_no_return
        .as_ref()
        .is_none_or(|point| point.state != "Passed")
    {
        let time = Some(round.time());
        round.status.point_of_no_return = Some(PointOfNoReturn {
            state: "Passed".to_owned(),
            time,
            reason: reason.to_owned(),
        });
    }
}

fn fail(mut round: Round<'_>, reason: Reason, text: &str) -> Decision {
    round.stage(ConditionType::MasterUpgraded, Truth::False, reason, text);
    round.begin_ending(Phase::Failed, reason, text);
    round.again(Reason::Aborting, text)
}

fn installed(mut round: Round<'_>) -> Decision {
    round.enter_step(StepName::MasterEvidence, Some(MASTER));
    round.again(Reason::VerifyingMaster, "master components are rolling out")
}

fn master_evidence(mut round: Round<'_>, platform: &PlatformFacts) -> Decision {
    match &platform.evidence {
        Evidence::Proven => {
            let text = format!("master runs {}", hop::target_text(&round.status));
            round.stage(
                ConditionType::MasterUpgraded,
                Truth::True,
                Reason::MasterUpgraded,
                &text,
            );
            round.event(false, Reason::MasterUpgraded, text);
            round.enter_step(StepName::Seeds, None);
            round.again(Reason::UpgradingSeeds, "seeds are rolling out")
        }
        missing => {
            let text = missing.missing();
            round.status.insights = vec![crate::status::message(&format!("master: {text}"))];
            round.watch(Reason::VerifyingMaster, &format!("master: {text}"))
        }
    }
}

fn seeds(mut round: Round<'_>, platform: &PlatformFacts) -> Decision {
    verifying::note_progress(&mut round, platform);
    let missing: Vec<String> = platform
        .seeds
        .iter()
        .filter(|seed| !seed.evidence.is_proven())
        .map(|seed| crate::status::message(&format!("seed {}: {}", seed.name, seed.evidence.missing())))
        .collect();
    let Some(first) = missing.first().cloned() else {
        let text = format!("{} seeds run {}", platform.seeds.len(), hop::target_text(&round.status));
        round.stage(ConditionType::SeedsUpgraded, Truth::True, Reason::SeedsUpgraded, &text);
        round.event(false, Reason::SeedsUpgraded, text);
        round.enter_step(StepName::UserClusters, None);
        return round.again(Reason::ConvergingUserClusters, "user clusters are being reconciled");
    };
    round.status.insights = missing.into_iter().take(10).collect();
    round.watch(Reason::UpgradingSeeds, &first)
}

fn user_clusters(mut round: Round<'_>, platform: &PlatformFacts) -> Decision {
    verifying::note_progress(&mut round, platform);
    if let Some(waiting) = verifying::unconverged(platform) {
        round.status.insights = waiting;
        let text = round.status.insights.first().cloned().unwrap_or_default();
        return round.watch(Reason::ConvergingUserClusters, &text);
    }
    let text = "every user cluster in scope was reconciled by the new version";
    round.stage(
        ConditionType::UserClustersConverged,
        Truth::True,
        Reason::UserClustersConverged,
        text,
    );
    if throttle::foreign_hand(&round, platform).is_some() {
        return throttle::contested(round, &platform.configuration);
    }
    round.event(false, Reason::UserClustersConverged, text);
    round.advance(Outcome::Succeeded);
    round.enter_step(StepName::Verify, None);
    round.again(Reason::Verifying, "watching the evidence")
}
