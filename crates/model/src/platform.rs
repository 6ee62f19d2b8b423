//! What happens on the platform by itself: Jobs, installer, roll-outs, failures, removals.

use kkp_upgrade_core::phase::Phase;

use crate::bounds::Bounds;
use crate::checks;
use crate::effects::all_targets;
use crate::mind::{Mind, Seen};
use crate::state::{Attempt, Fence, Flap, Pod, Release, State};

/// KKP's own limit where none is set (KKP 2.31 source, `pkg/defaulting/configuration.go`).
const KKP_DEFAULT: i64 = 10;

/// Something that happens on the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Move {
    /// A Pod gets further, the way it should: the Job's, or one that outlives its Job.
    Further {
        attempt: usize,
        orphan: bool,
    },
    /// A backup or an installer ends badly, after it has said so.
    Fails {
        attempt: usize,
    },
    /// The node of a Pod is lost.
    Killed {
        attempt: usize,
    },
    /// The main program of an installer that was let through cannot start.
    Sticks {
        attempt: usize,
    },
    /// Somebody removes a Job.
    Removed {
        attempt: usize,
    },
    /// The limit is rolled out on the seeds.
    RollsOut,
    /// Master, seeds, user clusters: the next of them converge.
    Converges,
    FlapsDeployment,
    FlapsCluster,
    Heals,
    /// A rule that blocks begins to.
    Blocks,
}

/// What goes on without a fault, first things first.
pub(crate) fn progress(state: &State) -> Vec<Move> {
    let mut moves = Vec::new();
    for (number, attempt) in state.attempts.iter().enumerate() {
        let alive = |pod: Pod| !matches!(pod, Pod::Succeeded(_) | Pod::Failed);
        if attempt.orphan.is_some() {
            moves.push(Move::Further {
                attempt: number,
                orphan: true,
            });
        }
        if attempt.job.is_some_and(|job| alive(job.pod)) {
            moves.push(Move::Further {
                attempt: number,
                orphan: false,
            });
        }
    }
    if state.platform.in_force != effective(state) {
        moves.push(Move::RollsOut);
    }
    if state.platform.flap != Flap::None {
        moves.push(Move::Heals);
    }
    if state.platform.installed && state.platform.converged < 3 {
        moves.push(Move::Converges);
    }
    moves
}

/// What goes wrong, as far as the bounds allow.
pub(crate) fn faults(bounds: &Bounds, state: &State) -> Vec<Move> {
    let (spent, most) = (&state.spent, &bounds.most);
    let mut moves = Vec::new();
    for (number, attempt) in state.attempts.iter().enumerate() {
        let Some(job) = attempt.job else { continue };
        let at_work = if attempt.installer {
            job.pod.at_work()
        } else {
            job.pod == Pod::Waiting
        };
        if at_work && spent.failures < most.failures {
            moves.push(Move::Fails { attempt: number });
            if attempt.installer {
                moves.push(Move::Killed { attempt: number });
            }
        }
        if attempt.installer && job.pod == Pod::Running && spent.failures < most.failures {
            moves.push(Move::Sticks { attempt: number });
        }
        if spent.removals < most.removals {
            moves.push(Move::Removed { attempt: number });
        }
    }
    if spent.flaps < most.flaps {
        if state.platform.converged > 0 && state.platform.flap == Flap::None {
            moves.push(Move::FlapsDeployment);
            moves.push(Move::FlapsCluster);
        }
        if !state.platform.blocker && !state.platform.touched {
            moves.push(Move::Blocks);
        }
    }
    moves
}

fn effective(state: &State) -> i64 {
    state.platform.field.filter(|limit| *limit != 0).unwrap_or(KKP_DEFAULT)
}

