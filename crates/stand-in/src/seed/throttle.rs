//! `maximumParallelReconciles`: a user cluster whose control plane is not up to date is always reconciled; another only if
//! fewer than the limit are not up to date. Counted are **all** user clusters of the seed, also paused, deleting, foreign
//! and broken ones, on cached data: the limit is soft upwards, and enough broken clusters stop everything
//! (KKP source, pkg/controller/util, `ClusterAvailableForReconciling` and `ConcurrencyLimitReached`; 2.23 to 2.31). Pure.

use kube::api::DynamicObject;

/// The condition that counts.
pub(super) const UP_TO_DATE: &str = "SeedResourcesUpToDate";

/// True if the condition stands at True, of whatever version.
pub(super) fn is_up_to_date(cluster: &DynamicObject) -> bool {
    let status = cluster.data.pointer("/status/conditions/SeedResourcesUpToDate/status");
    status.and_then(serde_json::Value::as_str) == Some("True")
}

/// True if `cluster` must wait.
pub(super) fn is_throttled<Object: AsRef<DynamicObject>>(cluster: &DynamicObject, all: &[Object], limit: i64) -> bool {
    is_up_to_date(cluster) && is_limit_reached(all, limit)
}

fn is_limit_reached<Object: AsRef<DynamicObject>>(all: &[Object], limit: i64) -> bool {
    let busy = all.iter().filter(|cluster| !is_up_to_date(cluster.as_ref())).count();
    i64::try_from(busy).unwrap_or(i64::MAX) >= limit
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::objects::cluster_resource;

    fn cluster(name: &str, up_to_date: Option<bool>, spec: &Value) -> Arc<DynamicObject> {
        let status =
            up_to_date.map(|is| json!({"conditions": {UP_TO_DATE: {"status": if is { "True" } else { "False" }}}}));
        Arc::new(DynamicObject::new(name, &cluster_resource()).data(json!({"spec": spec, "status": status})))
    }

    #[test]
    fn a_cluster_that_is_not_up_to_date_is_always_reconciled() {
        let all = [cluster("a", Some(false), &json!({})), cluster("b", None, &json!({}))];
        assert!(!is_throttled(&all[0], &all, 1) && !is_throttled(&all[1], &all, 1));
    }

    #[test]
    fn an_up_to_date_cluster_waits_while_the_limit_is_reached() {
        let all = [
            cluster("a", Some(false), &json!({})),
            cluster("b", Some(true), &json!({})),
        ];
        assert!(is_throttled(&all[1], &all, 1));
        assert!(!is_throttled(&all[1], &all, 2));
    }

    #[test]
    fn paused_clusters_count_and_can_stop_everybody() {
        let paused = json!({"pause": true});
        let all = [
            cluster("a", Some(false), &paused),
            cluster("b", None, &paused),
            cluster("c", Some(true), &json!({})),
        ];
        assert!(is_throttled(&all[2], &all, 2));
    }

    #[test]
    fn a_negative_limit_freezes_every_cluster_that_is_up_to_date() {
        let all = [cluster("a", Some(true), &json!({}))];
        assert!(is_throttled(&all[0], &all, -1));
        assert!(is_throttled(&all[0], &all, 0));
    }
}
