//! The user clusters of one seed, counted against the evidence for a version. Reading only.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use kkp_upgrade_core::facts::Known;
use kkp_upgrade_core::rules;
use kkp_upgrade_core::status::ClusterCounts;
use kkp_upgrade_kkp::evidence::{self, ClusterVerdict, Evidence, Observed, SetApart, UserClusterObservation};
use kkp_upgrade_kkp::types::{Addon, Cluster};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::survey::list;

/// How many clusters are named with what they miss.
const NAMED: usize = 10;

/// The user clusters of one seed.
pub(super) struct UserClusters {
    pub(super) counts: Known<ClusterCounts>,
    pub(super) lagging: Vec<String>,
    pub(super) unhealthy: Vec<String>,
    /// How many count against the limit on parallel reconciles.
    pub(super) stuck: Result<i64, String>,
    /// Facts for the rules, by `<seed>/<cluster>`.
    pub(super) items: Result<Vec<(String, rules::ClusterFacts)>, String>,
    /// Name of one cluster, for the webhook probe.
    pub(super) first: Option<String>,
}

impl UserClusters {
    /// Nothing could be read, for one reason.
    pub(super) fn unreadable(why: &str) -> Self {
        Self {
            counts: Known::Unknown(why.to_owned()),
            lagging: Vec::new(),
            unhealthy: Vec::new(),
            stuck: Err(why.to_owned()),
            items: Err(why.to_owned()),
            first: None,
        }
    }

    /// Reads and judges all of them. `before` names the clusters ("seed/cluster") that were unhealthy before the run.
    pub(super) async fn read(
        client: &Client,
        seed: &str,
        target: &str,
        worker_name: &str,
        before: &BTreeSet<&str>,
    ) -> Self {
        let controllers = ListParams::default().fields("metadata.name=usercluster-controller");
        let (clusters, deployments, addons) = tokio::join!(
            list::<Cluster>(
                Api::all(client.clone()),
                format!("Clusters of seed {seed}"),
                ListParams::default()
            ),
            list::<Deployment>(
                Api::all(client.clone()),
                format!("usercluster-controllers of seed {seed}"),
                controllers
            ),
            list::<Addon>(
                Api::all(client.clone()),
                format!("Addons of seed {seed}"),
                ListParams::default()
            ),
        );
        let clusters = match clusters {
            Ok(clusters) => clusters,
            Err(error) => return Self::unreadable(&error.to_string()),
        };
        let judge = Judge {
            seed,
            target,
            worker_name,
            before,
            controllers: by_namespace(deployments.map_err(|error| error.to_string())),
            addons: by_namespace(addons.map_err(|error| error.to_string())),
        };
        judge.all(&clusters)
    }
}

type ByNamespace<K> = Result<BTreeMap<String, Vec<K>>, String>;

fn by_namespace<K: ResourceExt>(objects: Result<Vec<K>, String>) -> ByNamespace<K> {
    let mut sorted: BTreeMap<String, Vec<K>> = BTreeMap::new();
    for object in objects? {
        sorted
            .entry(object.namespace().unwrap_or_default())
            .or_default()
            .push(object);
    }
    Ok(sorted)
}

struct Judge<'a> {
    seed: &'a str,
    target: &'a str,
    worker_name: &'a str,
    before: &'a BTreeSet<&'a str>,
    controllers: ByNamespace<Deployment>,
    addons: ByNamespace<Addon>,
}

impl Judge<'_> {
    fn all(&self, clusters: &[Cluster]) -> UserClusters {
        let mut counts = ClusterCounts::default();
        let (mut lagging, mut unhealthy) = (Vec::new(), Vec::new());
        for cluster in clusters {
            let name = format!("{}/{}", self.seed, cluster.name_any());
            let apart = evidence::set_apart(cluster, self.worker_name);
            let healthy = evidence::cluster_health(cluster).is_healthy();
            if !healthy && apart.is_none() {
                unhealthy.push(name.clone());
            }
            let verdict = self.verdict(cluster);
            if let Some(text) = self.count(&mut counts, &name, healthy, verdict) {
                lagging.push(text);
            }
        }
        lagging.truncate(NAMED);
        UserClusters {
            counts: Known::Is(counts),
            lagging,
            unhealthy,
            stuck: Ok(i64::try_from(evidence::stuck_clusters(clusters).len()).unwrap_or(i64::MAX)),
            items: Ok(clusters
                .iter()
                .map(|cluster| (format!("{}/{}", self.seed, cluster.name_any()), facts(cluster)))
                .collect()),
            first: clusters
                .iter()
                .find(|cluster| cluster.metadata.deletion_timestamp.is_none())
                .map(ResourceExt::name_any),
        }
    }

    fn verdict(&self, cluster: &Cluster) -> ClusterVerdict {
        let namespace = cluster.status.namespace_name.text();
        let controller = match &self.controllers {
            Ok(found) => found
                .get(namespace)
                .and_then(|found| found.first())
                .map_or(Observed::Absent, Observed::Found),
            Err(why) => Observed::Unreadable(why.clone()),
        };
        let addons = match &self.addons {
            Ok(found) => Observed::Found(
                found
                    .get(namespace)
                    .map(|found| found.iter().collect())
                    .unwrap_or_default(),
            ),
            Err(why) => Observed::Unreadable(why.clone()),
        };
        evidence::user_cluster(
            self.target,
            &UserClusterObservation {
                cluster,
                worker_name: self.worker_name,
                controller,
                addons,
            },
        )
    }

    /// Counts one cluster; the text says what it misses, where it is waited for.
    fn count(&self, counts: &mut ClusterCounts, name: &str, healthy: bool, verdict: ClusterVerdict) -> Option<String> {
        counts.total += 1;
        let before = self.before.contains(name);
        let missing = match verdict {
            ClusterVerdict::SetApart(SetApart::Deleting) => return bump(&mut counts.deleting),
            ClusterVerdict::SetApart(SetApart::Paused) => return bump(&mut counts.paused),
            ClusterVerdict::SetApart(SetApart::OtherWorkerName(_)) => return bump(&mut counts.foreign),
            ClusterVerdict::Judged(Evidence::Proven) => {
                counts.converged += 1;
                if healthy || before {
                    return None;
                }
                counts.failing += 1;
                "is unhealthy and was healthy before".to_owned()
            }
            ClusterVerdict::Judged(_) if before => return bump(&mut counts.unhealthy_before),
            ClusterVerdict::Judged(Evidence::NotYet { missing }) => missing.first().cloned().unwrap_or_default(),
            ClusterVerdict::Judged(Evidence::Unknown { why }) => why,
        };
        Some(format!("cluster {name}: {missing}"))
    }
}

fn bump(counter: &mut i32) -> Option<String> {
    *counter += 1;
    None
}

fn facts(cluster: &Cluster) -> rules::ClusterFacts {
    use super::rules::{optional, or_default, text};
    let health = evidence::cluster_health(cluster);
    rules::ClusterFacts {
        version: text(&cluster.spec.version),
        deleting: cluster.metadata.deletion_timestamp.is_some().into(),
        paused: or_default(&cluster.spec.pause),
        pause_reason: optional(&cluster.spec.pause_reason),
        worker_name: cluster.labels().get("worker-name").cloned().into(),
        unhealthy_parts: health
            .unhealthy
            .iter()
            .map(|part| part.name.to_owned())
            .collect::<Vec<_>>()
            .into(),
        container_runtime: optional(&cluster.spec.container_runtime),
    }
}
