//! Leader election: of several operators, one acts. Talks to the cluster: reads and writes one Lease.
//!
//! It is comfort, not safety: what keeps two operators from doing harm is that every write carries the version it was
//! decided on. It runs on a thread, a runtime and a client of its own, so that no work of the operator can delay a
//! renewal. It must never write without the resourceVersion that it read.

mod elector;

use std::future::Future;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kkp_upgrade_connection::{Connector, Peer};
use kube::Api;
use kube::api::PostParams;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::context::FIELD_MANAGER;
use elector::{Action, Elector};

pub use elector::{LONGEST_LEASE, LeaderTimings, TimingsError};

/// Name of the Lease.
pub const LEADER_LEASE: &str = "kkp-upgrade-operator-leader";

/// What an election needs.
#[derive(Debug, Clone)]
pub struct LeaderConfig {
    /// How to reach the cluster. Not a client: those belong to the runtime that made them.
    pub kube: kube::Config,
    /// Makes the client.
    pub connector: Connector,
    /// Namespace of the Lease.
    pub namespace: String,
    /// Who we are: the UID of the Pod.
    pub identity: String,
    /// Durations.
    pub timings: LeaderTimings,
}

/// This process does not lead and never will again: it has to exit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("leader election ended: {reason}")]
pub struct LeadershipEnded {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Standby,
    Leading { until: Instant },
    Ended(String),
}

/// Our part in the election. Without it the lease is no longer renewed.
#[must_use = "the lease is renewed only as long as this exists"]
#[derive(Debug)]
pub struct Leadership {
    standing: watch::Receiver<Standing>,
    release: CancellationToken,
    patience: Duration,
}

impl Leadership {
    /// Waits until this process leads.
    ///
    /// # Errors
    /// When the election has ended: this process can no longer become the leader.
    pub async fn acquired(&self) -> Result<(), LeadershipEnded> {
        let mut standing = self.standing.clone();
        let reached = standing.wait_for(|now| *now != Standing::Standby).await;
        match reached.as_deref() {
            Ok(Standing::Ended(reason)) => Err(LeadershipEnded { reason: reason.clone() }),
            Ok(_) => Ok(()),
            Err(_) => Err(thread_gone()),
        }
    }

    /// Waits until this process no longer leads, or can no longer become the leader. The caller exits then, without
    /// any further write.
    pub async fn lost(&self) -> LeadershipEnded {
        let mut standing = self.standing.clone();
        loop {
            let now = standing.borrow_and_update().clone();
            let changed = match now {
                Standing::Ended(reason) => return LeadershipEnded { reason },
                Standing::Standby => standing.changed().await,
                Standing::Leading { until } => {
                    // Does not rely on the election's thread: should that one hang, we notice.
                    match tokio::time::timeout_at(until.into(), standing.changed()).await {
                        Ok(changed) => changed,
                        Err(_) => return not_renewed(),
                    }
                }
            };
            if changed.is_err() && !matches!(*standing.borrow(), Standing::Ended(_)) {
                return thread_gone();
            }
        }
    }

    /// Whether this process leads at this moment.
    #[must_use]
    pub fn leads(&self) -> bool {
        matches!(*self.standing.borrow(), Standing::Leading { until } if Instant::now() < until)
    }

    /// Gives the lease back, so that another operator need not wait for it to expire. Only after all work has ended.
    /// Best effort: waits no longer than the renew deadline.
    pub async fn release(&self) {
        self.release.cancel();
        let mut standing = self.standing.clone();
        let ended = standing.wait_for(|now| matches!(now, Standing::Ended(_)));
        if tokio::time::timeout(self.patience, ended).await.is_err() {
            tracing::warn!("the leader's lease could not be given back in time; it expires by itself");
        }
    }
}

fn thread_gone() -> LeadershipEnded {
    LeadershipEnded {
        reason: "its thread is gone".to_owned(),
    }
}

fn not_renewed() -> LeadershipEnded {
    LeadershipEnded {
        reason: "the lease was not renewed before its deadline".to_owned(),
    }
}

/// Takes part in the election, on a thread of its own.
pub fn start(config: LeaderConfig) -> Leadership {
    let (sender, standing) = watch::channel(Standing::Standby);
    let release = CancellationToken::new();
    let leadership = Leadership {
        standing,
        release: release.clone(),
        patience: config.timings.renew_deadline,
    };
    let thread = move || {
        let reason = take_part(config, &sender, &release);
        tracing::info!(reason, "leader election ended");
        sender.send_replace(Standing::Ended(reason));
    };
    // Without a thread nobody holds the sender, which every method of Leadership reports.
    if let Err(problem) = std::thread::Builder::new().name("leader".to_owned()).spawn(thread) {
        tracing::error!(%problem, "the thread of the leader election could not be started");
    }
    leadership
}

/// Until the election ends for us; why.
fn take_part(config: LeaderConfig, standing: &watch::Sender<Standing>, release: &CancellationToken) -> String {
    let timings = config.timings;
    if let Err(problem) = timings.check() {
        return problem.to_string();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(problem) => return format!("its runtime could not be started: {problem}"),
    };
    runtime.block_on(async {
        let elector = Elector::new(LEADER_LEASE, &config.identity, timings);
        match ClusterLease::new(config) {
            Ok(store) => elect(&store, elector, timings.retry, standing, release).await,
            Err(problem) => format!("its client could not be built: {problem}"),
        }
    })
}

