//! One run of a Pod whose containers are processes: volumes, init containers in order, main containers, sidecars.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use tokio::sync::watch;

use super::Runner;
use super::containers::{self, Slot};
use super::projection::{self, TokenFile};
use super::record::{ContainerRecord, Ended, PodRecord, State};
use super::sources::Sources;
use super::volumes::{self, Volumes};

/// First pause before something is tried again, and the longest one.
pub(super) const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Time that sidecars get to end after the main containers.
const SIDECAR_GRACE: Duration = Duration::from_secs(2);

/// Says to stop, and how long a program may take to end.
pub(super) type Stop = watch::Receiver<Option<Duration>>;

/// One run.
pub(super) struct PodRun {
    pub runner: Arc<Runner>,
    pub pod: Arc<Pod>,
    /// Volumes, messages and mount points of this run.
    pub folder: PathBuf,
    /// The second, unreported run of a Pod.
    pub is_second: bool,
    record: Mutex<PodRecord>,
    changes: watch::Sender<u64>,
}

impl PodRun {
    pub(super) fn new(runner: Arc<Runner>, pod: Arc<Pod>, record: PodRecord, is_second: bool) -> Self {
        let suffix = if is_second { "-second" } else { "" };
        let folder = runner
            .work_folder
            .join("pods")
            .join(format!("{}{suffix}", pod.uid().unwrap_or_default()));
        Self {
            runner,
            pod,
            folder,
            is_second,
            record: Mutex::new(record),
            changes: watch::Sender::new(0),
        }
    }

    /// Reads or changes what is known about the Pod.
    pub(super) fn with_record<T>(&self, change: impl FnOnce(&mut PodRecord) -> T) -> T {
        let result = change(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|count| *count += 1);
        result
    }

    pub(super) fn container(&self, slot: Slot, change: impl FnOnce(&mut ContainerRecord)) {
        self.with_record(|record| {
            let list = if slot.is_init {
                &mut record.init
            } else {
                &mut record.main
            };
            if let Some(container) = list.get_mut(slot.index) {
                change(container);
            }
        });
    }

    /// Notifies about every change of the record.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The status as of now.
    pub(super) fn status(&self) -> k8s_openapi::api::core::v1::PodStatus {
        self.record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .render(Timestamp::now())
    }

    pub(super) fn specs(&self, is_init: bool) -> Vec<Container> {
        let spec = self.pod.spec.clone().unwrap_or_default();
        if is_init {
            spec.init_containers.unwrap_or_default()
        } else {
            spec.containers
        }
    }

    /// Runs the Pod until all its containers have ended for good.
    pub(super) async fn execute(&self, mut stop: Stop) {
        let Some(mut volumes) = self.prepare_volumes(&mut stop).await else {
            self.give_up_unstarted();
            return;
        };
        let tokens = std::mem::take(&mut volumes.tokens);
        tokio::select! {
            () = self.run_containers(&volumes, &stop) => {}
            never = self.renew_tokens(tokens) => match never {},
        }
        self.give_up_unstarted();
    }

