//! What people see of the facts: progress, targets, point of no return, what an abort would do. Pure.

use super::StepName;
use super::round::Round;
use crate::facts::{Evidence, Known, PlatformFacts, SeedFacts};
use crate::phase::Phase;
use crate::plan::MASTER;
use crate::status::{AbortStatus, ClusterCounts, PointOfNoReturn, Progress, message};

pub(super) fn refresh(round: &mut Round<'_>) {
    abort(round);
    let began =
        matches!(round.phase(), Phase::Deploying | Phase::Verifying | Phase::Done) || round.status.ending.is_some();
    if let Known::Is(platform) = &round.facts.platform
        && (began || round.phase().is_terminal())
        && platform.seeds.iter().any(|seed| seed.clusters != Known::NotRead)
    {
        targets(round, platform);
        progress(round, platform);
    }
}

fn targets(round: &mut Round<'_>, platform: &PlatformFacts) {
    let converging = matches!(
        round.step(),
        Some(StepName::UserClusters | StepName::Verify | StepName::PutBack)
    );
    let before = [StepName::Throttle, StepName::Prepare, StepName::Master];
    let installed = !round.step().is_some_and(|step| before.contains(&step));
    round.status.update_target(MASTER, |target| {
        if platform.evidence.is_proven() && installed {
            "Upgraded".clone_into(&mut target.state);
            target.message.clear();
        } else if installed && target.state == "Installed" {
            target.message = message(&platform.evidence.missing());
        }
    });
    for seed in &platform.seeds {
        round.status.update_target(&seed.name, |target| {
            target.user_clusters = seed.clusters.value().copied();
            if installed {
                (target.state, target.message) = seed_state(seed, converging);
            }
        });
    }
}

fn seed_state(seed: &SeedFacts, converging: bool) -> (String, String) {
    let (state, text) = match (&seed.evidence, &seed.clusters) {
        _ if seed.reachable.value().is_none() => ("Unreachable", seed.reachable.why_not().to_owned()),
        (Evidence::Proven, Known::Is(counts)) if super::verifying::seed_converged(counts) => {
            ("Upgraded", String::new())
        }
        (Evidence::Proven, _) if converging => ("Converging", seed.lagging.first().cloned().unwrap_or_default()),
        (Evidence::Proven, _) => ("Converging", String::new()),
        (missing, _) => ("RollingOut", missing.missing()),
    };
    (state.to_owned(), message(&text))
}

fn progress(round: &mut Round<'_>, platform: &PlatformFacts) {
    let mut counts = ClusterCounts::default();
    for seed in platform.seeds.iter().filter_map(|seed| seed.clusters.value()) {
        counts.total += seed.total;
        counts.converged += seed.converged;
        counts.paused += seed.paused;
        counts.deleting += seed.deleting;
        counts.foreign += seed.foreign;
        counts.unhealthy_before += seed.unhealthy_before;
        counts.failing += seed.failing;
    }
    let narrow = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let seeds_done = narrow(platform.seeds.iter().filter(|seed| seed.evidence.is_proven()).count());
    let seeds = narrow(platform.seeds.len());
    let in_scope = counts.total - counts.paused - counts.deleting - counts.foreign - counts.unhealthy_before;
    let done = seeds_done + counts.converged + i32::from(platform.evidence.is_proven());
    let all = (seeds + in_scope + 1).max(1);
    round.status.progress = Some(Progress {
        summary: format!("{seeds_done}/{seeds} seeds, {}/{in_scope}", counts.converged),
        percent: (done * 100 / all).clamp(0, 100),
        targets_done: seeds_done + i32::from(platform.evidence.is_proven()),
        targets_total: seeds + 1,
        user_clusters: counts,
    });
}

fn abort(round: &mut Round<'_>) {
    let phase = round.phase();
    let fixed = round.status.changes.iter().any(|change| change.permanent);
    let point = round.status.point_of_no_return.get_or_insert_with(|| PointOfNoReturn {
        state: "Ahead".to_owned(),
        ..PointOfNoReturn::default()
    });
    let (possible, effect) = match (phase, point.state.as_str()) {
        (Phase::Done | Phase::Failed | Phase::Aborted, _) => (false, "the run has ended"),
        (_, "Ahead") if fixed => (
            true,
            "what was borrowed is put back, fixes stay as status.changes lists them; the platform stays on its version",
        ),
        (_, "Ahead") => (true, "everything is put back; the platform stays on its version"),
        (_, "Armed") => (true, "waits for the installer; what it changed stays"),
        (_, _) => (
            true,
            "stops here; the platform stays where it is and KKP goes only forward",
        ),
    };
    round.status.abort = Some(AbortStatus {
        possible,
        effect: effect.to_owned(),
    });
}
