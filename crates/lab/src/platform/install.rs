//! Installs a platform through the API, or takes over one that was copied from a snapshot. Writes to the control planes.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::convergence::namespace_of;
use super::installer_job::{self, InstallerRun};
use super::objects::{self, KKP, NAMESPACE};
use super::plane::Plane;
use super::topology::Topology;
use super::{POLL, Platform, PlatformError, PlatformFolder};
use crate::Lab;

/// How long an installation may take, without the user clusters.
const INSTALL: Duration = Duration::from_mins(3);

impl Platform {
    /// Installs KKP on the control planes of a lab and waits until everything runs.
    ///
    /// # Errors
    /// See [`PlatformError`].
    pub async fn install(lab: &Lab, topology: &Topology, folder: PlatformFolder) -> Result<Self, PlatformError> {
        let platform = Self::of(lab, topology, folder).await?;
        platform.prepare_master().await?;
        let arguments = ["--disable-telemetry", "--config", "/installer/kubermatic.yaml"].map(str::to_owned);
        platform
            .installer_prerequisites(Some(&objects::configuration(topology)))
            .await?;
        tracing::info!(version = topology.version, "installing KKP");
        platform
            .run_installer(&topology.version, "kubermatic-master", &arguments, INSTALL)
            .await?;
        platform.forget_configuration_file().await?;
        platform.create_seeds().await?;
        platform.create_people().await?;
        platform.create_clusters().await?;
        let clusters: usize = topology.seeds.iter().map(|seed| seed.clusters).sum();
        let deadline = INSTALL + Duration::from_secs(clusters as u64 * 5);
        platform.wait_for(&topology.version, deadline).await?;
        Ok(platform)
    }

    /// Takes over a platform that came with the snapshot which the lab started from: only addresses differ.
    ///
    /// # Errors
    /// See [`PlatformError`].
    pub async fn from_snapshot(lab: &Lab, topology: &Topology, folder: PlatformFolder) -> Result<Self, PlatformError> {
        let platform = Self::of(lab, topology, folder).await?;
        platform.rewrite_addresses().await?;
        platform.wait_for(&topology.version, INSTALL).await?;
        Ok(platform)
    }

    async fn of(lab: &Lab, topology: &Topology, folder: PlatformFolder) -> Result<Self, PlatformError> {
        topology.check().map_err(PlatformError::Topology)?;
        let mut planes = Vec::new();
        for name in topology.planes() {
            let cluster = lab.cluster(&name)?;
            let path = &cluster.kubeconfig_path;
            let kubeconfig = std::fs::read_to_string(path).map_err(|source| PlatformError::File {
                path: path.clone(),
                source,
            })?;
            planes.push(Plane {
                name,
                client: cluster.client().await?,
                kubeconfig,
                server: cluster.server.clone(),
            });
        }
        Ok(Self {
            topology: topology.clone(),
            planes,
            folder,
        })
    }

    fn master(&self) -> Result<&Plane, PlatformError> {
        self.planes
            .first()
            .ok_or_else(|| PlatformError::Topology("no control plane".to_owned()))
    }

    async fn prepare_master(&self) -> Result<(), PlatformError> {
        for plane in &self.planes {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
            plane.apply(&namespace).await?;
            plane.apply(&objects::storage_class()).await?;
        }
        Ok(())
    }

    async fn installer_prerequisites(&self, configuration: Option<&Value>) -> Result<(), PlatformError> {
        let master = self.master()?;
        for object in installer_job::prerequisites(&master.server, &self.topology.values(), configuration) {
            master.apply(&object).await?;
        }
        Ok(())
    }

    /// Later runs must not put the first configuration back.
    async fn forget_configuration_file(&self) -> Result<(), PlatformError> {
        let secrets: Api<Secret> = Api::namespaced(self.master()?.client.clone(), NAMESPACE);
        let patch = Patch::Merge(json!({"data": {"kubermatic.yaml": null}}));
        let parameters = PatchParams::default();
        let call = secrets.patch(installer_job::NAME, &parameters, &patch);
        self.master()?
            .call("change the installer's Secret", call)
            .await
            .map(drop)
    }

    /// The Job of an installer run, not yet created.
    #[must_use]
    pub fn installer_job(&self, version: &str, stack: &str, arguments: &[String]) -> Value {
        installer_job::job(&self.installer_run(version, stack, arguments))
    }

    fn installer_run(&self, version: &str, stack: &str, arguments: &[String]) -> InstallerRun {
        let version = version.trim_start_matches('v');
        InstallerRun {
            name: format!("install-{stack}-{}", version.replace('.', "-")),
            image: self.topology.image(version),
            stack: stack.to_owned(),
            arguments: arguments.to_vec(),
        }
    }

