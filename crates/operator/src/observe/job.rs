//! A Job of ours, its Pod and its fence. Reading only.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, ContainerStatus, Pod};
use kkp_upgrade_core::facts::{Fence, JobFacts, WaitingPod};
use kkp_upgrade_core::status::Status;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::observer::Observer;
use crate::call::{CallError, call};
use crate::context::{FENCE_OWNER_ANNOTATION, INTENT_ANNOTATION, UPGRADE_LABEL};

/// The Job of this name as it is now, read live: what a watch says is never enough for a decision about a Job.
pub(super) async fn read(
    observer: &Observer<'_>,
    name: &str,
    status: &Status,
    uid: &str,
) -> Result<JobFacts, CallError> {
    let jobs = Api::<Job>::namespaced(observer.client.clone(), observer.namespace);
    let job = call(format!("Job {name}"), jobs.get_opt(name)).await?;
    let fence = fence(observer, name).await?;
    let Some(job) = job else {
        return without_job(observer, name, fence).await;
    };
    let intent = status.step.as_ref().and_then(|step| step.intent.as_deref());
    let ours = job.labels().get(UPGRADE_LABEL).map(String::as_str) == Some(uid)
        && job.annotations().get(INTENT_ANNOTATION).map(String::as_str) == intent;
    if !ours {
        return Ok(JobFacts::Foreign);
    }
    let uid = job.uid().unwrap_or_default();
    let pods = Api::<Pod>::namespaced(observer.client.clone(), observer.namespace);
    let selector = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={uid}"));
    let pods = call(format!("Pods of Job {name}"), pods.list(&selector)).await?.items;
    Ok(match ended(&job) {
        Some(true) => JobFacts::Succeeded {
            uid,
            message: main_message(&pods, true),
        },
        Some(false) => JobFacts::Failed {
            uid,
            message: failure(&job, &pods),
        },
        None => JobFacts::Running {
            uid,
            fence,
            waiting: waiting(&pods),
        },
    })
}

/// A Job that is gone may leave a Pod for a while: an installer that was let through is over when its Pod is.
async fn without_job(observer: &Observer<'_>, name: &str, fence: Fence) -> Result<JobFacts, CallError> {
    if fence == Fence::Pod {
        let pods = Api::<Pod>::namespaced(observer.client.clone(), observer.namespace);
        let selector = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={name}"));
        let pods = call(format!("Pods of Job {name}"), pods.list(&selector)).await?.items;
        if !pods.iter().all(over) {
            return Ok(JobFacts::Running {
                uid: String::new(),
                fence,
                waiting: None,
            });
        }
    }
    Ok(JobFacts::Absent { fence })
}

/// Whether nothing of the Pod runs or will run.
fn over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

async fn fence(observer: &Observer<'_>, job: &str) -> Result<Fence, CallError> {
    let fences = Api::<ConfigMap>::namespaced(observer.client.clone(), observer.namespace);
    let fence = call(format!("fence of Job {job}"), fences.get_opt(job)).await?;
    Ok(match fence {
        None => Fence::Absent,
        Some(fence) if fence.annotations().get(FENCE_OWNER_ANNOTATION).map(String::as_str) == Some("operator") => {
            Fence::Operator
        }
        // Whoever else made it: the main program may have started.
        Some(_) => Fence::Pod,
    })
}

/// Whether the Job has ended, and how. Counters turn before the last process is gone; only the terminal conditions with
/// nothing active and nothing terminating prove it.
pub(crate) fn ended(job: &Job) -> Option<bool> {
    let status = job.status.as_ref()?;
    if status.active.unwrap_or(0) > 0 || status.terminating.unwrap_or(0) > 0 {
        return None;
    }
    let is = |kind: &str| {
        status
            .conditions
            .as_ref()
            .is_some_and(|all| all.iter().any(|found| found.type_ == kind && found.status == "True"))
    };
    if is("Complete") {
        Some(true)
    } else if is("Failed") {
        Some(false)
    } else {
        None
    }
}

/// Termination message of the main container.
fn main_message(pods: &[Pod], successful: bool) -> String {
    let statuses = |pod: &Pod| {
        pod.status
            .as_ref()
            .and_then(|status| status.container_statuses.clone())
            .unwrap_or_default()
    };
    let terminated = |container: ContainerStatus| container.state.and_then(|state| state.terminated);
    pods.iter()
        .flat_map(statuses)
        .filter_map(terminated)
        .find(|state| (state.exit_code == 0) == successful)
        .and_then(|state| state.message)
        .unwrap_or_default()
}

/// Why a Job failed: exit code and the last error lines of the container that failed, init containers first.
fn failure(job: &Job, pods: &[Pod]) -> String {
    for pod in pods {
        let Some(status) = &pod.status else { continue };
        let containers = status
            .init_container_statuses
            .iter()
            .flatten()
            .chain(status.container_statuses.iter().flatten());
        for container in containers {
            let Some(state) = container.state.as_ref().and_then(|state| state.terminated.as_ref()) else {
                continue;
            };
            if state.exit_code != 0 {
                let lines = error_lines(state.message.as_deref().unwrap_or_default());
                return format!(
                    "container {} ended with code {}: {lines}",
                    container.name, state.exit_code
                );
            }
        }
    }
    let conditions = job
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let said = conditions
        .into_iter()
        .find(|condition| condition.type_ == "Failed")
        .and_then(|condition| condition.message);
    said.unwrap_or_else(|| "its Pod is gone and nothing says why".to_owned())
}

