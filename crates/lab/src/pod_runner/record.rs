//! What the pod runner knows about one Pod, and the status that follows from it. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Address of every Pod and of the node: all share the host's network.
const ADDRESS: &str = "127.0.0.1";

/// The end of one run of a container.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub code: i32,
    pub signal: Option<i32>,
    pub reason: &'static str,
    pub message: Option<String>,
    pub started: Option<Timestamp>,
    pub finished: Timestamp,
}

/// Where a container is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    Waiting {
        reason: &'static str,
        message: Option<String>,
    },
    Running {
        since: Timestamp,
    },
    Terminated(Ended),
}

/// One container.
#[derive(Clone, Debug)]
pub(super) struct ContainerRecord {
    pub name: String,
    pub image: String,
    pub state: State,
    pub last: Option<Ended>,
    pub restarts: i32,
    pub started: bool,
    pub ready: bool,
    /// An init container that goes on running beside the main ones.
    pub is_sidecar: bool,
}

impl ContainerRecord {
    fn new(container: &Container, reason: &'static str) -> Self {
        Self {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            state: State::Waiting { reason, message: None },
            last: None,
            restarts: 0,
            started: false,
            ready: false,
            is_sidecar: container.restart_policy.as_deref() == Some("Always"),
        }
    }

    fn succeeded(&self) -> bool {
        matches!(&self.state, State::Terminated(ended) if ended.code == 0)
    }

    const fn terminated(&self) -> bool {
        matches!(self.state, State::Terminated(_))
    }

    const fn has_run(&self) -> bool {
        self.last.is_some() || !matches!(self.state, State::Waiting { .. })
    }

    fn render(&self) -> ContainerStatus {
        let last = self.last.as_ref().map(|ended| ContainerState {
            terminated: Some(render_ended(ended)),
            ..ContainerState::default()
        });
        ContainerStatus {
            name: self.name.clone(),
            image: self.image.clone(),
            image_id: self.image.clone(),
            container_id: self.has_run().then(|| format!("lab://{}/{}", self.name, self.restarts)),
            ready: self.ready,
            started: Some(self.started),
            restart_count: self.restarts,
            state: Some(render_state(&self.state)),
            last_state: last,
            ..ContainerStatus::default()
        }
    }
}

fn render_state(state: &State) -> ContainerState {
    let mut rendered = ContainerState::default();
    match state {
        State::Waiting { reason, message } => {
            rendered.waiting = Some(ContainerStateWaiting {
                reason: Some((*reason).to_owned()),
                message: message.clone(),
            });
        }
        State::Running { since } => {
            rendered.running = Some(ContainerStateRunning {
                started_at: Some(Time(*since)),
            });
        }
        State::Terminated(ended) => rendered.terminated = Some(render_ended(ended)),
    }
    rendered
}

fn render_ended(ended: &Ended) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: ended.code,
        signal: ended.signal,
        reason: Some(ended.reason.to_owned()),
        message: ended.message.clone(),
        started_at: ended.started.map(Time),
        finished_at: Some(Time(ended.finished)),
        ..ContainerStateTerminated::default()
    }
}

/// One Pod.
#[derive(Clone, Debug)]
pub(super) struct PodRecord {
    pub init: Vec<ContainerRecord>,
    pub main: Vec<ContainerRecord>,
    pub restart_policy: String,
    /// The Pod is being deleted: nothing is started again.
    pub stopping: bool,
    /// Phase Failed for this reason, whatever the containers say.
    pub failed: Option<(&'static str, &'static str)>,
    address: String,
    start_time: Timestamp,
    transitions: BTreeMap<&'static str, (bool, Timestamp)>,
}

