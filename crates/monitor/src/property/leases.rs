//! S4, L5: one upgrade at a time, by the platform's lease; one leader, whose lease is taken over only when it has run out.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Property, Report, Seen, WRITERS};
use crate::event::ObjectKey;
use crate::expectations::Sources;
use crate::names;

/// S4: at most one upgrade is past Preflight, and it holds the platform's lease.
pub(super) struct OneAtATime;

impl Property for OneAtATime {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        given_back_early(seen, report);
        let Some(upgrade) = seen.upgrade().filter(|upgrade| upgrade.is_past_preflight()) else {
            return;
        };
        let entered = seen.change().is_some_and(|(before, _)| !before.is_past_preflight());
        let same_place = |name: &str| name.split('/').next() == upgrade.name.split('/').next();
        let others = seen.world.upgrades().filter(|other| other.uid != upgrade.uid);
        for other in others.filter(|other| other.is_past_preflight() && same_place(&other.name)) {
            let text = format!("is past Preflight while {} is as well", other.title());
            report.say("S4", upgrade.title(), text);
        }
        let expectations = seen.expectations;
        let lease = seen.world.find(
            &expectations.master,
            "coordination.k8s.io",
            "leases",
            &expectations.namespace,
            names::ACTIVE_LEASE,
        );
        if entered
            && let Some(lease) = lease
            && holder(lease) != Some(&upgrade.uid)
        {
            let text = format!("leaves Preflight while the lease is held by {:?}", holder(lease));
            report.say("S4", upgrade.title(), text);
        }
    }
}

/// The lease is given back by nobody's hand before the run that holds it has ended.
fn given_back_early(seen: &Seen<'_>, report: &mut Report) {
    let Some(write) = seen.operator_write() else { return };
    if !write.object.is("coordination.k8s.io", "leases") || write.object.name != names::ACTIVE_LEASE {
        return;
    }
    let (before, after) = (write.before.as_deref(), write.after.as_deref());
    let held_by = before.and_then(holder);
    if held_by == after.and_then(holder) {
        return;
    }
    if let Some(upgrade) = held_by.and_then(|uid| seen.world.upgrade(uid))
        && upgrade.is_past_preflight()
    {
        report.say(
            "S4",
            &write.object,
            format!("taken from {} in the middle of its run", upgrade.title()),
        );
    }
}

fn holder(lease: &Value) -> Option<&str> {
    lease
        .pointer("/spec/holderIdentity")?
        .as_str()
        .filter(|holder| !holder.is_empty())
}

/// L5: a leader's lease is taken over only after nobody has renewed it for its whole time.
#[derive(Default)]
pub(super) struct Leader {
    /// When each lease was last written.
    written: BTreeMap<ObjectKey, Timestamp>,
}

impl Property for Leader {
    fn needs(&self) -> Sources {
        WRITERS
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(write) = seen.write() else { return };
        if !write.object.is("coordination.k8s.io", "leases") || write.object.name != names::LEADER_LEASE {
            return;
        }
        let last = self.written.insert(write.object.clone(), seen.time);
        let (Some(before), Some(after), Some(last)) = (write.before.as_deref(), write.after.as_deref(), last) else {
            return;
        };
        let (Some(old), Some(new)) = (holder(before), holder(after)) else {
            return;
        };
        let seconds = before
            .pointer("/spec/leaseDurationSeconds")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        // A second for the way of the two requests.
        let lasts = SignedDuration::from_secs(seconds.saturating_sub(1));
        if write.actor.is_operator() && old != new && seen.time.duration_since(last) < lasts {
            let text = format!(
                "{new} took it from {old}, who had renewed it {:#} before",
                seen.time.duration_since(last)
            );
            report.say("L5", &write.object, text);
        }
    }
}
