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
            first: None,
        }
    }

    /// Reads and judges all of them, from what the watches hold where there are some and that is good enough. `before` names the clusters
    /// ("seed/cluster") that were unhealthy before the run.
    pub(super) async fn read(
        views: Option<&ClusterViews>,
        connection: &SeedConnection,
        seed: &str,
        judged: &Judged<'_>,
        before: &BTreeSet<&str>,
    ) -> Self {
        let view = views.map(|views| views.of(seed, connection, judged.target, judged.worker_name));
        if let Some(pieces) = view.as_ref().and_then(|view| view.pieces()) {
            return pieces.summary(seed, before, &Unreadable::default());
        }
        let generation = view.as_ref().map_or(0, |view| view.generation());
        match Box::pin(live(&connection.client, seed, judged)).await {
            Ok((pieces, unreadable)) => {
                if let Some(view) = view
                    && unreadable.controllers.is_none()
                    && unreadable.addons.is_none()
                {
                    view.confirm(generation, &pieces);
                }
                pieces.summary(seed, before, &unreadable)
            }
            Err(error) => Self::unreadable(&error.to_string()),
        }
    }
}

/// Against what the clusters of a seed are judged.
pub(super) struct Judged<'a> {
    pub(super) target: &'a str,
    pub(super) worker_name: &'a str,
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
