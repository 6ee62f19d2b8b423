//! One container of a Pod: started, watched, started again by the restart policy, stopped with grace.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use kube::ResourceExt;
use nix::sys::signal::Signal;

use super::container_spec::{self, Places, message_file};
use super::decision::{ContainerDecision, Program, decide};
use super::pod_run::{PAUSES, PodRun, Stop, stopped_within};
use super::probes;
use super::record::{Ended, State};
use super::termination_message;
use super::volumes::Volumes;
use crate::sandbox::{ContainerProcess, ContainerSpec, Exit, exec};

/// A container that ran this long starts its next restart without a pause.
const STABLE: Duration = Duration::from_secs(10);

/// Which container of a Pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub is_init: bool,
    pub index: usize,
}

/// Runs a container until it has ended for good.
pub(super) async fn keep_running(run: &PodRun, slot: Slot, container: &Container, volumes: &Volumes, mut stop: Stop) {
    let mut pause = PAUSES.0;
    loop {
        let started = Instant::now();
        let Some(ended) = run_once(run, slot, container, volumes, &mut stop).await else {
            return;
        };
        let again = stop.borrow().is_none() && !run.is_second && restarts(run, slot, container, &ended);
        run.container(slot, |record| {
            record.state = State::Terminated(ended.clone());
            (record.ready, record.started) = (slot.is_init && ended.code == 0, false);
        });
        if !again {
            return;
        }
        if started.elapsed() >= STABLE {
            pause = PAUSES.0;
        }
        let message = format!(
            "back-off {} ms restarting failed container={}",
            pause.as_millis(),
            container.name
        );
        run.container(slot, |record| {
            record.last = Some(ended.clone());
            record.state = State::Waiting {
                reason: "CrashLoopBackOff",
                message: Some(message),
            };
        });
        if stopped_within(&mut stop, pause).await {
            run.container(slot, |record| record.state = State::Terminated(ended));
            return;
        }
        pause = (pause * 2).min(PAUSES.1);
        run.container(slot, |record| record.restarts += 1);
    }
}

fn restarts(run: &PodRun, slot: Slot, container: &Container, ended: &Ended) -> bool {
    if slot.is_init && container.restart_policy.as_deref() == Some("Always") {
        return true;
    }
    let policy = run
        .pod
        .spec
        .as_ref()
        .and_then(|spec| spec.restart_policy.as_deref())
        .unwrap_or("Always");
    match policy {
        "Never" => false,
        "Always" if !slot.is_init => true,
        _ => ended.code != 0,
    }
}

/// One start of the container; `None` if it was stopped before, or is faked.
async fn run_once(
    run: &PodRun,
    slot: Slot,
    container: &Container,
    volumes: &Volumes,
    stop: &mut Stop,
) -> Option<Ended> {
    let mut pause = PAUSES.0;
    let (program, spec) = loop {
        if stop.borrow().is_some() {
            return None;
        }
        let (reason, message) = match decide(&run.pod, container, &run.runner.images) {
            ContainerDecision::Faked => return fake(run, slot, stop).await,
            ContainerDecision::Refused { reason, message } => (reason, message),
            ContainerDecision::Run(program) => match describe(run, container, &program, volumes).await {
                Ok(spec) => break (program, spec),
                Err(problem) => (problem.reason, problem.message),
            },
        };
        run.container(slot, |record| {
            record.state = State::Waiting {
                reason,
                message: Some(message),
            }
        });
        if stopped_within(stop, pause).await {
            return None;
        }
        pause = (pause * 2).min(PAUSES.1);
    };
    tracing::debug!(pod = %run.pod.name_any(), container = %container.name, program = %program.file.display(), "starting");
    Some(run_process(run, slot, container, &spec, stop).await)
}

async fn describe(
    run: &PodRun,
    container: &Container,
    program: &Program,
    volumes: &Volumes,
) -> Result<ContainerSpec, super::sources::Problem> {
    let namespace = run.pod.namespace().unwrap_or_default();
    let log = log_file(
        &run.runner.work_folder,
        &namespace,
        &run.pod.name_any(),
        &container.name,
    );
    let log = if run.is_second {
        log.with_extension("second.log")
    } else {
        log
    };
    let places = Places {
        folder: &run.folder,
        api_port: run.runner.api_port,
        log,
    };
    container_spec::resolve(&run.pod, container, program, volumes, &places, &run.sources(&namespace)).await
}

