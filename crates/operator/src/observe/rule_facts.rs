//! Facts about the platform as a whole, for the rules: what is asked only when rules are evaluated. Reading only.

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::storage::v1::StorageClass;
use kkp_upgrade_core::facts::{Known, ThrottleMark};
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::rules::{self, Field, Finding, Hop, WebhookFacts};
use kkp_upgrade_core::status::Status;
use kkp_upgrade_kkp::helm::Release;
use kkp_upgrade_kkp::types::{Cluster, KubermaticConfiguration, Seed};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::configuration::Found;
use super::installer::{self, Installer};
use super::rules::{Reading, SeedReading};
use super::survey::Survey;
use crate::call::call;
use crate::context::{Context, FIELD_MANAGER};
use crate::seeds::SeedConnection;

/// Webhooks that are asked at the same time: each of them asks its seed, too.
const PARALLEL_PROBES: usize = 8;

/// What was read of the platform, for the rules.
pub(super) struct Parts<'a> {
    pub(super) found: &'a Found,
    pub(super) survey: &'a Survey,
    pub(super) seeds: &'a [SeedReading],
    pub(super) releases: &'a [Release],
    pub(super) unreadable: &'a [(String, String)],
}

/// Findings of every rule of the hop.
pub(super) async fn findings(
    context: &Context,
    request: &Request,
    status: &Status,
    hop: Hop,
    parts: Parts<'_>,
    installer: Option<&Installer>,
    now: Timestamp,
) -> Vec<Finding> {
    let reading = Reading {
        configuration: &parts.found.configuration,
        platform: platform_facts(context, &parts, installer).await,
        master: parts.survey,
        seeds: parts.seeds,
        releases: parts.releases,
        unreadable_releases: parts.unreadable,
        webhooks: webhooks(context, &parts).await,
        configured_limit: configured_limit(&parts.found.configuration),
    };
    super::rules::evaluate(context, request, status, hop, &reading, now)
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

async fn platform_facts(context: &Context, parts: &Parts<'_>, installer: Option<&Installer>) -> rules::PlatformFacts {
    let configuration = &parts.found.configuration;
    let classes = Api::<StorageClass>::all(context.client.clone());
    let (class, server) = tokio::join!(
        call(
            "StorageClass kubermatic-fast",
            classes.get_metadata_opt("kubermatic-fast")
        ),
        call("version of the master", context.client.apiserver_version()),
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
    let values = |read: fn(&crate::execute::values::EffectiveValues) -> Option<String>| match installer
        .map(|installer| &installer.values)
    {
        Some(Ok(values)) => Field::Known(read(values)),
        Some(Err(error)) => Field::NotRead(error.to_string()),
        None => Field::NotRead("values were not read".to_owned()),
    };
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
            (Some(release), None) => chart_version(context, release).await,
        },
        gitops_owner: Field::from_result(operator.map(|found| found.and_then(gitops_owner))),
        kubernetes_major: server_number(|info| &info.major),
        kubernetes_minor: server_number(|info| &info.minor),
        storage_class_fast: Field::from_result(class.map(|class| class.is_some())),
        values_image_tag: values(|values| values.image_tag.clone()),
        values_http_route_domain: values(|values| values.http_route_domain.clone()),
        headless: match configuration.headless() {
            kkp_upgrade_kkp::types::Field::Set(headless) => Field::Known(*headless),
            kkp_upgrade_kkp::types::Field::Unset => Field::Known(false),
            kkp_upgrade_kkp::types::Field::Unreadable { found } => Field::NotRead(format!("it is of type {found}")),
        },
    }
}

async fn chart_version(context: &Context, release: &Release) -> Field<Option<String>> {
    Field::from_result(
        crate::prepare::chart_version(
            &context.client,
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
async fn webhooks(context: &Context, parts: &Parts<'_>) -> Vec<(String, WebhookFacts)> {
    let namespace = &parts.found.namespace;
    let name = parts.found.configuration.name_any();
    let configurations = Api::<KubermaticConfiguration>::namespaced(context.client.clone(), namespace);
    let first = (
        "master/KubermaticConfiguration".to_owned(),
        probe(configurations, &name).await,
    );
    let mut known = context.seeds.known().await;
    let reached = parts.seeds.iter().filter(|seed| seed.reached.is_ok());
    let probes = reached.filter_map(|seed| {
        let connection = known.remove(&seed.seed.name_any())?;
        Some(probe_seed(context, namespace, seed, connection))
    });
    let probes: Vec<_> = probes.collect();
    let answers = stream::iter(probes).buffered(PARALLEL_PROBES).collect::<Vec<_>>().await;
    std::iter::once(first).chain(answers.into_iter().flatten()).collect()
}

async fn probe_seed(
    context: &Context,
    namespace: &str,
    seed: &SeedReading,
    connection: SeedConnection,
) -> Vec<(String, WebhookFacts)> {
    let name = seed.seed.name_any();
    let seeds = Api::<Seed>::namespaced(context.client.clone(), namespace);
    let mut probes = vec![(format!("master/Seed {name}"), probe(seeds, &name).await)];
    if let Some(cluster) = &seed.clusters.first {
        probes.push((
            format!("{name}/Cluster"),
            probe_cluster(&connection.client, cluster).await,
        ));
    }
    probes
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
