//! Facts about the platform as a whole, for the rules: what is asked only when rules are evaluated. Reading only.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::storage::v1::StorageClass;
use kkp_upgrade_core::decide::RuleNeeds;
use kkp_upgrade_core::facts::{Known, ThrottleMark};
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::rules::{self, Evaluation, Field, Finding, Hop, ItemKind, Stage, WebhookFacts};
use kkp_upgrade_core::version::KkpVersion;
use kkp_upgrade_kkp::helm::Release;
use kkp_upgrade_kkp::types::{Cluster, KubermaticConfiguration, Seed};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::capacity;
use super::configuration::Found;
use super::entrance;
use super::installer::{self, Installer};
use super::login::Login;
use super::login_issuer;
use super::observer::{Observer, WriteChecks};
use super::place::Place;
use super::rights;
use super::rules::{Reading, SeedReading};
use super::survey::{Survey, list};
use crate::call::{CallError, call};
use crate::catalogue::Snapshot;
use crate::context::FIELD_MANAGER;
use crate::execute::values::EffectiveValues;
use crate::seeds::SeedConnection;

/// Refuses older CRDs of Gateway API, where somebody has installed it.
const GATEWAY_POLICY: &str = "safe-upgrades.gateway.networking.k8s.io";
/// Webhooks that are asked at the same time: each of them asks its seed, too.
const PARALLEL_PROBES: usize = 8;

/// What was read of the platform, for the rules.
pub(super) struct Parts<'a> {
    pub(super) found: &'a Found,
    pub(super) catalogue: &'a Snapshot,
    pub(super) survey: &'a Survey,
    pub(super) seeds: &'a [SeedReading],
    pub(super) releases: &'a [Release],
    pub(super) unreadable: &'a [(String, String)],
}

