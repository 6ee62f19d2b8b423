//! Feeds what was read to the rules, kind by kind. Reading only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kkp_upgrade_core::decide::RuleNeeds;
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::rules::{
    AccountFacts, Catalogue, ConfiguredVersions, DeploymentFacts, Documents, Evaluation, Facts as _, Field, Finding,
    Hop, Input, ItemKind, MASTER, Object, PlatformFacts, PodFacts, RingFacts, SpecFacts, WebhookFacts, accept,
    request_fixes,
};
use kkp_upgrade_core::status::Status;
use kkp_upgrade_kkp::evidence;
use kkp_upgrade_kkp::types::{Cluster, Field as Read, KubermaticConfiguration, Seed};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::Value;

use super::capacity::Capacity;
use super::objects::{self, Sink, is_read_at, lock};
use super::observer::Observer;
use super::releases;
use super::survey::Survey;
use super::user_clusters::UserClusters;
use crate::context::UPGRADE_LABEL;

/// Clusters that are read at the same time.
const PARALLEL_PLACES: usize = 8;
/// Longest that the objects of one cluster may take: a seed with 10,000 user clusters takes some seconds.
const PLACE_TIME: std::time::Duration = std::time::Duration::from_secs(45);

/// A text that must be set.
pub(super) fn text(field: &Read<String>) -> Field<String> {
    match field {
        Read::Set(text) => Field::Known(text.clone()),
        Read::Unset => Field::NotRead("it is not set".to_owned()),
        Read::Unreadable { found } => Field::NotRead(format!("it is of type {found}")),
    }
}

/// A value that may be unset.
pub(super) fn optional<T: Clone>(field: &Read<T>) -> Field<Option<T>> {
    match field {
        Read::Set(value) => Field::Known(Some(value.clone())),
        Read::Unset => Field::Known(None),
        Read::Unreadable { found } => Field::NotRead(format!("it is of type {found}")),
    }
}

/// A value whose absence means its type's default.
pub(super) fn or_default<T: Clone + Default>(field: &Read<T>) -> Field<T> {
    optional(field).map(Option::unwrap_or_default)
}

/// One seed as read.
pub(super) struct SeedReading {
    pub(super) seed: Seed,
    pub(super) client: Result<Client, String>,
    /// Whether its cluster is another one than the master's.
    pub(super) separate: Result<bool, String>,
    /// When the client certificate of its kubeconfig ends, where it has one.
    pub(super) certificate_ends: Option<Timestamp>,
    pub(super) survey: Survey,
    pub(super) clusters: UserClusters,
}

