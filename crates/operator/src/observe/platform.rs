//! Master and seeds, bounded in parallel: a dead seed delays nobody by more than its own time-out. Reading only.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kkp_upgrade_core::decide::{Needs, RuleNeeds};
use kkp_upgrade_core::facts::{Evidence, Known, PlatformFacts, SeedFacts, Stop};
use kkp_upgrade_core::request::{Request, Storage};
use kkp_upgrade_core::rules::{Finding, Hop, RouteError};
use kkp_upgrade_core::status::Status;
use kkp_upgrade_core::version::KkpVersion;
use kkp_upgrade_kkp::evidence::{self, CRD_VERSION, MasterObservation, Observed, SeedObservation};
use kkp_upgrade_kkp::types::{KubermaticConfiguration, Seed};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::backup_key;
use super::configuration::Found;
use super::installer;
use super::observer::Observer;
use super::recent::Question;
use super::releases;
use super::rule_facts::{Parts, findings};
use super::rules::SeedReading;
use super::survey::Survey;
use super::user_clusters::{Judged, UserClusters};
use crate::call::{CallError, call};
use crate::catalogue::Snapshot;
use crate::seeds::{SeedConnection, cluster_uid};

/// Seeds that are read at the same time.
const PARALLEL_SEEDS: usize = 8;
/// Longest that one seed may take of a round after it has said who it is: one with 10,000 user clusters takes a few
/// seconds.
const SEED_TIME: Duration = Duration::from_secs(20);

/// The platform, and the findings where they are asked for, for the `KKPUpgrade` with this UID and its request.
pub(super) async fn read(
    observer: &Observer<'_>,
    found: &Found,
    (uid, request): (&str, Option<&Request>),
    status: &Status,
    needs: &Needs,
    now: Timestamp,
) -> (Known<PlatformFacts>, Known<Vec<Finding>>) {
    let catalogue = observer.catalogue.value();
    let catalogue = catalogue.map(|snapshot| snapshot.catalogue.identity().clone());
    let question = Question::new(uid, request, status, needs, catalogue);
    let recent = observer.recent.filter(|_| needs.recent);
    if let Some((platform, findings)) = recent.and_then(|recent| recent.answer(&question)) {
        return (Known::Is(platform), Known::Is(findings));
    }
    let began = Instant::now();
    match Box::pin(try_read(observer, found, request, status, needs, now)).await {
        Ok((platform, findings)) => {
            if let (Some(recent), Known::Is(findings)) = (observer.recent, &findings) {
                recent.keep(question, began, &platform, findings);
            }
            (Known::Is(platform), findings)
        }
        Err(error) => (Known::Unknown(error.to_string()), Known::Unknown(error.to_string())),
    }
}