impl PodRecord {
    pub(super) fn new(pod: &Pod) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let init = spec.init_containers.unwrap_or_default();
        let waiting = if init.is_empty() {
            "ContainerCreating"
        } else {
            "PodInitializing"
        };
        let start_time = pod
            .status
            .as_ref()
            .and_then(|status| status.start_time.as_ref())
            .map_or_else(Timestamp::now, |time| time.0);
        Self {
            init: init
                .iter()
                .map(|container| ContainerRecord::new(container, "PodInitializing"))
                .collect(),
            main: spec
                .containers
                .iter()
                .map(|container| ContainerRecord::new(container, waiting))
                .collect(),
            restart_policy: spec.restart_policy.unwrap_or_else(|| "Always".to_owned()),
            stopping: false,
            failed: None,
            address: super::address::of_pod(pod.metadata.uid.as_deref().unwrap_or_default()).to_string(),
            start_time,
            transitions: BTreeMap::new(),
        }
    }

    fn initialized(&self) -> bool {
        self.init.iter().all(|container| {
            if container.is_sidecar {
                container.started
            } else {
                container.succeeded()
            }
        })
    }

    fn will_restart(&self, container: &ContainerRecord) -> bool {
        match self.restart_policy.as_str() {
            _ if self.stopping => false,
            "Never" => false,
            "OnFailure" => !container.succeeded(),
            _ => true,
        }
    }

    /// The phase that follows from the containers.
    pub(super) fn phase(&self) -> &'static str {
        if self.failed.is_some() {
            return "Failed";
        }
        let done = |container: &ContainerRecord| container.terminated() && !self.will_restart(container);
        if !self.initialized() {
            let init_failed = self
                .init
                .iter()
                .filter(|container| !container.is_sidecar)
                .any(|container| {
                    container.terminated()
                        && !container.succeeded()
                        && (self.restart_policy == "Never" || self.stopping)
                });
            let nothing_runs = !self
                .init
                .iter()
                .chain(&self.main)
                .any(|container| matches!(container.state, State::Running { .. }));
            return if init_failed || (self.stopping && nothing_runs) {
                "Failed"
            } else {
                "Pending"
            };
        }
        if self.main.iter().all(done) {
            return if self.main.iter().all(ContainerRecord::succeeded) {
                "Succeeded"
            } else {
                "Failed"
            };
        }
        if self.main.iter().any(ContainerRecord::has_run) {
            "Running"
        } else {
            "Pending"
        }
    }

    /// Marks every container as running and ready.
    pub(super) fn fake_ready(&mut self, now: Timestamp) {
        for container in &mut self.init {
            container.state = State::Terminated(Ended::plain(0, "Completed", now));
            if container.is_sidecar {
                container.state = State::Running { since: now };
            }
            (container.started, container.ready) = (container.is_sidecar, true);
        }
        for container in &mut self.main {
            container.state = State::Running { since: now };
            (container.started, container.ready) = (true, true);
        }
    }

    /// The status for the API.
    pub(super) fn render(&mut self, now: Timestamp) -> PodStatus {
        let phase = self.phase();
        let ready = phase == "Running" && self.main.iter().all(|container| container.ready);
        let initialized = self.initialized();
        let conditions = [
            ("PodScheduled", true),
            ("Initialized", initialized),
            ("ContainersReady", ready),
            ("Ready", ready),
        ];
        let conditions = conditions.map(|(kind, holds)| self.condition(kind, holds, phase, now));
        let list = |records: &[ContainerRecord]| records.iter().map(ContainerRecord::render).collect::<Vec<_>>();
        let init = list(&self.init);
        PodStatus {
            phase: Some(phase.to_owned()),
            reason: self.failed.map(|(reason, _)| reason.to_owned()),
            message: self.failed.map(|(_, message)| message.to_owned()),
            start_time: Some(Time(self.start_time)),
            host_ip: Some(ADDRESS.to_owned()),
            host_ips: Some(vec![HostIP { ip: ADDRESS.to_owned() }]),
            pod_ip: Some(self.address.clone()),
            pod_ips: Some(vec![PodIP {
                ip: self.address.clone(),
            }]),
            conditions: Some(conditions.into()),
            init_container_statuses: (!init.is_empty()).then_some(init),
            container_statuses: Some(list(&self.main)),
            ..PodStatus::default()
        }
    }

    fn condition(&mut self, kind: &'static str, holds: bool, phase: &str, now: Timestamp) -> PodCondition {
        let entry = self.transitions.entry(kind).or_insert((holds, now));
        if entry.0 != holds {
            *entry = (holds, now);
        }
        let reason = match (holds, phase) {
            (true, _) => None,
            (false, "Succeeded") => Some("PodCompleted"),
            (false, "Failed") => Some("PodFailed"),
            (false, _) if kind == "Initialized" => Some("ContainersNotInitialized"),
            (false, _) => Some("ContainersNotReady"),
        };
        PodCondition {
            type_: kind.to_owned(),
            status: if holds { "True" } else { "False" }.to_owned(),
            last_transition_time: Some(Time(entry.1)),
            reason: reason.map(str::to_owned),
            ..PodCondition::default()
        }
    }
}

impl Ended {
    /// An end without process.
    pub(super) const fn plain(code: i32, reason: &'static str, now: Timestamp) -> Self {
        Self {
            code,
            signal: None,
            reason,
            message: None,
            started: Some(now),
            finished: now,
        }
    }

    /// A container whose process was lost with the node.
    pub(super) fn lost(now: Timestamp) -> Self {
        let message = Some("the process is gone: the node was restarted".to_owned());
        Self {
            code: 137,
            signal: None,
            reason: "ContainerStatusUnknown",
            message,
            started: None,
            finished: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(restart_policy: &str) -> PodRecord {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"restartPolicy": restart_policy, "initContainers": [{"name": "i"}], "containers": [{"name": "c"}]},
        }))
        .unwrap();
        PodRecord::new(&pod)
    }

    fn ended(code: i32) -> State {
        State::Terminated(Ended::plain(code, "x", Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn the_phase_follows_from_containers_and_restart_policy() {
        for (policy, init, main, phase) in [
            ("Never", ended(1), None, "Failed"),
            ("OnFailure", ended(1), None, "Pending"),
            ("Never", ended(0), None, "Pending"),
            ("Never", ended(0), Some(ended(0)), "Succeeded"),
            ("Never", ended(0), Some(ended(3)), "Failed"),
            ("OnFailure", ended(0), Some(ended(3)), "Running"),
            ("OnFailure", ended(0), Some(ended(0)), "Succeeded"),
            ("Always", ended(0), Some(ended(0)), "Running"),
        ] {
            let mut record = record(policy);
            record.init[0].state = init;
            if let Some(state) = main {
                record.main[0].state = state;
            }
            assert_eq!(record.phase(), phase, "{policy} {record:?}");
        }
    }

    #[test]
    fn a_stopped_pod_is_terminal_before_it_is_removed() {
        let mut record = record("Always");
        record.init[0].state = ended(0);
        record.main[0].state = ended(143);
        record.stopping = true;
        assert_eq!(record.phase(), "Failed");
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_changes() {
        let mut record = record("Always");
        let time = |status: &PodStatus, kind: &str| {
            let conditions = status.conditions.clone().unwrap();
            conditions
                .into_iter()
                .find(|condition| condition.type_ == kind)
                .unwrap()
                .last_transition_time
                .unwrap()
                .0
        };
        let first = Timestamp::UNIX_EPOCH;
        let second = Timestamp::from_second(10).unwrap();
        record.render(first);
        record.fake_ready(second);
        let status = record.render(second);
        assert_eq!(time(&status, "PodScheduled"), first);
        assert_eq!(time(&status, "Ready"), second);
        assert_eq!(status.phase.as_deref(), Some("Running"));
    }
}
