//! `kubermatic-installer deploy`: the steps of a run in their order (KKP source, `cmd/kubermatic-installer`, `pkg/install/stack`).
//!
//! Writes to the cluster. No signal is handled on the way: killed in the middle, a release stays `pending-*`, as with the real one.

use std::time::Duration;

use crate::installer::field::field;
use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::access;
use super::arguments::{Deploy, Environment, Stack};
use super::charts::{self, ChartStep};
use super::faults::{InstallerScript, Moment};
use super::helm::{Helm, Installation};
use super::ledger::Ledger;
use super::log::Log;
use super::{cluster_objects, files, state, validation};
use crate::release::Release;
use crate::script::Script;

/// All that one run knows.
pub(super) struct Run {
    /// Command line.
    pub(super) deploy: Deploy,
    /// What the installer brings.
    pub(super) release: Release,
    /// Environment.
    pub(super) environment: Environment,
    /// Folder of script and ledger.
    pub(super) state_folder: std::path::PathBuf,
    /// Log.
    pub(super) log: Log,
    /// Ledger.
    pub(super) ledger: Ledger,
}

/// What a run has after the files are loaded.
struct Prepared {
    client: kube::Client,
    helm: Helm,
    configuration: Value,
    values: Value,
}

impl Run {
    /// The whole run.
    ///
    /// # Errors
    /// What the real program would end with.
    pub(super) async fn run(&self) -> anyhow::Result<()> {
        let stack = self.deploy.stack().map_err(anyhow::Error::msg)?;
        let head = self
            .log
            .with("version", self.release.version.clone())
            .with("edition", 0);
        head.info("🛫 Initializing installer…");
        let prepared = self.prepare(stack).await?;
        self.log.info(format!("🧩 Deploying {}…", stack.title()));
        match stack {
            Stack::Master => self.master(&prepared).await?,
            other => self.seed_stack(other, &prepared).await?,
        }
        self.step("end", async { Ok(()) }).await?;
        self.log
            .info("🛬 Installation completed successfully. Have a nice day!");
        Ok(())
    }

    async fn prepare(&self, stack: Stack) -> anyhow::Result<Prepared> {
        let Some(kubeconfig) = &self.deploy.kubeconfig else {
            bail!("no kubeconfig (--kubeconfig or $KUBECONFIG) given")
        };
        self.step("start", async { Ok(()) }).await?;
        let context = self.deploy.kube_context.as_deref();
        let given = files::configuration(&self.deploy)?;
        let values = files::helm_values(&self.deploy, &self.release)?;
        let client = access::own_client(&self.environment, context).await?;
        let helm = Helm::new(
            access::client_from_file(kubeconfig, context).await?,
            self.ledger.clone(),
        );
        let configuration = match given {
            Some(configuration) => configuration,
            None => state::live_configuration(&client)
                .await?
                .context("no KubermaticConfiguration was found in the cluster and none was given (--config)")?,
        };
        let values = self.validate(stack, &configuration, values).await?;
        let prepared = Prepared {
            client,
            helm,
            configuration,
            values,
        };
        if stack == Stack::Master {
            self.validate_state(&prepared).await?;
        }
        Ok(prepared)
    }

    async fn validate(&self, stack: Stack, configuration: &Value, values: Value) -> anyhow::Result<Value> {
        self.log.info("🚦 Validating the provided configuration…");
        let checked = self
            .step("configuration", async {
                Ok(match stack {
                    Stack::Master => validation::master(&self.release, configuration, values),
                    Stack::Seed => validation::seed(values),
                    _ => validation::Validated {
                        values,
                        ..validation::Validated::default()
                    },
                })
            })
            .await?;
        let deeper = self.log.deeper();
        for warning in &checked.warnings {
            deeper.warn(warning);
        }
        if !checked.failures.is_empty() {
            self.log.error("⛔ The provided configuration files are invalid:");
            for failure in &checked.failures {
                deeper.error(failure);
            }
            bail!("please review your configuration and try again")
        }
        self.log.info("✅ Provided configuration is valid.");
        Ok(checked.values)
    }

    async fn validate_state(&self, prepared: &Prepared) -> anyhow::Result<()> {
        self.log.info("🚦 Validating existing installation…");
        let deeper = self.log.deeper();
        let checks = state::Checks {
            client: &prepared.client,
            release: &self.release,
            deploy: &self.deploy,
            configuration: &prepared.configuration,
            log: &deeper,
        };
        let errors = self.step("state", Box::pin(checks.run())).await?;
        if !errors.is_empty() {
            self.log.error("⛔ Cannot proceed with the installation:");
            for error in &errors {
                deeper.error(error);
            }
            bail!("preconditions for the installation are not met")
        }
        self.log.info("✅ Existing installation is valid.");
        Ok(())
    }

