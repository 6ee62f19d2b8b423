//! `Seed.status.phase`. Pure.

use serde_json::Value;

/// What the phase depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts<'facts> {
    pub(super) is_deleted: bool,
    pub(super) is_skipped: bool,
    /// Status of condition `KubeconfigValid`.
    pub(super) kubeconfig: Option<&'facts str>,
    /// Status of condition `ResourcesReconciled`.
    pub(super) reconciled: Option<&'facts str>,
}

/// The phase; empty if nothing is known yet (KKP 2.31 source, seed-status-controller). A skipped Seed is `Paused` whatever
/// its conditions say, and an old `True` keeps it `Healthy` while a new version has not touched it.
pub(super) fn phase(facts: Facts<'_>) -> &'static str {
    match (facts.kubeconfig, facts.reconciled) {
        _ if facts.is_deleted => "Terminating",
        _ if facts.is_skipped => "Paused",
        (Some("True"), Some("True")) => "Healthy",
        (Some("False"), _) => "Invalid",
        (_, Some("False")) => "Unhealthy",
        _ => "",
    }
}

/// The status of one condition in a map of conditions.
pub(super) fn status_of<'value>(conditions: Option<&'value Value>, kind: &str) -> Option<&'value str> {
    conditions
        .and_then(|conditions| conditions.get(kind))
        .and_then(|condition| condition.get("status"))
        .and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phase_follows_annotation_and_conditions_in_this_order() {
        let facts = |kubeconfig, reconciled| Facts {
            kubeconfig,
            reconciled,
            ..Facts::default()
        };
        assert_eq!(phase(facts(Some("True"), Some("True"))), "Healthy");
        assert_eq!(phase(facts(Some("False"), Some("True"))), "Invalid");
        assert_eq!(phase(facts(Some("False"), Some("False"))), "Invalid");
        assert_eq!(phase(facts(Some("True"), Some("False"))), "Unhealthy");
        assert_eq!(phase(facts(Some("True"), None)), "");
        assert_eq!(phase(facts(None, None)), "");
        assert_eq!(
            phase(Facts {
                is_skipped: true,
                ..facts(Some("True"), Some("True"))
            }),
            "Paused"
        );
        assert_eq!(
            phase(Facts {
                is_skipped: true,
                ..facts(Some("False"), None)
            }),
            "Paused"
        );
        assert_eq!(
            phase(Facts {
                is_deleted: true,
                is_skipped: true,
                ..Facts::default()
            }),
            "Terminating"
        );
    }
}
