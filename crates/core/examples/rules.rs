//! What the embedded rules of one hop cost on a large seed: made-up user clusters with ten Addons each, taken apart from text
//! and judged as the operator does it, without a platform. Prints the time for each kind.
//! `cargo run --release -p kkp-upgrade-core --example rules -- 10000`

use std::io::Write as _;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kkp_upgrade_core::rules::{
    Catalogue, ClusterFacts, ConfiguredVersions, Evaluation, Hop, Input, ItemKind, Object, SpecFacts, Stage,
};
use serde_json::{Map, Value, json};

/// User clusters where nobody says how many.
const CLUSTERS: usize = 10_000;
/// Addons of each of them.
const ADDONS: [&str; 10] = [
    "canal",
    "csi",
    "kube-proxy",
    "rbac",
    "kubeadm-configmap",
    "kubelet-configmap",
    "default-storage-class",
    "pod-security-policy",
    "metrics-server",
    "hubble",
];
const CREATED: &str = "2026-01-15T08:30:00Z";
const CONDITIONS: [&str; 8] = [
    "AddonControllerReconciledSuccessfully",
    "BackupControllerReconciledSuccessfully",
    "CSIKubeletMigrationCompleted",
    "CloudControllerReconciledSuccessfully",
    "ClusterControllerReconciledSuccessfully",
    "MonitoringControllerReconciledSuccessfully",
    "SeedResourcesUpToDate",
    "UpdateControllerReconciledSuccessfully",
];
const HEALTH: [&str; 8] = [
    "apiserver",
    "applicationController",
    "controller",
    "etcd",
    "konnectivity",
    "machineController",
    "operatingSystemManager",
    "scheduler",
];

/// Time that went into one kind of objects.
#[derive(Default)]
struct Cost {
    reading: Duration,
    judging: Duration,
    objects: usize,
}

impl Cost {
    /// Takes one object apart and shows it to the rules.
    fn pay(
        &mut self,
        evaluation: &mut Evaluation,
        kind: ItemKind,
        text: &str,
        facts: Option<&ClusterFacts>,
    ) -> Result<(), serde_json::Error> {
        let began = Instant::now();
        let object: Value = serde_json::from_str(text)?;
        let read = Instant::now();
        let item = Object::new(kind, "eu", &object);
        evaluation.object(&match facts {
            Some(facts) => item.with(facts),
            None => item,
        });
        self.judging += read.elapsed();
        self.reading += read - began;
        self.objects += 1;
        Ok(())
    }