    async fn prepare_volumes(&self, stop: &mut Stop) -> Option<Volumes> {
        let namespace = self.pod.namespace().unwrap_or_default();
        let mut pause = PAUSES.0;
        loop {
            let sources = self.sources(&namespace);
            match volumes::prepare(&self.pod, &self.folder, &self.runner.work_folder, &sources).await {
                Ok(volumes) => return Some(volumes),
                Err(problem) => self.with_record(|record| {
                    for container in record.init.iter_mut().chain(&mut record.main) {
                        container.state = State::Waiting {
                            reason: "ContainerCreating",
                            message: Some(problem.message.clone()),
                        };
                    }
                }),
            }
            if stopped_within(stop, pause).await {
                return None;
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    pub(super) fn sources<'a>(&'a self, namespace: &'a str) -> Sources<'a> {
        Sources {
            cluster: &self.runner.cluster,
            namespace,
            authority: &self.runner.authority,
        }
    }

    async fn run_containers(&self, volumes: &Volumes, stop: &Stop) {
        let (turn, turns) = watch::channel(None);
        let (stop_sidecars, sidecar_stop) = watch::channel(None);
        let specs = self.specs(true);
        let sidecars = specs
            .iter()
            .enumerate()
            .filter(|(_, container)| is_sidecar(container))
            .map(|(index, container)| {
                let (mut turns, mut stop) = (turns.clone(), sidecar_stop.clone());
                async move {
                    tokio::select! {
                        _ = turns.wait_for(|turn| *turn >= Some(index)) => {}
                        _ = stop.wait_for(Option::is_some) => return,
                    }
                    containers::keep_running(self, Slot { is_init: true, index }, container, volumes, stop).await;
                }
            });
        let others = async {
            let mut pod_stop = stop.clone();
            if self.run_init_containers(&specs, volumes, stop, &turn).await {
                let mains = self.specs(false);
                join_all(mains.iter().enumerate().map(|(index, container)| {
                    containers::keep_running(self, Slot { is_init: false, index }, container, volumes, stop.clone())
                }))
                .await;
            }
            let grace = pod_stop.borrow_and_update().unwrap_or(SIDECAR_GRACE);
            let _ = stop_sidecars.send(Some(grace));
        };
        tokio::join!(others, join_all(sidecars));
    }

    /// One after the other; tells whether the main containers may start.
    async fn run_init_containers(
        &self,
        specs: &[Container],
        volumes: &Volumes,
        stop: &Stop,
        turn: &watch::Sender<Option<usize>>,
    ) -> bool {
        for (index, container) in specs.iter().enumerate() {
            if is_sidecar(container) {
                turn.send_replace(Some(index));
                if !self.sidecar_started(index, stop.clone()).await {
                    return false;
                }
                continue;
            }
            let slot = Slot { is_init: true, index };
            containers::keep_running(self, slot, container, volumes, stop.clone()).await;
            let succeeded = self.with_record(|record| {
                record
                    .init
                    .get(index)
                    .is_some_and(|init| matches!(&init.state, State::Terminated(ended) if ended.code == 0))
            });
            if !succeeded || stop.borrow().is_some() {
                return false;
            }
        }
        true
    }

    async fn sidecar_started(&self, index: usize, mut stop: Stop) -> bool {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            let started = self
                .record
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .init
                .get(index)
                .is_some_and(|init| init.started);
            if started {
                return true;
            }
            tokio::select! {
                _ = changes.changed() => {}
                _ = stop.wait_for(Option::is_some) => return false,
            }
        }
    }

    async fn renew_tokens(&self, mut tokens: Vec<TokenFile>) -> Infallible {
        loop {
            let Some(next) = tokens.iter_mut().min_by_key(|token| token.renew_at) else {
                return std::future::pending().await;
            };
            let left = Duration::try_from(next.renew_at.duration_since(Timestamp::now())).unwrap_or_default();
            tokio::time::sleep(left).await;
            if let Err(problem) = projection::renew(&self.pod, next, &self.runner.cluster).await {
                tracing::warn!(pod = %self.pod.name_any(), problem = %problem.message, "a token was not renewed");
                tokio::time::sleep(PAUSES.1).await;
            }
        }
    }

    /// A stopped Pod is terminal: what never started counts as lost.
    fn give_up_unstarted(&self) {
        self.with_record(|record| {
            if !record.stopping {
                return;
            }
            for container in record.init.iter_mut().chain(&mut record.main) {
                if matches!(container.state, State::Waiting { .. }) {
                    let mut ended = Ended::lost(Timestamp::now());
                    ended.message = Some("the container had not started when the Pod was deleted".to_owned());
                    container.state = State::Terminated(ended);
                }
            }
        });
    }
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Waits; `true` if it is time to stop.
pub(super) async fn stopped_within(stop: &mut Stop, pause: Duration) -> bool {
    tokio::time::timeout(pause, stop.wait_for(Option::is_some))
        .await
        .is_ok()
}
