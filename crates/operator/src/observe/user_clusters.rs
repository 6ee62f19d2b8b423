//! The user clusters of one seed, counted against the evidence for a version. Reading only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::apps::v1::Deployment;
use kkp_upgrade_core::facts::Known;
use kkp_upgrade_core::rules::{self, ItemKind};
use kkp_upgrade_core::status::ClusterCounts;
use kkp_upgrade_kkp::evidence;
use kkp_upgrade_kkp::types::{Addon, Cluster};
use kube::api::ListParams;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;

use super::cluster_pieces::{ClusterPieces, Unreadable};
use super::objects::{PAGE, pages};
use super::place::Place;
use crate::call::CallError;
use crate::cluster_views::ClusterViews;
use crate::lock;
use crate::seeds::SeedConnection;

/// The user clusters of one seed.
pub(super) struct UserClusters {
    pub(super) counts: Known<ClusterCounts>,
    pub(super) lagging: Vec<String>,
    pub(super) unhealthy: Vec<String>,
    /// Name of one cluster, for the webhook probe.
    pub(super) first: Option<String>,
    /// Why nothing more is to be read of the seed in this round.
    pub(super) given_up: Option<String>,
}

impl UserClusters {
    /// Nothing could be read, for one reason.
    pub(super) fn unreadable(why: &str) -> Self {
        Self {
            counts: Known::Unknown(why.to_owned()),
            lagging: Vec::new(),
            unhealthy: Vec::new(),
            first: None,
            given_up: None,
        }
    }

    /// Nothing could be read, and it is of no use to try anything else of the seed.
    pub(super) fn given_up(why: &str) -> Self {
        Self {
            given_up: Some(why.to_owned()),
            ..Self::unreadable(why)
        }
    }

    /// They were read, but nobody can say which of them count.
    pub(super) fn uncounted(self, why: &str) -> Self {
        Self {
            first: self.first,
            given_up: self.given_up,
            ..Self::unreadable(why)
        }
    }

    /// Reads and judges all of them, from what the watches hold where there are some and that is good enough. `before` names the clusters
    /// ("seed/cluster") that were unhealthy before the run. What is read live passes by `place`, too, which comes back where all of
    /// it has: nobody reads it a second time then.
    pub(super) async fn read(
        views: Option<&ClusterViews>,
        connection: &SeedConnection,
        seed: &str,
        judged: &Judged,
        before: &BTreeSet<&str>,
        place: Option<Place>,
    ) -> (Self, Option<Place>) {
        let known = views.and_then(|views| views.known(seed, connection, &judged.target, &judged.worker_name));
        if let Some(pieces) = known.as_ref().and_then(|view| view.pieces()) {
            return (pieces.summary(seed, before, &Unreadable::default()), None);
        }
        let generation = known.as_ref().map_or(0, |view| view.generation());
        let read = tokio::spawn(live(
            connection.client.clone(),
            seed.to_owned(),
            Pass::new(judged, place),
        ));
        match AbortOnDropHandle::new(read).await {
            Ok(Ok(Live {
                pieces,
                unreadable,
                place,
            })) => {
                // A watch begins with a list of everything: behind this one, not beside it, and not of a seed that did not get to
                // the end of this one.
                if unreadable.controllers.is_none()
                    && unreadable.addons.is_none()
                    && let Some(views) = views
                {
                    let view = views.of(seed, connection, &judged.target, &judged.worker_name);
                    view.confirm(generation, &pieces);
                }
                (pieces.summary(seed, before, &unreadable), place)
            }
            Ok(Err(endless @ CallError::Endless { .. })) => (Self::given_up(&endless.to_string()), None),
            Ok(Err(error)) => (Self::unreadable(&error.to_string()), None),
            Err(_) => {
                let why = format!("user clusters of seed {seed}: the operator broke off reading them: see its log");
                (Self::unreadable(&why), None)
            }
        }
    }
}

/// Against what the clusters of a seed are judged.
pub(super) struct Judged {
    pub(super) target: String,
    pub(super) worker_name: String,
}

