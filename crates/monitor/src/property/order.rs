//! S11: master, then seeds, then user clusters; one minor at a time; never back.

use kkp_upgrade_core::conditions::ConditionType;

use super::{Property, Report, Seen};
use crate::upgrade::Upgrade;

/// What comes after what, in a run.
const ORDER: [ConditionType; 5] = [
    ConditionType::BackupVerified,
    ConditionType::MasterUpgraded,
    ConditionType::SeedsUpgraded,
    ConditionType::UserClustersConverged,
    ConditionType::Verified,
];

/// S11.
pub(super) struct Order;

impl Property for Order {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(upgrade) = seen.upgrade() else { return };
        in_order(upgrade, seen, report);
        hops(upgrade, report);
        let Some((before, after)) = seen.change() else { return };
        let moved = before.status.current_version != after.status.current_version;
        let downgrade = before.status.current_version.as_deref().and_then(version)
            > after.status.current_version.as_deref().and_then(version);
        if moved && downgrade {
            report.say("S11", after.title(), "currentVersion went back");
        }
    }
}

/// No condition becomes True before the one that must come first.
fn in_order(upgrade: &Upgrade, seen: &Seen<'_>, report: &mut Report) {
    let before = seen.change().map(|(before, _)| before);
    let already_there = upgrade.reason() == "AlreadyAtTarget";
    // Whether that was allowed is S1's.
    let skipped = |condition| {
        let found = upgrade.status.condition(condition);
        found.is_some_and(|found| found.reason == "BackupSkipped")
    };
    for pair in ORDER.windows(2) {
        let [first, second] = pair else { continue };
        let news = before.is_some_and(|before| !before.is_true(*second)) && upgrade.is_true(*second);
        if news && !upgrade.is_true(*first) && !skipped(*first) && !already_there {
            report.say("S11", upgrade.title(), format!("{second} became True before {first}"));
        }
    }
}

/// One minor at a time, forwards.
fn hops(upgrade: &Upgrade, report: &mut Report) {
    let Some(hop) = &upgrade.status.hop else { return };
    let (Some(from), Some(to)) = (version(&hop.from), version(&hop.to)) else {
        let text = format!("hop from `{}` to `{}`, which are no versions", hop.from, hop.to);
        return report.say("S11", upgrade.title(), text);
    };
    if to < from {
        report.say(
            "S11",
            upgrade.title(),
            format!("hop from {} back to {}", hop.from, hop.to),
        );
    }
    // Preflight plans whatever was asked for, and refuses it.
    if upgrade.status.is_locked() && (to.0 != from.0 || to.1 > from.1 + 1) {
        report.say(
            "S11",
            upgrade.title(),
            format!("hop from {} to {} skips a minor", hop.from, hop.to),
        );
    }
}

fn version(text: &str) -> Option<(u64, u64, u64)> {
    let mut parts = text
        .trim_start_matches('v')
        .splitn(3, '.')
        .map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}