/// Findings of every rule of the hop. `begun` is the evaluation, and the places that have begun to pass by.
pub(super) async fn findings(
    observer: &Observer<'_>,
    request: &Request,
    (hop, needs): (Hop, &RuleNeeds),
    begun: (Evaluation, BTreeMap<String, Place>),
    parts: Parts<'_>,
    installer: Option<&Installer>,
    now: Timestamp,
) -> Vec<Finding> {
    let asks_for_room = request.seed_capacity && needs.stages.contains(&Stage::Preflight);
    let roomy = if asks_for_room { parts.seeds } else { &[] };
    let (mut platform, configuration, seed_objects, webhooks, accounts, capacities) = tokio::join!(
        platform_facts(observer, &parts, installer),
        configuration_object(observer, parts.found),
        seed_objects(observer, &parts.found.namespace),
        webhooks(observer, &parts),
        rights::read(observer),
        capacity::read(roomy),
    );
    let values = match installer.map(|installer| &installer.values) {
        Some(Ok(values)) => serde_json::from_str(&values.yaml).map_err(|_| "the values are not JSON".to_owned()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("values were not read".to_owned()),
    };
    let login = Login::read(&configuration, &values);
    platform.login_clients = login.clients;
    platform.login_client_public = login.public;
    platform.login_client_secret = login.secret;
    platform.login_redirect_uris = login.redirect_uris;
    platform.catalogue_refused = parts.catalogue.refused.clone().into();
    outside(observer, (hop, needs), &parts, &configuration, &mut platform).await;
    let reading = Reading {
        platform,
        documents: [("configuration", configuration), ("values", values)],
        seeds: parts.seeds,
        seed_objects,
        webhooks,
        accounts,
        configured_limit: configured_limit(&parts.found.configuration),
        capacities,
    };
    super::rules::evaluate(observer, request, begun, &reading, now).await
}

/// What is seen from outside: of what rules ask for, and of nothing on a platform that nobody enters.
async fn outside(
    observer: &Observer<'_>,
    (hop, needs): (Hop, &RuleNeeds),
    parts: &Parts<'_>,
    configuration: &Result<Value, String>,
    platform: &mut rules::PlatformFacts,
) {
    if platform.headless == Field::Known(true) {
        // Nobody logs in, and that is known.
        platform.login_issuer = String::new().into();
        platform.issuer_answered = false.into();
        return;
    }
    let ahead = needs.ahead.iter().map(|(_, to)| *to);
    let to: Vec<KkpVersion> = std::iter::once(hop.to).chain(ahead).collect();
    let asked = |fields: &[&str]| {
        let catalogue = &parts.catalogue.catalogue;
        catalogue.asks_for(needs.stages, &to, ItemKind::Platform, fields)
    };
    if asked(&login_issuer::FIELDS) {
        login_issuer::fill(observer, &parts.found.namespace, configuration, platform).await;
    }
    if asked(&entrance::FIELDS) {
        entrance::fill(observer, configuration, platform).await;
    }
}

/// The `KubermaticConfiguration` as it is: paths of the catalogue look into it.
async fn configuration_object(observer: &Observer<'_>, found: &Found) -> Result<Value, String> {
    let resource = ApiResource::erase::<KubermaticConfiguration>(&());
    let api = Api::<DynamicObject>::namespaced_with(observer.client.clone(), &found.namespace, &resource);
    let name = found.configuration.name_any();
    let object = call(format!("KubermaticConfiguration {name}"), api.get(&name)).await;
    as_value(object.map_err(|error| error.to_string())?)
}

/// The Seeds as they are, by name.
async fn seed_objects(observer: &Observer<'_>, namespace: &str) -> Result<BTreeMap<String, Value>, String> {
    let resource = ApiResource::erase::<Seed>(&());
    let api = Api::<DynamicObject>::namespaced_with(observer.client.clone(), namespace, &resource);
    let list = call("list of Seeds", api.list(&ListParams::default())).await;
    let seeds = list.map_err(|error| error.to_string())?.items.into_iter();
    seeds.map(|seed| Ok((seed.name_any(), as_value(seed)?))).collect()
}

fn as_value(object: DynamicObject) -> Result<Value, String> {
    serde_json::to_value(object).map_err(|_| "the object cannot be written as JSON".to_owned())
}

/// The administrator's own limit: under our note it is the original that the note keeps.
fn configured_limit(configuration: &KubermaticConfiguration) -> Field<Option<i64>> {
    let facts = super::configuration::facts(configuration);
    match facts.throttle_mark {
        Known::Is(Some(ThrottleMark { original, .. })) => Field::Known(original),
        Known::Is(None) => Field::Known(facts.maximum_parallel_reconciles),
        unknown => Field::NotRead(unknown.why_not().to_owned()),
    }
}

async fn platform_facts(
    observer: &Observer<'_>,
    parts: &Parts<'_>,
    installer: Option<&Installer>,
) -> rules::PlatformFacts {
    let configuration = &parts.found.configuration;
    let classes = Api::<StorageClass>::all(observer.client.clone());
    let policies = Api::<ValidatingAdmissionPolicy>::all(observer.client.clone());
    let (class, server, policy, external_dns) = tokio::join!(
        call(
            "StorageClass kubermatic-fast",
            classes.get_metadata_opt("kubermatic-fast")
        ),
        call("version of the master", observer.client.apiserver_version()),
        call(
            format!("ValidatingAdmissionPolicy {GATEWAY_POLICY}"),
            policies.get_metadata_opt(GATEWAY_POLICY)
        ),
        external_dns(observer.client),
    );
    let number = |text: &str| {
        text.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse::<i64>()
    };
    let server = server.map_err(|error| error.to_string());
    let server_number = |part: fn(&k8s_openapi::apimachinery::pkg::version::Info) -> &str| match &server {
        Ok(info) => Field::from_result(number(part(info))),
        Err(why) => Field::NotRead(why.clone()),
    };
    let operator = parts.survey.deployment("kubermatic-operator");
    let release = parts
        .releases
        .iter()
        .find(|release| release.name == "kubermatic-operator");
    rules::PlatformFacts {
        configurations: i64::try_from(parts.found.count).unwrap_or(i64::MAX).into(),
        version: super::rules::optional(&configuration.status.kubermatic_version),
        edition: super::rules::optional(&configuration.status.kubermatic_edition),
        operator_image_tag: Field::from_result(
            operator
                .clone()
                .map(|found| found.and_then(installer::operator_image).and_then(|image| image.tag)),
        ),
        operator_chart_version: match (release, parts.unreadable.first()) {
            (_, Some((namespace, why))) => Field::NotRead(format!("releases in {namespace}: {why}")),
            (None, None) => Field::Known(None),
            (Some(release), None) => chart_version(observer, release).await,
        },
        gitops_owner: Field::from_result(operator.clone().map(|found| found.and_then(gitops_owner))),
        kubernetes_major: server_number(|info| &info.major),
        kubernetes_minor: server_number(|info| &info.minor),
        storage_class_fast: Field::from_result(class.map(|class| class.is_some())),
        values_image_tag: value(installer, |values| values.image_tag.clone()),
        values_image_repository: value(installer, |values| values.image_repository.clone()),
        values_empty: value(installer, |values| values.empty),
        values_http_route_domain: value(installer, |values| values.http_route_domain.clone()),
        operator_image_repository: Field::from_result(
            operator.map(|found| found.and_then(installer::operator_image).map(|image| image.repository)),
        ),
        service_account_key_length: match &configuration.spec.auth.service_account_key {
            kkp_upgrade_kkp::types::Field::Set(key) => Field::Known(i64::try_from(key.length).unwrap_or(i64::MAX)),
            kkp_upgrade_kkp::types::Field::Unset => Field::Known(0),
            kkp_upgrade_kkp::types::Field::Unreadable { found } => Field::NotRead(format!("it is of type {found}")),
        },
        // From the ConfigMap of the catalogue; configuration and values together: see `findings`.
        catalogue_refused: Field::default(),
        login_clients: Field::default(),
        login_client_public: Field::default(),
        login_client_secret: Field::default(),
        login_redirect_uris: Field::default(),
        external_dns_ingress_only: Field::from_result(external_dns),
        gateway_crd_policy: Field::from_result(policy.map(|policy| policy.is_some())),
        headless: match configuration.headless() {
            kkp_upgrade_kkp::types::Field::Set(headless) => Field::Known(*headless),
            kkp_upgrade_kkp::types::Field::Unset => Field::Known(false),
            kkp_upgrade_kkp::types::Field::Unreadable { found } => Field::NotRead(format!("it is of type {found}")),
        },
        // What is seen from outside: see `outside`.
        ..rules::PlatformFacts::default()
    }
}

/// Deployments of external-dns that read Ingresses and no `HTTPRoutes`: they would take the records away with the Ingresses.
async fn external_dns(client: &Client) -> Result<Vec<String>, CallError> {
    let selector = ListParams::default().labels("app.kubernetes.io/name=external-dns");
    let found = list::<Deployment>(
        Api::all(client.clone()),
        "Deployments of external-dns".to_owned(),
        selector,
    )
    .await?;
    let reads = |deployment: &Deployment, source: &str| {
        let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let containers = pod.into_iter().flat_map(|pod| &pod.containers);
        let arguments: Vec<&str> = containers
            .flat_map(|one| one.args.iter().flatten())
            .map(String::as_str)
            .collect();
        let joined = format!("--source={source}");
        arguments.contains(&joined.as_str()) || arguments.windows(2).any(|pair| pair == ["--source", source])
    };
    let old = found
        .iter()
        .filter(|one| reads(one, "ingress") && !reads(one, "gateway-httproute"));
    let mut names: Vec<String> = old
        .map(|one| format!("{}/{}", one.namespace().unwrap_or_default(), one.name_any()))
        .collect();
    names.sort();
    Ok(names)
}

/// Something about the Helm values that the installer would get.
fn value<T>(installer: Option<&Installer>, read: fn(&EffectiveValues) -> T) -> Field<T> {
    match installer.map(|installer| &installer.values) {
        Some(Ok(values)) => Field::Known(read(values)),
        Some(Err(error)) => Field::NotRead(error.to_string()),
        None => Field::NotRead("values were not read".to_owned()),
    }
}

async fn chart_version(observer: &Observer<'_>, release: &Release) -> Field<Option<String>> {
    Field::from_result(
        crate::prepare::chart_version(
            observer.client,
            &release.namespace,
            &release.name,
            i64::try_from(release.revision).unwrap_or(i64::MAX),
        )
        .await
        .map(Some),
    )
}

/// Who keeps the operator's Deployment in line with Git, by the marks that Argo CD and Flux leave.
fn gitops_owner(deployment: &k8s_openapi::api::apps::v1::Deployment) -> Option<String> {
    let marks = [
        ("argocd.argoproj.io/tracking-id", "Argo CD"),
        ("argocd.argoproj.io/instance", "Argo CD"),
        ("kustomize.toolkit.fluxcd.io/name", "Flux"),
        ("helm.toolkit.fluxcd.io/name", "Flux"),
    ];
    let has = |key: &str| deployment.annotations().contains_key(key) || deployment.labels().contains_key(key);
    marks
        .iter()
        .find(|(key, _)| has(key))
        .map(|(_, owner)| (*owner).to_owned())
}

/// One update with `dryRun=All` and no change for each place where KKP's webhooks must answer, several at a time.
async fn webhooks(observer: &Observer<'_>, parts: &Parts<'_>) -> Vec<(String, WebhookFacts)> {
    if observer.write_checks == WriteChecks::NotAsked {
        return Vec::new();
    }
    let namespace = &parts.found.namespace;
    let name = parts.found.configuration.name_any();
    let configurations = Api::<KubermaticConfiguration>::namespaced(observer.client.clone(), namespace);
    let first = (
        "master/KubermaticConfiguration".to_owned(),
        probe(configurations, &name).await,
    );
    let mut known = observer.seeds.known().await;
    let reached = parts.seeds.iter().filter(|seed| seed.client.is_ok());
    let probes = reached.filter_map(|seed| {
        let connection = known.remove(&seed.seed.name_any())?;
        Some(probe_seed(observer, namespace, seed, connection))
    });
    let probes: Vec<_> = probes.collect();
    let answers = stream::iter(probes).buffered(PARALLEL_PROBES).collect::<Vec<_>>().await;
    std::iter::once(first).chain(answers.into_iter().flatten()).collect()
}

async fn probe_seed(
    observer: &Observer<'_>,
    namespace: &str,
    seed: &SeedReading,
    connection: SeedConnection,
) -> Vec<(String, WebhookFacts)> {
    let name = seed.seed.name_any();
    let seeds = Api::<Seed>::namespaced(observer.client.clone(), namespace);
    let mut probes = vec![(format!("master/Seed {name}"), probe(seeds, &name).await)];
    let target = format!("{name}/Cluster");
    match (&seed.clusters.first, &seed.clusters.counts) {
        (Some(cluster), _) => probes.push((target, probe_cluster(&connection.client, cluster).await)),
        (None, Known::Unknown(why)) => probes.push((target, unasked(why))),
        (None, _) => {}
    }
    probes
}

/// No user cluster is known that could be asked about, though there may be some.
fn unasked(why: &str) -> WebhookFacts {
    WebhookFacts {
        answered: Field::from_result(Err(why.to_owned())),
        error: Field::from_result(Err(why.to_owned())),
    }
}

async fn probe_cluster(client: &Client, cluster: &str) -> WebhookFacts {
    probe(Api::<Cluster>::all(client.clone()), cluster).await
}

async fn probe<K>(api: Api<K>, name: &str) -> WebhookFacts
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let parameters = PatchParams {
        dry_run: true,
        ..PatchParams::apply(FIELD_MANAGER)
    };
    let parameters = PatchParams {
        force: false,
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..parameters
    };
    let nothing = serde_json::json!({});
    let result = call(
        format!("update of {name} with dryRun=All"),
        api.patch(name, &parameters, &Patch::Merge(&nothing)),
    )
    .await;
    WebhookFacts {
        answered: result.is_ok().into(),
        error: result.err().map(|error| error.to_string()).into(),
    }
}
