//! What the installer asks of the `helm` program, done to the cluster that Helm's kubeconfig names.

use std::time::Duration;

use crate::installer::field::field;
use anyhow::{Context, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use super::manifest;
use super::release::{Chart, Release, Status};
use crate::installer::access::{optional, within};
use crate::installer::ledger::Ledger;

/// Revisions that Helm keeps.
const HISTORY: usize = 10;
/// How often Helm looks at what it waits for.
const POLL: Duration = Duration::from_millis(100);

/// One call of `helm upgrade --install`.
pub struct Installation {
    /// Chart.
    pub chart: Chart,
    /// Namespace.
    pub namespace: String,
    /// The user's values.
    pub values: Value,
    /// The objects.
    pub objects: Vec<Value>,
    /// Wait for Deployments, put the last revision back when that fails.
    pub atomic: bool,
    /// How long to wait.
    pub timeout: Duration,
}

/// What happens in the middle of an installation, while the release is pending: nothing, or what the script wants.
pub type Middle<'a> = futures::future::BoxFuture<'a, anyhow::Result<()>>;

/// Helm with its kubeconfig.
#[derive(Clone)]
pub struct Helm {
    client: kube::Client,
    ledger: Ledger,
}

impl Helm {
    /// Helm for one cluster.
    #[must_use]
    pub fn new(client: kube::Client, ledger: Ledger) -> Self {
        Self { client, ledger }
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// All revisions of a release, oldest first.
    ///
    /// # Errors
    /// When the Secrets can't be read or understood.
    pub async fn history(&self, namespace: &str, name: &str) -> anyhow::Result<Vec<Release>> {
        let parameters = ListParams::default().labels(&format!("owner=helm,name={name}"));
        let secrets = within("list Helm releases", self.secrets(namespace).list(&parameters)).await?;
        let mut releases = secrets
            .iter()
            .map(Release::from_secret)
            .collect::<anyhow::Result<Vec<_>>>()?;
        releases.sort_by_key(|release| release.version);
        Ok(releases)
    }

    /// The newest revision of a release (`helm list --all`).
    ///
    /// # Errors
    /// As [`Self::history`].
    pub async fn newest(&self, namespace: &str, name: &str) -> anyhow::Result<Option<Release>> {
        Ok(self.history(namespace, name).await?.pop())
    }

    /// `helm uninstall`: the objects and the whole history.
    ///
    /// # Errors
    /// When something can't be deleted.
    pub async fn uninstall(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let history = self.history(namespace, name).await?;
        let Some(newest) = history.last() else {
            bail!("uninstall: Release not loaded: {name}: release: not found")
        };
        for object in manifest::parse(&newest.manifest)? {
            manifest::delete(&self.client, &object).await?;
        }
        for release in &history {
            let secret = release.secret_name();
            let deleted = self.secrets(namespace);
            optional(
                within(
                    "delete a release Secret",
                    deleted.delete(&secret, &DeleteParams::default()),
                )
                .await,
            )?;
        }
        self.ledger.record(
            "effect",
            json!({"effect": "helm-uninstall", "namespace": namespace, "release": name, "revisions": history.len()}),
        )
    }

    /// `helm upgrade --install`.
    ///
    /// # Errors
    /// When the chart does not come up; with `atomic` the last revision is back then.
    pub async fn upgrade_install(&self, request: &Installation, middle: Middle<'_>) -> anyhow::Result<()> {
        let history = self.history(&request.namespace, &request.chart.name).await?;
        let previous = history
            .iter()
            .rev()
            .find(|release| release.status() == Status::Deployed)
            .cloned();
        let revision = history.last().map_or(1, |release| release.version + 1);
        let pending = if previous.is_some() {
            Status::PendingUpgrade
        } else {
            Status::PendingInstall
        };
        let manifest = manifest::render(&request.chart.name, &request.objects)?;
        let chart = request.chart.clone();
        let release = Release::new(
            &request.namespace,
            chart,
            revision,
            pending,
            request.values.clone(),
            manifest,
        );
        self.create(&release).await?;
        let outcome = self.bring_up(request, middle).await;
        let Err(error) = outcome else {
            return self.finish(release, previous.as_ref(), &history).await;
        };
        if error.is::<crate::installer::faults::Crash>() {
            return Err(error);
        }
        self.fail(request, release, previous.as_ref(), error).await
    }

    async fn bring_up(&self, request: &Installation, middle: Middle<'_>) -> anyhow::Result<()> {
        middle.await?;
        for object in &request.objects {
            manifest::apply(&self.client, object).await?;
        }
        if request.atomic {
            let deployments = request
                .objects
                .iter()
                .filter(|object| field(object, "/kind") == "Deployment");
            let waits = deployments.map(|object| self.wait_for(object));
            tokio::time::timeout(request.timeout, futures::future::try_join_all(waits))
                .await
                .context("timed out waiting for the condition")??;
        }
        Ok(())
    }

    async fn wait_for(&self, object: &Value) -> anyhow::Result<()> {
        let name = field(object, "/metadata/name").as_str().unwrap_or_default();
        let namespace = field(object, "/metadata/namespace").as_str().unwrap_or_default();
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        loop {
            let deployment = within("get a Deployment", deployments.get(name)).await?;
            if is_rolled_out(&deployment) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn finish(&self, release: Release, previous: Option<&Release>, history: &[Release]) -> anyhow::Result<()> {
        if let Some(previous) = previous {
            let superseded = previous.clone().become_status(Status::Superseded, "Upgrade complete");
            self.replace(&superseded).await?;
        }
        let word = if previous.is_some() {
            "Upgrade complete"
        } else {
            "Install complete"
        };
        self.replace(&release.become_status(Status::Deployed, word)).await?;
        let surplus = (history.len() + 1).saturating_sub(HISTORY);
        for old in history.iter().take(surplus) {
            let secrets = self.secrets(&old.namespace);
            optional(
                within(
                    "delete an old revision",
                    secrets.delete(&old.secret_name(), &DeleteParams::default()),
                )
                .await,
            )?;
        }
        Ok(())
    }

    async fn fail(
        &self,
        request: &Installation,
        release: Release,
        previous: Option<&Release>,
        error: anyhow::Error,
    ) -> anyhow::Result<()> {
        let name = &request.chart.name;
        let failed = release.become_status(Status::Failed, &format!("{error:#}"));
        self.replace(&failed).await?;
        match (request.atomic, previous) {
            (false, _) => bail!("Error: UPGRADE FAILED: {error:#}"),
            (true, Some(previous)) => {
                self.roll_back(&failed, previous).await?;
                bail!(
                    "Error: UPGRADE FAILED: release {name} failed, and has been rolled back due to atomic being set: {error:#}"
                )
            }
            (true, None) => {
                self.uninstall(&request.namespace, name).await?;
                bail!(
                    "Error: INSTALLATION FAILED: release {name} failed, and has been uninstalled due to atomic being set: {error:#}"
                )
            }
        }
    }

    /// The old objects as a new revision.
    async fn roll_back(&self, failed: &Release, previous: &Release) -> anyhow::Result<()> {
        let revision = failed.version + 1;
        let back = Release::new(
            &previous.namespace,
            previous.chart().clone(),
            revision,
            Status::PendingRollback,
            previous.config.clone(),
            previous.manifest.clone(),
        );
        self.create(&back).await?;
        for object in manifest::parse(&previous.manifest)? {
            manifest::apply(&self.client, &object).await?;
        }
        let superseded = previous.clone().become_status(Status::Superseded, "Upgrade complete");
        self.replace(&superseded).await?;
        self.replace(&back.become_status(Status::Deployed, &format!("Rollback to {}", previous.version)))
            .await
    }

    async fn create(&self, release: &Release) -> anyhow::Result<()> {
        let secret = release.to_secret()?;
        let secrets = self.secrets(&release.namespace);
        within(
            "create a release Secret",
            secrets.create(&PostParams::default(), &secret),
        )
        .await?;
        self.note(release)
    }

    async fn replace(&self, release: &Release) -> anyhow::Result<()> {
        let secret = release.to_secret()?;
        let secrets = self.secrets(&release.namespace);
        within(
            "update a release Secret",
            secrets.replace(&release.secret_name(), &PostParams::default(), &secret),
        )
        .await?;
        self.note(release)
    }

    fn note(&self, release: &Release) -> anyhow::Result<()> {
        self.ledger.record(
            "effect",
            json!({
                "effect": "helm-release", "namespace": release.namespace, "release": release.name,
                "revision": release.version, "status": release.status().word(), "chart": release.chart().version,
            }),
        )
    }
}

/// What `helm --wait` asks of a Deployment.
fn is_rolled_out(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else { return false };
    let seen = status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0);
    seen && status.updated_replicas.unwrap_or(0) >= wanted
        && status.available_replicas.unwrap_or(0) >= wanted
        && status.replicas.unwrap_or(0) <= wanted
}
