//! One seed's part: CRDs, accounts, webhook configurations, Deployments, and the conditions on the master's Seed that say
//! so (KKP 2.31 source, pkg/controller/operator/{seed-init,seed}). A Seed with the skip annotation is left alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use kube::core::PartialObjectMeta;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::watcher;
use kube::{Api, Resource};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::workloads::Platform;
use super::{MANAGER, access, custom_resources, roll, webhooks};
use crate::Error;
use crate::apply::{Applied, Applier, set_condition};
use crate::cluster_access::{SeedAccess, call, open_seed};
use crate::condition::Statement;
use crate::follow::{notify_on_change, wait};
use crate::objects::{MANAGED_BY_LABEL, is_skipped, seed_resource, seeds};
use crate::release::Location;
use crate::script::{OperatorSeedScript, Script, pause};
use crate::start::Process;

const SAFETY_NET: Duration = Duration::from_secs(15);
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Reconciles one seed.
pub(super) struct Worker {
    process: Arc<Process>,
    name: String,
    nudge: Arc<Notify>,
    opened: Option<Opened>,
    configuration: Option<DelayedConfiguration>,
    applied: Applied,
}

struct Opened {
    access: SeedAccess,
    _watches: JoinSet<()>,
}

/// The configuration in use, and a newer one that is still on its way.
struct DelayedConfiguration {
    used: DynamicObject,
    pending: Option<(DynamicObject, Instant)>,
}

impl Worker {
    pub(super) fn new(process: Arc<Process>, name: String, nudge: Arc<Notify>) -> Self {
        Self {
            process,
            name,
            nudge,
            opened: None,
            configuration: None,
            applied: Applied::default(),
        }
    }