    async fn master(&self, prepared: &Prepared) -> anyhow::Result<()> {
        let log = self.log.deeper();
        self.storage_class(prepared, &log).await?;
        for step in charts::before_operator(&self.release, &self.deploy, &prepared.configuration, &prepared.values) {
            self.chart(prepared, &step, &log).await?;
        }
        self.operator(prepared, &log).await?;
        self.apply_configuration(prepared, &log).await?;
        self.telemetry(prepared, &log).await?;
        self.ingress_cleanup(prepared, &log).await?;
        self.dns_hint(&prepared.configuration, &log).await
    }

    async fn seed_stack(&self, stack: Stack, prepared: &Prepared) -> anyhow::Result<()> {
        let log = self.log.deeper();
        if stack == Stack::Seed {
            self.storage_class(prepared, &log).await?;
        }
        for step in charts::of_seed_stack(stack, &self.release, &self.deploy) {
            self.chart(prepared, &step, &log).await?;
        }
        if stack == Stack::SeedMla && self.release.semantic_version().minor >= 29 {
            let old = prepared.helm.newest("logging", "promtail").await?;
            if old.is_some() {
                log.info("Uninstalling release promtail…");
                prepared.helm.uninstall("logging", "promtail").await?;
            }
        }
        self.dns_hint(&prepared.configuration, &log).await
    }

    async fn storage_class(&self, prepared: &Prepared, log: &Log) -> anyhow::Result<()> {
        let provider = self.deploy.storageclass.as_deref();
        self.step(
            "storage-class",
            cluster_objects::storage_class(&prepared.client, provider, log, &self.ledger),
        )
        .await
        .context("failed to deploy StorageClass")
    }

    async fn operator(&self, prepared: &Prepared, log: &Log) -> anyhow::Result<()> {
        log.info("📦 Deploying Kubermatic Operator…");
        let deeper = log.deeper();
        deeper.info("Deploying Custom Resource Definitions…");
        let script = self.script()?;
        let middle = script.strike(&self.ledger, &deeper, "crds", Moment::During);
        let pause = Duration::from_millis(script.crd_ms);
        let write = cluster_objects::definitions(&prepared.client, &self.release, pause, &self.ledger, middle);
        self.step("crds", Box::pin(write))
            .await
            .context("failed to deploy CRDs")
            .context("failed to deploy Kubermatic Operator")?;
        deeper.info("Deploying Helm chart…");
        self.release_chart(prepared, &charts::OPERATOR, &deeper)
            .await
            .context("failed to deploy Kubermatic Operator")?;
        log.info("✅ Success.");
        Ok(())
    }

    async fn chart(&self, prepared: &Prepared, step: &ChartStep, log: &Log) -> anyhow::Result<()> {
        log.info(format!("📦 Deploying {}…", step.name));
        if self.deploy.skips(step.name) {
            log.info(format!("⭕ Skipping {} deployment.", step.name));
            return Ok(());
        }
        self.release_chart(prepared, step, &log.deeper())
            .await
            .with_context(|| format!("failed to deploy {}", step.name))?;
        log.info("✅ Success.");
        Ok(())
    }

    async fn telemetry(&self, prepared: &Prepared, log: &Log) -> anyhow::Result<()> {
        if self.deploy.switches.disable_telemetry {
            log.info("📦 Deploying Telemetry");
            log.deeper()
                .info("Telemetry creation has been disabled in the KubermaticConfiguration, skipping.");
            return Ok(());
        }
        self.chart(prepared, &charts::TELEMETRY, log).await
    }

    /// load chart → ensure namespace → purge rule → install, upgrade or nothing.
    async fn release_chart(&self, prepared: &Prepared, step: &ChartStep, log: &Log) -> anyhow::Result<()> {
        let name = format!("chart/{}", step.name);
        let work = Box::pin(async {
            let chart = charts::chart(&self.release, step.name);
            self.check_dependencies(step.name)?;
            cluster_objects::namespace(&prepared.client, step.namespace).await?;
            let mut existing = prepared.helm.newest(step.namespace, step.name).await?;
            if existing
                .as_ref()
                .is_some_and(|release| release.status().requires_purge())
            {
                log.warn("Uninstalling defunct release before a clean installation is attempted…");
                prepared.helm.uninstall(step.namespace, step.name).await?;
                log.info("Release has been uninstalled.");
                existing = None;
            }
            if !cluster_objects::needs_installation(
                existing.as_ref(),
                &chart,
                &prepared.values,
                self.deploy.switches.force,
                log,
            ) {
                return Ok(());
            }
            let request = Installation {
                objects: charts::objects(&self.release, step, &prepared.values),
                namespace: step.namespace.to_owned(),
                values: prepared.values.clone(),
                atomic: step.atomic,
                timeout: self.deploy.helm_timeout,
                chart,
            };
            let script = self.script()?;
            let middle = script.strike(&self.ledger, log, &name, Moment::During);
            let installed = prepared.helm.upgrade_install(&request, Box::pin(middle)).await;
            installed
                .context("failed to install")
                .context("failed to deploy Helm release")
        });
        self.step(&name, work).await
    }

