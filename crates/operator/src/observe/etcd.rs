//! What the seeds tell about the etcd backups of a run: the configs with the run's label, and the user clusters. Reading only.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kkp_upgrade_core::etcd::{EtcdCluster, EtcdFacts, EtcdTally, RUN_LABEL, run_label};
use kkp_upgrade_core::facts::{Known, PlatformFacts, SeedFacts};
use kkp_upgrade_core::rules::ItemKind;
use kkp_upgrade_kkp::evidence;
use kkp_upgrade_kkp::types::{Cluster, Seed};
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt};

use super::kinds::resources;
use super::observer::Observer;
use super::survey::each;
use crate::call::{CallError, call};
use crate::execute::etcd::PROJECT_LABEL;

/// Objects per page.
const PAGE: u32 = 100;
/// Seeds that are read at the same time.
const PARALLEL_SEEDS: usize = 8;
/// Longest that one seed may take of a round.
const SEED_TIME: Duration = Duration::from_secs(20);

/// The destination that KKP takes for backups where none is named: the default one, or the only one.
pub(super) fn destination(seed: &Seed) -> Option<String> {
    let settings = &seed.spec.etcd_backup_restore;
    let mut names: Vec<&str> = settings.destinations.entries().map(|(name, _)| name).collect();
    match settings.default_destination.get().filter(|name| !name.is_empty()) {
        Some(default) => names.contains(&default.as_str()).then(|| default.clone()),
        None if names.len() == 1 => names.pop().map(str::to_owned),
        None => None,
    }
}

/// Every seed that has a destination, by name.
pub(super) async fn read(
    observer: &Observer<'_>,
    platform: &PlatformFacts,
    (uid, run): (&str, i64),
) -> BTreeMap<String, Known<EtcdFacts>> {
    let connections = observer.seeds.known().await;
    let seeds = platform.seeds.iter().filter(|seed| seed.etcd_destination.is_some());
    let readings: Vec<BoxFuture<'static, (String, Known<EtcdFacts>)>> = seeds
        .map(|seed| {
            let connection = connections.get(&seed.name);
            let connection = connection.filter(|connection| seed.cluster_uid.as_ref() == Some(&connection.cluster_uid));
            let client = connection.map(|connection| connection.client.clone());
            let client = client.ok_or_else(|| unconnected(seed));
            let (name, uid) = (seed.name.clone(), uid.to_owned());
            let namespace = platform.configuration.namespace.clone();
            async move {
                let told = match client {
                    Ok(client) => in_time(&client, &namespace, &name, (&uid, run)).await,
                    Err(why) => Known::Unknown(why),
                };
                (name, told)
            }
            .boxed()
        })
        .collect();
    stream::iter(readings).buffer_unordered(PARALLEL_SEEDS).collect().await
}

fn unconnected(seed: &SeedFacts) -> String {
    match &seed.reachable {
        Known::Unknown(why) => why.clone(),
        _ => format!("seed {} is not connected", seed.name),
    }
}

async fn in_time(client: &Client, namespace: &str, seed: &str, run: (&str, i64)) -> Known<EtcdFacts> {
    match tokio::time::timeout(SEED_TIME, Box::pin(of_seed(client, namespace, seed, run))).await {
        Ok(told) => super::known(told),
        Err(_) => Known::Unknown(format!("seed {seed}: not read within {} s", SEED_TIME.as_secs())),
    }
}

