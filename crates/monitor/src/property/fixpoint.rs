//! S19: no write of ours that changes nothing.

use super::ownership::differences;
use super::{Property, Report, Seen, WRITERS};
use crate::event::Verb;
use crate::expectations::Sources;

/// S19.
pub(super) struct NoEmptyWrite;

impl Property for NoEmptyWrite {
    fn needs(&self) -> Sources {
        WRITERS
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(write) = seen.operator_write().filter(|write| write.verb == Verb::Update) else {
            return;
        };
        if let (Some(before), Some(after)) = (&write.before, &write.after)
            && differences(before, after).is_empty()
        {
            report.say(
                "S19",
                &write.object,
                "written by the operator with what stood there already",
            );
        }
    }
}
