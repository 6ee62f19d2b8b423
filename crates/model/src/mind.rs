//! What an operator decides: the real `needs` and `decide`, called once for each distinct input and remembered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use kkp_upgrade_core::decide::{Decision, decide};

use crate::bounds::Bounds;
use crate::checks;
use crate::facts::{self, Sight};
use crate::properties::SITUATIONS;
use crate::recorded::{Recorded, fingerprint};
use crate::state::{Sealed, State};

/// A decision, judged by itself.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub(crate) status: Arc<Recorded>,
    pub(crate) effect: Option<Arc<Sealed>>,
    /// Neither a change of status nor an effect.
    pub(crate) quiet: bool,
    /// Bits of the properties that the decision breaks.
    pub(crate) broken: u32,
}

/// What every thread of a check shares.
#[derive(Default)]
pub(crate) struct Mind {
    decisions: DashMap<u64, Judged>,
    older: DashMap<(u64, i64), Arc<Recorded>>,
    /// Where a continuation ends, by fingerprint of state and kind of continuation.
    pub(crate) ends: DashMap<u64, crate::continuation::End>,
    /// What has happened at least once, by bit.
    seen: AtomicU64,
    /// Situations that were reached, by bit.
    reached: AtomicU64,
}

impl Mind {
    pub(crate) fn saw(&self, what: Seen) {
        self.seen.fetch_or(1 << what as u32, Ordering::Relaxed);
    }

    pub(crate) fn has_seen(&self, what: Seen) -> bool {
        self.seen.load(Ordering::Relaxed) & (1 << what as u32) != 0
    }

    /// Notes which situations this state shows.
    pub(crate) fn note(&self, state: &State) {
        let reached = self.reached.load(Ordering::Relaxed);
        for (number, (_, shows)) in SITUATIONS.iter().enumerate() {
            if reached & (1 << number) == 0 && shows(state) {
                self.reached.fetch_or(1 << number, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn has_reached(&self, situation: usize) -> bool {
        self.reached.load(Ordering::Relaxed) & (1 << situation) != 0
    }

    /// How many distinct inputs the core was asked about.
    pub(crate) fn decisions(&self) -> usize {
        self.decisions.len()
    }

    /// What the operator decides about this upgrade now.
    pub(crate) fn judge(&self, bounds: &Bounds, state: &State, index: usize, sight: Sight) -> Judged {
        let job = {
            let step = state.upgrades[index].status.status.step.as_ref();
            let name = step.and_then(|step| step.job.as_deref());
            state.attempts.iter().find(|attempt| Some(&*attempt.name) == name)
        };
        let key = fingerprint(&(&state.upgrades, &state.platform, &state.truth, job, index, sight));
        if let Some(judged) = self.decisions.get(&key) {
            return judged.clone();
        }
        let judged = ask(bounds, state, index, sight);
        self.decisions.insert(key, judged.clone());
        judged
    }

    /// The same status, so many seconds later.
    pub(crate) fn older(&self, status: &Arc<Recorded>, by: i64) -> Arc<Recorded> {
        let key = (fingerprint(&**status), by);
        if let Some(older) = self.older.get(&key) {
            return Arc::clone(&older);
        }
        let older = Arc::new(Recorded::older(status.status.clone(), by));
        self.older.insert(key, Arc::clone(&older));
        older
    }
}

/// Asks the core.
fn ask(bounds: &Bounds, state: &State, index: usize, sight: Sight) -> Judged {
    let upgrade = &state.upgrades[index];
    let request = facts::request(upgrade);
    let before = &upgrade.status.status;
    let looks = |sight| -> Decision {
        let facts = facts::read(bounds, state, index, sight);
        decide(Ok(&request), before, &facts, &facts::timing())
    };
    let decision = looks(sight);
    let mut broken = checks::decision(state, index, &decision);
    if sight != Sight::Clear {
        broken |= checks::blind(before, &decision, &looks(Sight::Clear));
    }
    let status = Arc::new(Recorded::new(decision.status));
    let effect = decision.effect.map(|effect| {
        let print = fingerprint(&format!("{effect:?}"));
        Arc::new(Sealed { effect, print })
    });
    Judged {
        quiet: effect.is_none() && status == upgrade.status,
        status,
        effect,
        broken,
    }
}

/// What must have happened, or the check says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Seen {
    StatusWriteLost,
    EffectRefused,
    EffectRepeated,
    CrashBeforeEffect,
    FenceTakenByPod,
    FenceTakenByOperator,
    FenceWasTaken,
    PodRefused,
    InstallerKilled,
    JobRemoved,
    JobCreatedAgain,
    LimitRestored,
    LimitAdopted,
    LeaseTakenOver,
    Retried,
    BackupRenewed,
    WaitingPodDeleted,
}
