//! What happened when, as an observer beside the operator sees it: every status, the end of every Job, and the moment from
//! which the master's evidence was complete. Watches the master; never writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kkp_upgrade_core::status::Status;
use kkp_upgrade_kkp::evidence::{self, CLUSTER_CRD, MasterObservation, Observed};
use kkp_upgrade_kkp::types::KubermaticConfiguration;
use kube::api::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio_util::task::AbortOnDropHandle;

use crate::bed::{Bed, NAMESPACE};
use crate::observer::Observer;

/// Everything that was seen.
#[derive(Default)]
pub struct Seen {
    /// Every status with its KKPUpgrade and the moment it arrived.
    pub statuses: Vec<(Timestamp, String, Status)>,
    /// Creation and end of each Job.
    pub jobs: BTreeMap<String, (Timestamp, Option<Timestamp>)>,
    /// Since when the master is proven to run the target.
    pub master: Option<Timestamp>,
    /// Each limit on parallel reconciles that the configuration had, and since when.
    pub limits: Vec<(Timestamp, Option<i64>)>,
    deployments: BTreeMap<String, Deployment>,
    configuration: Option<KubermaticConfiguration>,
    crd: Option<PartialObjectMeta<CustomResourceDefinition>>,
}

/// Records until it is dropped.
pub struct Record {
    seen: Arc<Mutex<Seen>>,
    _observer: Observer,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Record {
    /// Starts; `target` is the tag that the master's evidence is about.
    #[must_use]
    pub fn start(bed: &Bed, target: &str) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let statuses = seen.clone();
        let observer = Observer::start(bed.upgrades(), move |name, status| {
            lock(&statuses)
                .statuses
                .push((Timestamp::now(), name.to_owned(), status.clone()));
        });
        let client = &bed.client;
        let target = target.to_owned();
        let judged = move |seen: &mut Seen| seen.judge(&target);
        let (a, b) = (judged.clone(), judged.clone());
        let tasks = vec![
            follow(Api::<Job>::namespaced(client.clone(), NAMESPACE), &seen, |seen, job| {
                seen.job(&job);
            }),
            follow(
                Api::<Deployment>::namespaced(client.clone(), NAMESPACE),
                &seen,
                move |seen, deployment| {
                    seen.deployments.insert(deployment.name_any(), deployment);
                    a(seen);
                },
            ),
            follow(
                Api::<KubermaticConfiguration>::namespaced(client.clone(), NAMESPACE),
                &seen,
                move |seen, found| {
                    seen.limit(&found);
                    seen.configuration = Some(found);
                    b(seen);
                },
            ),
            follow(
                Api::<PartialObjectMeta<CustomResourceDefinition>>::all(client.clone()),
                &seen,
                move |seen, crd| {
                    if crd.name_any() == CLUSTER_CRD {
                        seen.crd = Some(crd);
                        judged(seen);
                    }
                },
            ),
        ];
        Self {
            seen,
            _observer: observer,
            _tasks: tasks,
        }
    }

    /// What was seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn follow<K>(
    api: Api<K>,
    seen: &Arc<Mutex<Seen>>,
    note: impl Fn(&mut Seen, K) + Send + 'static,
) -> AbortOnDropHandle<()>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let seen = seen.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let stream = watcher(api, watcher::Config::default())
            .default_backoff()
            .applied_objects();
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            if let Ok(object) = event {
                note(&mut lock(&seen), object);
            }
        }
    }))
}

impl Seen {
    fn job(&mut self, job: &Job) {
        let now = Timestamp::now();
        let entry = self.jobs.entry(job.name_any()).or_insert((now, None));
        let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ended = conditions
            .into_iter()
            .flatten()
            .any(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True");
        if ended && entry.1.is_none() {
            entry.1 = Some(now);
        }
    }

    fn limit(&mut self, configuration: &KubermaticConfiguration) {
        let limit = configuration
            .spec
            .seed_controller
            .maximum_parallel_reconciles
            .get()
            .copied();
        if self.limits.last().is_none_or(|(_, last)| *last != limit) {
            self.limits.push((Timestamp::now(), limit));
        }
    }

    /// The moment counts from which the evidence was complete and stayed so.
    fn judge(&mut self, target: &str) {
        let deployments: Vec<Deployment> = self.deployments.values().cloned().collect();
        let observation = MasterObservation {
            configuration: self.configuration.as_ref().map_or(Observed::Absent, Observed::Found),
            deployments: Observed::Found(&deployments),
            cluster_crd: self
                .crd
                .as_ref()
                .map_or(Observed::Absent, |crd| Observed::Found(&crd.metadata)),
        };
        let proven = evidence::master(target, &observation).is_proven();
        self.master = proven.then(|| self.master.unwrap_or_else(Timestamp::now));
    }

    /// The moment of the first status of a KKPUpgrade that is as wanted.
    pub fn first(&self, upgrade: &str, wanted: impl Fn(&Status) -> bool) -> Option<Timestamp> {
        self.first_since(upgrade, Timestamp::UNIX_EPOCH, wanted)
    }

    /// The same, of those after a moment.
    pub fn first_since(&self, upgrade: &str, since: Timestamp, wanted: impl Fn(&Status) -> bool) -> Option<Timestamp> {
        self.statuses
            .iter()
            .find(|(time, name, status)| name == upgrade && *time >= since && wanted(status))
            .map(|(time, ..)| *time)
    }

    /// The phases of a KKPUpgrade with the moment each began.
    #[must_use]
    pub fn phases(&self, upgrade: &str) -> Vec<(Timestamp, String)> {
        let mut phases: Vec<(Timestamp, String)> = self
            .statuses
            .iter()
            .filter(|(_, name, _)| name == upgrade)
            .filter_map(|(time, _, status)| Some((*time, status.phase.clone()?)))
            .collect();
        phases.dedup_by(|later, earlier| later.1 == earlier.1);
        phases
    }
}