    /// Images before 2.26.3 lack the dependencies of these charts (KKP source, `hack/ci/release-images.sh`).
    fn check_dependencies(&self, chart: &str) -> anyhow::Result<()> {
        let version = self.release.semantic_version();
        let missing =
            (version.minor, version.patch) < (26, 3) && ["cert-manager", "nginx-ingress-controller"].contains(&chart);
        if missing && self.deploy.switches.skip_dependencies {
            bail!(
                "failed to install: Error: An error occurred while checking for chart dependencies: found in Chart.yaml, but missing in charts/ directory: {chart}"
            )
        }
        Ok(())
    }

    async fn apply_configuration(&self, prepared: &Prepared, log: &Log) -> anyhow::Result<()> {
        if self.deploy.config.is_none() {
            return Ok(());
        }
        log.info("📝 Applying Kubermatic Configuration…");
        let apply = cluster_objects::apply_configuration(&prepared.client, &prepared.configuration, &self.ledger);
        self.step("kubermatic-configuration", apply)
            .await
            .context("failed to apply Kubermatic Configuration")?;
        log.info("✅ Success.");
        Ok(())
    }

    async fn ingress_cleanup(&self, prepared: &Prepared, log: &Log) -> anyhow::Result<()> {
        let switches = &self.deploy.switches;
        let minor = self.release.semantic_version().minor;
        let gateway = minor >= 31 || (minor >= 29 && switches.migrate_gateway_api);
        if switches.skip_ingress_cleanup && switches.clean_nginx_lb {
            bail!("--clean-nginx-lb cannot be combined with --skip-ingress-cleanup")
        }
        if !gateway || charts::is_headless(&prepared.configuration) || switches.skip_ingress_cleanup {
            return Ok(());
        }
        log.info("🧹 Removing Ingresses that the Gateway replaces…");
        self.step("ingress-cleanup", async {
            cluster_objects::delete_ingresses(&prepared.client, &self.ledger).await?;
            let nginx = "nginx-ingress-controller";
            if switches.clean_nginx_lb && prepared.helm.newest(nginx, nginx).await?.is_some() {
                prepared.helm.uninstall(nginx, nginx).await?;
            }
            Ok(())
        })
        .await
    }

    async fn dns_hint(&self, configuration: &Value, log: &Log) -> anyhow::Result<()> {
        self.step("dns", async {
            log.info("📡 Determining DNS settings…");
            let domain = field(configuration, "/spec/ingress/domain")
                .as_str()
                .unwrap_or_default();
            log.deeper().info(format!(
                "Ensure that the DNS records of {domain:?} point to the load balancer."
            ));
            Ok(())
        })
        .await
    }

    /// A script that nobody can read must not look like one without faults.
    fn script(&self) -> anyhow::Result<InstallerScript> {
        let script = Script::load_from(&self.state_folder)?;
        let section = script
            .other
            .get("installer")
            .cloned()
            .map(serde_json::from_value)
            .transpose();
        Ok(section
            .context("section installer of the script is not understood")?
            .unwrap_or_default())
    }

    /// One step: noted in the ledger, slowed down and broken as the script says.
    async fn step<T>(&self, name: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        self.ledger.record("step", json!({"step": name}))?;
        let script = self.script()?;
        script.strike(&self.ledger, &self.log, name, Moment::Before).await?;
        tokio::time::sleep(Duration::from_millis(script.step_ms)).await;
        let result = work.await?;
        self.script()?
            .strike(&self.ledger, &self.log, name, Moment::After)
            .await?;
        Ok(result)
    }

    /// What the ledger says first.
    #[must_use]
    pub(super) fn start_record(&self, args: &[String], server: &str) -> Value {
        let get = |name: &str| self.environment.get(name).cloned();
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        json!({
            "pid": std::process::id(), "args": args, "stack": self.deploy.stack, "version": self.release.version,
            "edition": self.release.edition.short_name(), "server": server,
            "hostname": get("HOSTNAME").unwrap_or_else(|| hostname.trim().to_owned()), "pod": get("POD_NAME"),
        })
    }
}
