//! S12: every change of phase is an edge of the graph, and every end of a run goes into the books.

use kkp_upgrade_core::phase::{Outcome, Phase};
use strum::VariantArray as _;

use super::{Property, Report, Seen};
use crate::upgrade::Upgrade;

/// S12: the graph.
pub(super) struct Graph;

impl Property for Graph {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(after) = seen.upgrade() else { return };
        if let Some(text) = &after.status.phase
            && text.parse::<Phase>().is_err()
        {
            report.say("S12", after.title(), format!("phase `{text}` is not declared"));
        }
        let Some((before, after)) = seen.change() else { return };
        let (Some(from), Some(to)) = (before.phase(), after.phase()) else {
            if before.phase().is_some() {
                report.say("S12", after.title(), "the phase is gone");
            }
            return;
        };
        if from != to && !Outcome::VARIANTS.iter().any(|outcome| from.next(*outcome) == Some(to)) {
            report.say("S12", after.title(), format!("phase went from {from} to {to}"));
        }
        runs(before, after, (from, to), report);
    }
}

fn runs(before: &Upgrade, after: &Upgrade, (from, to): (Phase, Phase), report: &mut Report) {
    let (old, new) = (before.status.run(), after.status.run());
    if new != old && new != old + 1 {
        report.say("S12", after.title(), format!("runId went from {old} to {new}"));
    }
    if new != old && to != Phase::Pending {
        report.say("S12", after.title(), format!("run {new} begins in {to}"));
    }
    if from.is_terminal() && to == Phase::Pending && new == old {
        report.say(
            "S12",
            after.title(),
            format!("a new run after {from} has the number of the old one"),
        );
    }
    let token = |upgrade: &Upgrade| upgrade.status.last_handled_retry.clone();
    if from.is_terminal() && to == Phase::Preflight && token(before) == token(after) {
        report.say(
            "S12",
            after.title(),
            format!("{from} was left for Preflight and nobody said retry"),
        );
    }
    if !from.is_terminal() && matches!(to, Phase::Failed | Phase::Aborted) && after.status.locked == Some(true) {
        report.say("S12", after.title(), format!("{to} and still locked"));
    }
}

/// S12: the books: an end adds one entry, nothing else does; `currentVersion` moves only with proof.
pub(super) struct RunBooks;

impl Property for RunBooks {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some((before, after)) = seen.change() else { return };
        let ended = !before.is_terminal() && after.is_terminal();
        let (old, new) = (&before.status.history, &after.status.history);
        if ended {
            let entry = new.first();
            let right = entry.is_some_and(|entry| {
                entry.run_id == after.status.run() && Some(&entry.result) == after.status.phase.as_ref()
            });
            let kept = new.iter().skip(1).eq(old.iter().take(new.len().saturating_sub(1)));
            if !right || !kept {
                report.say(
                    "S12",
                    after.title(),
                    "the end of the run is not in history, once and in front",
                );
            }
            if after.status.completion_time.is_none() {
                report.say("S12", after.title(), "the run has ended and has no completionTime");
            }
        } else if old != new {
            report.say("S12", after.title(), "history changed without the end of a run");
        }
        let (was, is) = (&before.status.current_version, &after.status.current_version);
        let first = was.is_none();
        let arrived = after.phase() == Some(Phase::Done) && *is == after.status.target_version;
        let left = before
            .status
            .hop
            .as_ref()
            .filter(|hop| after.status.hop.as_ref() != Some(*hop));
        let proven = arrived || left.is_some_and(|hop| is.as_deref() == Some(hop.to.as_str()));
        if was != is && !first && !proven {
            let text = format!("currentVersion moved to {is:?} in {:?}", after.status.phase);
            report.say("S12", after.title(), text);
        }
    }
}
