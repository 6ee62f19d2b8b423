//! Condition `SeedResourcesUpToDate`: True if everything in the cluster's namespace has finished rolling. Not throttled, and
//! stamped with the version of this process at once, although nothing was reconciled yet: no proof by itself
//! (KKP source, pkg/controller/seed-controller-manager/seedresourcesuptodatecondition).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::api::DynamicObject;
use kube::runtime::controller::Action;

use super::context::Context;
use super::throttle::UP_TO_DATE;
use crate::Error;
use crate::apply::set_condition;
use crate::condition::Statement;

/// Writes the condition of one user cluster.
pub(super) async fn reconcile(cluster: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, Error> {
    if !context.is_ours(&cluster) {
        return Ok(Action::await_change());
    }
    let deployments = context.deployments_of(&cluster);
    let sets = context.stateful_sets_of(&cluster);
    let is_rolled = is_rolled(&deployments, &sets);
    let statement = Statement {
        status: is_rolled,
        reason: "ClusterUpdateSuccessful",
        message: if is_rolled {
            "All control plane components are up to date"
        } else {
            "Some control plane components did not finish updating"
        },
        kubermatic_version: Some(context.version()),
    };
    set_condition(&context.api(), &cluster, UP_TO_DATE, statement).await?;
    Ok(Action::requeue(Duration::from_secs(10)))
}

/// KKP compares numbers only, not `observedGeneration`: a change that its controller has not seen yet still looks rolled.
pub(super) fn is_rolled(deployments: &[Arc<Deployment>], sets: &[Arc<StatefulSet>]) -> bool {
    let is_any = !deployments.is_empty() || !sets.is_empty();
    is_any
        && deployments.iter().all(|deployment| is_deployment_rolled(deployment))
        && sets.iter().all(|set| is_set_rolled(set))
}

/// `spec.replicas` = updated = available = ready.
pub(super) fn is_deployment_rolled(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.as_ref();
    let numbers = [
        status.and_then(|status| status.updated_replicas),
        status.and_then(|status| status.available_replicas),
        status.and_then(|status| status.ready_replicas),
    ];
    numbers.iter().all(|number| number.unwrap_or(0) == wanted)
}

/// `spec.replicas` = updated = current = ready.
pub(super) fn is_set_rolled(set: &StatefulSet) -> bool {
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = set.status.as_ref();
    let numbers = [
        status.and_then(|status| status.updated_replicas),
        status.and_then(|status| status.current_replicas),
        status.and_then(|status| status.ready_replicas),
    ];
    numbers.iter().all(|number| number.unwrap_or(0) == wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(updated: i32, available: i32, ready: i32) -> Arc<Deployment> {
        let status = json!({"updatedReplicas": updated, "availableReplicas": available, "readyReplicas": ready});
        let spec = json!({"replicas": 2, "selector": {}, "template": {}});
        Arc::new(
            serde_json::from_value(json!({"metadata": {"generation": 9}, "spec": spec, "status": status})).unwrap(),
        )
    }

    #[test]
    fn nothing_at_all_is_not_up_to_date() {
        assert!(!is_rolled(&[], &[]));
    }

    #[test]
    fn every_number_must_match() {
        assert!(is_rolled(&[deployment(2, 2, 2)], &[]));
        for (updated, available, ready) in [(1, 2, 2), (2, 1, 2), (2, 2, 1), (3, 2, 2)] {
            assert!(!is_rolled(
                &[deployment(2, 2, 2), deployment(updated, available, ready)],
                &[]
            ));
        }
    }

    #[test]
    fn a_stateful_set_that_is_half_rolled_is_not_up_to_date() {
        let set = |current: i32| -> Arc<StatefulSet> {
            let status = json!({"replicas": 3, "updatedReplicas": 3, "currentReplicas": current, "readyReplicas": 3});
            let spec = json!({"replicas": 3, "selector": {}, "serviceName": "etcd", "template": {}});
            Arc::new(serde_json::from_value(json!({"spec": spec, "status": status})).unwrap())
        };
        assert!(is_rolled(&[deployment(2, 2, 2)], &[set(3)]));
        assert!(!is_rolled(&[deployment(2, 2, 2)], &[set(1)]));
    }
}
