//! Form of one rule in `catalogue/rules/*.yaml`. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::version::KkpVersion;

/// How bad a finding is; the order is worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Severity {
    /// Nothing goes on until it is solved or accepted.
    Blocker,
    /// Shown; does not stop anything.
    Warning,
    /// For information.
    Info,
}

/// When a rule is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Stage {
    /// Before the administrator's own preparation is asked for.
    Prepare,
    /// Before the backup, and again before each step that cannot be undone.
    Preflight,
    /// Around the backup.
    Backup,
    /// While the platform is being moved.
    Deploy,
    /// After it, for the soak time.
    Verify,
    /// When all is done: what should be done next.
    Post,
}

/// What a rule's own test expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "camelCase")]
#[strum(serialize_all = "camelCase")]
pub enum Expectation {
    /// The rule finds something.
    Fail,
    /// The rule finds nothing.
    Pass,
    /// The rule does not concern the item.
    NotApplicable,
    /// The rule cannot be decided.
    Unknown,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RuleRecord {
    pub(super) id: String,
    pub(super) hop: String,
    pub(super) stage: Stage,
    pub(super) severity: Severity,
    pub(super) acceptable: bool,
    #[serde(default)]
    pub(super) transient: bool,
    pub(super) title: String,
    pub(super) each: String,
    pub(super) when: String,
    pub(super) fail: String,
    pub(super) message: String,
    pub(super) remedy: String,
    pub(super) docs: Option<String>,
    pub(super) source: Option<String>,
    #[serde(default)]
    pub(super) covers: Vec<String>,
    pub(super) fix: Option<FixRecord>,
    pub(super) tests: Vec<TestRecord>,
}

/// A plain write to the object that a finding is about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FixRecord {
    pub(super) title: String,
    /// Path of a fact of the kind that is one value.
    pub(super) path: String,
    /// CEL: what to write; sees the same as `fail`.
    pub(super) value: Option<String>,
    /// To remove what stands there instead.
    #[serde(default)]
    pub(super) remove: bool,
    /// CEL: whether the fix is one for this item at all; by default it is.
    pub(super) when: Option<String>,
    /// CEL: why it must not be made on this item, as a text; empty = it may.
    pub(super) unless: Option<String>,
    #[serde(default)]
    pub(super) temporary: bool,
    #[serde(default)]
    pub(super) throttled: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TestRecord {
    pub(super) name: String,
    #[serde(default)]
    pub(super) it: Map<String, Value>,
    #[serde(default)]
    pub(super) spec: Map<String, Value>,
    #[serde(default)]
    pub(super) hop: TestHop,
    /// What the clock says.
    #[serde(default = "usual_time")]
    pub(super) now: Timestamp,
    pub(super) expect: Expectation,
    /// What the rule's fix writes, null = it removes; left out, the rule has no fix for this item. Once made, as often as it
    /// takes, the rule passes.
    #[serde(default, deserialize_with = "present")]
    pub(super) fixed: Option<Value>,
    /// Why the rule's fix is not made for this item.
    pub(super) refused: Option<String>,
}

/// Keeps `null` apart from a key that is not there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// The clock of tests that do not say: 2026-06-01.
const fn usual_time() -> Timestamp {
    Timestamp::constant(1_780_272_000, 0)
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct TestHop {
    pub(super) from: KkpVersion,
    pub(super) to: KkpVersion,
    pub(super) started: bool,
}

impl Default for TestHop {
    fn default() -> Self {
        Self {
            from: KkpVersion::new(2, 30, 6),
            to: KkpVersion::new(2, 31, 0),
            started: false,
        }
    }
}
