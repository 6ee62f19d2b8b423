//! Findings: what rules say about the platform. Pure.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::kind::ItemKind;
use super::record::Severity;
use crate::fix::ProposedFix;
use crate::version::KkpVersion;

/// Longest message, in bytes: what a status field takes.
pub(super) const MESSAGE_BYTES: usize = crate::status::MESSAGE_BYTES;

/// One step of the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Hop {
    /// What runs before it.
    pub from: KkpVersion,
    /// What runs after it.
    pub to: KkpVersion,
}

impl fmt::Display for Hop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} → {}", self.from, self.to)
    }
}

/// Consent to a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Acceptance {
    /// Why, in the administrator's words.
    pub reason: String,
    /// Until when.
    pub expiration_time: Timestamp,
}

/// One rule about one item: it failed, or it could not be decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about the finding"
)]
pub struct Finding {
    /// Id of the rule.
    pub rule: String,
    /// How bad it is; an undecided rule counts as bad as its failure.
    pub severity: Severity,
    /// Whether consent is possible.
    pub acceptable: bool,
    /// The first hop that it concerns.
    pub hop: Hop,
    /// Whether that is not the hop that comes now: it is told early, and counts when its hop comes.
    pub ahead: bool,
    /// Kind of the item.
    pub kind: ItemKind,
    /// Name of the item, in the form that [`ItemKind`] says.
    pub target: String,
    /// What is wrong, at most 256 bytes.
    pub message: String,
    /// What to do, at most 256 bytes.
    pub remedy: String,
    /// Address of the official page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
    /// True when the rule could not be decided.
    pub unknown: bool,
    /// Whether it often passes by itself: undecided, or something that did not answer.
    #[serde(skip)]
    pub transient: bool,
    /// The consent that covers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Acceptance>,
    /// What the rule would write to mend it, where it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<ProposedFix>,
}

impl Finding {
    /// Kind and name, for example `seed eu` or `cluster eu/x7f2`.
    #[must_use]
    pub fn subject(&self) -> String {
        if self.kind == ItemKind::Platform {
            self.target.clone()
        } else {
            format!("{} {}", self.kind, self.target)
        }
    }

    /// Whether it keeps the upgrade from going on: nobody has accepted it, and it will not be mended on the way.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.severity == Severity::Blocker && self.accepted.is_none() && !self.ahead && !self.is_to_be_fixed()
    }

    /// Whether a fix that was asked for will mend it.
    #[must_use]
    pub fn is_to_be_fixed(&self) -> bool {
        self.fix.as_ref().is_some_and(ProposedFix::is_wanted)
    }

    /// Worst first: blockers, warnings with what blocks a later hop, accepted ones, infos.
    fn rank(&self) -> u8 {
        match (self.severity, &self.accepted) {
            (Severity::Blocker, None) if !self.ahead => 0,
            (Severity::Blocker | Severity::Warning, None) => 1,
            (Severity::Blocker | Severity::Warning, Some(_)) => 2,
            (Severity::Info, _) => 3,
        }
    }
}

/// Worst first, then in a fixed order that does not depend on the order of reading.
pub(super) fn sort(findings: &mut [Finding]) {
    findings.sort_by(|one, other| {
        let key = |finding: &Finding| (finding.rank(), finding.hop, finding.kind);
        key(one)
            .cmp(&key(other))
            .then_with(|| one.rule.cmp(&other.rule))
            .then_with(|| one.target.cmp(&other.target))
            .then_with(|| one.message.cmp(&other.message))
    });
}

/// Makes control characters and invisible direction marks visible: names come from objects that others may write.
pub(super) fn escape(text: &str) -> String {
    let hidden = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars()
        .fold(String::with_capacity(text.len()), |mut escaped, letter| {
            if hidden(letter) {
                escaped.extend(letter.escape_default());
            } else {
                escaped.push(letter);
            }
            escaped
        })
}

/// Cuts at a character so that text and ellipsis fit into `bytes`.
pub(super) fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes.saturating_sub('…'.len_utf8()));
    format!("{}…", text.get(..end).unwrap_or_default())
}