/// Where tests find what a container wrote to stdout and stderr.
#[must_use]
pub fn log_file(work_folder: &Path, namespace: &str, pod: &str, container: &str) -> PathBuf {
    work_folder
        .join("logs")
        .join(format!("{namespace}_{pod}_{container}.log"))
}

/// A container of a foreign image beside one that runs: an init container has succeeded, another one is ready.
async fn fake(run: &PodRun, slot: Slot, stop: &mut Stop) -> Option<Ended> {
    let now = Timestamp::now();
    let mut is_over = false;
    run.container(slot, |record| {
        is_over = slot.is_init && !record.is_sidecar;
        (record.started, record.ready) = (!is_over, true);
        record.state = if is_over {
            State::Terminated(Ended::plain(0, "Completed", now))
        } else {
            State::Running { since: now }
        };
    });
    if !is_over {
        let _ = stop.wait_for(Option::is_some).await;
        let ended = Ended::plain(0, "Completed", Timestamp::now());
        run.container(slot, |record| {
            record.ready = false;
            record.state = State::Terminated(ended);
        });
    }
    None
}

async fn run_process(run: &PodRun, slot: Slot, container: &Container, spec: &ContainerSpec, stop: &mut Stop) -> Ended {
    let log_start = std::fs::metadata(&spec.log).map_or(0, |file| file.len());
    let started = Timestamp::now();
    let mut process = match ContainerProcess::start(spec).await {
        Ok(process) => process,
        Err(error) => {
            let message = Some(error.to_string());
            return Ended {
                code: 128,
                signal: None,
                reason: "StartError",
                message,
                started: Some(started),
                finished: Timestamp::now(),
            };
        }
    };
    let _noted = run.runner.control.note(&run.pod, &container.name, process.pid());
    run.container(slot, |record| record.state = State::Running { since: started });
    let report = |started: bool, ready: bool| {
        run.container(slot, |record| (record.started, record.ready) = (started, ready));
    };
    let pid = process.pid();
    let address = super::address::of_pod(&run.pod.uid().unwrap_or_default());
    let ended = tokio::select! {
        exit = process.wait() => Some(exit),
        never = probes::watch(container, spec, pid, address, report) => match never {},
        _ = stop.wait_for(Option::is_some) => None,
    };
    let exit = if let Some(exit) = ended {
        exit
    } else {
        let grace = stop.borrow().unwrap_or_default();
        report(true, false);
        terminate(&mut process, container, spec, grace).await
    };
    ended_as(run, container, spec, exit, started, log_start)
}

/// How a process ended, with its last words.
fn ended_as(
    run: &PodRun,
    container: &Container,
    spec: &ContainerSpec,
    exit: Exit,
    started: Timestamp,
    log_start: u64,
) -> Ended {
    let message = termination_message::read(
        &message_file(&run.folder, &container.name),
        (container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError") && exit.code != 0)
            .then_some((spec.log.as_path(), log_start)),
    );
    let reason = if exit.code == 0 { "Completed" } else { "Error" };
    Ended {
        code: exit.code,
        signal: exit.signal,
        reason,
        message,
        started: Some(started),
        finished: Timestamp::now(),
    }
}

/// `preStop`, SIGTERM, and SIGKILL when the grace period is over.
async fn terminate(
    process: &mut ContainerProcess,
    container: &Container,
    spec: &ContainerSpec,
    grace: Duration,
) -> Exit {
    let end = tokio::time::Instant::now() + grace;
    let hook = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.pre_stop.as_ref()?.exec.as_ref()?.command.clone());
    if let Some(command) = hook {
        exec(&probes::exec_spec(spec, process.pid(), command), grace).await;
    }
    process.signal(Signal::SIGTERM);
    if let Ok(exit) = tokio::time::timeout_at(end, process.wait()).await {
        return exit;
    }
    process.signal(Signal::SIGKILL);
    process.wait().await
}
