//! What is kept of the user clusters of one seed: the verdict on each piece and the facts for rules, never the objects. A
//! seed with hundreds of clusters then takes kilobytes, whoever read them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use kkp_upgrade_core::facts::Known;
use kkp_upgrade_core::rules;
use kkp_upgrade_core::status::ClusterCounts;
use kkp_upgrade_kkp::evidence::{self, Evidence, Observed, SetApart};
use kkp_upgrade_kkp::types::{Addon, Cluster};
use kube::ResourceExt;

use super::user_clusters::UserClusters;

/// How many clusters are named with what they miss.
const NAMED: usize = 10;

/// One piece of the evidence, with the first thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Proven,
    Missing(Box<str>),
    Unknown(Box<str>),
}

impl From<Evidence> for Piece {
    fn from(evidence: Evidence) -> Self {
        match evidence {
            Evidence::Proven => Self::Proven,
            Evidence::NotYet { missing } => Self::Missing(missing.into_iter().next().unwrap_or_default().into()),
            Evidence::Unknown { why } => Self::Unknown(why.into()),
        }
    }
}

/// What is kept of a Cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ClusterPiece {
    namespace: Box<str>,
    apart: Option<SetApart>,
    conditions: Piece,
    addon_condition: Piece,
    healthy: bool,
    facts: rules::ClusterFacts,
}

/// How much a change matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// Nothing that is looked at: a heartbeat, for example.
    None,
    /// A count may be another one.
    Count,
    /// Rules or the way to go on may be decided otherwise.
    Decision,
}

/// The pieces of all user clusters of one seed, judged against one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterPieces {
    target: String,
    worker_name: String,
    clusters: BTreeMap<String, ClusterPiece>,
    controllers: BTreeMap<String, Piece>,
    addons: BTreeMap<String, BTreeMap<String, Piece>>,
}

impl ClusterPieces {
    pub(crate) fn new(target: &str, worker_name: &str) -> Self {
        Self {
            target: target.to_owned(),
            worker_name: worker_name.to_owned(),
            ..Self::default()
        }
    }

    /// Whether they are judged against the same.
    pub(crate) fn is_about(&self, target: &str, worker_name: &str) -> bool {
        self.target == target && self.worker_name == worker_name
    }

    pub(crate) fn set_cluster(&mut self, cluster: &Cluster) -> Change {
        let piece = ClusterPiece {
            namespace: cluster.status.namespace_name.text().into(),
            apart: evidence::set_apart(cluster, &self.worker_name),
            conditions: evidence::cluster_piece(&self.target, cluster).into(),
            addon_condition: evidence::addon_condition_piece(&self.target, cluster).into(),
            healthy: evidence::cluster_health(cluster).is_healthy(),
            facts: super::user_clusters::facts(cluster),
        };
        let name = cluster.name_any();
        match self.clusters.insert(name.clone(), piece) {
            Some(before) if self.clusters.get(&name) == Some(&before) => Change::None,
            Some(before)
                if self
                    .clusters
                    .get(&name)
                    .is_some_and(|after| after.facts == before.facts && after.apart == before.apart) =>
            {
                Change::Count
            }
            _ => Change::Decision,
        }
    }

    pub(crate) fn remove_cluster(&mut self, cluster: &Cluster) -> Change {
        self.clusters
            .remove(&cluster.name_any())
            .map_or(Change::None, |_| Change::Decision)
    }

    pub(crate) fn set_controller(&mut self, controller: &Deployment) -> Change {
        let piece = Piece::from(evidence::controller_piece(&self.target, &Observed::Found(controller)));
        let before = self
            .controllers
            .insert(controller.namespace().unwrap_or_default(), piece.clone());
        count(before.as_ref() != Some(&piece))
    }

    pub(crate) fn remove_controller(&mut self, controller: &Deployment) -> Change {
        count(
            self.controllers
                .remove(&controller.namespace().unwrap_or_default())
                .is_some(),
        )
    }

    pub(crate) fn set_addon(&mut self, addon: &Addon) -> Change {
        let piece = Piece::from(evidence::addon_piece(&self.target, addon));
        let of_cluster = self.addons.entry(addon.namespace().unwrap_or_default()).or_default();
        let before = of_cluster.insert(addon.name_any(), piece.clone());
        count(before.as_ref() != Some(&piece))
    }

