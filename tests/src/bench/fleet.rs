//! A real master in the lab with any number of light seeds, and the shipped operator on it. Writes to the master only.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Secret;
use kkp_lab::platform::{ImageRequest, MASTER, Platform, PlatformImages, StartOptions, Topology};
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::objects::{self, ClusterTemplates};
use super::seed_api::{SeedApi, Template};
use crate::bed::{Bed, NAMESPACE};
use crate::fault::FaultFolder;
use crate::images;

/// Version before the upgrade.
pub const FROM: &str = "2.30.6";
/// Version after it.
pub const TO: &str = "2.31.0";
/// KKP's own limit on parallel reconciles.
pub const LIMIT: i64 = 10;
/// Deployments of KKP on a seed.
pub const DEPLOYMENTS: [&str; 4] = [
    "kubermatic-seed-controller-manager",
    "kubermatic-webhook",
    "nodeport-proxy-envoy",
    "nodeport-proxy-updater",
];
const KKP: &str = "kubermatic.k8c.io/v1";
/// Nodes of a light seed.
const NODES: usize = 3;

/// How many seeds and user clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Seeds.
    pub seeds: usize,
    /// User clusters of each.
    pub clusters: usize,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seeds, clusters } = self;
        write!(formatter, "{seeds} × {clusters}")
    }
}

/// A light seed of a fleet.
pub struct FleetSeed {
    /// Name of the Seed.
    pub name: String,
    /// Its API server.
    pub api: SeedApi,
    /// Names of its user clusters.
    pub clusters: Vec<String>,
}

/// The whole platform.
pub struct Fleet {
    /// Lab, master, operator.
    pub bed: Bed,
    /// The seeds.
    pub seeds: Arc<Vec<FleetSeed>>,
    /// How many there are.
    pub shape: Shape,
}

impl Fleet {
    /// Starts everything but the operator. `operator` is the shipped program.
    ///
    /// # Errors
    /// When the lab, a seed or an object cannot be made.
    pub async fn start(shape: Shape, operator: &Path) -> anyhow::Result<Self> {
        let bed = start_bed(&Topology::master(FROM).enterprise(), operator).await?;
        let mut seeds = Vec::new();
        for number in 1..=shape.seeds {
            let name = format!("seed-{number:02}");
            let api = SeedApi::start().await?;
            let clusters = (1..=shape.clusters)
                .map(|index| format!("c{number:02}{index:04}"))
                .collect();
            seeds.push(FleetSeed { name, api, clusters });
        }
        // KKP's programs on the master are stand-ins as always; their part on seeds is played by this program.
        let names: Vec<&str> = seeds.iter().map(|seed| seed.name.as_str()).collect();
        let script = json!({
            "operator": {"seeds": {"*": {"stuck": true}}},
            "master": {"seedStatusMs": 3_600_000, "silentSeeds": names, "unsynchronisedSeeds": names},
        });
        bed.running.platform.script(&script.to_string())?;
        let old = ClusterTemplates::of(&format!("v{FROM}"));
        let fleet = Self {
            bed,
            seeds: Arc::new(seeds),
            shape,
        };
        for seed in fleet.seeds.iter() {
            seed.fill(&old);
            fleet
                .register(seed)
                .await
                .with_context(|| format!("Seed {}", seed.name))?;
        }
        Ok(fleet)
    }

    /// The Seeds API of the master.
    ///
    /// # Errors
    /// When there is no master.
    pub fn seeds_api(&self) -> anyhow::Result<Api<DynamicObject>> {
        let master = self.bed.running.platform.plane(MASTER).context("no master")?;
        Ok(master.api(KKP, "Seed", Some(NAMESPACE)))
    }

