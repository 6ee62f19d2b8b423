//! A plan: which call is struck, and how. Pure data, one YAML file.

use serde::{Deserialize, Serialize};

use super::call::{Call, Verb};

/// What happens to the calls of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// Name of the record that the run is written to: `calls-<record>.jsonl`.
    #[serde(default)]
    pub record: String,
    /// The workload that the plan was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The faults; of several that fit, the first strikes.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Which calls.
    pub at: Point,
    /// What happens to them.
    pub strike: Strike,
    /// How many of them, one after the other.
    #[serde(default = "one")]
    pub times: usize,
}

/// Which calls. What is not named fits every call.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Point {
    /// Who calls: `master`, `leader-election`, `seed/<name>`, `preparation` or `backup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// What is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<Verb>,
    /// Plural of the kind, for example `jobs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Name of the object, without what differs from run to run; empty for a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Subresource; empty for the object itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subresource: Option<String>,
    /// Where the run is, see [`Call::during`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub during: Option<String>,
    /// The how-many-th call that fits, from 1.
    #[serde(default = "one")]
    pub occurrence: usize,
}

/// What happens to a call. `committed`: the API server has carried it out before; otherwise it never sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Strike {
    /// The process ends at once, without an answer.
    Crash {
        /// After the API server has carried the call out.
        #[serde(default)]
        committed: bool,
    },
    /// The API server answers with an error.
    Error {
        /// HTTP status.
        code: u16,
        /// The call was carried out all the same.
        #[serde(default)]
        committed: bool,
    },
    /// A proxy answers with 502 and a page for people.
    Page {
        /// The call was carried out all the same.
        #[serde(default)]
        committed: bool,
    },
    /// No answer, ever.
    Silence {
        /// The call was carried out all the same.
        #[serde(default)]
        committed: bool,
    },
    /// The connection breaks: before the call is sent, or in the middle of the answer.
    Reset {
        /// In the middle of the answer.
        #[serde(default)]
        committed: bool,
    },
    /// The answer ends early, and looks complete.
    Truncated,
    /// The call is sent twice; the first answer counts.
    Duplicate,
    /// The call is sent late.
    Delay {
        /// By so much.
        milliseconds: u64,
    },
    /// The call is kept until the test lets it go, see [`super::FaultFolder::let_go`]; then it is sent whether or not
    /// anybody still waits for it.
    Hold,
    /// A watch lies.
    Watch(WatchFault),
}

/// What a watch does from the `after`-th event on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WatchFault {
    /// What.
    pub does: WatchDoes,
    /// So many events pass before.
    #[serde(default)]
    pub after: usize,
    /// So many events are struck, where the fault strikes single ones.
    #[serde(default = "many")]
    pub events: usize,
}

/// How a watch lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WatchDoes {
    /// Nothing comes any more and the connection stays.
    Freezes,
    /// Events of different objects change places.
    Reorders,
    /// Events are missing.
    Drops,
    /// Every event comes twice.
    Duplicates,
    /// An `ERROR` event with code 410, then the end.
    Expires,
    /// The end, without a word.
    Closes,
}

fn one() -> usize {
    1
}

fn many() -> usize {
    usize::MAX >> 1
}

impl Point {
    /// Whether a call fits, its occurrence aside.
    #[must_use]
    pub fn fits(&self, call: &Call) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        same(&self.peer, &call.peer)
            && self.verb.is_none_or(|wanted| wanted == call.verb)
            && same(&self.resource, &call.resource)
            && same(&self.name, &call.name)
            && same(&self.subresource, &call.subresource)
            && same(&self.during, &call.during)
    }

    /// The point of the `occurrence`-th call that looks like this one.
    #[must_use]
    pub fn exactly(call: &Call, occurrence: usize) -> Self {
        Self {
            peer: Some(call.peer.clone()),
            verb: Some(call.verb),
            resource: Some(call.resource.clone()),
            name: Some(call.name.clone()),
            subresource: Some(call.subresource.clone()),
            during: Some(call.during.clone()),
            occurrence,
        }
    }
}

impl Plan {
    /// The plan of a YAML text.
    ///
    /// # Errors
    /// When it is not a plan.
    pub fn from_yaml(text: &str) -> anyhow::Result<Self> {
        Ok(serde_saphyr::from_str(text)?)
    }

    /// As YAML.
    ///
    /// # Errors
    /// When it cannot be written as text.
    pub fn to_yaml(&self) -> anyhow::Result<String> {
        Ok(serde_saphyr::to_string(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_file_that_people_can_write() {
        let text = "
faults:
- at: {peer: master, verb: create, resource: jobs, during: Deploying/Master}
  strike: {kind: crash, committed: true}
- at: {verb: watch, resource: seeds, occurrence: 2}
  strike: {kind: watch, does: drops, after: 1, events: 2}
  times: 3
";
        let plan = Plan::from_yaml(text).unwrap();
        assert_eq!(plan.faults[0].strike, Strike::Crash { committed: true });
        assert_eq!((plan.faults[0].times, plan.faults[0].at.occurrence), (1, 1));
        assert_eq!(plan.faults[1].times, 3);
        assert_eq!(Plan::from_yaml(&plan.to_yaml().unwrap()).unwrap(), plan);
        assert!(Plan::from_yaml("faults: [{at: {verbs: get}, strike: {kind: hold}}]").is_err());
    }
}