/// The messages of the last error lines; lines that are JSON objects (as the installer writes them) are read, the others
/// are taken as they are.
#[must_use]
pub fn error_lines(log: &str) -> String {
    let mut errors = Vec::new();
    let mut last = String::new();
    for line in log.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match serde_json::from_str::<serde_json::Value>(line) {
            Ok(entry) => {
                let text = |key: &str| entry.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
                let message = if text("msg").is_empty() {
                    text("error")
                } else {
                    text("msg")
                };
                message.trim().clone_into(&mut last);
                if matches!(text("level"), "error" | "fatal") || entry.get("error").is_some() {
                    errors.push(last.clone());
                }
            }
            Err(_) => line.clone_into(&mut last),
        }
    }
    if errors.is_empty() {
        last
    } else {
        errors.split_off(errors.len().saturating_sub(2)).join("; ")
    }
}

/// The Pod that cannot start; `None` as soon as the main program of any of them has started.
fn waiting(pods: &[Pod]) -> Option<WaitingPod> {
    if pods.iter().any(has_started) {
        return None;
    }
    pods.iter().find_map(|pod| {
        Some(WaitingPod {
            why: obstacle(pod)?,
            name: pod.name_any(),
            uid: pod.uid()?,
            resource_version: pod.resource_version()?,
        })
    })
}

/// What keeps a Pod from starting.
fn obstacle(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let mut containers = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten());
    let stuck = containers.find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        let harmless = matches!(reason, "PodInitializing" | "ContainerCreating");
        (!harmless).then(|| format!("{reason}: {}", waiting.message.as_deref().unwrap_or("no message")))
    });
    stuck.or_else(|| {
        let unscheduled = status
            .conditions
            .iter()
            .flatten()
            .find(|found| found.type_ == "PodScheduled" && found.status == "False")?;
        let message = unscheduled.message.clone();
        Some(message.unwrap_or_else(|| "not scheduled".to_owned()))
    })
}

/// Whether a main container runs, has run, or says nothing of itself although the Pod's phase says it does.
fn has_started(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let phase = status.phase.as_deref();
    let was_alive = |container: &ContainerStatus| {
        let state = container.state.as_ref();
        container.restart_count > 0
            || state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
            || container
                .last_state
                .as_ref()
                .is_some_and(|last| last.terminated.is_some())
    };
    !matches!(phase, None | Some("Pending")) || status.container_statuses.iter().flatten().any(was_alive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_waits_only_while_no_main_program_has_started() {
        let pod = |value: serde_json::Value| {
            serde_json::from_value::<Pod>(
                serde_json::json!({"metadata": {"name": "p", "uid": "u", "resourceVersion": "7"}, "status": value}),
            )
            .unwrap()
        };
        let main = |state: serde_json::Value| serde_json::json!([{"name": "installer", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]);
        let stuck = pod(serde_json::json!({"phase": "Pending", "containerStatuses":
            main(serde_json::json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}}))}));
        let running =
            pod(serde_json::json!({"phase": "Running", "containerStatuses": main(serde_json::json!({"running": {}}))}));
        let found = waiting(std::slice::from_ref(&stuck)).unwrap();
        assert_eq!(
            (found.why.as_str(), found.resource_version.as_str()),
            ("ErrImagePull: no such image", "7")
        );
        assert_eq!(waiting(&[stuck.clone(), running]), None, "one of them runs");
        assert!(!over(&stuck) && over(&pod(serde_json::json!({"phase": "Failed"}))));
    }

    #[test]
    fn error_lines_of_the_installer_are_read_and_others_taken_as_they_are() {
        let log = "{\"level\":\"info\",\"msg\":\"start\"}\n{\"level\":\"error\",\"msg\":\"   ❌ Operation failed: no class.\"}\n";
        assert_eq!(error_lines(log), "❌ Operation failed: no class.");
        assert_eq!(error_lines("{\"error\":\"volume is full\"}"), "volume is full");
        assert_eq!(error_lines("plain\nlast line\n"), "last line");
        assert_eq!(error_lines(""), "");
    }

    #[test]
    fn a_job_has_ended_only_when_nothing_of_it_lives() {
        let job =
            |value: serde_json::Value| serde_json::from_value::<Job>(serde_json::json!({ "status": value })).unwrap();
        let failed = serde_json::json!([{"type": "Failed", "status": "True"}]);
        assert_eq!(
            ended(&job(serde_json::json!({"conditions": failed, "failed": 1}))),
            Some(false)
        );
        assert_eq!(
            ended(&job(serde_json::json!({"conditions": failed, "terminating": 1}))),
            None
        );
        assert_eq!(
            ended(&job(
                serde_json::json!({"failed": 1, "conditions": [{"type": "FailureTarget", "status": "True"}]})
            )),
            None
        );
        assert_eq!(
            ended(&job(
                serde_json::json!({"conditions": [{"type": "Complete", "status": "True"}]})
            )),
            Some(true)
        );
        assert_eq!(ended(&job(serde_json::json!({"active": 1}))), None);
    }
}
