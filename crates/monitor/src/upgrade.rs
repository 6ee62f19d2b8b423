//! A `KKPUpgrade` as one write left it. Pure.

use jiff::Timestamp;
use kkp_upgrade_core::conditions::ConditionType;
use kkp_upgrade_core::phase::Phase;
use kkp_upgrade_core::status::Status;
use serde_json::Value;

use crate::names;

/// A `KKPUpgrade` as one write left it.
#[derive(Clone, Debug)]
pub(crate) struct Upgrade {
    /// UID.
    pub(crate) uid: String,
    /// Namespace and name.
    pub(crate) name: String,
    /// Generation of the spec.
    pub(crate) generation: i64,
    /// When its deletion was asked for.
    pub(crate) deleting: Option<Timestamp>,
    /// Whether our finalizer is on it.
    pub(crate) finalizer: bool,
    /// The object itself.
    pub(crate) object: Value,
    /// Its status; the default where it cannot be read.
    pub(crate) status: Status,
    /// Why the status cannot be read.
    pub(crate) unreadable: Option<String>,
    /// Size of the object as compact JSON.
    pub(crate) size: usize,
}

impl Upgrade {
    pub(crate) fn read(object: &Value) -> Self {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let status = object.get("status").cloned().unwrap_or(Value::Null);
        let (status, unreadable) = match status {
            Value::Null => (Status::default(), None),
            other => match serde_json::from_value(other) {
                Ok(status) => (status, None),
                Err(error) => (Status::default(), Some(error.to_string())),
            },
        };
        let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
        Self {
            uid: text("/metadata/uid").to_owned(),
            name: format!("{}/{}", text("/metadata/namespace"), text("/metadata/name")),
            generation: object
                .pointer("/metadata/generation")
                .and_then(Value::as_i64)
                .unwrap_or(0),
            deleting: text("/metadata/deletionTimestamp").parse().ok(),
            finalizer: finalizers.is_some_and(|all| all.iter().any(|one| one == names::FINALIZER)),
            size: object.to_string().len(),
            object: object.clone(),
            status,
            unreadable,
        }
    }

    /// How messages name it.
    pub(crate) fn title(&self) -> String {
        format!("KKPUpgrade {}", self.name)
    }

    /// The phase; `None` before the first look.
    pub(crate) fn phase(&self) -> Option<Phase> {
        self.status.phase()
    }

    /// Whether its run has ended.
    pub(crate) fn is_terminal(&self) -> bool {
        self.phase().is_some_and(Phase::is_terminal)
    }

    /// Whether the run holds the platform: between Preflight and the end.
    pub(crate) fn is_past_preflight(&self) -> bool {
        matches!(self.phase(), Some(Phase::Backup | Phase::Deploying | Phase::Verifying))
    }

    /// Whether a condition is True.
    pub(crate) fn is_true(&self, condition: ConditionType) -> bool {
        self.status.is_true(condition)
    }

    /// The reason of the condition Ready.
    pub(crate) fn reason(&self) -> &str {
        self.status
            .condition(ConditionType::Ready)
            .map_or("", |condition| condition.reason.as_str())
    }

    /// A text of the spec.
    pub(crate) fn spec(&self, path: &str) -> Option<&Value> {
        self.object.get("spec")?.pointer(path)
    }

    /// A command's token.
    pub(crate) fn command(&self, command: &str) -> Option<&str> {
        self.object
            .pointer(&format!("/metadata/annotations/{}~1{command}", names::GROUP))?
            .as_str()
            .filter(|token| !token.is_empty())
    }

    /// Whether a person has stopped it.
    pub(crate) fn is_paused(&self) -> bool {
        self.spec("/paused").and_then(Value::as_bool).unwrap_or(false)
    }
}
