//! Takes Pods off the API of one control plane and runs them: as processes where the image folder has the program,
//! otherwise only on paper. A small kubelet and scheduler in one; one per control plane, inside the lab's process.
//!
//! Talks to its control plane as administrator. It must never touch a process that it did not start, nor write to the
//! image folder.
//!
//! # Which Pods run
//! See [`crate::image_folder`] for the folder. A container is a process if its image is there and `argv[0]` exists in
//! it. A Pod without such a main container is faked: Running and Ready after a short latency. If one main container
//! can run, the others are faked beside it, and init containers of unknown images count as succeeded. Pods of Jobs are
//! never faked: what can't run waits with `ErrImagePull` (image) or `RunContainerError` (program), and starts when
//! the image appears.
//!
//! # What is different from a real node
//! The host's network for all, with a loopback address of its own for each Pod; no Services, DNS, `exec` or resource limits.
//! Every Pod is bound here, whatever its selectors, affinity and tolerations (scheduling gates count). Liveness probes,
//! `postStart` and HTTP hooks are ignored, volumes of ConfigMaps and Secrets are not refreshed (tokens are). Restart back-off is 100 ms to
//! 5 s. Logs are in `<work_folder>/logs` ([`log_file`]); `pods/log` gives them whole, all starts of a container in one, and nothing
//! else (no `follow`, `tail` or `previous`). Data of claims are in `<work_folder>/claims` ([`claim_folder`]).
//!
//! # Faults
//! See [`Control`].

mod address;
mod adoption;
mod claims;
mod cluster;
mod container_spec;
mod containers;
mod control;
mod decision;
mod downward;
mod environment;
mod logs;
mod node;
mod pod_run;
mod probes;
mod projection;
mod record;
mod sources;
mod termination_message;
mod users;
mod volumes;
mod worker;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::image_folder::ImageFolder;
use crate::sandbox;
use cluster::Cluster;
use control::ControlState;
use worker::Seen;

pub use claims::claim_folder;
pub use cluster::CallError;
pub use containers::log_file;
pub use control::{Control, ControlCommand, StartBehaviour};

/// What one pod runner serves, and with what.
#[derive(Clone)]
pub struct PodRunnerConfig {
    /// Client of the control plane, with administrator rights.
    pub client: kube::Client,
    /// Name of the one Node that this runner registers.
    pub node_name: String,
    /// The image folder.
    pub images: PathBuf,
    /// Folder for volumes and logs of the Pods.
    pub work_folder: PathBuf,
    /// Port of the control plane's API on 127.0.0.1.
    pub api_port: u16,
    /// Certificate authority of the control plane, PEM.
    pub ca_pem: PathBuf,
}

