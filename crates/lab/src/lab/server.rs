//! The inside of a lab: starts control planes and pod runners and does what the owner asks.
//!
//! Talks to the clusters that it started and to no other. Must end when its stdin closes, whatever else it is doing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Mutex, OnceCell, mpsc};
use tokio::task::JoinHandle;

use super::folder;
use super::protocol::{Command, Message, Outcome, Request, Started, StartedCluster};
use super::topology::{ClusterSpec, Topology};
use crate::control_plane::{ControlPlane, ControlPlaneError, ControlPlaneOptions, Programs};
use crate::pod_runner::{self, PodRunnerConfig};

/// Serves the owner until stdin closes.
pub(super) fn serve(lab: &Path) -> io::Result<ExitCode> {
    let log = File::create(lab.join("lab.log"))?;
    // While a server starts, its refusals are the normal case.
    let filter = tracing_subscriber::EnvFilter::try_from_env("KKP_LAB_LOG")
        .unwrap_or_else(|_| "info,kube_client::client::builder=off".into());
    // A subscriber that is already there is the caller's choice.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(log)
        .try_init();
    let (sender, requests) = mpsc::unbounded_channel();
    // A thread of its own: the end of the owner must be seen even when the runtime is stuck.
    std::thread::Builder::new()
        .name("owner".to_owned())
        .spawn(move || read_requests(&sender))?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(answer(lab.to_owned(), requests))
}

/// Ends the process at the end of stdin; with it the namespace and all that runs there.
fn read_requests(sender: &mpsc::UnboundedSender<Request>) {
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(request) => {
                if sender.send(request).is_err() {
                    break;
                }
            }
            Err(error) => send(&Message::Trouble {
                message: format!("the lab cannot read a request: {error}"),
            }),
        }
    }
    std::process::exit(0);
}

/// An owner that no longer listens is about to close stdin as well.
fn send(message: &Message) {
    if let Ok(mut line) = serde_json::to_string(message) {
        line.push('\n');
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    }
}

async fn answer(lab: PathBuf, mut requests: mpsc::UnboundedReceiver<Request>) -> io::Result<ExitCode> {
    let server = Arc::new(Server {
        lab,
        planes: OnceCell::new(),
    });
    while let Some(Request { id, command }) = requests.recv().await {
        let server = Arc::clone(&server);
        // One slow answer must not hold up the rest: a test may thaw the store while the API server waits for it.
        tokio::spawn(async move {
            let outcome = server
                .apply(command)
                .await
                .unwrap_or_else(|message| Outcome::Failed { message });
            send(&Message::Answer { id, outcome });
        });
    }
    Ok(ExitCode::SUCCESS)
}

struct Server {
    lab: PathBuf,
    planes: OnceCell<BTreeMap<String, Plane>>,
}

struct Plane {
    control: Mutex<ControlPlane>,
    runner_config: PodRunnerConfig,
    runner: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    async fn apply(&self, command: Command) -> Result<Outcome, String> {
        match command {
            Command::Start { topology } => return self.start(topology).await.map(Outcome::Started),
            Command::Component {
                cluster,
                component,
                action,
            } => {
                let plane = self.plane(&cluster)?;
                plane
                    .control
                    .lock()
                    .await
                    .apply(component, action)
                    .await
                    .map_err(|error| error.to_string())?;
            }
            Command::PodRunner { cluster, run } => self.plane(&cluster)?.set_runner(&cluster, run).await,
            Command::Snapshot { into } => {
                for (name, plane) in self.planes()? {
                    let mut control = plane.control.lock().await;
                    control
                        .snapshot(&into.join(name))
                        .await
                        .map_err(|error| error.to_string())?;
                }
            }
            Command::Restore { from } => {
                let restores = self
                    .planes()?
                    .iter()
                    .map(|(name, plane)| plane.restore(name, from.join(name)));
                for restored in futures::future::join_all(restores).await {
                    restored?;
                }
            }
        }
        Ok(Outcome::Done)
    }

    fn planes(&self) -> Result<&BTreeMap<String, Plane>, String> {
        self.planes
            .get()
            .ok_or_else(|| "the lab has not been started".to_owned())
    }

