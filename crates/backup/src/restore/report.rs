//! What a restore would do, or did: counts, every finding with its object, the reason and the next step. Holds names, and no
//! content of any object.

use std::fmt::Write as _;

use serde::Serialize;

use super::judge::Reason;

/// Most findings and objects that are listed each; all of them are counted.
const MOST_LISTED: usize = 2000;

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It is not there and comes back.
    Create,
    /// It is there with another content, which is replaced.
    Update,
    /// It is as in the backup.
    Equal,
    /// Others make or own it: it is left alone.
    Foreign,
    /// It cannot be restored as things are.
    Refused,
}

impl Verdict {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Equal => "equal",
            Self::Foreign => "foreign",
            Self::Refused => "refused",
        }
    }
}

/// How many objects of each verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// See [`Verdict::Create`].
    pub create: u64,
    /// See [`Verdict::Update`].
    pub update: u64,
    /// See [`Verdict::Equal`].
    pub equal: u64,
    /// See [`Verdict::Foreign`].
    pub foreign: u64,
    /// See [`Verdict::Refused`].
    pub refused: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, verdict: Verdict) {
        let count = match verdict {
            Verdict::Create => &mut self.create,
            Verdict::Update => &mut self.update,
            Verdict::Equal => &mut self.equal,
            Verdict::Foreign => &mut self.foreign,
            Verdict::Refused => &mut self.refused,
        };
        *count += 1;
    }
}

/// Something to know about one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The object: kind, namespace and name.
    pub object: String,
    /// What is the case.
    pub reason: String,
    /// What to do about it.
    pub next_step: String,
}

impl Finding {
    pub(crate) fn new(object: String, reason: Reason) -> Self {
        Self {
            object,
            reason: reason.reason,
            next_step: reason.next,
        }
    }
}

/// One object that is not equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// What happens to it.
    pub verdict: Verdict,
    /// The object.
    pub object: String,
}

/// A plan, or what was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// What is confirmed with `--confirm`: the digest of all that would be done.
    pub plan_digest: String,
    /// Digest of the backup's manifest.
    pub manifest_digest: String,
    /// Objects by what happens to them.
    pub counts: Counts,
    /// Whether anything was written by this run, and how many writes.
    pub written: Option<u64>,
    /// Objects that are not equal; at most 2000.
    pub objects: Vec<Listed>,
    /// What to know; at most 2000.
    pub findings: Vec<Finding>,
    /// How many findings there are.
    pub findings_in_all: u64,
}

impl RestoreReport {
    pub(crate) fn note(&mut self, finding: Finding) {
        self.findings_in_all += 1;
        if self.findings.len() < MOST_LISTED {
            self.findings.push(finding);
        }
    }

    pub(crate) fn list(&mut self, verdict: Verdict, object: String) {
        self.counts.add(verdict);
        if verdict != Verdict::Equal && self.objects.len() < MOST_LISTED {
            self.objects.push(Listed { verdict, object });
        }
    }

    /// For people: one line per object that is not equal, one per finding, and the sum at the end.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for Listed { verdict, object } in &self.objects {
            let _ = writeln!(text, "{:<8} {object}", verdict.word());
        }
        for finding in &self.findings {
            let _ = writeln!(
                text,
                "note     {}: {}; {}",
                finding.object, finding.reason, finding.next_step
            );
        }
        let Counts {
            create,
            update,
            equal,
            foreign,
            refused,
        } = self.counts;
        let listed = (self.objects.len() + self.findings.len()) as u64;
        let all = create + update + foreign + refused + self.findings_in_all;
        if listed < all {
            let _ = writeln!(text, "({} more lines are left out)", all - listed);
        }
        let _ = writeln!(
            text,
            "{create} to create, {update} to update, {equal} equal, {foreign} left to others, {refused} refused; nothing is deleted"
        );
        match self.written {
            Some(written) => {
                let _ = writeln!(text, "done: {written} writes, {} notes", self.findings_in_all);
            }
            None => {
                let _ = writeln!(text, "plan: {}", self.plan_digest);
            }
        }
        text
    }
}
