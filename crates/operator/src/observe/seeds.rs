//! The seeds, bounded in parallel: a dead one delays nobody by more than its own time-out. Reading only.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use kkp_upgrade_core::facts::{Evidence, Known, SeedFacts};
use kkp_upgrade_core::rules::Evaluation;
use kkp_upgrade_core::status::Status;
use kkp_upgrade_kkp::evidence::{self, Observed, SeedObservation};
use kkp_upgrade_kkp::types::Seed;
use kube::ResourceExt;

use super::observer::Observer;
use super::place::Place;
use super::platform::converted;
use super::rules::SeedReading;
use super::survey::Survey;
use super::user_clusters::{Judged, UserClusters};
use crate::seeds::SeedConnection;

/// Seeds that are read at the same time.
const PARALLEL_SEEDS: usize = 8;
/// Longest that one seed may take of a round after it has said who it is: one with 10,000 user clusters takes a few
/// seconds. What only the rules look at has a time of its own behind that, unless this one is used up.
const SEED_TIME: Duration = Duration::from_secs(20);

/// A seed as read, with what made the connection.
pub(super) struct ConnectedReading {
    pub(super) reading: SeedReading,
    connection: Option<SeedConnection>,
    surveyed: bool,
    /// Where its user clusters have passed by the rules already.
    pub(super) place: Option<Place>,
}

/// All seeds, in the order of their names; `wanted` is the version that they are judged against, and the rules that what is read
/// passes by.
pub(super) async fn read(
    observer: &Observer<'_>,
    master: (&str, &str),
    seeds: Vec<Seed>,
    status: &Status,
    wanted: (Option<&str>, Option<&Evaluation>),
) -> Vec<ConnectedReading> {
    let before: BTreeSet<&str> = status.unhealthy_before.iter().map(String::as_str).collect();
    let mut readings: Vec<ConnectedReading> = stream::iter(seeds)
        .map(|seed| read_seed(observer, master, seed, wanted, &before))
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
    (target, evaluation): (Option<&str>, Option<&Evaluation>),
    before: &BTreeSet<&str>,
) -> ConnectedReading {
    let name = seed.name_any();
    let connection = observer
        .seeds
        .connect(observer.client, &seed)
        .await
        .map_err(|error| error.to_string());
    let surveyed = match (&connection, target) {
        (Ok(connection), Some(target)) => {
            let place = evaluation.map(|evaluation| {
                let mut part = evaluation.part();
                if connection.cluster_uid == master_uid {
                    part.shared(&name);
                }
                Place::new(name.clone(), part)
            });
            let seed = (connection, name.as_str());
            Box::pin(survey_seed(observer, seed, namespace, target, before, place)).await
        }
        (Ok(_), None) => Surveyed::unread("not read in this round"),
        (Err(why), _) => Surveyed::unread(why),
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
            survey: surveyed.survey,
            clusters: surveyed.clusters,
        },
        connection: connection.ok(),
        surveyed: target.is_some(),
        place: surveyed.place,
    }
}

/// What was read of a seed that has said who it is.
struct Surveyed {
    survey: Survey,
    clusters: UserClusters,
    place: Option<Place>,
}

impl Surveyed {
    /// Nothing, for one reason.
    fn unread(why: &str) -> Self {
        Self {
            survey: Survey::unreadable(why),
            clusters: UserClusters::unreadable(why),
            place: None,
        }
    }

    /// Nothing within its time, which is used up with that.
    fn late(name: &str) -> Self {
        let why = format!("seed {name}: not read within {} s", SEED_TIME.as_secs());
        Self {
            clusters: UserClusters::given_up(&why),
            ..Self::unread(&why)
        }
    }

    /// Why something could not be read.
    fn problem(&self) -> Option<&String> {
        self.survey.problem().or(match &self.clusters.counts {
            Known::Unknown(why) => Some(why),
            _ => None,
        })
    }
}

/// What runs on a seed that has said who it is, within the time that one seed may take of a round.
async fn survey_seed(
    observer: &Observer<'_>,
    (connection, name): (&SeedConnection, &str),
    namespace: &str,
    target: &str,
    before: &BTreeSet<&str>,
    place: Option<Place>,
) -> Surveyed {
    let began = Instant::now();
    let reading = async {
        let survey = Box::pin(Survey::read(&connection.client, namespace, &format!("seed {name}"))).await;
        let controller = survey.deployment("kubermatic-seed-controller-manager");
        let worker_name = controller.as_ref().ok().copied().flatten();
        let judged = Judged {
            target: target.to_owned(),
            worker_name: worker_name.map_or("", evidence::seed_worker_name).to_owned(),
        };
        let views = observer.views.filter(|_| controller.is_ok());
        let (clusters, place) = Box::pin(UserClusters::read(views, connection, name, &judged, before, place)).await;
        // Which clusters are this KKP's own is said by its controller: without it they pass by the rules and are not counted.
        let clusters = match &controller {
            Ok(_) => clusters,
            Err(why) => clusters.uncounted(why),
        };
        Surveyed {
            survey,
            clusters,
            place,
        }
    };
    let read = tokio::time::timeout(SEED_TIME, reading).await;
    let read = read.unwrap_or_else(|_| Surveyed::late(name));
    match read.problem() {
        None => observer.seeds.succeeded(name).await,
        Some(why) => {
            let took = began.elapsed();
            observer.seeds.failed(name, &connection.identity, why, took).await;
        }
    }
    read
}

/// What the round wants to know of a seed.
pub(super) fn facts(read: &ConnectedReading, target: Option<&str>) -> SeedFacts {
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

#[cfg(test)]
#[path = "seeds_tests.rs"]
mod tests;
