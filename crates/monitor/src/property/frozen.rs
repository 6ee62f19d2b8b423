//! S13: while a run is locked, its plan does not change, and neither does what was ordered.

use kkp_upgrade_core::phase::Phase;
use kkp_upgrade_core::status::Status;
use serde_json::Value;

use super::evidence::next_hop;
use super::gate::label;
use super::{Property, Report, Seen};
use crate::event::Verb;
use crate::names;

/// Fields of the spec that a locked run keeps.
const ORDERED: [&str; 8] = [
    "targetVersion",
    "mode",
    "via",
    "edition",
    "backup",
    "installer",
    "stacks",
    "seeds",
];

/// S13.
pub(super) struct Frozen;

impl Property for Frozen {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        image(seen, report);
        let Some((before, after)) = seen.change() else { return };
        if !before.status.is_locked() {
            return;
        }
        let reverted = |target: Option<&Value>| {
            let target = target.and_then(Value::as_str).map(|text| text.trim_start_matches('v'));
            target.is_some()
                && (target == before.status.from_version.as_deref()
                    || target == before.status.current_version.as_deref())
        };
        for field in ORDERED {
            let path = format!("/{field}");
            if before.spec(&path) != after.spec(&path) && !reverted(after.spec("/targetVersion")) {
                report.say("S13", after.title(), format!("spec.{field} changed in a locked run"));
            }
        }
        if !after.status.is_locked() {
            return;
        }
        let digest = |status: &Status| status.plan.as_ref().map(|plan| plan.digest.clone());
        let next = next_hop(before, after);
        // A later hop has a Preflight of its own, with its plan and its baseline.
        let planning = next || before.phase() == Some(Phase::Preflight);
        let frozen = [
            (
                "plan.digest",
                planning || digest(&before.status) == digest(&after.status),
            ),
            ("path", before.status.path == after.status.path),
            ("hop", next || before.status.hop == after.status.hop),
            (
                "targetVersion",
                before.status.target_version == after.status.target_version,
            ),
            ("runId", before.status.run_id == after.status.run_id),
            (
                "unhealthyBefore",
                planning || before.status.unhealthy_before == after.status.unhealthy_before,
            ),
        ];
        for (field, _) in frozen.into_iter().filter(|(_, same)| !same) {
            report.say("S13", after.title(), format!("status.{field} changed in a locked run"));
        }
    }
}

/// An installer's Job runs the image of the hop.
fn image(seen: &Seen<'_>, report: &mut Report) {
    let Some(write) = seen.write().filter(|write| write.verb == Verb::Create) else {
        return;
    };
    let Some(job) = write.after.as_deref().filter(|_| write.object.is("batch", "jobs")) else {
        return;
    };
    if label(job, names::STEP_LABEL) != Some("installer") {
        return;
    }
    let upgrade = label(job, names::UPGRADE_LABEL).and_then(|uid| seen.world.upgrade(uid));
    let Some(hop) = upgrade.and_then(|upgrade| upgrade.status.hop.as_ref()) else {
        return report.say("S13", &write.object, "created for a KKPUpgrade that has no hop");
    };
    let image = job
        .pointer("/spec/template/spec/containers/0/image")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
    if tag.trim_start_matches('v') != hop.to {
        report.say(
            "S13",
            &write.object,
            format!("runs image {image} in the hop to {}", hop.to),
        );
    }
}