    fn plane(&self, name: &str) -> Result<&Plane, String> {
        self.planes()?
            .get(name)
            .ok_or_else(|| format!("the lab has no cluster {name}"))
    }

    async fn start(&self, topology: Topology) -> Result<Started, String> {
        let started = self.start_all(&topology).await;
        if started.is_err() {
            // The error names log files in this folder.
            let _ = folder::keep(&self.lab);
        }
        started
    }

    async fn start_all(&self, topology: &Topology) -> Result<Started, String> {
        if let Some(name) = topology.bad_name() {
            return Err(format!(
                "cluster name {name:?}: names must be DNS labels of at most 40 characters, each once"
            ));
        }
        let programs = tokio::task::spawn_blocking(Programs::ensure)
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let images = topology.images.clone().unwrap_or_else(|| self.lab.join("images"));
        fs::create_dir_all(&images)
            .map_err(|error| format!("cannot use the image folder {}: {error}", images.display()))?;
        let starts = topology
            .clusters
            .iter()
            .map(|cluster| self.start_plane(&programs, topology, cluster, &images));
        let mut planes = BTreeMap::new();
        let mut clusters = Vec::new();
        for started in futures::future::join_all(starts).await {
            let (plane, cluster) = started?;
            if topology.pod_runner {
                plane.set_runner(&cluster.name, true).await;
            }
            planes.insert(cluster.name.clone(), plane);
            clusters.push(cluster);
        }
        self.planes
            .set(planes)
            .map_err(|_| "the lab is already started".to_owned())?;
        Ok(Started {
            programs: programs.folder().to_owned(),
            images,
            clusters,
        })
    }

    async fn start_plane(
        &self,
        programs: &Programs,
        topology: &Topology,
        cluster: &ClusterSpec,
        images: &Path,
    ) -> Result<(Plane, StartedCluster), String> {
        let begin = Instant::now();
        let name = cluster.name.clone();
        let snapshot = topology
            .data_from
            .as_ref()
            .map(|folder| folder.join(&name))
            .filter(|folder| folder.is_dir());
        let options = ControlPlaneOptions {
            name: name.clone(),
            folder: self.lab.join(&name),
            data_from: snapshot,
            audit: topology.audit,
        };
        let control = ControlPlane::start(programs, options)
            .await
            .map_err(|error: ControlPlaneError| error.to_string())?;
        let start_milliseconds = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let started = StartedCluster {
            name: name.clone(),
            port: control.port(),
            kubeconfig: control.kubeconfig(),
            folder: control.folder().to_owned(),
            start_milliseconds,
        };
        let runner_config = PodRunnerConfig {
            client: control.client(),
            node_name: format!("{name}-node"),
            images: images.to_owned(),
            work_folder: control.folder().join("pods"),
            api_port: control.port(),
            ca_pem: control.ca(),
        };
        Ok((
            Plane {
                control: Mutex::new(control),
                runner_config,
                runner: Mutex::new(None),
            },
            started,
        ))
    }
}

impl Plane {
    async fn restore(&self, cluster: &str, from: PathBuf) -> Result<(), String> {
        self.set_runner(cluster, false).await;
        let restored = self.control.lock().await.restore(&from).await;
        restored.map_err(|error| error.to_string())?;
        self.set_runner(cluster, true).await;
        Ok(())
    }

    /// Starts or stops the pod runner; stopping it ends its Pods' processes like the loss of a node.
    async fn set_runner(&self, cluster: &str, run: bool) {
        let mut runner = self.runner.lock().await;
        if let Some(handle) = runner.take_if(|handle| !run || handle.is_finished()) {
            handle.abort();
            // Cancelled is what was asked for; anything else it has already reported.
            let _ = handle.await;
        }
        if run && runner.is_none() {
            *runner = Some(tokio::spawn(run_pods(cluster.to_owned(), self.runner_config.clone())));
        }
    }
}

async fn run_pods(cluster: String, config: PodRunnerConfig) {
    let Err(error) = pod_runner::run(config).await;
    tracing::error!(cluster, %error, "the pod runner ended");
    send(&Message::Trouble {
        message: format!("the pod runner of cluster {cluster} ended: {error}"),
    });
}