    /// Runs the installer of a version as a hand-written Job on the master and waits for its end. A Job of an earlier run is replaced.
    ///
    /// # Errors
    /// [`PlatformError::Installer`] with the exit code when it fails.
    pub async fn run_installer(
        &self,
        version: &str,
        stack: &str,
        arguments: &[String],
        deadline: Duration,
    ) -> Result<(), PlatformError> {
        let master = self.master()?;
        let run = self.installer_run(version, stack, arguments);
        let jobs: Api<Job> = Api::namespaced(master.client.clone(), NAMESPACE);
        remove_job(master, &jobs, &run.name).await?;
        master.apply(&installer_job::job(&run)).await?;
        let start = Instant::now();
        loop {
            let job = master.call("get the Job", jobs.get(&run.name)).await?;
            let conditions = job.status.and_then(|status| status.conditions).unwrap_or_default();
            let is = |kind: &str| {
                conditions
                    .iter()
                    .any(|condition| condition.type_ == kind && condition.status == "True")
            };
            if is("Complete") {
                return Ok(());
            }
            if is("Failed") {
                return Err(installer_failure(master, &run.name).await?);
            }
            if start.elapsed() > deadline {
                let what = format!("Job {}", run.name);
                return Err(PlatformError::Deadline {
                    what,
                    seconds: deadline.as_secs(),
                    missing: Vec::new(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn create_seeds(&self) -> Result<(), PlatformError> {
        let master = self.master()?;
        for seed in &self.topology.seeds {
            if let Some(plane) = self.plane(seed.plane()) {
                master
                    .apply(&objects::kubeconfig_secret(&seed.name, &plane.kubeconfig))
                    .await?;
                master.apply(&objects::seed(seed)).await?;
            }
        }
        Ok(())
    }

    async fn create_people(&self) -> Result<(), PlatformError> {
        for object in objects::people() {
            self.master()?.apply(&object).await?;
        }
        Ok(())
    }

    async fn create_clusters(&self) -> Result<(), PlatformError> {
        for seed in &self.topology.seeds {
            let Some(plane) = self.plane(seed.plane()) else {
                continue;
            };
            for (index, name) in seed.cluster_names().enumerate() {
                plane.apply(&objects::cluster(seed, index, &name)).await?;
            }
            if seed.addons.is_empty() {
                continue;
            }
            for name in seed.cluster_names() {
                self.create_addons(plane, &name, &seed.addons).await?;
            }
        }
        Ok(())
    }

    async fn create_addons(&self, plane: &Plane, cluster: &str, addons: &[String]) -> Result<(), PlatformError> {
        let Some(object) = plane.get(KKP, "Cluster", None, cluster).await? else {
            return Ok(());
        };
        let namespace = namespace_of(&object);
        let uid = object.metadata.uid.unwrap_or_default();
        let wanted = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        plane.apply(&wanted).await?;
        for addon in addons {
            plane.apply(&objects::addon(addon, cluster, &uid, &namespace)).await?;
        }
        Ok(())
    }

    /// Ports differ from those of the lab that made the snapshot.
    async fn rewrite_addresses(&self) -> Result<(), PlatformError> {
        self.installer_prerequisites(None).await?;
        for seed in &self.topology.seeds {
            let Some(plane) = self.plane(seed.plane()) else {
                continue;
            };
            let secret = objects::kubeconfig_secret(&seed.name, &plane.kubeconfig);
            self.master()?.apply(&secret).await?;
            if !seed.shared {
                plane.apply(&secret).await?;
            }
        }
        Ok(())
    }
}

async fn remove_job(master: &Plane, jobs: &Api<Job>, name: &str) -> Result<(), PlatformError> {
    let old = master.call("get the old Job", jobs.get_opt(name)).await?;
    if old.is_none() {
        return Ok(());
    }
    master
        .call(
            "delete the old Job",
            jobs.delete(name, &kube::api::DeleteParams::foreground()),
        )
        .await?;
    let end = Instant::now() + Duration::from_mins(1);
    while master.call("get the old Job", jobs.get_opt(name)).await?.is_some() {
        if Instant::now() > end {
            let what = format!("the end of the old Job {name}");
            return Err(PlatformError::Deadline {
                what,
                seconds: 60,
                missing: Vec::new(),
            });
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn installer_failure(master: &Plane, job: &str) -> Result<PlatformError, PlatformError> {
    let pods: Api<Pod> = Api::namespaced(master.client.clone(), NAMESPACE);
    let parameters = ListParams::default().labels(&format!("job-name={job}"));
    let list = master.call("list the Job's Pods", pods.list(&parameters)).await?;
    let statuses = list
        .items
        .into_iter()
        .filter_map(|pod| pod.status)
        .flat_map(|status| status.container_statuses.unwrap_or_default());
    let ended = statuses.filter_map(|status| status.state?.terminated).next_back();
    Ok(PlatformError::Installer {
        job: job.to_owned(),
        code: ended.as_ref().map(|ended| i64::from(ended.exit_code)),
        message: ended.and_then(|ended| ended.message).unwrap_or_default(),
    })
}
