//! Faults on demand: how a test reaches into a running pod runner.
//!
//! The runner lives in the lab's process, the test in another one. They talk over the unix socket
//! `<work_folder>/control.sock`: one JSON command per line, one JSON answer per line. When the answer is there, the
//! command is in force; no test has to wait and hope. Labels select Pods as in a label selector (all must match).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// Time between binding and ready of a faked Pod, unless a command sets another.
const FAKE_LATENCY: Duration = Duration::from_millis(20);

/// What a test can make the node do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ControlCommand {
    /// Sends a signal to the processes of a Pod (of one container, if named).
    Kill {
        /// Namespace of the Pod.
        namespace: String,
        /// Name of the Pod.
        pod: String,
        /// Only this container.
        #[serde(default)]
        container: Option<String>,
        /// `SIGKILL`, `SIGTERM`, …
        signal: String,
    },
    /// From now on Pods with these labels start like this. The newest matching rule counts.
    OnStart {
        /// All must match.
        labels: BTreeMap<String, String>,
        /// How they start.
        behaviour: StartBehaviour,
        /// For so many Pods; without it for all.
        #[serde(default)]
        pods: Option<u32>,
    },
    /// Forgets every `onStart`.
    ForgetStarts,
    /// The node is cut off: nothing is read from or written to the API, processes go on.
    LoseNode,
    /// The node is back: it reports what happened meanwhile and stops what was deleted.
    ReturnNode,
    /// Time between binding and ready of faked Pods.
    FakeLatency {
        /// Milliseconds.
        milliseconds: u64,
    },
}

/// How a Pod starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum StartBehaviour {
    /// As always.
    Normally,
    /// It stays Pending.
    Never,
    /// It starts late.
    Slowly {
        /// Milliseconds.
        milliseconds: u64,
    },
    /// The whole Pod (init containers too, own emptyDirs) runs a second time beside itself; only the first run is
    /// reported. The log of the second one ends in `.second.log`.
    Twice {
        /// The second run starts so much later.
        after_milliseconds: u64,
    },
}

/// The answer to a command.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    signalled: usize,
}

/// Sends commands to the pod runner of a work folder.
#[derive(Clone, Debug)]
pub struct Control {
    socket: PathBuf,
}

impl Control {
    /// The runner with this work folder.
    #[must_use]
    pub fn new(work_folder: &Path) -> Self {
        Self {
            socket: work_folder.join("control.sock"),
        }
    }

    /// Carries out one command; returns how many processes got a signal (0 for other commands).
    ///
    /// # Errors
    /// The runner is not there, or refuses the command.
    pub async fn send(&self, command: &ControlCommand) -> std::io::Result<usize> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await?;
        let answer: Answer = serde_json::from_str(&answer)?;
        answer
            .error
            .map_or(Ok(answer.signalled), |error| Err(std::io::Error::other(error)))
    }
}

struct StartRule {
    labels: BTreeMap<String, String>,
    behaviour: StartBehaviour,
    left: Option<u32>,
}

struct RunningProcess {
    namespace: String,
    pod: String,
    container: String,
    pid: i32,
}

/// The runner's side of the controls.
pub(super) struct ControlState {
    present: watch::Sender<bool>,
    rules: Mutex<Vec<StartRule>>,
    processes: Mutex<Vec<RunningProcess>>,
    fake_latency: Mutex<Duration>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ControlState {
    pub(super) fn new(present: watch::Sender<bool>) -> Self {
        Self {
            present,
            rules: Mutex::default(),
            processes: Mutex::default(),
            fake_latency: Mutex::new(FAKE_LATENCY),
        }
    }

    pub(super) fn fake_latency(&self) -> Duration {
        *lock(&self.fake_latency)
    }

    /// How this Pod starts; uses up one Pod of the rule.
    pub(super) fn start_of(&self, pod: &Pod) -> StartBehaviour {
        let mut rules = lock(&self.rules);
        let labels = pod.labels();
        let matching = rules
            .iter_mut()
            .rev()
            .find(|rule| rule.left != Some(0) && rule.labels.iter().all(|(key, value)| labels.get(key) == Some(value)));
        let Some(rule) = matching else {
            return StartBehaviour::Normally;
        };
        rule.left = rule.left.map(|left| left.saturating_sub(1));
        rule.behaviour
    }

    /// Notes a process until the returned value is dropped.
    pub(super) fn note(&self, pod: &Pod, container: &str, pid: i32) -> impl Drop + use<'_> {
        let process = RunningProcess {
            namespace: pod.namespace().unwrap_or_default(),
            pod: pod.name_any(),
            container: container.to_owned(),
            pid,
        };
        lock(&self.processes).push(process);
        Noted { state: self, pid }
    }

