//! What the lines of a record add up to: names, places, occurrences, and which fault strikes next. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::call::{Call, stem};
use super::plan::{Plan, Strike};

/// One line of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Line {
    /// A call is about to be made.
    Call {
        /// Its number.
        number: usize,
        /// What it is.
        #[serde(flatten)]
        call: Call,
        /// The name as it stands in the request.
        raw: String,
        /// The how-many-th call that looks like this.
        occurrence: usize,
        /// Where the run is from here on, when the call says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<String>,
        /// Number of the fault that strikes it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<usize>,
    },
    /// A call was answered; 0 when there was no answer.
    Answer {
        /// Number of the call.
        number: usize,
        /// HTTP status.
        code: u16,
    },
    /// A call is held.
    Held {
        /// Number of the call.
        number: usize,
    },
}

/// The sum of a record's lines.
#[derive(Debug, Default)]
pub struct Tally {
    calls: usize,
    place: String,
    names: BTreeMap<(String, String), String>,
    stems: BTreeMap<(String, String), usize>,
    occurrences: BTreeMap<Call, usize>,
    fitting: BTreeMap<usize, usize>,
}

impl Tally {
    /// Takes a line in.
    pub fn add(&mut self, line: &Line, plan: &Plan) {
        let Line::Call { call, raw, place, .. } = line else {
            return;
        };
        self.calls += 1;
        if let Some(place) = place {
            self.place.clone_from(place);
        }
        self.learn(&call.resource, raw, &call.name);
        *self.occurrences.entry(call.clone()).or_default() += 1;
        for (index, fault) in plan.faults.iter().enumerate() {
            if fault.at.fits(call) {
                *self.fitting.entry(index).or_default() += 1;
            }
        }
    }

    fn learn(&mut self, resource: &str, raw: &str, name: &str) {
        let group = group(resource).to_owned();
        let key = (group.clone(), raw.to_owned());
        if raw == name || self.names.contains_key(&key) {
            return;
        }
        self.names.insert(key, name.to_owned());
        *self.stems.entry((group, stem(raw))).or_default() += 1;
    }

    /// The name of an object without what differs from run to run: objects that only a hash tells apart are numbered in the
    /// order in which they came up.
    fn name(&self, resource: &str, raw: &str) -> String {
        let stem = stem(raw);
        if stem == raw || resource == "events" {
            return stem;
        }
        let group = group(resource).to_owned();
        if let Some(known) = self.names.get(&(group.clone(), raw.to_owned())) {
            return known.clone();
        }
        let count = self.stems.get(&(group, stem.clone())).copied().unwrap_or(0);
        format!("{stem}{}", count + 1)
    }

    /// The line of a call that is about to be made, and what strikes it.
    #[must_use]
    pub fn next(&self, mut call: Call, place: Option<String>, plan: &Plan) -> (Line, Option<Strike>) {
        let raw = std::mem::take(&mut call.name);
        call.name = self.name(&call.resource, &raw);
        call.during = place.clone().unwrap_or_else(|| self.place.clone());
        let fault = plan.faults.iter().enumerate().find(|(index, fault)| {
            let this = self.fitting.get(index).copied().unwrap_or(0) + 1;
            let window = fault.at.occurrence..fault.at.occurrence.saturating_add(fault.times);
            fault.at.fits(&call) && window.contains(&this)
        });
        let strike = fault.map(|(_, fault)| fault.strike.clone());
        let line = Line::Call {
            number: self.calls + 1,
            occurrence: self.occurrences.get(&call).copied().unwrap_or(0) + 1,
            call,
            raw,
            place,
            fault: fault.map(|(index, _)| index),
        };
        (line, strike)
    }
}

/// A fence has the name of its Job.
fn group(resource: &str) -> &str {
    if matches!(resource, "jobs" | "configmaps") {
        "jobs"
    } else {
        resource
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::call::Verb;
    use crate::fault::plan::{Fault, Point};

    fn call(name: &str) -> Call {
        Call {
            peer: "master".to_owned(),
            verb: Verb::Create,
            resource: "jobs".to_owned(),
            name: name.to_owned(),
            subresource: String::new(),
            during: String::new(),
        }
    }

    #[test]
    fn a_fault_strikes_its_occurrence_and_no_other_whoever_counts() {
        let at = Point {
            verb: Some(Verb::Create),
            occurrence: 2,
            ..Point::default()
        };
        let strike = Strike::Crash { committed: false };
        let plan = Plan {
            faults: vec![Fault { at, strike, times: 2 }],
            ..Plan::default()
        };
        let mut struck = Vec::new();
        let mut lines = Vec::new();
        for _ in 0..5 {
            // A new process at every call: everything it knows is in the lines.
            let mut tally = Tally::default();
            for line in &lines {
                tally.add(line, &plan);
            }
            let (line, strike) = tally.next(call("x"), None, &plan);
            struck.push(strike.is_some());
            lines.push(line);
        }
        assert_eq!(struck, [false, true, true, false, false]);
    }

    #[test]
    fn objects_that_only_a_hash_tells_apart_are_numbered_as_they_come() {
        let plan = Plan::default();
        let mut tally = Tally::default();
        let mut names = Vec::new();
        for raw in ["j-0123456789", "j-abcdef0123", "j-0123456789", "plain"] {
            let (line, _) = tally.next(call(raw), None, &plan);
            tally.add(&line, &plan);
            if let Line::Call { call, .. } = line {
                names.push(call.name);
            }
        }
        assert_eq!(names, ["j-#1", "j-#2", "j-#1", "plain"]);
    }

    #[test]
    fn calls_after_a_status_write_belong_to_its_place() {
        let plan = Plan::default();
        let mut tally = Tally::default();
        let (line, _) = tally.next(call("a"), Some("Backup/".to_owned()), &plan);
        tally.add(&line, &plan);
        let (line, _) = tally.next(call("b"), None, &plan);
        assert!(matches!(line, Line::Call { call, .. } if call.during == "Backup/"));
    }
}
