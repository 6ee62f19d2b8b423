//! A real control plane: etcd, kube-apiserver, kube-controller-manager, on the loopback address and unprivileged.
//!
//! Talks to the cluster only to see whether it is ready. Must never listen on an address that others can reach.

mod arguments;
mod error;
mod folder_copy;
pub(crate) mod log_tail;
mod pki;
mod ports;
mod process;
mod programs;
mod readiness;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

pub use self::error::ControlPlaneError;
pub use self::pki::{Pki, PkiError};
pub use self::ports::{PortError, PortLease};
pub use self::process::ProcessError;
pub use self::programs::{Programs, ProgramsError};
pub(crate) use self::readiness::client_from;

use self::arguments::Layout;
use self::folder_copy::copy_folder;
use self::process::Process;
use self::readiness::Ready;

/// How long a program may take until it serves. Generous: two cores may be busy compiling.
const START: Duration = Duration::from_mins(2);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(25);
/// Linux limit of a socket's path, with its ending zero.
const SOCKET_PATH: usize = 107;

/// One program of a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The store.
    Etcd,
    /// The API server.
    ApiServer,
    /// The built-in controllers.
    ControllerManager,
}

/// What to do to one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// SIGKILL; returns when it is gone.
    Kill,
    /// SIGTERM; returns when it is gone.
    Terminate,
    /// SIGSTOP.
    Freeze,
    /// SIGCONT.
    Thaw,
    /// Starts it unless it runs; returns when it serves.
    Start,
    /// Kill, then start.
    Restart,
}

/// How to start a control plane.
#[derive(Clone, Debug)]
pub struct ControlPlaneOptions {
    /// Name of the cluster.
    pub name: String,
    /// Folder for everything the control plane writes; must be short, because it holds a socket.
    pub folder: PathBuf,
    /// A snapshot to start from: etcd data and certificates.
    pub data_from: Option<PathBuf>,
    /// Whether the API server writes an audit log.
    pub audit: bool,
}

/// A running control plane; dropping it kills its programs.
pub struct ControlPlane {
    name: String,
    folder: PathBuf,
    pki: Pki,
    port: PortLease,
    etcd: Process,
    api_server: Process,
    controller_manager: Process,
    client: kube::Client,
}

impl ControlPlane {
    /// Starts a control plane and returns when its API server is ready.
    ///
    /// # Errors
    /// See [`ControlPlaneError`].
    pub async fn start(programs: &Programs, options: ControlPlaneOptions) -> Result<Self, ControlPlaneError> {
        let mut plane = Self::prepare(programs, options).await?;
        plane.start_all().await?;
        Ok(plane)
    }