    fn obey(&self, command: ControlCommand) -> Result<usize, String> {
        match command {
            ControlCommand::Kill {
                namespace,
                pod,
                container,
                signal,
            } => {
                return self.kill(&namespace, &pod, container.as_deref(), &signal);
            }
            ControlCommand::OnStart {
                labels,
                behaviour,
                pods,
            } => {
                lock(&self.rules).push(StartRule {
                    labels,
                    behaviour,
                    left: pods,
                });
            }
            ControlCommand::ForgetStarts => lock(&self.rules).clear(),
            ControlCommand::LoseNode => drop(self.present.send_replace(false)),
            ControlCommand::ReturnNode => drop(self.present.send_replace(true)),
            ControlCommand::FakeLatency { milliseconds } => {
                *lock(&self.fake_latency) = Duration::from_millis(milliseconds);
            }
        }
        Ok(0)
    }

    fn kill(&self, namespace: &str, pod: &str, container: Option<&str>, signal: &str) -> Result<usize, String> {
        let signal = Signal::from_str(signal).map_err(|_| format!("{signal:?} is no signal"))?;
        let processes = lock(&self.processes);
        let wanted = processes.iter().filter(|process| {
            process.namespace == namespace
                && process.pod == pod
                && container.is_none_or(|name| name == process.container)
        });
        let signalled = wanted
            .filter(|process| kill(Pid::from_raw(process.pid), signal).is_ok())
            .count();
        if signalled == 0 {
            Err(format!("no process of Pod {namespace}/{pod} runs"))
        } else {
            Ok(signalled)
        }
    }

    /// Answers commands for ever.
    pub(super) async fn serve(&self, listener: UnixListener) {
        loop {
            if let Ok((stream, _)) = listener.accept().await
                && let Err(error) = self.answer(stream).await
            {
                tracing::warn!(%error, "a control command was not answered");
            }
        }
    }

    async fn answer(&self, stream: UnixStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let done = serde_json::from_str(&line)
            .map_err(|error| error.to_string())
            .and_then(|command| self.obey(command));
        let answer = match done {
            Ok(signalled) => Answer { error: None, signalled },
            Err(error) => Answer {
                error: Some(error),
                signalled: 0,
            },
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        stream.write_all(&line).await
    }
}

struct Noted<'a> {
    state: &'a ControlState,
    pid: i32,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        lock(&self.state.processes).retain(|process| process.pid != self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(label: &str) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "p", "labels": {"app": label}}})).unwrap()
    }

    #[tokio::test]
    async fn commands_are_in_force_when_they_are_answered() {
        let folder = tempfile::tempdir().unwrap();
        let (present, watched) = watch::channel(true);
        let state = std::sync::Arc::new(ControlState::new(present));
        let listener = UnixListener::bind(folder.path().join("control.sock")).unwrap();
        let server = tokio::spawn({
            let state = state.clone();
            async move { state.serve(listener).await }
        });
        let control = Control::new(folder.path());
        control.send(&ControlCommand::LoseNode).await.unwrap();
        assert!(!*watched.borrow());
        let labels = BTreeMap::from([("app".to_owned(), "a".to_owned())]);
        let behaviour = StartBehaviour::Slowly { milliseconds: 5 };
        control
            .send(&ControlCommand::OnStart {
                labels,
                behaviour,
                pods: Some(1),
            })
            .await
            .unwrap();
        assert_eq!(state.start_of(&pod("b")), StartBehaviour::Normally);
        assert_eq!(state.start_of(&pod("a")), behaviour);
        assert_eq!(state.start_of(&pod("a")), StartBehaviour::Normally, "used up");
        let kill = ControlCommand::Kill {
            namespace: "n".into(),
            pod: "p".into(),
            container: None,
            signal: "SIGKILL".into(),
        };
        assert!(
            control
                .send(&kill)
                .await
                .unwrap_err()
                .to_string()
                .contains("no process")
        );
        server.abort();
    }
}