/// Everything that rules look at beside the objects on the clusters.
pub(super) struct Reading<'a> {
    /// The catalogue of this round.
    pub(super) catalogue: &'a Catalogue,
    pub(super) configuration: &'a KubermaticConfiguration,
    pub(super) platform: PlatformFacts,
    /// The configuration and the Helm values as they are.
    pub(super) documents: [(&'static str, Result<Value, String>); 2],
    pub(super) seeds: &'a [SeedReading],
    /// Seeds as they are, by name.
    pub(super) seed_objects: Result<BTreeMap<String, Value>, String>,
    pub(super) webhooks: Vec<(String, WebhookFacts)>,
    /// Our accounts, by name.
    pub(super) accounts: Vec<(String, AccountFacts)>,
    /// The administrator's own limit: where our note stands, the original in it.
    pub(super) configured_limit: Field<Option<i64>>,
    /// Room on seeds, by name, where it was asked for.
    pub(super) capacities: BTreeMap<String, Result<Capacity, String>>,
    /// Whether backups are encrypted with a key that lies in the cluster.
    pub(super) backup_key_in_cluster: Field<bool>,
}

/// Evaluates the rules of a hop; consent is applied.
pub(super) async fn evaluate(
    observer: &Observer<'_>,
    request: &Request,
    status: &Status,
    (hop, needs): (Hop, &RuleNeeds),
    reading: &Reading<'_>,
    now: Timestamp,
) -> Vec<Finding> {
    let ahead = needs.ahead.iter().map(|(from, to)| Hop { from: *from, to: *to });
    let hops = std::iter::once(hop).chain(ahead).collect();
    let input = input(observer, request, status, hops, reading, now);
    let mut evaluation = Evaluation::new(reading.catalogue, needs.stages, &input);
    let kinds: Vec<ItemKind> = evaluation.kinds().collect();
    for seed in reading.seeds.iter().filter(|seed| seed.separate == Ok(false)) {
        evaluation.shared(&seed.seed.name_any());
    }
    let sink: Sink<'_> = Mutex::new(evaluation);
    let places = std::iter::once((MASTER.to_owned(), Ok(observer.client))).chain(
        reading
            .seeds
            .iter()
            .map(|seed| (seed.seed.name_any(), seed.client.as_ref())),
    );
    let (shared, asked) = (&sink, kinds.as_slice());
    // The insides of user clusters are no objects of the seed.
    let objects: Vec<ItemKind> = kinds
        .iter()
        .copied()
        .filter(|kind| *kind != ItemKind::UserCluster)
        .collect();
    let kinds = objects.as_slice();
    let [_, (_, values)] = &reading.documents;
    let readings: Vec<BoxFuture<'_, ()>> = places
        .map(|(place, client)| {
            async move { read_place(&place, client.map_err(String::as_str), kinds, shared, values).await }.boxed()
        })
        .collect();
    let places = stream::iter(readings).buffer_unordered(PARALLEL_PLACES).collect::<()>();
    let inside = super::inside::read(observer, request.inside, reading.seeds, asked, shared, now);
    tokio::join!(places, Box::pin(inside));
    let mut evaluation = sink.into_inner().unwrap_or_else(PoisonError::into_inner);
    feed_platform(&mut evaluation, reading);
    let accepted = accept(evaluation.finish(), &request.accepted_risks, now);
    request_fixes(accepted, &request.fixes)
}

fn input(
    observer: &Observer<'_>,
    request: &Request,
    status: &Status,
    hops: Vec<Hop>,
    reading: &Reading<'_>,
    now: Timestamp,
) -> Input {
    let point = status
        .point_of_no_return
        .as_ref()
        .map_or("Ahead", |point| point.state.as_str());
    Input {
        hops,
        started: point != "Ahead" || status.targets.iter().any(|target| target.attempts.unwrap_or(0) > 0),
        spec: SpecFacts {
            edition: request.edition.map(|edition| edition.to_string()).into(),
            maximum_parallel_reconciles: request.maximum_parallel_reconciles.map(i64::from).into(),
            backup_policy: if request.backup.required { "Required" } else { "Skip" }
                .to_owned()
                .into(),
            backup_storage: (request.backup.storage.is_some() || observer.default_backup_claim.is_some()).into(),
            seed_capacity: request.seed_capacity.into(),
            etcd_backups: (request.backup.required && request.backup.user_cluster_etcd).into(),
            backup_key_in_cluster: reading.backup_key_in_cluster.clone(),
        },
        configured: configured_versions(reading.configuration),
        now,
    }
}

/// All objects of one cluster, and its Helm releases.
async fn read_place(
    place: &str,
    client: Result<&Client, &str>,
    kinds: &[ItemKind],
    sink: &Sink<'_>,
    values: &Result<Value, String>,
) {
    let client = match client {
        Ok(client) => client,
        Err(why) => return lock(sink).lost(place, why),
    };
    let here: Vec<ItemKind> = kinds
        .iter()
        .filter(|kind| is_read_at(**kind, place == MASTER))
        .copied()
        .collect();
    // Whether a Pod was replaced is seen on the others: they are judged together.
    let pods = Mutex::new(Vec::new());
    // What an etcd ring means is said by its Cluster: Clusters are read first.
    let active = Mutex::new((BTreeSet::new(), false));
    let (mut clusters, others): (Vec<ItemKind>, Vec<ItemKind>) =
        here.iter().partition(|kind| **kind == ItemKind::Cluster);
    if clusters.is_empty() && others.contains(&ItemKind::Ring) {
        clusters.push(ItemKind::Cluster);
    }
    let show = |evaluation: &mut Evaluation<'_>, kind: ItemKind, object: &Value| match kind {
        ItemKind::Pod => held(&pods).push(object.clone()),
        ItemKind::Deployment => {
            evaluation.object(&with_facts(Object::new(kind, place, object), object, deployment_facts));
        }
        ItemKind::Cluster => {
            let is_active = |cluster: &Cluster| evidence::set_apart(cluster, "").is_none();
            if let Ok(cluster) = Cluster::deserialize(object)
                && is_active(&cluster)
            {
                held(&active).0.insert(cluster.status.namespace_name.text().to_owned());
            }
            evaluation.object(&with_facts(
                Object::new(kind, place, object),
                object,
                super::user_clusters::facts,
            ));
        }
        ItemKind::Ring => {
            let namespace = object
                .pointer("/metadata/namespace")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let (active, complete) = &*held(&active);
            let facts = RingFacts {
                cluster_active: match complete {
                    true => Field::Known(active.contains(namespace)),
                    false => Field::NotRead("the Clusters were not read".to_owned()),
                },
            };
            evaluation.object(&Object::new(kind, place, object).with(&facts));
        }
        _ => evaluation.object(&Object::new(kind, place, object)),
    };
    let reading = async {
        let complete = objects::read(client, place, &clusters, sink, &show).await;
        held(&active).1 = complete;
        tokio::join!(
            objects::read(client, place, &others, sink, &show),
            read_releases(client, place, &here, sink, values),
        );
    };
    if tokio::time::timeout(PLACE_TIME, reading).await.is_err() {
        let why = format!("not read within {} s", PLACE_TIME.as_secs());
        for kind in &here {
            lock(sink).unreadable(*kind, place, &why);
        }
    }
    feed_pods(&mut lock(sink), place, &held(&pods));
}