    /// Name of the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Folder with logs, data and certificates.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Port of the API server on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.port()
    }

    /// A kubeconfig with administrator rights.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The certificate authority, PEM.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.pki.path("ca.crt")
    }

    /// A client with administrator rights.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Does something to one program.
    ///
    /// # Errors
    /// When the program is not running (for a signal) or does not come back (for a start).
    pub async fn apply(&mut self, component: Component, action: Action) -> Result<(), ControlPlaneError> {
        match action {
            Action::Kill => self.process(component).kill().await?,
            Action::Terminate => self.process(component).terminate().await?,
            Action::Freeze => self.process(component).signal(Signal::SIGSTOP)?,
            Action::Thaw => self.process(component).signal(Signal::SIGCONT)?,
            Action::Start => self.start_one(component).await?,
            Action::Restart => {
                self.process(component).kill().await?;
                self.start_one(component).await?;
            }
        }
        Ok(())
    }

    /// Copies data and certificates into a folder; the control plane is down meanwhile and back afterwards.
    ///
    /// # Errors
    /// When a program does not stop or come back, or the copy fails.
    pub async fn snapshot(&mut self, into: &Path) -> Result<(), ControlPlaneError> {
        self.stop().await?;
        for part in ["etcd", "pki"] {
            copy(&self.folder.join(part), &into.join(part))?;
        }
        self.start_all().await
    }

    /// Puts the data of a snapshot in the place of its own, under the same address and certificates. The audit log
    /// starts anew.
    ///
    /// # Errors
    /// When a program does not stop or come back, or the copy fails.
    pub async fn restore(&mut self, from: &Path) -> Result<(), ControlPlaneError> {
        for component in [Component::ControllerManager, Component::ApiServer, Component::Etcd] {
            // What they would still write is thrown away anyway.
            self.process(component).kill().await?;
        }
        let data = self.folder.join("etcd");
        let audit = self.folder.join("audit.log");
        let emptied = fs::remove_dir_all(&data).and_then(|()| match fs::remove_file(&audit) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        });
        emptied.map_err(|source| ControlPlaneError::File {
            path: data.clone(),
            source,
        })?;
        copy(&from.join("etcd"), &data)?;
        self.start_all().await
    }

    /// Ends all programs, the store last, so that everything accepted is written.
    ///
    /// # Errors
    /// When a program cannot be ended.
    pub async fn stop(&mut self) -> Result<(), ControlPlaneError> {
        // Nothing of theirs is worth waiting for: the store has every write that was acknowledged.
        self.controller_manager.kill().await?;
        self.api_server.kill().await?;
        Ok(self.etcd.terminate().await?)
    }

    async fn prepare(programs: &Programs, options: ControlPlaneOptions) -> Result<Self, ControlPlaneError> {
        let ControlPlaneOptions {
            name,
            folder,
            data_from,
            audit,
        } = options;
        if folder.join("etcd.sock").as_os_str().len() > SOCKET_PATH {
            return Err(ControlPlaneError::LongPath(folder));
        }
        let file_error = |source| ControlPlaneError::File {
            path: folder.clone(),
            source,
        };
        fs::create_dir_all(&folder).map_err(file_error)?;
        let pki_folder = folder.join("pki");
        let pki = if let Some(from) = data_from {
            copy(&from.join("pki"), &pki_folder)?;
            copy(&from.join("etcd"), &folder.join("etcd"))?;
            Pki::existing(&pki_folder)
        } else {
            Pki::create(&pki_folder)?
        };
        let port = PortLease::acquire()?;
        let kubeconfig = folder.join("kubeconfig");
        pki.write_kubeconfig(&kubeconfig, &name, port.port())?;
        if audit {
            fs::write(folder.join("audit-policy.json"), arguments::AUDIT_POLICY).map_err(file_error)?;
        }
        let layout = Layout {
            folder: &folder,
            pki: &pki,
            port: port.port(),
            audit,
        };
        let process =
            |name, program, arguments| Process::new(name, program, arguments, folder.join(format!("{name}.log")));
        let etcd = process("etcd", programs.etcd(), layout.etcd());
        let api_server = process("kube-apiserver", programs.kube_apiserver(), layout.kube_apiserver());
        let controller_manager = process(
            "kube-controller-manager",
            programs.kube_controller_manager(),
            layout.kube_controller_manager(),
        );
        let client = client_from(&kubeconfig)
            .await
            .map_err(|message| ControlPlaneError::Client {
                name: name.clone(),
                message,
            })?;
        Ok(Self {
            name,
            folder,
            pki,
            port,
            etcd,
            api_server,
            controller_manager,
            client,
        })
    }

    async fn start_all(&mut self) -> Result<(), ControlPlaneError> {
        self.start_one(Component::Etcd).await?;
        self.start_one(Component::ApiServer).await?;
        self.start_one(Component::ControllerManager).await?;
        self.wait_for(Ready::Controllers).await
    }

    async fn start_one(&mut self, component: Component) -> Result<(), ControlPlaneError> {
        if component == Component::Etcd && self.process(component).needs_start() {
            // A killed etcd leaves its sockets behind, and a connection to one would look like readiness for a moment.
            for socket in ["etcd.sock", "peer.sock"] {
                let path = self.folder.join(socket);
                match fs::remove_file(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(ControlPlaneError::File { path, source });
                    }
                    _ => {}
                }
            }
        }
        self.process(component).start()?;
        match component {
            Component::Etcd => self.wait_for(Ready::Etcd).await,
            Component::ApiServer => self.wait_for(Ready::ApiServer).await,
            // It serves nothing, and may be wanted while the API server is down.
            Component::ControllerManager => Ok(()),
        }
    }

    fn process(&mut self, component: Component) -> &mut Process {
        match component {
            Component::Etcd => &mut self.etcd,
            Component::ApiServer => &mut self.api_server,
            Component::ControllerManager => &mut self.controller_manager,
        }
    }

    /// An error with its log where a program that was started has ended.
    fn still_runs(&mut self, component: Component) -> Result<(), ControlPlaneError> {
        let name = self.name.clone();
        let process = self.process(component);
        match process.exited() {
            None => Ok(()),
            Some(status) => Err(ControlPlaneError::Ended {
                name,
                component: component.program(),
                status: status.to_string(),
                log: process.log().to_owned(),
                tail: process.tail(),
            }),
        }
    }

    async fn wait_for(&mut self, ready: Ready) -> Result<(), ControlPlaneError> {
        let component = ready.component();
        let deadline = Instant::now() + START;
        loop {
            let Err(message) = ready.look(&self.folder, &self.client).await else {
                return Ok(());
            };
            // etcd listens before it has looked at its data: what the awaited program rests on may have ended, too.
            for below in [Component::Etcd, Component::ApiServer, component] {
                self.still_runs(below)?;
                if below == component {
                    break;
                }
            }
            if Instant::now() >= deadline {
                let process = self.process(component);
                let (log, tail) = (process.log().to_owned(), process.tail());
                return Err(ControlPlaneError::NotReady {
                    name: self.name.clone(),
                    component: component.program(),
                    message,
                    log,
                    tail,
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Component {
    /// Name of the program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), ControlPlaneError> {
    copy_folder(from, to).map_err(|source| ControlPlaneError::File {
        path: from.to_owned(),
        source,
    })
}
