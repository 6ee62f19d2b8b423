//! Master and seeds, bounded in parallel: a dead seed delays nobody by more than its own time-out. Reading only.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kkp_upgrade_core::decide::Needs;
use kkp_upgrade_core::facts::{BackupClaim, Evidence, Known, PlatformFacts, SeedFacts};
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::rules::{Finding, Hop};
use kkp_upgrade_core::status::Status;
use kkp_upgrade_core::version::KkpVersion;
use kkp_upgrade_kkp::evidence::{self, CRD_VERSION, MasterObservation, Observed, SeedObservation};
use kkp_upgrade_kkp::types::{KubermaticConfiguration, Seed};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::configuration::Found;
use super::installer;
use super::releases;
use super::rule_facts::{Parts, findings};
use super::rules::SeedReading;
use super::survey::Survey;
use super::user_clusters::{Judged, UserClusters};
use crate::call::{CallError, call};
use crate::context::Context;
use crate::seeds::{SeedConnection, cluster_uid};

/// Seeds that are read at the same time.
const PARALLEL_SEEDS: usize = 8;
/// Longest that one seed may take of a round after it has said who it is: one with 10,000 user clusters takes a few
/// seconds.
const SEED_TIME: Duration = Duration::from_secs(20);

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
        Some(_) => Box::pin(Survey::read(&context.client, &found.namespace, "the master")).await,
        None => Survey::unreadable("not read in this round"),
    };
    let proof = needs.rules.is_some();
    let readings = read_seeds(context, &found.namespace, seeds, status, target.as_deref(), proof).await;
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
    proof: bool,
) -> Vec<ConnectedReading> {
    let before: BTreeSet<&str> = status.unhealthy_before.iter().map(String::as_str).collect();
    let mut readings: Vec<ConnectedReading> = stream::iter(seeds)
        .map(|seed| read_seed(context, namespace, seed, target.map(|target| (target, proof)), &before))
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
    target: Option<(&str, bool)>,
    before: &BTreeSet<&str>,
) -> ConnectedReading {
    let name = seed.name_any();
    let connection = context
        .seeds
        .connect(&context.client, &seed)
        .await
        .map_err(|error| error.to_string());
    let (survey, clusters) = match (&connection, target) {
        (Ok(connection), Some((target, proof))) => {
            let judged = (target, proof);
            Box::pin(survey_seed(context, connection, namespace, &name, judged, before)).await
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

/// What runs on a seed that has said who it is, within the time that one seed may take of a round.
async fn survey_seed(
    context: &Context,
    connection: &SeedConnection,
    namespace: &str,
    name: &str,
    (target, proof): (&str, bool),
    before: &BTreeSet<&str>,
) -> (Survey, UserClusters) {
    let began = Instant::now();
    let reading = async {
        let survey = Box::pin(Survey::read(&connection.client, namespace, &format!("seed {name}"))).await;
        let controller = survey.deployment("kubermatic-seed-controller-manager").ok().flatten();
        let worker_name = controller.map_or("", evidence::seed_worker_name).to_owned();
        let judged = Judged {
            target,
            worker_name: &worker_name,
            proof,
        };
        let views = context.trigger.views();
        let clusters = Box::pin(UserClusters::read(views, connection, name, &judged, before)).await;
        (survey, clusters)
    };
    let read = tokio::time::timeout(SEED_TIME, reading).await.unwrap_or_else(|_| {
        let why = format!("seed {name}: not read within {} s", SEED_TIME.as_secs());
        (Survey::unreadable(&why), UserClusters::unreadable(&why))
    });
    let (survey, clusters) = &read;
    match survey.problem().or_else(|| clusters.items.as_ref().err()) {
        None => context.seeds.succeeded(name).await,
        Some(why) => {
            let took = began.elapsed();
            context.seeds.failed(name, &connection.identity, why, took).await;
        }
    }
    read
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