/// Why an access to the lease did not work.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("somebody else wrote the lease first")]
    Conflict,
    #[error("{0}")]
    Failed(String),
}

/// Where the lease is.
trait LeaseStore {
    fn get(&self) -> impl Future<Output = Result<Option<Lease>, LeaseError>>;
    fn create(&self, lease: &Lease) -> impl Future<Output = Result<Lease, LeaseError>>;
    fn replace(&self, lease: &Lease) -> impl Future<Output = Result<Lease, LeaseError>>;
}

struct ClusterLease {
    api: Api<Lease>,
    deadline: Duration,
}

impl ClusterLease {
    fn new(config: LeaderConfig) -> kube::Result<Self> {
        // As in client-go: two calls fit between two deadlines.
        let deadline = config.timings.renew_deadline / 2;
        let mut kube = config.kube;
        kube.connect_timeout = Some(deadline);
        kube.write_timeout = Some(deadline);
        let client = config.connector.connect(&Peer::LeaderElection, kube)?;
        let api = Api::namespaced(client, &config.namespace);
        Ok(Self { api, deadline })
    }

    async fn call<T>(&self, verb: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, LeaseError> {
        match tokio::time::timeout(self.deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(LeaseError::Conflict),
            Ok(Err(problem)) => Err(LeaseError::Failed(format!("{verb} lease {LEADER_LEASE}: {problem}"))),
            Err(_) => {
                let seconds = self.deadline.as_secs_f64();
                let problem = format!("{verb} lease {LEADER_LEASE}: no answer within {seconds} s");
                Err(LeaseError::Failed(problem))
            }
        }
    }
}

fn as_us() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

impl LeaseStore for ClusterLease {
    async fn get(&self) -> Result<Option<Lease>, LeaseError> {
        self.call("get", self.api.get_opt(LEADER_LEASE)).await
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.call("create", self.api.create(&as_us(), lease)).await
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.call("update", self.api.replace(LEADER_LEASE, &as_us(), lease))
            .await
    }
}

/// Until the election ends for us; why.
async fn elect(
    store: &impl LeaseStore,
    mut elector: Elector,
    retry: Duration,
    standing: &watch::Sender<Standing>,
    release: &CancellationToken,
) -> String {
    let mut last_problem = String::new();
    let mut last_holder = None;
    while !standing.is_closed() {
        if release.is_cancelled() {
            return give_back(store, &elector).await;
        }
        let deadline = elector.deadline();
        let result = match deadline {
            None => look(store, &mut elector).await,
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), look(store, &mut elector)).await {
                Ok(result) => result,
                Err(_) => return not_renewed().reason,
            },
        };
        match result {
            Ok(Some(reason)) => return reason,
            Ok(None) => last_problem.clear(),
            Err(problem) => report(&problem, &mut last_problem),
        }
        tell_who_leads(&elector, &mut last_holder);
        let mut pause = Instant::now() + retry;
        if let Some(until) = elector.deadline() {
            standing.send_replace(Standing::Leading { until });
            pause = pause.min(until);
        }
        tokio::select! {
            () = tokio::time::sleep_until(pause.into()) => {}
            () = release.cancelled() => {}
        }
        if elector.deadline().is_some_and(|deadline| Instant::now() >= deadline) {
            return not_renewed().reason;
        }
    }
    "nobody listens any more".to_owned()
}

/// One look at the lease, and the write that follows from it. The reason, if the lease is lost.
async fn look(store: &impl LeaseStore, elector: &mut Elector) -> Result<Option<String>, LeaseError> {
    let lease = store.get().await?;
    let began = Instant::now();
    let accepted = match elector.observe(lease.as_ref(), began, Timestamp::now()) {
        Action::Wait => return Ok(None),
        Action::Lost(reason) => return Ok(Some(reason)),
        Action::Create(claim) => store.create(&claim).await?,
        Action::Replace(claim) => store.replace(&claim).await?,
    };
    elector.accepted(accepted, began);
    Ok(None)
}

/// The same problem every two seconds is one line, not many.
fn report(problem: &LeaseError, last: &mut String) {
    let text = problem.to_string();
    if *last == text {
        tracing::debug!(problem = text, "leader election");
    } else {
        tracing::warn!(problem = text, "leader election");
        *last = text;
    }
}

/// A person who asks why this operator does nothing finds the answer in its log: once per holder.
fn tell_who_leads(elector: &Elector, last: &mut Option<String>) {
    let holder = elector.deadline().is_none().then(|| elector.standing_by()).flatten();
    if let Some(text) = holder.as_ref().filter(|_| *last != holder) {
        tracing::info!("standing by: {text}");
    }
    *last = holder;
}

async fn give_back(store: &impl LeaseStore, elector: &Elector) -> String {
    let Some(lease) = elector.release(Timestamp::now()) else {
        return "stopped while another operator led".to_owned();
    };
    match store.replace(&lease).await {
        Ok(_) => "released".to_owned(),
        Err(problem) => format!("stopped; the lease expires by itself: {problem}"),
    }
}

#[cfg(test)]
mod tests;
