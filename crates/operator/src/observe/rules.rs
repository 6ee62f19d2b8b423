//! Feeds what was read to the rules, kind by kind. Reading only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use kkp_upgrade_core::decide::RuleNeeds;
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::rules::{
    AccountFacts, Catalogue, ConfiguredVersions, Documents, Evaluation, Facts as _, Field, Finding, Hop, Input,
    ItemKind, MASTER, Object, PlatformFacts, SpecFacts, WebhookFacts, accept, request_fixes,
};
use kkp_upgrade_core::status::Status;
use kkp_upgrade_kkp::types::{Field as Read, KubermaticConfiguration, Seed};
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::capacity::Capacity;
use super::kinds::resources;
use super::observer::Observer;
use super::place::Place;
use super::places::{self, Search};
use super::survey::Survey;
use super::user_clusters::UserClusters;

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

impl SeedReading {
    /// The client, where more can and may be read of the seed in this round.
    pub(super) fn more(&self) -> Result<&Client, &str> {
        let client = self.client.as_ref().map_err(String::as_str)?;
        self.clusters.given_up.as_deref().map_or(Ok(client), Err)
    }
}

/// What has to be known before the first object is shown to the rules.
pub(super) struct Beginning<'a> {
    /// The catalogue of this round.
    pub(super) catalogue: &'a Arc<Catalogue>,
    pub(super) configuration: &'a KubermaticConfiguration,
    /// Whether backups are encrypted with a key that lies in the cluster.
    pub(super) backup_key_in_cluster: Field<bool>,
}

/// Everything that rules look at beside the objects on the clusters.
pub(super) struct Reading<'a> {
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
}

/// Begins to evaluate the rules of a hop: whoever reads objects anyway may show them to a part of it.
pub(super) fn begin(
    observer: &Observer<'_>,
    request: &Request,
    status: &Status,
    (hop, needs): (Hop, &RuleNeeds),
    begun: &Beginning<'_>,
    now: Timestamp,
) -> Evaluation {
    let ahead = needs.ahead.iter().map(|(from, to)| Hop { from: *from, to: *to });
    let point = status
        .point_of_no_return
        .as_ref()
        .map_or("Ahead", |point| point.state.as_str());
    let input = Input {
        hops: std::iter::once(hop).chain(ahead).collect(),
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
            backup_key_in_cluster: begun.backup_key_in_cluster.clone(),
        },
        configured: configured_versions(begun.configuration),
        now,
    };
    Evaluation::new(begun.catalogue, needs.stages, &input)
}

/// Evaluates the rules; consent is applied. `begun` are the places whose user clusters have passed by already.
pub(super) async fn evaluate(
    observer: &Observer<'_>,
    request: &Request,
    (mut evaluation, mut begun): (Evaluation, BTreeMap<String, Place>),
    reading: &Reading<'_>,
    now: Timestamp,
) -> Vec<Finding> {
    for seed in reading.seeds {
        let name = seed.seed.name_any();
        match &seed.client {
            Ok(_) if seed.separate == Ok(false) => evaluation.shared(&name),
            Ok(_) => {}
            Err(why) => evaluation.lost(&name, why),
        }
    }
    let kinds: Vec<ItemKind> = evaluation.kinds().collect();
    let read_here = |kind: &&ItemKind| **kind == ItemKind::Release || !resources(**kind).is_empty();
    let objects = kinds.iter().filter(read_here);
    let [_, (_, values)] = &reading.documents;
    let search = Search {
        kinds: objects.copied().collect(),
        values: Arc::new(values.clone()),
    };
    for seed in reading.seeds {
        if let Some(why) = &seed.clusters.given_up {
            search.unread(&mut evaluation, &seed.seed.name_any(), why);
        }
    }
    let seeds = reading.seeds.iter();
    let seeds = seeds.filter_map(|seed| Some((seed.seed.name_any(), seed.more().ok()?)));
    let all = std::iter::once((MASTER.to_owned(), observer.client)).chain(seeds);
    let all = all.map(|(name, client)| {
        let place = begun.remove(&name);
        let place = place.unwrap_or_else(|| Place::new(name, evaluation.part()));
        (place, client.clone())
    });
    let all: Vec<(Place, Client)> = all.collect();
    let user_clusters = Mutex::new(evaluation.part());
    let inside = super::inside::read(observer, request.inside, reading.seeds, &kinds, &user_clusters, now);
    let (parts, ()) = tokio::join!(Box::pin(places::read(all, &search, &evaluation)), Box::pin(inside));
    let user_clusters = user_clusters.into_inner().unwrap_or_else(PoisonError::into_inner);
    for part in parts.into_iter().chain([user_clusters]) {
        evaluation.absorb(part);
    }
    feed_platform(&mut evaluation, reading);
    let accepted = accept(evaluation.finish(), &request.accepted_risks, now);
    request_fixes(accepted, &request.fixes)
}

fn feed_platform(evaluation: &mut Evaluation, reading: &Reading<'_>) {
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