    pub(crate) fn remove_addon(&mut self, addon: &Addon) -> Change {
        let of_cluster = self.addons.get_mut(&addon.namespace().unwrap_or_default());
        count(of_cluster.is_some_and(|addons| addons.remove(&addon.name_any()).is_some()))
    }

    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        let addons: usize = self.addons.values().map(BTreeMap::len).sum();
        self.clusters.len() + self.controllers.len() + addons
    }

    pub(crate) fn clear_clusters(&mut self) {
        self.clusters.clear();
    }

    pub(crate) fn clear_controllers(&mut self) {
        self.controllers.clear();
    }

    pub(crate) fn clear_addons(&mut self) {
        self.addons.clear();
    }

    /// Whether no cluster is waited for any more.
    pub(crate) fn is_settled(&self) -> bool {
        let readable = Unreadable::default();
        self.clusters
            .values()
            .all(|cluster| cluster.apart.is_some() || self.verdict(cluster, &readable) == Piece::Proven)
    }

    /// All of it as the round wants it.
    pub(super) fn summary(&self, seed: &str, before: &BTreeSet<&str>, unreadable: &Unreadable) -> UserClusters {
        let mut counts = ClusterCounts::default();
        let (mut lagging, mut unhealthy) = (Vec::new(), Vec::new());
        for (name, cluster) in &self.clusters {
            let name = format!("{seed}/{name}");
            if !cluster.healthy && cluster.apart.is_none() {
                unhealthy.push(name.clone());
            }
            let missing = self.count(&mut counts, cluster, before.contains(&*name), unreadable);
            if let Some(missing) = missing.filter(|_| lagging.len() < NAMED) {
                lagging.push(format!("cluster {name}: {missing}"));
            }
        }
        let live = |cluster: &&ClusterPiece| cluster.apart != Some(SetApart::Deleting);
        UserClusters {
            counts: Known::Is(counts),
            lagging,
            unhealthy,
            first: self
                .clusters
                .iter()
                .find(|(_, cluster)| live(cluster))
                .map(|(name, _)| name.clone()),
            given_up: None,
        }
    }

    /// Counts one cluster; the text says what it misses, where it is waited for.
    fn count(
        &self,
        counts: &mut ClusterCounts,
        cluster: &ClusterPiece,
        before: bool,
        unreadable: &Unreadable,
    ) -> Option<String> {
        counts.total += 1;
        match &cluster.apart {
            Some(SetApart::Deleting) => return bump(&mut counts.deleting),
            Some(SetApart::Paused) => return bump(&mut counts.paused),
            Some(SetApart::OtherWorkerName(_)) => return bump(&mut counts.foreign),
            None => {}
        }
        match self.verdict(cluster, unreadable) {
            Piece::Proven => {
                counts.converged += 1;
                if cluster.healthy || before {
                    return None;
                }
                counts.failing += 1;
                Some("is unhealthy and was healthy before".to_owned())
            }
            _ if before => bump(&mut counts.unhealthy_before),
            Piece::Missing(text) | Piece::Unknown(text) => Some(text.into()),
        }
    }

    /// All pieces of a cluster together, as the evidence puts them together: what is missing comes before what is unknown.
    fn verdict(&self, cluster: &ClusterPiece, unreadable: &Unreadable) -> Piece {
        let controller = match (&unreadable.controllers, self.controllers.get(&*cluster.namespace)) {
            (Some(why), _) => evidence::controller_piece(&self.target, &Observed::Unreadable(why.clone())).into(),
            (None, Some(piece)) => piece.clone(),
            (None, None) => evidence::controller_piece(&self.target, &Observed::Absent).into(),
        };
        let addons = self.addons.get(&*cluster.namespace).filter(|addons| !addons.is_empty());
        let unread = unreadable
            .addons
            .as_ref()
            .map(|why| Piece::Unknown(format!("Addons: {why}").into()));
        let pieces = [&cluster.conditions, &controller]
            .into_iter()
            .chain(addons.is_some().then_some(&cluster.addon_condition))
            .chain(addons.into_iter().flat_map(BTreeMap::values))
            .chain(&unread);
        let mut unknown: Vec<&str> = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Proven => {}
                Piece::Missing(_) => return piece.clone(),
                Piece::Unknown(why) => unknown.push(why),
            }
        }
        if unknown.is_empty() {
            Piece::Proven
        } else {
            Piece::Unknown(unknown.join("; ").into())
        }
    }
}

/// Kinds that could not be read, and why.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unreadable {
    pub(crate) controllers: Option<String>,
    pub(crate) addons: Option<String>,
}

const fn count(changed: bool) -> Change {
    if changed { Change::Count } else { Change::None }
}

fn bump(counter: &mut i32) -> Option<String> {
    *counter += 1;
    None
}

#[cfg(test)]
#[path = "cluster_pieces_tests.rs"]
mod tests;