fn held<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Facts that are computed from the typed object; one that does not fit its type leaves them unread.
fn with_facts<'a, T: serde::de::DeserializeOwned, F: kkp_upgrade_core::rules::Facts + Default>(
    object: Object<'a>,
    raw: &Value,
    facts: impl Fn(&T) -> F,
) -> Object<'a> {
    match T::deserialize(raw) {
        Ok(typed) => object.with(&facts(&typed)),
        Err(_) => object.with(&F::default()),
    }
}

async fn read_releases(
    client: &Client,
    place: &str,
    kinds: &[ItemKind],
    sink: &Sink<'_>,
    values: &Result<Value, String>,
) {
    if !kinds.contains(&ItemKind::Release) {
        return;
    }
    let with_payload = lock(sink).reads_documents(ItemKind::Release);
    let (found, unreadable) = releases::read_everywhere(client, place, with_payload).await;
    let mut evaluation = lock(sink);
    evaluation.visited(ItemKind::Release, place);
    for release in &found {
        evaluation.object(&release.object(place, values));
    }
    for (namespace, why) in unreadable {
        evaluation.unreadable(ItemKind::Release, &format!("{place}/{namespace}"), &why);
    }
}

fn feed_pods(evaluation: &mut Evaluation<'_>, place: &str, objects: &[Value]) {
    let pods: Vec<Pod> = objects
        .iter()
        .filter_map(|object| Pod::deserialize(object).ok())
        .collect();
    for object in objects {
        let described = Object::new(ItemKind::Pod, place, object);
        let pod = pods.iter().find(|pod| {
            pod.metadata.name.as_deref() == Some(described.name)
                && pod.metadata.namespace.as_deref() == described.namespace
        });
        let facts = pod.map(|pod| pod_facts(pod, &pods)).unwrap_or_default();
        evaluation.object(&described.with(&facts));
    }
}