    async fn register(&self, seed: &FleetSeed) -> anyhow::Result<()> {
        let parameters = PatchParams::apply("kkp-bench").force();
        let name = &seed.name;
        let secret: Secret = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("kubeconfig-{name}"), "namespace": NAMESPACE},
            "stringData": {"kubeconfig": seed.api.kubeconfig},
        }))?;
        let secrets = Api::<Secret>::namespaced(self.bed.client.clone(), NAMESPACE);
        secrets
            .patch(&format!("kubeconfig-{name}"), &parameters, &Patch::Apply(&secret))
            .await?;
        let datacenter = json!({format!("{name}-dc"): {"country": "DE", "location": "lab", "spec": {"fake": {}}}});
        let object = json!({
            "apiVersion": KKP, "kind": "Seed", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"country": "DE", "location": "lab", "datacenters": datacenter,
                "kubeconfig": {"name": format!("kubeconfig-{name}"), "namespace": NAMESPACE, "fieldPath": "kubeconfig"}},
        });
        self.seeds_api()?
            .patch(name, &parameters, &Patch::Apply(&object))
            .await?;
        self.report(seed, FROM, true).await
    }

    /// What KKP's operator and master-controller-manager say about a seed in its status.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn report(&self, seed: &FleetSeed, version: &str, reconciled: bool) -> anyhow::Result<()> {
        let condition = |status: bool, reason: &str| {
            json!({"status": if status { "True" } else { "False" }, "reason": reason, "message": "",
                "lastHeartbeatTime": "2026-11-20T22:14:09Z"})
        };
        let status = json!({"status": {
            "phase": if reconciled { "Healthy" } else { "Unhealthy" }, "clusters": seed.clusters.len(),
            "versions": {"kubermatic": format!("v{version}"), "cluster": "v1.36.3"},
            "conditions": {
                "KubeconfigValid": condition(true, "KubeconfigValid"),
                "ClusterInitialized": condition(true, "CRDsUpdated"),
                "ResourcesReconciled": condition(reconciled, "ReconcilingSuccess"),
            },
        }});
        let parameters = PatchParams::default();
        self.seeds_api()?
            .patch_status(&seed.name, &parameters, &Patch::Merge(&status))
            .await?;
        Ok(())
    }
}

impl FleetSeed {
    /// Everything that KKP has on a seed, at the version before the upgrade.
    fn fill(&self, old: &ClusterTemplates) {
        let tag = format!("v{FROM}");
        let store = &self.api.store;
        for namespace in ["kube-system", NAMESPACE] {
            store.put("namespaces", &objects::namespace(namespace, &self.name));
        }
        store.put("customresourcedefinitions", &objects::cluster_crd(&tag));
        store.put("storageclasses", &objects::storage_class());
        for number in 1..=NODES {
            store.put("nodes", &objects::node(&format!("{}-worker-{number}", self.name)));
        }
        for name in DEPLOYMENTS {
            store.put("deployments", &objects::deployment(name, NAMESPACE, &tag, LIMIT, true));
            store.put("pods", &objects::pod(name, &tag));
        }
        for cluster in &self.clusters {
            self.put_cluster(cluster, &old.done);
        }
    }

    /// Puts the objects of a user cluster.
    pub fn put_cluster(&self, cluster: &str, objects: &[(&'static str, Template)]) {
        for (resource, template) in objects {
            self.api.store.put_from(resource, template, cluster);
        }
    }
}

/// A lab with a platform and the shipped operator's image, with audit logs.
///
/// # Errors
/// When the lab or the platform cannot be made.
pub async fn start_bed(topology: &Topology, operator: &Path) -> anyhow::Result<Bed> {
    let program = std::env::current_exe()?;
    // The shipped program knows nothing of faults: the folder stays empty.
    let faults = FaultFolder::create()?;
    let make = |request: &ImageRequest| images::stand_in(&program, request);
    let start = StartOptions {
        images: PlatformImages {
            versions: vec![TO.to_owned()],
            make: &make,
            overrides: Vec::new(),
            more: vec![(
                images::OPERATOR_IMAGE.to_owned(),
                images::operator(operator.to_owned(), faults.path()),
            )],
        },
        program: program.clone(),
        cache: None,
        audit: true,
    };
    let running = Box::pin(Platform::start(topology, &start))
        .await
        .context("the platform")?;
    let client = running.platform.plane(MASTER).context("no master")?.client.clone();
    Ok(Bed {
        running,
        client,
        faults,
    })
}

/// The KKPUpgrade of a measurement.
#[must_use]
pub fn upgrade(name: &str, mode: &str, soak: Duration, backup: bool) -> Value {
    let mut spec = json!({
        "targetVersion": TO, "mode": mode, "maximumParallelReconciles": 3,
        "verification": {"soakSeconds": soak.as_secs()},
    });
    if !backup {
        let risk =
            json!([{"rule": "backup-skipped", "reason": "a measurement", "expirationTime": "2099-01-01T00:00:00Z"}]);
        if let Some(spec) = spec.as_object_mut() {
            spec.insert("backup".to_owned(), json!({"policy": "Skip"}));
            spec.insert("acceptedRisks".to_owned(), risk);
        }
    }
    json!({"apiVersion": "upgrade.k8c.io/v1alpha1", "kind": "KKPUpgrade",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
}
