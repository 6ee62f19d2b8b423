//! The user clusters of one seed, counted against the evidence for a version. Reading only.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::apps::v1::Deployment;
use kkp_upgrade_core::facts::Known;
use kkp_upgrade_core::rules;
use kkp_upgrade_core::status::ClusterCounts;
use kkp_upgrade_kkp::evidence;
use kkp_upgrade_kkp::types::{Addon, Cluster};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::cluster_pieces::{Change, ClusterPieces, Unreadable};
use super::survey::each;
use crate::call::CallError;
use crate::cluster_views::ClusterViews;
use crate::seeds::SeedConnection;

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

    /// Reads and judges all of them, from what the watches hold where that is good enough. `before` names the clusters
    /// ("seed/cluster") that were unhealthy before the run.
    pub(super) async fn read(
        views: &ClusterViews,
        connection: &SeedConnection,
        seed: &str,
        judged: &Judged<'_>,
        before: &BTreeSet<&str>,
    ) -> Self {
        let view = views.of(seed, connection, judged.target, judged.worker_name);
        if let Some(pieces) = view.pieces(judged.proof) {
            return pieces.summary(seed, before, &Unreadable::default());
        }
        let generation = view.generation();
        match Box::pin(live(&connection.client, seed, judged)).await {
            Ok((pieces, unreadable)) => {
                if unreadable.controllers.is_none() && unreadable.addons.is_none() {
                    view.confirm(generation, &pieces);
                }
                pieces.summary(seed, before, &unreadable)
            }
            Err(error) => Self::unreadable(&error.to_string()),
        }
    }
}

/// Against what the clusters of a seed are judged, and how surely.
pub(super) struct Judged<'a> {
    pub(super) target: &'a str,
    pub(super) worker_name: &'a str,
    /// Whether rules rest on it: then what a watch says is never enough.
    pub(super) proof: bool,
}

/// Objects per page: with their managed fields they take many times their text.
const PAGE: u32 = 100;

/// One read of everything, page by page; of each object only the verdict is kept.
async fn live(client: &Client, seed: &str, judged: &Judged<'_>) -> Result<(ClusterPieces, Unreadable), CallError> {
    let pieces = Mutex::new(ClusterPieces::new(judged.target, judged.worker_name));
    let with = |change: &dyn Fn(&mut ClusterPieces) -> Change| {
        change(&mut pieces.lock().unwrap_or_else(PoisonError::into_inner));
    };
    let named = ListParams::default()
        .limit(PAGE)
        .fields("metadata.name=usercluster-controller");
    let (clusters, controllers, addons) = tokio::join!(
        each(
            Api::<Cluster>::all(client.clone()),
            format!("Clusters of seed {seed}"),
            ListParams::default().limit(PAGE),
            |cluster| with(&|pieces| pieces.set_cluster(&cluster)),
        ),
        each(
            Api::<Deployment>::all(client.clone()),
            format!("usercluster-controllers of seed {seed}"),
            named,
            |controller| with(&|pieces| pieces.set_controller(&controller)),
        ),
        each(
            Api::<Addon>::all(client.clone()),
            format!("Addons of seed {seed}"),
            ListParams::default().limit(PAGE),
            |addon| with(&|pieces| pieces.set_addon(&addon)),
        ),
    );
    clusters?;
    let why = |result: Result<(), CallError>| result.err().map(|error| error.to_string());
    let unreadable = Unreadable {
        controllers: why(controllers),
        addons: why(addons),
    };
    Ok((pieces.into_inner().unwrap_or_else(PoisonError::into_inner), unreadable))
}

pub(super) fn facts(cluster: &Cluster) -> rules::ClusterFacts {
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
