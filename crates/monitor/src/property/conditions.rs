//! kstatus and S21: conditions are what Flux, Argo CD and Helm expect of them, and an object stays small.

use std::collections::BTreeMap;

use kkp_upgrade_core::conditions::{Condition, kstatus_violations};
use kkp_upgrade_core::status::MESSAGE_BYTES;

use super::{Property, Report, Seen};
use crate::names;

/// `kstatus`.
pub(super) struct Conditions;

impl Property for Conditions {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(upgrade) = seen.upgrade().filter(|upgrade| upgrade.unreadable.is_none()) else {
            return;
        };
        // A person's edit leaves the status of the generation before: only who writes a status answers for it.
        let is_status = seen
            .write()
            .is_some_and(|write| write.subresource.as_deref() == Some("status"));
        if is_status || !seen.expectations.sources.writers {
            for wrong in kstatus_violations(upgrade.generation, &upgrade.status) {
                report.say("kstatus", upgrade.title(), wrong);
            }
        }
        let Some((before, after)) = seen.change() else { return };
        let old: BTreeMap<&str, &Condition> = before
            .status
            .conditions
            .iter()
            .map(|condition| (condition.r#type.as_str(), condition))
            .collect();
        for condition in &after.status.conditions {
            let Some(old) = old.get(condition.r#type.as_str()) else {
                continue;
            };
            let (same, still) = (
                old.status == condition.status,
                old.last_transition_time == condition.last_transition_time,
            );
            if same && !still {
                let text = format!("lastTransitionTime of {} moved without its status", condition.r#type);
                report.say("kstatus", after.title(), text);
            }
            if condition.last_transition_time < old.last_transition_time {
                report.say(
                    "kstatus",
                    after.title(),
                    format!("lastTransitionTime of {} went back", condition.r#type),
                );
            }
        }
    }
}

/// S21: at most 64 KiB, and no message over its length.
pub(super) struct Bounded;

impl Property for Bounded {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(upgrade) = seen.upgrade() else { return };
        if upgrade.size > names::LARGEST {
            report.say("S21", upgrade.title(), format!("the object has {} bytes", upgrade.size));
        }
        for condition in &upgrade.status.conditions {
            if condition.message.len() > MESSAGE_BYTES {
                report.say(
                    "S21",
                    upgrade.title(),
                    format!("the message of {} is too long", condition.r#type),
                );
            }
        }
    }
}