/// What is kept of what passes by.
struct Pass {
    pieces: ClusterPieces,
    place: Option<Place>,
    /// Why a list is of no use, by kind: it holds an object that is none of its type.
    unusable: BTreeMap<String, String>,
}

impl Pass {
    fn new(judged: &Judged, place: Option<Place>) -> Mutex<Self> {
        Mutex::new(Self {
            pieces: ClusterPieces::new(&judged.target, &judged.worker_name),
            place,
            unusable: BTreeMap::new(),
        })
    }

    fn cluster(&mut self, object: &Value) {
        let cluster = self.typed::<Cluster>(object);
        if let Some(cluster) = &cluster {
            self.pieces.set_cluster(cluster);
        }
        if let Some(place) = &mut self.place {
            place.show_cluster(object, cluster.as_ref());
        }
    }

    fn addon(&mut self, object: &Value) {
        if let Some(addon) = self.typed(object) {
            self.pieces.set_addon(&addon);
        }
        if let Some(place) = self.place.as_mut().filter(|place| place.wants(ItemKind::Addon)) {
            place.show(ItemKind::Addon, object);
        }
    }

    fn controller(&mut self, object: &Value) {
        if let Some(controller) = self.typed(object) {
            self.pieces.set_controller(&controller);
        }
    }

    fn typed<T: Resource<DynamicType = ()> + DeserializeOwned>(&mut self, object: &Value) -> Option<T> {
        let typed = T::deserialize(object);
        if typed.is_err() {
            let kind = T::kind(&()).into_owned();
            let why = format!("the answer holds an object that is no {kind}");
            self.unusable.insert(kind, why);
        }
        typed.ok()
    }
}

/// What one read of everything has found.
struct Live {
    pieces: ClusterPieces,
    unreadable: Unreadable,
    /// Where everything that was read has passed by.
    place: Option<Place>,
}

/// One read of everything, page by page; of each object only the verdict is kept, and what rules say about it.
///
/// # Errors
/// When the Clusters cannot be read, or any list has no end.
async fn live(client: Client, seed: String, pass: Mutex<Pass>) -> Result<Live, CallError> {
    let all = ListParams::default().limit(PAGE);
    let named = all.clone().fields("metadata.name=usercluster-controller");
    let (clusters, controllers, addons) = tokio::join!(
        list::<Cluster>(&client, format!("Clusters of seed {seed}"), &all, &pass, Pass::cluster),
        list::<Deployment>(
            &client,
            format!("usercluster-controllers of seed {seed}"),
            &named,
            &pass,
            Pass::controller,
        ),
        list::<Addon>(&client, format!("Addons of seed {seed}"), &all, &pass, Pass::addon),
    );
    let addons_read = addons.is_ok();
    clusters?;
    let why = |read| match read {
        Err(endless @ CallError::Endless { .. }) => Err(endless),
        Err(error) => Ok(Some(error.to_string())),
        Ok(()) => Ok(None),
    };
    let unreadable = Unreadable {
        controllers: why(controllers)?,
        addons: why(addons)?,
    };
    let Pass { pieces, place, .. } = pass.into_inner().unwrap_or_else(PoisonError::into_inner);
    let place = place.filter(|_| addons_read).map(|mut place| {
        place.visited(ItemKind::Cluster);
        place.visited(ItemKind::Addon);
        place
    });
    Ok(Live {
        pieces,
        unreadable,
        place,
    })
}

/// Shows all objects of a kind, in all namespaces.
async fn list<K: Resource<DynamicType = ()>>(
    client: &Client,
    what: String,
    parameters: &ListParams,
    pass: &Mutex<Pass>,
    show: fn(&mut Pass, &Value),
) -> Result<(), CallError> {
    let shown = |object: &Value| show(&mut lock(pass), object);
    pages(client, &what, &K::url_path(&(), None), parameters.clone(), &shown).await?;
    match lock(pass).unusable.remove(&*K::kind(&())) {
        Some(problem) => Err(CallError::unusable(what, problem)),
        None => Ok(()),
    }
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