    /// Reconciles for ever.
    pub(super) async fn run(mut self) {
        pause(Script::load().operator.seed(&self.name).roll_delay_ms).await;
        loop {
            let next = match Box::pin(self.reconcile()).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(seed = self.name, %error, "the seed is not reconciled");
                    AFTER_ERROR
                }
            };
            wait(&self.nudge, next).await;
        }
    }

    async fn reconcile(&mut self) -> Result<Duration, Error> {
        let all = seeds(&self.process.client, &self.process.namespace);
        let Some(seed) = call(&format!("read Seed {}", self.name), all.get_opt(&self.name)).await? else {
            return Ok(SAFETY_NET);
        };
        let script = Script::load().operator;
        let faults = script.seed(&self.name);
        if is_skipped(&seed) || seed.metadata.deletion_timestamp.is_some() || faults.stuck {
            return Ok(SAFETY_NET);
        }
        match self.roll(&all, &seed, &faults).await {
            Ok(next) => Ok(next),
            Err(error) => {
                let message = error.to_string();
                self.report(&seed, "ReconcilingError", &message).await;
                let statement = Statement {
                    reason: "ReconcilingError",
                    message: &message,
                    ..Statement::default()
                };
                set_condition(&all, &seed, "ResourcesReconciled", statement).await?;
                Err(error)
            }
        }
    }

    /// The initialisation and, if the seed has its copy of the Seed, everything else.
    async fn roll(
        &mut self,
        all: &Api<DynamicObject>,
        seed: &DynamicObject,
        faults: &OperatorSeedScript,
    ) -> Result<Duration, Error> {
        if let Some(message) = &faults.error {
            return Err(Error::Refused(message.clone()));
        }
        let client = self.open(seed).await?;
        let applier = Applier::remembering(client.clone(), MANAGER, self.applied.clone());
        let (release, namespace) = (&self.process.release, &self.process.namespace);
        applier.cluster_wide(&namespace_object(namespace)).await?;
        custom_resources::ensure(&applier, release, Location::Seed, Script::load().operator.crds_ms).await?;
        let message = "All KKP CRDs have been installed successfully.";
        let initialised = Statement {
            status: true,
            reason: "CRDsUpdated",
            message,
            ..Statement::default()
        };
        set_condition(all, seed, "ClusterInitialized", initialised).await?;
        let copy = call(
            &format!("read the copy of Seed {}", self.name),
            seeds(&client, namespace).get_opt(&self.name),
        )
        .await?;
        let Some(copy) = copy else {
            let message = "Seed cluster has not yet been provisioned with a Seed copy.";
            self.report(seed, "ReconcilingSkipped", message).await;
            let statement = Statement {
                reason: "ReconcilingSkipped",
                message,
                ..Statement::default()
            };
            set_condition(all, seed, "ResourcesReconciled", statement).await?;
            return Ok(AFTER_ERROR);
        };
        let next = self
            .reconcile_resources(&applier, &copy, faults.configuration_delay_ms)
            .await?;
        let statement = Statement {
            status: true,
            reason: "ReconcilingSuccess",
            ..Statement::default()
        };
        set_condition(all, seed, "ResourcesReconciled", statement).await?;
        Ok(next)
    }

    async fn reconcile_resources(
        &mut self,
        applier: &Applier,
        copy: &DynamicObject,
        delay: u64,
    ) -> Result<Duration, Error> {
        let live = super::master::configuration(&self.process).await?;
        let (configuration, next) = self.delayed(live, Duration::from_millis(delay));
        let Process { release, namespace, .. } = self.process.as_ref();
        access::ensure(applier, namespace, &access::SEED).await?;
        webhooks::ensure(applier, release, Location::Seed).await?;
        let platform = Platform {
            release,
            configuration: &configuration,
            owner: copy,
            namespace,
        };
        roll::deployments(
            applier,
            Script::load().operator.seed_deployment_ms,
            platform.seed(copy)?,
        )
        .await?;
        Ok(next)
    }

    /// The configuration to use now, and when to look again. A changed one usually arrives at once, but it was seen to take
    /// longer than 24 s (KKP 2.31.0, measured).
    fn delayed(&mut self, live: DynamicObject, delay: Duration) -> (DynamicObject, Duration) {
        let generation = |object: &DynamicObject| object.metadata.generation;
        let state = self.configuration.get_or_insert_with(|| DelayedConfiguration {
            used: live.clone(),
            pending: None,
        });
        if generation(&live) == generation(&state.used) {
            state.pending = None;
            return (state.used.clone(), SAFETY_NET);
        }
        let since = match &state.pending {
            Some((pending, since)) if generation(pending) == generation(&live) => *since,
            _ => Instant::now(),
        };
        let waited = since.elapsed();
        if waited >= delay {
            *state = DelayedConfiguration {
                used: live.clone(),
                pending: None,
            };
            return (live, SAFETY_NET);
        }
        state.pending = Some((live, since));
        (state.used.clone(), delay.saturating_sub(waited).min(SAFETY_NET))
    }

    /// The client of the seed; a new kubeconfig replaces client and watches without a restart.
    async fn open(&mut self, seed: &DynamicObject) -> Result<kube::Client, Error> {
        let access = open_seed(&self.process.client, seed).await?;
        if let Some(opened) = self
            .opened
            .as_ref()
            .filter(|opened| opened.access.fingerprint == access.fingerprint)
        {
            return Ok(opened.access.client.clone());
        }
        let mut watches = JoinSet::new();
        let managed = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGER}"));
        let deployments: Api<PartialObjectMeta<Deployment>> =
            Api::namespaced(access.client.clone(), &self.process.namespace);
        watches.spawn(notify_on_change(deployments, managed, Arc::clone(&self.nudge)));
        let client = access.client.clone();
        self.opened = Some(Opened {
            access,
            _watches: watches,
        });
        Ok(client)
    }

    /// An event on the Seed, as KKP writes one for every failed or skipped reconciliation.
    async fn report(&self, seed: &DynamicObject, reason: &str, message: &str) {
        let recorder = Recorder::new(
            self.process.client.clone(),
            Reporter {
                controller: MANAGER.to_owned(),
                instance: None,
            },
        );
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(message.to_owned()),
            action: "Reconciling".to_owned(),
            secondary: None,
        };
        let reference = seed.object_ref(&seed_resource());
        if let Err(error) = call("write an Event", recorder.publish(&event, &reference)).await {
            tracing::debug!(%error, "the event is lost");
        }
    }
}

fn namespace_object(name: &str) -> Namespace {
    Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}
