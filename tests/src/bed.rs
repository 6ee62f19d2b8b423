//! A platform with the operator on it, ready to be upgraded.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kkp_lab::platform::{MASTER, Platform, PlatformImages, Running, StartOptions, Topology};
use kkp_upgrade_api::KKPUpgrade;
use kkp_upgrade_core::status::Status;
use kube::{Api, Client};
use tokio::time::Instant;

use crate::fault::FaultFolder;
use crate::images;

/// Titles of `kubectl get kkpu -o wide`.
pub const COLUMNS: [&str; 13] = [
    "NAME",
    "TARGET",
    "PHASE",
    "PROGRESS",
    "READY",
    "REASON",
    "FROM",
    "HOP",
    "STEP",
    "MESSAGE",
    "STARTED",
    "COMPLETED",
    "AGE",
];
/// Namespace of KKP and of the operator.
pub const NAMESPACE: &str = "kubermatic";
/// How often a condition is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(100);

/// A lab with a platform and the operator.
pub struct Bed {
    /// Lab and platform.
    pub running: Running,
    /// Administrator's client of the master.
    pub client: Client,
    /// What happens to the calls of the operator's programs, and the record of them.
    pub faults: FaultFolder,
}

/// How a bed is made.
pub struct BedOptions {
    /// The multi-call program.
    pub program: PathBuf,
    /// Versions of KKP to have images for, beside the platform's own.
    pub versions: Vec<String>,
    /// `NAME=DIR`: real programs in place of stand-ins.
    pub overrides: Vec<(String, PathBuf)>,
    /// Whether a ready platform may be started from a snapshot.
    pub snapshot: bool,
}

/// A `KKPUpgrade` named `u` to 2.31.0 with a limit of two, as YAML.
#[must_use]
pub fn upgrade(soak_seconds: u32) -> String {
    format!(
        "apiVersion: upgrade.k8c.io/v1alpha1\nkind: KKPUpgrade\nmetadata: {{name: u, namespace: {NAMESPACE}}}\n\
         spec: {{targetVersion: 2.31.0, maximumParallelReconciles: 2, verification: {{soakSeconds: {soak_seconds}}}}}\n"
    )
}

impl Bed {
    /// A platform of stand-ins, with images of these versions beside its own, and the operator with these arguments on it.
    /// The arguments shorten what is right on a real platform, which moves in minutes: stand-ins move in tenths of a second.
    ///
    /// # Errors
    /// When something of it does not start.
    pub async fn with_operator(
        program: impl Into<PathBuf>,
        topology: &Topology,
        versions: &[&str],
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let options = BedOptions {
            program: program.into(),
            versions: versions.iter().map(|version| (*version).to_owned()).collect(),
            overrides: Vec::new(),
            snapshot: true,
        };
        let bed = Self::start(topology, &options).await?;
        bed.install_operator().await?;
        bed.operator_arguments(arguments).await?;
        Ok(bed)
    }