/// Why a pod runner ended.
#[derive(Debug, thiserror::Error)]
pub enum PodRunnerError {
    /// This machine or this program can't run sandboxes.
    #[error("Pods can't run as processes on this machine: {0}")]
    Sandbox(String),
    /// The work folder can't be used.
    #[error("cannot use the pod runner's work folder {path}: {source}", path = path.display())]
    WorkFolder {
        /// The folder or file.
        path: PathBuf,
        /// The answer of the system.
        #[source]
        source: std::io::Error,
    },
    /// Logs can't be served.
    #[error("cannot serve the logs of Pods: {0}")]
    Logs(String),
    /// The API server did not take the Node.
    #[error("cannot register the node: {0}")]
    Node(#[from] CallError),
    /// The watch of Pods ended, which it never should.
    #[error("the watch of Pods ended")]
    WatchEnded,
}

/// What all Pods of a runner share.
struct Runner {
    cluster: Cluster,
    control: ControlState,
    images: ImageFolder,
    node_name: String,
    work_folder: PathBuf,
    api_port: u16,
    authority: PathBuf,
}

/// Serves until an error that it cannot get over. Dropping the future kills every process of its Pods.
///
/// # Errors
/// See [`PodRunnerError`].
pub async fn run(config: PodRunnerConfig) -> Result<Infallible, PodRunnerError> {
    sandbox::check().await.map_err(PodRunnerError::Sandbox)?;
    let listener = prepare_work_folder(&config.work_folder)?;
    let (present_sender, present) = watch::channel(true);
    let logs = logs::Server::bind(config.work_folder.clone(), &config.ca_pem, present.clone()).await?;
    let runner = Arc::new(Runner {
        cluster: Cluster::new(config.client.clone(), present.clone()),
        control: ControlState::new(present_sender),
        images: ImageFolder::new(config.images),
        node_name: config.node_name,
        work_folder: config.work_folder,
        api_port: config.api_port,
        authority: config.ca_pem,
    });
    node::register(&runner.cluster, &runner.node_name, logs.port()).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(logs.run());
    tasks.spawn({
        let runner = runner.clone();
        async move { runner.control.serve(listener).await }
    });
    let mut dispatcher = Dispatcher {
        runner,
        pods: HashMap::new(),
        listed: HashSet::new(),
        tasks,
    };
    dispatcher.serve(config.client, present).await
}

fn prepare_work_folder(folder: &Path) -> Result<UnixListener, PodRunnerError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PodRunnerError::WorkFolder { path, source }
    };
    for name in ["logs", "claims", "pods"] {
        let path = folder.join(name);
        std::fs::create_dir_all(&path).map_err(failed(&path))?;
    }
    let socket = folder.join("control.sock");
    let _ = std::fs::remove_file(&socket);
    UnixListener::bind(&socket).map_err(failed(&socket))
}

/// Hands what the watch says to one task per Pod.
struct Dispatcher {
    runner: Arc<Runner>,
    pods: HashMap<String, watch::Sender<Seen>>,
    listed: HashSet<String>,
    tasks: JoinSet<()>,
}

impl Dispatcher {
    async fn serve(
        &mut self,
        client: kube::Client,
        mut present: watch::Receiver<bool>,
    ) -> Result<Infallible, PodRunnerError> {
        let pods: Api<Pod> = Api::all(client);
        let events = watcher(pods, watcher::Config::default())
            .modify(|pod| pod.managed_fields_mut().clear())
            .default_backoff();
        let mut events = std::pin::pin!(events);
        loop {
            let is_present = *present.borrow_and_update();
            tokio::select! {
                // While the node is lost nobody looks: what happens meanwhile is seen when it is back.
                event = events.next(), if is_present => match event {
                    Some(Ok(event)) => self.handle(event),
                    Some(Err(error)) => tracing::debug!(%error, "the watch of Pods is made again"),
                    None => return Err(PodRunnerError::WatchEnded),
                },
                _ = present.changed() => {}
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the task of a Pod broke");
                    }
                }
            }
        }
    }

    fn handle(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Apply(pod) => self.see(pod),
            watcher::Event::Delete(pod) => self.forget(&pod.uid().unwrap_or_default()),
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(pod) => {
                self.listed.insert(pod.uid().unwrap_or_default());
                self.see(pod);
            }
            watcher::Event::InitDone => {
                let missing: Vec<String> = self
                    .pods
                    .keys()
                    .filter(|uid| !self.listed.contains(*uid))
                    .cloned()
                    .collect();
                for uid in missing {
                    self.forget(&uid);
                }
            }
        }
    }

    fn see(&mut self, pod: Pod) {
        let uid = pod.uid().unwrap_or_default();
        let seen = Seen::Present(Arc::new(pod));
        if let Some(updates) = self.pods.get(&uid) {
            updates.send_replace(seen);
            return;
        }
        let (sender, updates) = watch::channel(seen);
        self.pods.insert(uid, sender);
        self.tasks.spawn(worker::serve(self.runner.clone(), updates));
    }

    fn forget(&mut self, uid: &str) {
        if let Some(updates) = self.pods.remove(uid) {
            updates.send_replace(Seen::Gone);
        }
    }
}
