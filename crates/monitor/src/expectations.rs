//! What a history is judged by, beside the properties themselves. Pure data.

use jiff::SignedDuration;

/// Names, bounds and excuses.
#[derive(Clone, Debug)]
pub struct Expectations {
    /// Namespace of KKP and of the operator.
    pub namespace: String,
    /// Name of the master's cluster in the history.
    pub master: String,
    /// Which sources the history was made from: properties that need another one are not judged.
    pub sources: Sources,
    /// L1: longest time from the last thing that a person did to the end of a run; `None` = not judged.
    pub terminal: Option<SignedDuration>,
    /// L2: longest silence of a run that works.
    pub silence: SignedDuration,
    /// L3: longest time until an abort is answered.
    pub abort: SignedDuration,
    /// L4: longest time that a deletion takes after the last Job of the run is terminal.
    pub deletion: SignedDuration,
    /// S14: how many status writes without an edge are allowed in ten minutes at rest.
    pub writes_at_rest: usize,
    /// Properties that are broken on purpose.
    pub excuses: Vec<Excuse>,
}

/// A property that is broken on purpose, by a person in the story of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excuse {
    /// Id of the property.
    pub property: &'static str,
    /// A part of the message; empty = all of them.
    pub part: String,
    /// Why.
    pub reason: String,
}

/// Where a history comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Who wrote what is known: audit logs.
    pub writers: bool,
    /// Starts and ends of installers are known: the ledger.
    pub ledger: bool,
}

impl Default for Expectations {
    fn default() -> Self {
        Self {
            namespace: "kubermatic".to_owned(),
            master: "master".to_owned(),
            sources: Sources {
                writers: true,
                ledger: true,
            },
            terminal: None,
            silence: SignedDuration::from_mins(30),
            abort: SignedDuration::from_secs(30),
            deletion: SignedDuration::from_mins(2),
            writes_at_rest: 2,
            excuses: Vec::new(),
        }
    }
}

impl Expectations {
    /// The same, with a property that is broken on purpose.
    #[must_use]
    pub fn excuse(mut self, property: &'static str, part: &str, reason: &str) -> Self {
        self.excuses.push(Excuse {
            property,
            part: part.to_owned(),
            reason: reason.to_owned(),
        });
        self
    }
}
