//! The Deployments that the operator manages, at its compiled version (KKP 2.31 source, pkg/controller/operator/{common,
//! master,seed}/resources; `kubermatic-seed-controller-manager` as measured on 2.31.0). Pure.
//!
//! Volumes are left out: nothing in the test bed reads them.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::Error;
use crate::objects::{MANAGED_BY_LABEL, NAME_LABEL, VERSION_LABEL, field, is_on, text};
use crate::release::Release;

/// Name of the one Deployment that master part and seed part share on a cluster that is both.
pub(super) const WEBHOOK: &str = "kubermatic-webhook";
/// Flag with the name of the seed.
pub(super) const SEED_NAME_FLAG: &str = "-seed-name=";

/// Who owns what is rendered, and at which version.
pub(super) struct Platform<'platform> {
    pub(super) release: &'platform Release,
    /// The master's configuration.
    pub(super) configuration: &'platform DynamicObject,
    /// `KubermaticConfiguration` on the master, Seed (the copy) on a seed.
    pub(super) owner: &'platform DynamicObject,
    pub(super) namespace: &'platform str,
}

struct Program<'program> {
    name: &'program str,
    account: &'program str,
    replicas: i64,
    init_containers: Value,
    containers: Value,
}

impl Platform<'_> {
    /// Deployments of the master; API and dashboard not if the installation is headless.
    pub(super) fn master(&self) -> Result<Vec<Deployment>, Error> {
        let mut deployments = vec![self.master_controller_manager()?, self.webhook(None)?];
        if !is_on(self.configuration, "/spec/featureGates/HeadlessInstallation") {
            deployments.push(self.user_interface("kubermatic-api", "api", "kubermatic-api")?);
            deployments.push(self.user_interface("kubermatic-dashboard", "ui", "default")?);
        }
        Ok(deployments)
    }

    /// Deployments of a seed.
    pub(super) fn seed(&self, seed: &DynamicObject) -> Result<Vec<Deployment>, Error> {
        let name = seed.metadata.name.as_deref().unwrap_or_default();
        let mut deployments = vec![self.seed_controller_manager(name)?, self.webhook(Some(name))?];
        if !is_on(seed, "/spec/nodeportProxy/disable") {
            deployments.push(self.envoy(seed)?);
            deployments.push(self.envoy_updater(seed)?);
        }
        Ok(deployments)
    }

    fn master_controller_manager(&self) -> Result<Deployment, Error> {
        let args = json!([
            "-logtostderr",
            "-internal-address=127.0.0.1:8085",
            "-worker-count=20",
            "-worker-name=",
            format!("-namespace={}", self.namespace),
            self.feature_gates(),
            "-pprof-listen-address=:6600",
            "-v=2"
        ]);
        self.single(
            "kubermatic-master-controller-manager",
            "kubermatic-master",
            "masterController",
            "master-controller-manager",
            &args,
        )
    }

    fn seed_controller_manager(&self, seed: &str) -> Result<Deployment, Error> {
        let args = json!([
            "-logtostderr",
            "-internal-address=0.0.0.0:8085",
            "-worker-count=4",
            "-ca-bundle=/opt/ca-bundle/ca-bundle.pem",
            format!("-namespace={}", self.namespace),
            format!(
                "-external-url={}",
                text(self.configuration, "/spec/ingress/domain").unwrap_or_default()
            ),
            format!("{SEED_NAME_FLAG}{seed}"),
            "-etcd-disk-size=5Gi",
            self.feature_gates(),
            "-worker-name=",
            format!(
                "-kubermatic-image={}",
                self.repository("userCluster", "kubermaticDockerRepository")
            ),
            format!(
                "-dnatcontroller-image={}",
                self.release.shared_repository("kubeletdnat-controller")
            ),
            format!(
                "-etcd-launcher-image={}",
                self.release.shared_repository("etcd-launcher")
            ),
            "-overwrite-registry=",
            format!("-max-parallel-reconcile={}", self.maximum_parallel_reconciles()),
            "-pprof-listen-address=:6600",
            "-disabled-collectors=",
            "-v=2",
        ]);
        let mut deployment = self.single(
            "kubermatic-seed-controller-manager",
            "kubermatic-seed",
            "seedController",
            "seed-controller-manager",
            &args,
        )?;
        if let Some(pod) = deployment.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()) {
            let addons = json!([{ "name": "copy-addons", "image": self.addons_image(), "command": ["/bin/sh"] }]);
            pod.init_containers = serde_json::from_value(addons).ok();
        }
        Ok(deployment)
    }

    fn addons_image(&self) -> String {
        let option = |key: &str| text(self.configuration, &format!("/spec/userCluster/addons/{key}"));
        let repository =
            option("dockerRepository").map_or_else(|| self.release.shared_repository("addons"), ToOwned::to_owned);
        let suffix = option("dockerTagSuffix")
            .map(|suffix| format!("-{suffix}"))
            .unwrap_or_default();
        format!("{repository}:{}{suffix}", self.release.version)
    }

    fn webhook(&self, seed: Option<&str>) -> Result<Deployment, Error> {
        let mut args = vec![
            format!("-namespace={}", self.namespace),
            "-webhook-cert-dir=/opt/webhook-serving-cert/".to_owned(),
        ];
        args.extend(seed.map(|name| format!("{SEED_NAME_FLAG}{name}")));
        let mut deployment = self.single(WEBHOOK, WEBHOOK, "webhook", "kubermatic-webhook", &json!(args))?;
        if let Some(spec) = deployment.spec.as_mut() {
            // The old process goes before the new one comes: every write to KKP's objects fails for a while.
            spec.strategy = serde_json::from_value(json!({"type": "Recreate"})).ok();
        }
        Ok(deployment)
    }

    /// A Deployment with one container of the image that has all of KKP's controllers.
    fn single(
        &self,
        name: &str,
        account: &str,
        section: &str,
        command: &str,
        args: &Value,
    ) -> Result<Deployment, Error> {
        let image = format!(
            "{}:{}",
            self.repository(section, "dockerRepository"),
            self.release.version
        );
        self.render(&Program {
            name,
            account,
            replicas: self.replicas(section, 1),
            init_containers: json!([]),
            containers: json!([{ "name": "controller-manager", "image": image, "command": [command], "args": args }]),
        })
    }

    /// API and dashboard: the only two whose tag can be overridden (`dockerTag`, `dockerTagSuffix`).
    fn user_interface(&self, name: &str, section: &str, account: &str) -> Result<Deployment, Error> {
        let option = |key: &str| text(self.configuration, &format!("/spec/{section}/{key}"));
        let version = &self.release.version;
        let tag = match (option("dockerTag"), option("dockerTagSuffix")) {
            (Some(tag), _) => tag.to_owned(),
            (None, Some(suffix)) => format!("{version}-{suffix}"),
            (None, None) => version.clone(),
        };
        let repository =
            option("dockerRepository").map_or_else(|| self.release.dashboard_repository(), ToOwned::to_owned);
        self.render(&Program {
            name,
            account,
            replicas: self.replicas(section, 2),
            init_containers: json!([]),
            containers: json!([{ "name": section, "image": format!("{repository}:{tag}"), "command": [name] }]),
        })
    }

    fn envoy(&self, seed: &DynamicObject) -> Result<Deployment, Error> {
        let manager = self.proxy_image(seed, "envoyManager");
        let proxy = text(seed, "/spec/nodeportProxy/envoy/dockerRepository").unwrap_or("docker.io/envoyproxy/envoy");
        self.render(&Program {
            name: "nodeport-proxy-envoy",
            account: "nodeport-proxy",
            replicas: 1,
            init_containers: json!([{ "name": "copy-envoy-config", "image": manager, "command": ["/bin/cp"] }]),
            containers: json!([
                { "name": "envoy-manager", "image": manager, "command": ["/envoy-manager"] },
                { "name": "envoy", "image": format!("{proxy}:{}", self.release.envoy_tag), "command": ["/usr/local/bin/envoy"] },
            ]),
        })
    }

    fn envoy_updater(&self, seed: &DynamicObject) -> Result<Deployment, Error> {
        self.render(&Program {
            name: "nodeport-proxy-updater",
            account: "nodeport-proxy",
            replicas: 1,
            init_containers: json!([]),
            containers: json!([{ "name": "lb-updater", "image": self.proxy_image(seed, "updater"), "command": ["/lb-updater"] }]),
        })
    }

    fn proxy_image(&self, seed: &DynamicObject, section: &str) -> String {
        let repository = text(seed, &format!("/spec/nodeportProxy/{section}/dockerRepository"))
            .map_or_else(|| self.release.shared_repository("nodeport-proxy"), ToOwned::to_owned);
        format!("{repository}:{}", self.release.version)
    }

    fn repository(&self, section: &str, key: &str) -> String {
        text(self.configuration, &format!("/spec/{section}/{key}"))
            .map_or_else(|| self.release.kubermatic_repository(), ToOwned::to_owned)
    }

    fn replicas(&self, section: &str, default: i64) -> i64 {
        field(self.configuration, &format!("/spec/{section}/replicas"))
            .and_then(Value::as_i64)
            .unwrap_or(default)
    }

    /// Absent and 0 mean 10; negative values pass: nobody validates them.
    fn maximum_parallel_reconciles(&self) -> i64 {
        let wanted =
            field(self.configuration, "/spec/seedController/maximumParallelReconciles").and_then(Value::as_i64);
        wanted.filter(|number| *number != 0).unwrap_or(10)
    }

    fn feature_gates(&self) -> String {
        let gates = field(self.configuration, "/spec/featureGates").and_then(Value::as_object);
        let gates: Vec<String> = gates
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("-feature-gates={}", gates.join(","))
    }

    fn render(&self, program: &Program<'_>) -> Result<Deployment, Error> {
        let version = &self.release.version;
        let document = json!({
            "metadata": {
                "name": program.name,
                "namespace": self.namespace,
                "labels": { NAME_LABEL: program.name, MANAGED_BY_LABEL: super::MANAGER, VERSION_LABEL: version },
                "ownerReferences": [self.owner_reference()],
            },
            "spec": {
                "replicas": program.replicas,
                "selector": { "matchLabels": { NAME_LABEL: program.name } },
                "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
                "template": {
                    "metadata": { "labels": { NAME_LABEL: program.name, VERSION_LABEL: version } },
                    "spec": {
                        "serviceAccountName": program.account,
                        "securityContext": { "runAsNonRoot": true, "runAsUser": 65534, "runAsGroup": 65534, "fsGroup": 65534 },
                        "initContainers": program.init_containers,
                        "containers": program.containers,
                        "terminationGracePeriodSeconds": 2,
                    },
                },
            },
        });
        serde_json::from_value(document)
            .map_err(|error| Error::Refused(format!("cannot render Deployment {}: {error}", program.name)))
    }

    fn owner_reference(&self) -> Value {
        let types = self.owner.types.clone().unwrap_or_default();
        json!({
            "apiVersion": types.api_version, "kind": types.kind, "controller": true, "blockOwnerDeletion": true,
            "name": self.owner.metadata.name, "uid": self.owner.metadata.uid,
        })
    }
}

#[cfg(test)]
#[path = "workloads_tests.rs"]
mod tests;
