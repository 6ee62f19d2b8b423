//! Master and seeds, bounded in parallel: a dead seed delays nobody by more than its own time-out. Reading only.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::storage::v1::StorageClass;
use kkp_upgrade_core::decide::Needs;
use kkp_upgrade_core::facts::{BackupClaim, Evidence, Known, PlatformFacts, SeedFacts, ThrottleMark};
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::rules::{self, Field, Finding, Hop, WebhookFacts};
use kkp_upgrade_core::status::Status;
use kkp_upgrade_core::version::KkpVersion;
use kkp_upgrade_kkp::evidence::{self, CRD_VERSION, MasterObservation, Observed, SeedObservation};
use kkp_upgrade_kkp::types::{Cluster, KubermaticConfiguration, Seed};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::configuration::Found;
use super::installer::{self, Installer};
use super::releases::{self, Release};
use super::rules::{Reading, SeedReading};
use super::survey::Survey;
use super::user_clusters::UserClusters;
use crate::call::{CallError, call};
use crate::context::{Context, FIELD_MANAGER};
use crate::seeds::{SeedConnection, cluster_uid};

/// Seeds that are read at the same time.
const PARALLEL_SEEDS: usize = 8;

/// The platform, and the findings where they are asked for.
pub(super) async fn read(
    context: &Context,
    found: &Found,
    request: Option<&Request>,
    status: &Status,
    needs: &Needs,
    now: Timestamp,
) -> (Known<PlatformFacts>, Known<Vec<Finding>>) {
    match Box::pin(try_read(context, found, request, status, needs, now)).await {
        Ok((platform, findings)) => (Known::Is(platform), findings),
        Err(error) => (Known::Unknown(error.to_string()), Known::Unknown(error.to_string())),
    }
}

async fn try_read(
    context: &Context,
    found: &Found,
    request: Option<&Request>,
    status: &Status,
    needs: &Needs,
    now: Timestamp,
) -> Result<(PlatformFacts, Known<Vec<Finding>>), CallError> {
    let configuration = &found.configuration;
    let version: Option<KkpVersion> = configuration.status.kubermatic_version.text().parse().ok();
    let edition = configuration.status.kubermatic_edition.text();
    let master_uid = cluster_uid(&context.client, "the master").await?;
    let seeds = seeds(context, &found.namespace, edition).await?;
    let target = needs.evidence.map(|version| version.tag());
    let survey = match &target {
        Some(_) => Survey::read(&context.client, &found.namespace, "the master").await,
        None => Survey::unreadable("not read in this round"),
    };
    let readings = read_seeds(context, &found.namespace, seeds, status, target.as_deref()).await;
    let looks = needs.installer.is_some() || needs.rules.is_some();
    let (releases, unreadable) = if looks {
        releases::read(&context.client).await
    } else {
        (Vec::new(), Vec::new())
    };
    let installer = match (request, needs.installer) {
        (Some(request), Some(version)) => {
            let operator = operator_deployment(context, found, &survey).await;
            let operator = operator.as_ref().map(Option::as_ref).map_err(Clone::clone);
            Some(
                installer::read(
                    context,
                    request,
                    version,
                    configuration,
                    operator,
                    &releases,
                    &unreadable,
                )
                .await,
            )
        }
        _ => None,
    };
    let platform = PlatformFacts {
        configuration: super::configuration::facts(configuration),
        version,
        edition: edition.parse().ok(),
        cluster_uid: master_uid,
        crd_version: crd_version(&survey, target.is_some()),
        evidence: target.as_deref().map_or_else(
            || Evidence::Unknown("not read in this round".to_owned()),
            |target| master_evidence(target, configuration, &survey),
        ),
        seeds: readings
            .iter()
            .map(|reading| seed_facts(reading, target.as_deref()))
            .collect(),
        backup_claim: request.and_then(|request| backup_claim(context, request)),
        installer: match &installer {
            Some(installer) => match &installer.facts {
                Ok(facts) => Known::Is(facts.clone()),
                Err(why) => Known::Unknown(why.clone()),
            },
            None => Known::NotRead,
        },
    };
    let findings = match (request, needs.rules) {
        (Some(request), Some((from, to))) => match from.or(version) {
            Some(from) => {
                let hop = Hop { from, to };
                let seeds: Vec<SeedReading> = readings.into_iter().map(|reading| reading.reading).collect();
                let parts = Parts {
                    found,
                    survey: &survey,
                    seeds: &seeds,
                    releases: &releases,
                    unreadable: &unreadable,
                };
                Known::Is(findings(context, request, status, hop, parts, installer.as_ref(), now).await)
            }
            None => Known::Unknown("the KubermaticConfiguration does not say which version runs".to_owned()),
        },
        _ => Known::NotRead,
    };
    Ok((platform, findings))
}

