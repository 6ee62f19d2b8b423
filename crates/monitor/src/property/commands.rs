//! S12: a command is answered with its own token, and only then.

use super::{Property, Report, Seen};
use crate::upgrade::Upgrade;

/// The answers.
pub(super) struct Answers;

fn answers(upgrade: &Upgrade) -> [(&'static str, Option<&str>); 4] {
    let status = &upgrade.status;
    [
        ("retry", status.last_handled_retry.as_deref()),
        ("abort", status.last_handled_abort.as_deref()),
        ("release", status.last_handled_release.as_deref()),
        ("approve", status.last_handled_approve.as_deref()),
    ]
}

impl Property for Answers {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some((before, after)) = seen.change() else { return };
        for ((command, old), (_, new)) in answers(before).into_iter().zip(answers(after)) {
            if old == new {
                continue;
            }
            // Texts of status are cut; the start of a long token is its answer.
            let given = after
                .command(command)
                .map(|token| token.chars().take(64).collect::<String>());
            let answered = new.map(|token| token.chars().take(64).collect::<String>());
            if answered.is_none() || answered != given {
                let text = format!("lastHandled of {command} became {new:?} and the annotation says {given:?}");
                report.say("S12", after.title(), text);
            }
        }
    }
}
