//! What the simulated storage holds of older backups, and how their removal ends.

use serde_json::{Value, json};

use super::world::{Outcome, SimJob};
use crate::effect::JobWork;

#[derive(Debug, Clone)]
pub(super) struct SimRetention {
    /// Backups of each target that backup Jobs tell of.
    pub(super) stored: Option<i64>,
    /// Why they cannot count them.
    pub(super) uncounted: Option<String>,
    /// How the removal ends.
    pub(super) outcome: Outcome,
}

impl Default for SimRetention {
    fn default() -> Self {
        Self {
            stored: None,
            uncounted: None,
            outcome: Outcome::Good,
        }
    }
}

impl SimRetention {
    /// What a Job adds to its result.
    pub(super) fn result(&self, job: &SimJob) -> Value {
        match &job.intent.work {
            JobWork::Retention { keep, .. } => {
                let removed = self.stored.unwrap_or_default() - i64::from(*keep);
                json!({"removed": removed, "kept": keep})
            }
            JobWork::Backup { .. } => json!({"stored": self.stored, "uncounted": self.uncounted}),
            JobWork::Installer { .. } => json!({}),
        }
    }
}