/// The Seeds that this edition of KKP reconciles.
async fn seeds(context: &Context, namespace: &str, edition: &str) -> Result<Vec<Seed>, CallError> {
    let api = Api::<Seed>::namespaced(context.client.clone(), namespace);
    let mut seeds = call("list of Seeds", api.list(&ListParams::default())).await?.items;
    seeds.retain(|seed| evidence::is_reconciled_by(edition, &seed.name_any()));
    Ok(seeds)
}

/// The operator's Deployment from the survey, or read by itself where no survey was made.
async fn operator_deployment(
    context: &Context,
    found: &Found,
    survey: &Survey,
) -> Result<Option<k8s_openapi::api::apps::v1::Deployment>, String> {
    if survey.deployments.is_ok() {
        return survey.deployment("kubermatic-operator").map(Option::<&_>::cloned);
    }
    let api = Api::namespaced(context.client.clone(), &found.namespace);
    call("Deployment kubermatic-operator", api.get_opt("kubermatic-operator"))
        .await
        .map_err(|error| error.to_string())
}

/// A seed as read, with what made the connection.
struct ConnectedReading {
    reading: SeedReading,
    connection: Option<SeedConnection>,
    surveyed: bool,
}

async fn read_seeds(
    context: &Context,
    namespace: &str,
    seeds: Vec<Seed>,
    status: &Status,
    target: Option<&str>,
) -> Vec<ConnectedReading> {
    let before: BTreeSet<&str> = status.unhealthy_before.iter().map(String::as_str).collect();
    let mut readings: Vec<ConnectedReading> = stream::iter(seeds)
        .map(|seed| read_seed(context, namespace, seed, target, &before))
        .buffer_unordered(PARALLEL_SEEDS)
        .collect()
        .await;
    readings.sort_by_key(|reading| reading.reading.seed.name_any());
    readings
}

async fn read_seed(
    context: &Context,
    namespace: &str,
    seed: Seed,
    target: Option<&str>,
    before: &BTreeSet<&str>,
) -> ConnectedReading {
    let name = seed.name_any();
    let connection = context
        .seeds
        .connect(&context.client, &seed)
        .await
        .map_err(|error| error.to_string());
    let (survey, clusters) = match (&connection, target) {
        (Ok(connection), Some(target)) => {
            let survey = Survey::read(&connection.client, namespace, &format!("seed {name}")).await;
            let controller = survey.deployment("kubermatic-seed-controller-manager").ok().flatten();
            let worker_name = controller.map_or("", evidence::seed_worker_name).to_owned();
            let clusters = UserClusters::read(&connection.client, &name, target, &worker_name, before).await;
            (survey, clusters)
        }
        (Ok(_), None) => (
            Survey::unreadable("not read in this round"),
            UserClusters::unreadable("not read in this round"),
        ),
        (Err(why), _) => (Survey::unreadable(why), UserClusters::unreadable(why)),
    };
    let reached = connection.as_ref().map(|_| ()).map_err(Clone::clone);
    ConnectedReading {
        reading: SeedReading {
            seed,
            reached,
            survey,
            clusters,
        },
        connection: connection.ok(),
        surveyed: target.is_some(),
    }
}