async fn try_read(
    observer: &Observer<'_>,
    found: &Found,
    request: Option<&Request>,
    status: &Status,
    needs: &Needs,
    now: Timestamp,
) -> Result<(PlatformFacts, Known<Vec<Finding>>), CallError> {
    let configuration = &found.configuration;
    let version: Option<KkpVersion> = configuration.status.kubermatic_version.text().parse().ok();
    let edition = configuration.status.kubermatic_edition.text();
    let master_uid = cluster_uid(observer.client, "the master").await?;
    let seeds = seeds(observer, &found.namespace, edition).await?;
    let target = needs.evidence.map(|version| version.tag());
    let survey = match &target {
        Some(_) => Box::pin(Survey::read(observer.client, &found.namespace, "the master")).await,
        None => Survey::unreadable("not read in this round"),
    };
    let readings = read_seeds(
        observer,
        (&found.namespace, &master_uid),
        seeds,
        status,
        target.as_deref(),
    )
    .await;
    let looks = needs.installer.is_some() || needs.rules.is_some();
    let (releases, unreadable) = if looks {
        releases::read(observer.client).await
    } else {
        (Vec::new(), Vec::new())
    };
    let installer = match (request, needs.installer) {
        (Some(request), Some(version)) => {
            let operator = operator_deployment(observer, found, &survey).await;
            let operator = operator.as_ref().map(Option::as_ref).map_err(Clone::clone);
            Some(
                installer::read(
                    observer,
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
    let backup_key = backup_key::read(observer, request, status, needs).await;
    let platform = PlatformFacts {
        configuration: super::configuration::facts(configuration),
        version,
        route: route(request, version, observer.catalogue),
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
        backup_storage: request.and_then(|request| backup_storage(observer, request)),
        backup_key: backup_key.clone(),
        installer: match &installer {
            Some(installer) => match &installer.facts {
                Ok(facts) => Known::Is(facts.clone()),
                Err(why) => Known::Unknown(why.clone()),
            },
            None => Known::NotRead,
        },
    };
    let findings = match asked(request, needs.rules.as_ref(), version, observer.catalogue) {
        Ok((request, rules, hop, catalogue)) => {
            let seeds: Vec<SeedReading> = readings.into_iter().map(|reading| reading.reading).collect();
            let parts = Parts {
                found,
                catalogue,
                survey: &survey,
                seeds: &seeds,
                releases: &releases,
                unreadable: &unreadable,
                backup_key_in_cluster: backup_key::is_in_cluster(request, &backup_key),
            };
            let rules = (hop, rules);
            let installer = installer.as_ref();
            Known::Is(Box::pin(findings(observer, request, status, rules, parts, installer, now)).await)
        }
        Err(unasked) => unasked,
    };
    Ok((platform, findings))
}

/// What the rules are asked with, where they are asked for.
///
/// # Errors
/// What the findings are instead: a catalogue that could not be read has rules that nobody knows.
pub(super) fn asked<'a>(
    request: Option<&'a Request>,
    rules: Option<&'a RuleNeeds>,
    version: Option<KkpVersion>,
    catalogue: &'a Known<Snapshot>,
) -> Result<(&'a Request, &'a RuleNeeds, Hop, &'a Snapshot), Known<Vec<Finding>>> {
    let (Some(request), Some(rules)) = (request, rules) else {
        return Err(Known::NotRead);
    };
    let Known::Is(catalogue) = catalogue else {
        return Err(Known::Unknown(catalogue.why_not().to_owned()));
    };
    let Some(from) = rules.from.or(version) else {
        let why = "the KubermaticConfiguration does not say which version runs";
        return Err(Known::Unknown(why.to_owned()));
    };
    Ok((request, rules, Hop { from, to: rules.to }, catalogue))
}

/// The way from what runs to what is wanted, over the releases of this round's catalogue.
fn route(
    request: Option<&Request>,
    version: Option<KkpVersion>,
    catalogue: &Known<Snapshot>,
) -> Known<Result<Vec<Stop>, RouteError>> {
    let (Some(request), Some(version)) = (request, version) else {
        return Known::NotRead;
    };
    match catalogue {
        Known::Is(snapshot) => {
            let releases = snapshot.catalogue.releases();
            Known::Is(releases.stops(version, request.target, &request.via))
        }
        Known::Unknown(why) => Known::Unknown(why.clone()),
        Known::NotRead => Known::NotRead,
    }
}

/// The Seeds that this edition of KKP reconciles.
async fn seeds(observer: &Observer<'_>, namespace: &str, edition: &str) -> Result<Vec<Seed>, CallError> {
    let api = Api::<Seed>::namespaced(observer.client.clone(), namespace);
    let mut seeds = call("list of Seeds", api.list(&ListParams::default())).await?.items;
    seeds.retain(|seed| evidence::is_reconciled_by(edition, &seed.name_any()));
    Ok(seeds)
}

/// The operator's Deployment from the survey, or read by itself where no survey was made.
async fn operator_deployment(
    observer: &Observer<'_>,
    found: &Found,
    survey: &Survey,
) -> Result<Option<k8s_openapi::api::apps::v1::Deployment>, String> {
    if survey.deployments.is_ok() {
        return survey.deployment("kubermatic-operator").map(Option::<&_>::cloned);
    }
    let api = Api::namespaced(observer.client.clone(), &found.namespace);
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
    observer: &Observer<'_>,
    master: (&str, &str),
    seeds: Vec<Seed>,
    status: &Status,
    target: Option<&str>,
) -> Vec<ConnectedReading> {
    let before: BTreeSet<&str> = status.unhealthy_before.iter().map(String::as_str).collect();
    let mut readings: Vec<ConnectedReading> = stream::iter(seeds)
        .map(|seed| read_seed(observer, master, seed, target, &before))
        .buffer_unordered(PARALLEL_SEEDS)
        .collect()
        .await;
    readings.sort_by_key(|reading| reading.reading.seed.name_any());
    readings
}

async fn read_seed(
    observer: &Observer<'_>,
    (namespace, master_uid): (&str, &str),
    seed: Seed,
    target: Option<&str>,
    before: &BTreeSet<&str>,
) -> ConnectedReading {
    let name = seed.name_any();
    let connection = observer
        .seeds
        .connect(observer.client, &seed)
        .await
        .map_err(|error| error.to_string());
    let (survey, clusters) = match (&connection, target) {
        (Ok(connection), Some(target)) => {
            Box::pin(survey_seed(observer, connection, namespace, &name, target, before)).await
        }
        (Ok(_), None) => (
            Survey::unreadable("not read in this round"),
            UserClusters::unreadable("not read in this round"),
        ),
        (Err(why), _) => (Survey::unreadable(why), UserClusters::unreadable(why)),
    };
    let client = connection.as_ref().map(|connection| connection.client.clone());
    let separate = connection
        .as_ref()
        .map(|connection| connection.cluster_uid != master_uid);
    ConnectedReading {
        reading: SeedReading {
            seed,
            separate: separate.map_err(Clone::clone),
            certificate_ends: connection
                .as_ref()
                .ok()
                .and_then(|connection| connection.certificate_ends),
            client: client.map_err(Clone::clone),
            survey,
            clusters,
        },
        connection: connection.ok(),
        surveyed: target.is_some(),
    }
}

/// What runs on a seed that has said who it is, within the time that one seed may take of a round.
async fn survey_seed(
    observer: &Observer<'_>,
    connection: &SeedConnection,
    namespace: &str,
    name: &str,
    target: &str,
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
        };
        let clusters = Box::pin(UserClusters::read(observer.views, connection, name, &judged, before)).await;
        (survey, clusters)
    };
    let read = tokio::time::timeout(SEED_TIME, reading).await.unwrap_or_else(|_| {
        let why = format!("seed {name}: not read within {} s", SEED_TIME.as_secs());
        (Survey::unreadable(&why), UserClusters::unreadable(&why))
    });
    let (survey, clusters) = &read;
    let unread = || match &clusters.counts {
        Known::Unknown(why) => Some(why),
        _ => None,
    };
    match survey.problem().or_else(unread) {
        None => observer.seeds.succeeded(name).await,
        Some(why) => {
            let took = began.elapsed();
            observer.seeds.failed(name, &connection.identity, why, took).await;
        }
    }
    read
}

fn seed_facts(read: &ConnectedReading, target: Option<&str>) -> SeedFacts {
    let SeedReading {
        seed,
        client,
        survey,
        clusters,
        ..
    } = &read.reading;
    let controller = survey.deployment("kubermatic-seed-controller-manager");
    SeedFacts {
        name: seed.name_any(),
        uid: seed.uid().unwrap_or_default(),
        reachable: match client {
            Ok(_) => Known::Is(()),
            Err(why) => Known::Unknown(why.clone()),
        },
        cluster_uid: read
            .connection
            .as_ref()
            .map(|connection| connection.cluster_uid.clone()),
        etcd_destination: super::etcd::destination(seed),
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

fn backup_storage(observer: &Observer<'_>, request: &Request) -> Option<Storage> {
    request.backup.storage.clone().or_else(|| {
        observer.default_backup_claim.map(|claim| Storage::Claim {
            claim: claim.to_owned(),
            path: String::new(),
        })
    })
}