/// Makes the move.
pub(crate) fn make(bounds: &Bounds, mind: &Mind, state: &State, what: Move) -> Option<State> {
    let mut next = state.clone();
    match what {
        Move::Further { attempt, orphan } => further(bounds, mind, &mut next, attempt, orphan)?,
        Move::Fails { attempt } | Move::Killed { attempt } => {
            next.spent.failures += 1;
            let killed = matches!(what, Move::Killed { .. });
            ends_badly(mind, &mut next, attempt, killed)?;
        }
        // It was let through a moment ago: instead of running, it waits.
        Move::Sticks { attempt } => {
            next.spent.failures += 1;
            set(&mut next, attempt, false, Pod::Stuck);
        }
        Move::Removed { attempt } => {
            next.spent.removals += 1;
            mind.saw(Seen::JobRemoved);
            let attempt = next.attempts.get_mut(attempt)?;
            let pod = attempt.job.take()?.pod;
            let alive = !matches!(pod, Pod::Succeeded(_) | Pod::Failed);
            attempt.orphan = attempt.orphan.or(Some(pod).filter(|_| attempt.installer && alive));
        }
        Move::RollsOut => next.platform.in_force = effective(&next),
        Move::Converges => next.platform.converged += 1,
        Move::FlapsDeployment | Move::FlapsCluster | Move::Blocks => {
            next.spent.flaps += 1;
            match what {
                Move::FlapsDeployment => next.platform.flap = Flap::Deployment,
                Move::FlapsCluster => next.platform.flap = Flap::Cluster,
                _ => next.platform.blocker = true,
            }
        }
        Move::Heals => next.platform.flap = Flap::None,
    }
    next.tidy();
    Some(next)
}

/// Whether the init container lets this Job through, as `prepare` of the shipped program asks it.
fn wanted(state: &State, attempt: &Attempt) -> bool {
    let upgrade = &state.upgrades[attempt.owner];
    let status = &upgrade.status.status;
    let step = status.step.as_ref();
    upgrade.present
        && !upgrade.deleting
        && status.phase() == Some(Phase::Deploying)
        && status.ending.is_none()
        && step.and_then(|step| step.job.as_deref()) == Some(&*attempt.name)
        && step.and_then(|step| step.intent.as_deref()) == Some(&*attempt.digest)
}

fn further(bounds: &Bounds, mind: &Mind, next: &mut State, number: usize, orphan: bool) -> Option<()> {
    let attempt = next.attempts.get(number)?.clone();
    let pod = if orphan { attempt.orphan? } else { attempt.job?.pod };
    if !attempt.installer {
        let bit = backed(&attempt.target);
        if next.truth.backed[attempt.owner] & bit != 0 {
            mind.saw(Seen::BackupRenewed);
        }
        next.truth.backed[attempt.owner] |= bit;
        set(next, number, orphan, Pod::Succeeded(0));
        return Some(());
    }
    let after = match pod {
        Pod::Waiting if wanted(next, &attempt) => Pod::Checked,
        Pod::Waiting => {
            mind.saw(Seen::PodRefused);
            Pod::Failed
        }
        Pod::Checked if attempt.fence == Fence::Absent => {
            mind.saw(Seen::FenceTakenByPod);
            let entry = next.attempts.get_mut(number)?;
            (entry.fence, entry.starts) = (Fence::Pod, entry.starts + 1);
            let starts = entry.starts;
            next.broken |= checks::start(next, attempt.owner, starts, all_targets(bounds));
            Pod::Running
        }
        Pod::Checked => {
            mind.saw(Seen::FenceWasTaken);
            Pod::Failed
        }
        Pod::Stuck => Pod::Running,
        Pod::Running => {
            next.platform.touched = true;
            Pod::Touched
        }
        Pod::Touched => {
            (next.platform.installed, next.platform.release) = (true, Release::Deployed);
            Pod::Succeeded(0)
        }
        Pod::Succeeded(_) | Pod::Failed => return None,
    };
    set(next, number, orphan, after);
    Some(())
}

fn set(next: &mut State, number: usize, orphan: bool, pod: Pod) {
    let attempt = &mut next.attempts[number];
    if orphan {
        attempt.orphan = Some(pod).filter(|pod| !matches!(pod, Pod::Succeeded(_) | Pod::Failed));
    } else if let Some(job) = &mut attempt.job {
        job.pod = pod;
    }
}

/// Bit of a target in what was backed up.
fn backed(target: &str) -> u8 {
    match target
        .strip_prefix("seed-")
        .and_then(|number| number.parse::<u8>().ok())
    {
        Some(number) => 1 << (number + 1),
        None => 1,
    }
}

fn ends_badly(mind: &Mind, next: &mut State, number: usize, killed: bool) -> Option<()> {
    let attempt = next.attempts.get_mut(number)?;
    let job = attempt.job.as_mut()?;
    job.pod = Pod::Failed;
    if attempt.installer {
        // Killed: Helm's lock stays. Failed: so does the release that it failed at.
        next.platform.release = if killed { Release::Pending } else { Release::Failed };
        if killed {
            mind.saw(Seen::InstallerKilled);
        }
    }
    Some(())
}