fn seed_facts(read: &ConnectedReading, target: Option<&str>) -> SeedFacts {
    let SeedReading {
        seed,
        reached,
        survey,
        clusters,
    } = &read.reading;
    let controller = survey.deployment("kubermatic-seed-controller-manager");
    SeedFacts {
        name: seed.name_any(),
        uid: seed.uid().unwrap_or_default(),
        reachable: match reached {
            Ok(()) => Known::Is(()),
            Err(why) => Known::Unknown(why.clone()),
        },
        cluster_uid: read
            .connection
            .as_ref()
            .map(|connection| connection.cluster_uid.clone()),
        evidence: target.map_or_else(
            || Evidence::Unknown("not read in this round".to_owned()),
            |target| seed_evidence(target, seed, survey),
        ),
        limit_in_force: match controller {
            Ok(deployment) => Known::Is(deployment.and_then(evidence::seed_throttle).map(i64::from)),
            Err(why) => Known::Unknown(why),
        },
        clusters: if read.surveyed {
            clusters.counts.clone()
        } else {
            Known::NotRead
        },
        lagging: clusters.lagging.clone(),
        unhealthy: clusters.unhealthy.clone(),
    }
}

fn converted(evidence: evidence::Evidence) -> Evidence {
    match evidence {
        evidence::Evidence::Proven => Evidence::Proven,
        evidence::Evidence::NotYet { missing } => Evidence::Missing(missing),
        evidence::Evidence::Unknown { why } => Evidence::Unknown(why),
    }
}

fn master_evidence(target: &str, configuration: &KubermaticConfiguration, survey: &Survey) -> Evidence {
    converted(evidence::master(
        target,
        &MasterObservation {
            configuration: Observed::Found(configuration),
            deployments: survey.observed_deployments(),
            cluster_crd: survey.observed_crd(),
        },
    ))
}

fn seed_evidence(target: &str, seed: &Seed, survey: &Survey) -> Evidence {
    converted(evidence::seed(
        target,
        &SeedObservation {
            seed: Observed::Found(seed),
            deployments: survey.observed_deployments(),
            cluster_crd: survey.observed_crd(),
        },
    ))
}

fn crd_version(survey: &Survey, surveyed: bool) -> Known<Option<String>> {
    match &survey.crd {
        _ if !surveyed => Known::NotRead,
        Ok(crd) => Known::Is(
            crd.as_ref()
                .and_then(|crd| crd.annotations.as_ref()?.get(CRD_VERSION).cloned()),
        ),
        Err(why) => Known::Unknown(why.clone()),
    }
}

fn backup_claim(context: &Context, request: &Request) -> Option<BackupClaim> {
    let named = request
        .backup
        .claim
        .clone()
        .map(|(claim, path)| BackupClaim { claim, path });
    named.or_else(|| {
        context.default_backup_claim.clone().map(|claim| BackupClaim {
            claim,
            path: String::new(),
        })
    })
}

struct Parts<'a> {
    found: &'a Found,
    survey: &'a Survey,
    seeds: &'a [SeedReading],
    releases: &'a [Release],
    unreadable: &'a [(String, String)],
}

async fn findings(
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
        crate::prepare::chart_version(&context.client, &release.namespace, &release.name, release.revision)
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

/// One update with `dryRun=All` and no change for each place where KKP's webhooks must answer.
async fn webhooks(context: &Context, parts: &Parts<'_>) -> Vec<(String, WebhookFacts)> {
    let namespace = &parts.found.namespace;
    let mut probes = Vec::new();
    let name = parts.found.configuration.name_any();
    let configurations = Api::<KubermaticConfiguration>::namespaced(context.client.clone(), namespace);
    probes.push((
        "master/KubermaticConfiguration".to_owned(),
        probe(configurations, &name).await,
    ));
    for seed in parts.seeds {
        let name = seed.seed.name_any();
        let Some(connection) = context
            .seeds
            .known()
            .await
            .remove(&name)
            .filter(|_| seed.reached.is_ok())
        else {
            continue;
        };
        let seeds = Api::<Seed>::namespaced(context.client.clone(), namespace);
        probes.push((format!("master/Seed {name}"), probe(seeds, &name).await));
        if let Some(cluster) = &seed.clusters.first {
            probes.push((
                format!("{name}/Cluster"),
                probe_cluster(&connection.client, cluster).await,
            ));
        }
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