fn feed_platform(evaluation: &mut Evaluation<'_>, reading: &Reading<'_>) {
    let documents: Documents<'_> = reading
        .documents
        .iter()
        .map(|(name, document)| (*name, document.as_ref().map_err(Clone::clone)))
        .collect();
    evaluation.object(&Object {
        kind: ItemKind::Platform,
        place: MASTER,
        namespace: None,
        name: "",
        deleting: false,
        created: None,
        documents,
        computed: reading.platform.item(),
    });
    evaluation.visited(ItemKind::Seed, MASTER);
    for seed in reading.seeds {
        super::seed_item::feed(evaluation, seed, reading);
    }
    evaluation.visited(ItemKind::Webhook, MASTER);
    for (target, facts) in &reading.webhooks {
        evaluation.facts(target, facts);
    }
    evaluation.visited(ItemKind::Account, MASTER);
    for (account, facts) in &reading.accounts {
        evaluation.facts(account, facts);
    }
}

fn configured_versions(configuration: &KubermaticConfiguration) -> Field<ConfiguredVersions> {
    let versions = &configuration.spec.versions;
    if versions.versions.is_unreadable() || versions.updates.is_unreadable() {
        return Field::NotRead("spec.versions of the KubermaticConfiguration is not a list".to_owned());
    }
    let automatic = |update: &&kkp_upgrade_kkp::types::configuration::Update| update.automatic == Read::Set(true);
    Field::Known(ConfiguredVersions {
        versions: versions
            .versions
            .get()
            .map(|_| versions.versions.items().cloned().collect()),
        automatic_updates: versions.updates.get().map(|_| {
            versions
                .updates
                .items()
                .filter(automatic)
                .map(|update| update.from.text().to_owned())
                .collect()
        }),
    })
}

fn deployment_facts(deployment: &Deployment) -> DeploymentFacts {
    let status = deployment.status.clone().unwrap_or_default();
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    DeploymentFacts {
        generation: deployment.metadata.generation.unwrap_or(0).into(),
        observed_generation: status.observed_generation.unwrap_or(0).into(),
        replicas: i64::from(replicas).into(),
        updated_replicas: i64::from(status.updated_replicas.unwrap_or(0)).into(),
        available_replicas: i64::from(status.available_replicas.unwrap_or(0)).into(),
        ours: is_ours(deployment.labels()).into(),
    }
}

fn pod_facts(pod: &Pod, all: &[Pod]) -> PodFacts {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let everything = containers.iter().chain(status.init_container_statuses.iter().flatten());
    let mut everything = everything;
    let waiting = everything.find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    PodFacts {
        phase: status.phase.unwrap_or_default().into(),
        ready: (!containers.is_empty() && containers.iter().all(|container| container.ready)).into(),
        waiting_reason: waiting.into(),
        ours: is_ours(pod.labels()).into(),
        superseded: superseded(pod, all).into(),
    }
}

/// This operator and what it makes: no part of KKP, and an operator that reads this is at work.
fn is_ours(labels: &BTreeMap<String, String>) -> bool {
    labels.contains_key(UPGRADE_LABEL)
        || labels.get("app.kubernetes.io/name").map(String::as_str) == Some("kkp-upgrade-operator")
}

/// A failed Pod whose owner has made another one since that runs or has succeeded.
fn superseded(pod: &Pod, all: &[Pod]) -> bool {
    let phase = |pod: &Pod| {
        pod.status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default()
    };
    let owner = |pod: &Pod| {
        pod.owner_references()
            .iter()
            .find(|owner| owner.controller == Some(true))
            .map(|owner| owner.uid.clone())
    };
    let made = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let Some(mine) = owner(pod) else { return false };
    phase(pod) == "Failed"
        && all.iter().any(|other| {
            owner(other).as_ref() == Some(&mine)
                && made(other) >= made(pod)
                && other.metadata.uid != pod.metadata.uid
                && matches!(phase(other).as_str(), "Running" | "Succeeded")
        })
}
