//! What is asked for: the spec, parsed. Pure. The core never sees an unparsed text.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use crate::rules::AcceptedRisk;
use crate::version::KkpVersion;

/// A spec that can be carried out as far as the spec alone can tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Version to reach.
    pub target: KkpVersion,
    /// Edition to reach; `None` = the running one.
    pub edition: Option<Edition>,
    /// Whether to upgrade or only to plan.
    pub mode: Mode,
    /// Stop at the next safe point.
    pub paused: bool,
    /// Limit on parallel reconciles for the time of the run; `None` leaves KKP's own alone.
    pub maximum_parallel_reconciles: Option<i32>,
    /// How the installer is run.
    pub installer: InstallerRequest,
    /// Where backups go and whether they are made.
    pub backup: BackupRequest,
    /// How long evidence must hold.
    pub soak: Duration,
    /// Nothing moving for this long makes the run Stalled.
    pub progress_deadline: Duration,
    /// Findings that a person answers for.
    pub accepted_risks: Vec<AcceptedRisk>,
}

/// Edition of KKP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::EnumString)]
pub enum Edition {
    /// Community Edition.
    CE,
    /// Enterprise Edition.
    EE,
}

/// Whether to upgrade or only to plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
pub enum Mode {
    /// Carry the plan out.
    Upgrade,
    /// Keep plan and findings fresh and change nothing.
    Plan,
}

/// How the installer is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallerRequest {
    /// Secret (name, key) with the Helm values; `None` = the values of the live release `kubermatic-operator`.
    pub helm_values: Option<(String, String)>,
    /// Charts to leave alone; `None` = inferred from what is installed.
    pub skip_charts: Option<Vec<String>>,
    /// Time-out of each Helm call.
    pub helm_timeout: Duration,
}

/// Where backups go and whether they are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRequest {
    /// Claim (name, folder on it); `None` = the operator's default, if it has one.
    pub claim: Option<(String, String)>,
    /// `false` = `policy: Skip`.
    pub required: bool,
}

/// A spec that cannot be carried out: which field, and what must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("spec.{field}: {problem}")]
pub struct SpecError {
    /// Path of the field below `spec`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

impl Request {
    /// Digest of what makes a run this run: another one of these, after the end, is another run.
    #[must_use]
    pub fn identity(&self) -> String {
        let edition = self.edition.map_or_else(String::new, |edition| edition.to_string());
        sha256(format!("{}\n{edition}\n{}", self.target, self.mode).as_bytes())
    }
}

/// `sha256:` and the digest in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
