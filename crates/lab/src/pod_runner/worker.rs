//! The life of one Pod on the node, from binding to removal. One task per Pod.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::ResourceExt;
use tokio::sync::watch;

use super::Runner;
use super::adoption;
use super::cluster::CallError;
use super::control::StartBehaviour;
use super::decision;
use super::pod_run::{PAUSES, PodRun, stopped_within};
use super::record::PodRecord;
use super::sources::Sources;
use super::volumes;

/// What the API says about a Pod.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// It is there, like this.
    Present(Arc<Pod>),
    /// It is gone.
    Gone,
}

type Updates = watch::Receiver<Seen>;

/// Serves one Pod until it is removed.
pub(super) async fn serve(runner: Arc<Runner>, updates: Updates) {
    let folder_of = |pod: &Pod| runner.work_folder.join("pods").join(pod.uid().unwrap_or_default());
    let Some(pod) = scheduled(&runner, updates.clone()).await else {
        return;
    };
    // What the API server has forgotten is killed at once: dropping the run kills its processes.
    tokio::select! {
        () = live(&runner, &pod, updates.clone()) => {}
        () = gone(updates) => {}
    }
    let folder = folder_of(&pod);
    let second = folder
        .with_extension("")
        .with_file_name(format!("{}-second", pod.uid().unwrap_or_default()));
    for folder in [folder, second] {
        let _ = tokio::fs::remove_dir_all(folder).await;
    }
}

/// Binds the Pod if it has no node yet; `None` if it is not for this node.
async fn scheduled(runner: &Runner, mut updates: Updates) -> Option<Arc<Pod>> {
    let mut pause = PAUSES.0;
    loop {
        let Seen::Present(pod) = updates.borrow_and_update().clone() else {
            return None;
        };
        let spec = pod.spec.as_ref();
        if let Some(node) = spec.and_then(|spec| spec.node_name.as_deref()) {
            return (node == runner.node_name).then_some(pod);
        }
        let is_gated = spec
            .and_then(|spec| spec.scheduling_gates.as_ref())
            .is_some_and(|gates| !gates.is_empty());
        if !is_gated && pod.metadata.deletion_timestamp.is_none() {
            match runner.cluster.bind(&pod, &runner.node_name).await {
                Err(error) if !error.is_conflict() && !error.is_missing() => {
                    tracing::warn!(%error, "a Pod was not bound");
                    let _ = tokio::time::timeout(pause, updates.changed()).await;
                    pause = (pause * 2).min(PAUSES.1);
                    continue;
                }
                _ => {}
            }
        }
        updates.changed().await.ok()?;
    }
}

async fn gone(mut updates: Updates) {
    let _ = updates.wait_for(|seen| matches!(seen, Seen::Gone)).await;
}

/// Waits until the Pod is to be deleted; returns the grace period.
async fn deleted(mut updates: Updates) -> Duration {
    let is_deleted = |seen: &Seen| matches!(seen, Seen::Present(pod) if pod.metadata.deletion_timestamp.is_some());
    let seen = updates.wait_for(is_deleted).await.map(|seen| seen.clone());
    let Ok(Seen::Present(pod)) = seen else {
        return std::future::pending().await;
    };
    Duration::from_secs(
        pod.metadata
            .deletion_grace_period_seconds
            .and_then(|grace| u64::try_from(grace).ok())
            .unwrap_or(0),
    )
}

async fn live(runner: &Arc<Runner>, pod: &Arc<Pod>, updates: Updates) {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if !matches!(phase, Some("Succeeded" | "Failed")) {
        let behaviour = runner.control.start_of(pod);
        match behaviour {
            StartBehaviour::Never => {}
            StartBehaviour::Slowly { milliseconds } => {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(milliseconds)) => run(runner, pod, &updates, behaviour).await,
                    _ = deleted(updates.clone()) => {}
                }
            }
            StartBehaviour::Normally | StartBehaviour::Twice { .. } => run(runner, pod, &updates, behaviour).await,
        }
    }
    deleted(updates).await;
    persist(|| runner.cluster.remove(pod)).await;
}