/// Configs before clusters: what is made between the two lists is asked for again by the same name, and stays one.
///
/// # Errors
/// When a list is refused or not answered.
pub(crate) async fn of_seed(
    client: &Client,
    namespace: &str,
    seed: &str,
    (uid, run): (&str, i64),
) -> Result<EtcdFacts, CallError> {
    let mut tally = EtcdTally::new(uid, run);
    let name = "kubermatic-seed-controller-manager";
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let controller = call(format!("Deployment {name} of seed {seed}"), deployments.get_opt(name)).await?;
    let worker_name = controller.as_ref().map_or("", evidence::seed_worker_name);
    let kinds = resources(ItemKind::EtcdBackup);
    let what = format!("EtcdBackupConfigs of seed {seed}");
    let kind = kinds
        .first()
        .ok_or_else(|| CallError::unusable(&what, "their resource is not known"))?;
    let configs = Api::<DynamicObject>::all_with(client.clone(), &kind.api_resource());
    let ours = ListParams::default()
        .limit(PAGE)
        .labels(&format!("{RUN_LABEL}={}", run_label(uid, run)));
    each(configs, what.clone(), ours, |config| {
        // An object that was just read is JSON again; one that were not would count as not made, and creating it says so.
        if let Ok(config) = serde_json::to_value(&config) {
            tally.add_config(&config);
        }
    })
    .await?;
    let clusters = Api::<Cluster>::all(client.clone());
    each(
        clusters,
        format!("Clusters of seed {seed}"),
        ListParams::default().limit(PAGE),
        |cluster| tally.add_cluster(wanted(&cluster, worker_name)),
    )
    .await?;
    Ok(tally.facts())
}

/// The user cluster, where KKP's backup controller looks after it (KKP 2.31 source, `pkg/controller/seed-controller-manager/etcdbackup`).
fn wanted(cluster: &Cluster, worker_name: &str) -> Option<EtcdCluster> {
    if evidence::set_apart(cluster, worker_name).is_some() || cluster.status.versions.control_plane.text().is_empty() {
        return None;
    }
    let namespace = cluster
        .status
        .namespace_name
        .get()
        .filter(|namespace| !namespace.is_empty())?;
    Some(EtcdCluster {
        name: cluster.name_any(),
        uid: cluster.uid().unwrap_or_default(),
        namespace: namespace.clone(),
        project: cluster.labels().get(PROJECT_LABEL).cloned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cluster(change: impl FnOnce(&mut Value)) -> Cluster {
        let mut cluster = json!({"metadata": {"name": "x7f2", "uid": "u", "labels": {"project-id": "p"}}, "spec": {},
            "status": {"namespaceName": "cluster-x7f2", "versions": {"controlPlane": "1.34.1"}}});
        change(&mut cluster);
        serde_json::from_value(cluster).unwrap()
    }

    #[test]
    fn only_clusters_that_kkp_backs_up_are_wanted() {
        let plain = wanted(&cluster(|_| {}), "").unwrap();
        assert_eq!(
            (plain.namespace.as_str(), plain.project.as_deref()),
            ("cluster-x7f2", Some("p"))
        );
        let set = |path: &'static str, value: Value| {
            cluster(move |cluster| {
                let (parent, key) = path.rsplit_once('/').unwrap();
                cluster.pointer_mut(parent).unwrap()[key] = value;
            })
        };
        for (path, value) in [
            ("/spec/pause", json!(true)),
            ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z")),
            ("/metadata/labels/worker-name", json!("alice")),
            ("/status/namespaceName", json!("")),
            ("/status/versions/controlPlane", json!("")),
        ] {
            assert_eq!(wanted(&set(path, value), ""), None, "{path}");
        }
        assert!(wanted(&set("/metadata/labels/worker-name", json!("alice")), "alice").is_some());
    }

    #[test]
    fn backups_go_to_the_default_destination_or_the_only_one() {
        let seed = |settings: Value| {
            let seed = json!({"metadata": {"name": "eu"}, "spec": {"etcdBackupRestore": settings}});
            destination(&serde_json::from_value(seed).unwrap())
        };
        let two = || json!({"a": {"bucketName": "x"}, "b": {"bucketName": "y"}});
        assert_eq!(
            seed(json!({"destinations": two(), "defaultDestination": "b"})).as_deref(),
            Some("b")
        );
        assert_eq!(seed(json!({"destinations": two(), "defaultDestination": "c"})), None);
        assert_eq!(seed(json!({"destinations": two()})), None);
        assert_eq!(
            seed(json!({"destinations": {"a": {"bucketName": "x"}}})).as_deref(),
            Some("a")
        );
        assert_eq!(seed(json!({})), None);
    }
}