    /// Starts the platform. The operator is not installed yet.
    ///
    /// # Errors
    /// When the lab or the platform cannot be made.
    pub async fn start(topology: &Topology, options: &BedOptions) -> anyhow::Result<Self> {
        // Another test of the process may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        if options.snapshot {
            forget_old_snapshots(&snapshots());
        }
        let program = options.program.clone();
        let faults = FaultFolder::create()?;
        let operator = images::operator(program.clone(), faults.path());
        let make = |request: &kkp_lab::platform::ImageRequest| images::stand_in(&program, request);
        let start = StartOptions {
            images: PlatformImages {
                versions: options.versions.clone(),
                make: &make,
                overrides: options.overrides.clone(),
                more: vec![(images::OPERATOR_IMAGE.to_owned(), operator)],
            },
            program: program.clone(),
            cache: options.snapshot.then(snapshots),
            audit: true,
        };
        let running = Box::pin(Platform::start(topology, &start))
            .await
            .context("the platform")?;
        let client = running
            .platform
            .plane(MASTER)
            .context("the platform has no master")?
            .client
            .clone();
        Ok(Self {
            running,
            client,
            faults,
        })
    }

    /// Installs the operator with exactly the manifests of `deploy/` and waits until its Pod is ready.
    ///
    /// # Errors
    /// When a manifest is refused or the Pod does not become ready.
    pub async fn install_operator(&self) -> anyhow::Result<()> {
        self.kubectl(&["apply", "-k", &repository().join("deploy").to_string_lossy()])
            .await?;
        // Binds where a chart namespace exists and fails for the others, as its own comment says.
        let bindings = repository().join("deploy/chart-namespaces/bindings.yaml");
        self.running
            .lab
            .kubectl(MASTER, &[OsStr::new("apply"), OsStr::new("-f"), bindings.as_os_str()])
            .await?;
        let deployments = Api::<Deployment>::namespaced(self.client.clone(), NAMESPACE);
        self.wait("the operator's Pod", Duration::from_mins(4), || async {
            let deployment = deployments.get("kkp-upgrade-operator").await.ok()?;
            (deployment.status?.ready_replicas == Some(1)).then_some(())
        })
        .await
    }

    /// Runs kubectl on the master; what it prints.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub async fn kubectl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> anyhow::Result<String> {
        self.kubectl_on(MASTER, arguments).await
    }

    /// Runs kubectl on a cluster of the platform; what it prints.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub async fn kubectl_on<S: AsRef<OsStr>>(&self, cluster: &str, arguments: &[S]) -> anyhow::Result<String> {
        let output = self.running.lab.kubectl(cluster, arguments).await?;
        if !output.status.success() {
            bail!(
                "kubectl on {cluster}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Applies a manifest given as YAML.
    ///
    /// # Errors
    /// When it is refused, with the API server's own words.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<String> {
        self.apply_on(MASTER, yaml).await
    }

    /// Applies a manifest given as YAML to a cluster of the platform.
    ///
    /// # Errors
    /// When it is refused, with the API server's own words.
    pub async fn apply_on(&self, cluster: &str, yaml: &str) -> anyhow::Result<String> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), yaml)?;
        let arguments = [OsStr::new("apply"), OsStr::new("-f"), file.path().as_os_str()];
        self.kubectl_on(cluster, &arguments).await
    }

    /// The upgrades of the platform.
    #[must_use]
    pub fn upgrades(&self) -> Api<KKPUpgrade> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// The status of a KKPUpgrade.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn status(&self, name: &str) -> anyhow::Result<Status> {
        Ok(self.upgrades().get(name).await?.status.unwrap_or_default())
    }

    /// Waits until `look` finds something.
    ///
    /// # Errors
    /// When it does not within the deadline.
    pub async fn wait<T, F, Fut>(&self, what: &str, deadline: Duration, mut look: F) -> anyhow::Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Option<T>>,
    {
        let start = Instant::now();
        loop {
            if let Some(found) = look().await {
                return Ok(found);
            }
            if start.elapsed() > deadline {
                bail!("{what} was not there after {} s", deadline.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the status of a KKPUpgrade is as wanted.
    ///
    /// # Errors
    /// When it is not within the deadline; the message holds the last status.
    pub async fn until(
        &self,
        name: &str,
        deadline: Duration,
        wanted: impl Fn(&Status) -> bool,
    ) -> anyhow::Result<Status> {
        let start = Instant::now();
        loop {
            let status = self.status(name).await.unwrap_or_default();
            if wanted(&status) {
                return Ok(status);
            }
            if start.elapsed() > deadline {
                let text = serde_json::to_string_pretty(&status)?;
                bail!(
                    "KKPUpgrade {name} did not get there within {} s; last status:\n{text}",
                    deadline.as_secs()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The repository's root folder: where `deploy/` lies.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_owned)
}

/// Where snapshots of ready platforms are kept: beside the test program, so that `cargo clean` takes them away too.
fn snapshots() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    target
        .map_or_else(std::env::temp_dir, Path::to_owned)
        .join("kkp-platforms")
}

/// A snapshot belongs to one build of the program; those of earlier days are of no use any more.
fn forget_old_snapshots(folder: &Path) {
    let day = Duration::from_hours(24);
    let old = |entry: &std::fs::DirEntry| {
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        age.is_some_and(|age| age > day)
    };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().filter(old) {
        // Whatever is left over is tried again at the next start.
        let _ = std::fs::remove_dir_all(entry.path());
    }
}