async fn run(runner: &Arc<Runner>, pod: &Arc<Pod>, updates: &Updates, behaviour: StartBehaviour) {
    if decision::is_faked(pod, &runner.images) {
        tokio::select! {
            () = fake(runner, pod) => {}
            _ = deleted(updates.clone()) => {}
        }
        return;
    }
    // On the heap: most Pods of a lab are faked and must not carry the size of this.
    Box::pin(run_processes(runner, pod, updates, behaviour)).await;
}

async fn run_processes(runner: &Arc<Runner>, pod: &Arc<Pod>, updates: &Updates, behaviour: StartBehaviour) {
    let mut record = PodRecord::new(pod);
    if !adoption::take_over(&mut record, pod, Timestamp::now()) {
        write_status(runner, pod, &record.render(Timestamp::now())).await;
        return;
    }
    let run = PodRun::new(runner.clone(), pod.clone(), record, false);
    let (stop, stop_signal) = watch::channel(None);
    let stopper = async {
        let grace = deleted(updates.clone()).await;
        run.with_record(|record| record.stopping = true);
        stop.send_replace(Some(grace));
        std::future::pending::<Infallible>().await
    };
    let both = async {
        let second = async {
            if let StartBehaviour::Twice { after_milliseconds } = behaviour {
                run_second(
                    runner,
                    pod,
                    stop_signal.clone(),
                    Duration::from_millis(after_milliseconds),
                )
                .await;
            }
        };
        let first = async {
            tokio::select! {
                () = run.execute(stop_signal.clone()) => {}
                never = report(&run) => match never {},
            }
            write_status(runner, pod, &run.status()).await;
        };
        tokio::join!(first, second);
    };
    tokio::select! {
        () = both => {}
        never = stopper => match never {},
    }
}

/// The unreported second run of a Pod that starts twice.
async fn run_second(
    runner: &Arc<Runner>,
    pod: &Arc<Pod>,
    mut stop: watch::Receiver<Option<Duration>>,
    after: Duration,
) {
    if !stopped_within(&mut stop, after).await {
        let run = PodRun::new(runner.clone(), pod.clone(), PodRecord::new(pod), true);
        run.execute(stop).await;
    }
}

async fn fake(runner: &Runner, pod: &Pod) {
    let is_ready = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if is_ready {
        return;
    }
    let namespace = pod.namespace().unwrap_or_default();
    let sources = Sources {
        cluster: &runner.cluster,
        namespace: &namespace,
        authority: &runner.authority,
    };
    let mut pause = PAUSES.0;
    while let Err(problem) = volumes::bind_claims(pod, &runner.work_folder, &sources).await {
        tracing::debug!(pod = %pod.name_any(), problem = %problem.message, "a faked Pod waits for its claims");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
    tokio::time::sleep(runner.control.fake_latency()).await;
    let now = Timestamp::now();
    let mut record = PodRecord::new(pod);
    record.fake_ready(now);
    write_status(runner, pod, &record.render(now)).await;
}

/// Writes the status at every change.
async fn report(run: &PodRun) -> Infallible {
    let mut changes = run.changes();
    let mut written: Option<PodStatus> = None;
    loop {
        changes.mark_unchanged();
        let status = run.status();
        if written.as_ref() != Some(&status) {
            write_status(&run.runner, &run.pod, &status).await;
            written = Some(status);
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

async fn write_status(runner: &Runner, pod: &Pod, status: &PodStatus) {
    persist(|| runner.cluster.write_status(pod, status)).await;
}

/// Repeats a call until it is done, or there is nothing left to do it to.
async fn persist<F: Future<Output = Result<(), CallError>>>(call: impl Fn() -> F) {
    let mut pause = PAUSES.0;
    while let Err(error) = call().await {
        if error.is_missing() || error.is_conflict() {
            return;
        }
        tracing::warn!(%error, "tried again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}
