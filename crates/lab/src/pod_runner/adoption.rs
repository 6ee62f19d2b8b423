//! Pods that were on the node before the runner started: their processes are gone (a copied etcd folder, a restart). Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::decision::belongs_to_job;
use super::record::{ContainerRecord, Ended, PodRecord, State};

/// Continues the record of such a Pod: restarts are counted on. `false` if it must not run again: it belongs to a Job,
/// whose controller decides about another Pod; then the record says Failed.
pub(super) fn take_over(record: &mut PodRecord, pod: &Pod, now: Timestamp) -> bool {
    let status = pod.status.clone().unwrap_or_default();
    let init = status.init_container_statuses.unwrap_or_default();
    let main = status.container_statuses.unwrap_or_default();
    let had_run = init.iter().chain(&main).any(has_run);
    if !had_run {
        return true;
    }
    let is_over = belongs_to_job(pod);
    for (records, statuses) in [(&mut record.init, &init), (&mut record.main, &main)] {
        for container in records {
            if let Some(status) = statuses.iter().find(|status| status.name == container.name) {
                take_over_container(container, status, is_over, now);
            }
        }
    }
    if is_over {
        record.failed = Some(("NodeRestart", "the node was restarted while the Pod ran"));
    }
    !is_over
}

fn has_run(status: &ContainerStatus) -> bool {
    status.restart_count > 0
        || status
            .state
            .as_ref()
            .is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}

fn take_over_container(record: &mut ContainerRecord, status: &ContainerStatus, is_over: bool, now: Timestamp) {
    let was_running = status.state.as_ref().is_some_and(|state| state.running.is_some());
    record.restarts = status.restart_count;
    if is_over {
        record.state = State::Terminated(Ended::lost(now));
    } else if was_running {
        record.restarts += 1;
        record.last = Some(Ended::lost(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(owner: &str, state: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "ownerReferences": [{"apiVersion": "v1", "kind": owner, "name": "o", "uid": "u"}]},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]},
            "status": {"containerStatuses": [
                {"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 2, "state": state},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn a_running_container_is_started_again_but_not_in_a_job() {
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let of_set = pod("ReplicaSet", &running);
        let mut record = PodRecord::new(&of_set);
        assert!(take_over(&mut record, &of_set, Timestamp::UNIX_EPOCH));
        assert_eq!(record.main[0].restarts, 3);
        let of_job = pod("Job", &running);
        let mut record = PodRecord::new(&of_job);
        assert!(!take_over(&mut record, &of_job, Timestamp::UNIX_EPOCH));
        assert_eq!(record.phase(), "Failed");
    }

    #[test]
    fn a_pod_that_never_ran_is_new() {
        let mut fresh = pod("Job", &json!({"waiting": {"reason": "ContainerCreating"}}));
        fresh.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0].restart_count = 0;
        let mut record = PodRecord::new(&fresh);
        assert!(take_over(&mut record, &fresh, Timestamp::UNIX_EPOCH));
        assert_eq!(record.phase(), "Pending");
    }
}