    fn tell(&self, what: &str) -> std::io::Result<()> {
        let Self {
            reading,
            judging,
            objects,
        } = self;
        writeln!(
            std::io::stdout().lock(),
            "{objects} {what}: {:.2} s taken apart, {:.2} s judged",
            reading.as_secs_f64(),
            judging.as_secs_f64()
        )
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clusters = std::env::args().nth(1).map_or(Ok(CLUSTERS), |text| text.parse())?;
    let catalogue = Catalogue::embedded_shared()?;
    let mut evaluation = Evaluation::new(&catalogue, &[Stage::Preflight], &input()?);
    let (mut of_clusters, mut of_addons) = (Cost::default(), Cost::default());
    for number in 0..clusters {
        let name = format!("c{number:06}");
        let facts = Some(&facts(number));
        let text = cluster(&name).to_string();
        of_clusters.pay(&mut evaluation, ItemKind::Cluster, &text, facts)?;
        for addon_name in ADDONS {
            let text = addon(addon_name, &name).to_string();
            of_addons.pay(&mut evaluation, ItemKind::Addon, &text, None)?;
        }
    }
    let began = Instant::now();
    let findings = evaluation.finish();
    let ending = began.elapsed();
    of_clusters.tell("Clusters")?;
    of_addons.tell("Addons")?;
    let found = findings.len();
    writeln!(
        std::io::stdout().lock(),
        "{found} findings, put in order in {:.2} s",
        ending.as_secs_f64()
    )?;
    Ok(())
}

/// The usual step, with everything of the request read.
fn input() -> Result<Input, Box<dyn std::error::Error>> {
    Ok(Input {
        hops: vec![Hop {
            from: "2.30.6".parse()?,
            to: "2.31.0".parse()?,
        }],
        started: false,
        spec: SpecFacts::usual(),
        configured: ConfiguredVersions::default().into(),
        now: "2026-11-22T00:00:00Z".parse::<Timestamp>()?,
    })
}

/// One of a hundred clusters is paused.
fn facts(number: usize) -> ClusterFacts {
    let paused = number.is_multiple_of(100);
    ClusterFacts {
        version: "1.34.10".to_owned().into(),
        paused: paused.into(),
        pause_reason: paused.then(|| "maintenance".to_owned()).into(),
        worker_name: None.into(),
        unhealthy_parts: Vec::new().into(),
        container_runtime: Some("containerd".to_owned()).into(),
    }
}

fn cluster(name: &str) -> Value {
    let condition = json!({"kubermaticVersion": "v2.30.6", "lastHeartbeatTime": CREATED, "lastTransitionTime": CREATED,
        "message": "", "reason": "ReconciledSuccessfully", "status": "True"});
    let conditions: Map<String, Value> = CONDITIONS
        .iter()
        .map(|kind| ((*kind).to_owned(), condition.clone()))
        .collect();
    let health: Map<String, Value> = HEALTH
        .iter()
        .map(|part| ((*part).to_owned(), json!("HealthStatusUp")))
        .collect();
    json!({
        "apiVersion": "kubermatic.k8c.io/v1", "kind": "Cluster",
        "metadata": {"name": name, "uid": "1", "creationTimestamp": CREATED, "labels": {"project-id": "qd6k2mz9wl"},
            "finalizers": ["kubermatic.k8c.io/cleanup-etcdbackupconfigs", "kubermatic.k8c.io/delete-nodes"]},
        "spec": {
            "humanReadableName": name, "version": "1.34.10", "pause": false, "containerRuntime": "containerd",
            "cloud": {"dc": "eu-central-1a", "providerName": "openstack", "openstack": {"network": name, "useOctavia": true}},
            "cniPlugin": {"type": "canal", "version": "v3.30"}, "enableOperatingSystemManager": true,
            "clusterNetwork": {"dnsDomain": "cluster.local", "ipFamily": "IPv4", "pods": {"cidrBlocks": ["172.25.0.0/16"]}},
            "componentsOverride": {"apiserver": {"replicas": 2}, "etcd": {"clusterSize": 3, "diskSize": "5Gi"}},
            "features": {"etcdLauncher": true, "externalCloudProvider": true},
            "opaIntegration": {"enabled": true, "webhookTimeoutSeconds": 10},
        },
        "status": {
            "address": {"externalName": "eu.kkp.example.test", "ip": "203.0.113.17", "port": 31443},
            "conditions": conditions, "extendedHealth": health, "namespaceName": format!("cluster-{name}"), "phase": "Running",
            "versions": {"apiserver": "1.34.10", "controlPlane": "1.34.10", "controllerManager": "1.34.10",
                "oldestNodeVersion": "1.34.9", "scheduler": "1.34.10"},
        },
    })
}

fn addon(name: &str, cluster: &str) -> Value {
    let condition = json!({"kubermaticVersion": "v2.30.6", "lastHeartbeatTime": CREATED, "lastTransitionTime": CREATED,
        "reason": "AddonReconciledSuccessfully", "status": "True"});
    json!({
        "apiVersion": "kubermatic.k8c.io/v1", "kind": "Addon",
        "metadata": {"name": name, "namespace": format!("cluster-{cluster}"), "uid": "2", "creationTimestamp": CREATED,
            "labels": {"addons.kubermatic.io/ensure": "true"}, "finalizers": ["kubermatic.k8c.io/cleanup-manifests"]},
        "spec": {"name": name, "isDefault": true, "requiredResourceTypes": [],
            "cluster": {"apiVersion": "kubermatic.k8c.io/v1", "kind": "Cluster", "name": cluster, "uid": "1"}},
        "status": {"phase": "Healthy", "conditions": {"AddonReconciledSuccessfully": condition}},
    })
}
