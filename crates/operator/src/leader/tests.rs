//! The election against a lease in memory, with the rules of an API server about versions.

use kkp_upgrade_connection::Connector;
use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;

use super::*;

/// A lease as an API server keeps it.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Server>>);

#[derive(Default)]
struct Server {
    lease: Option<Lease>,
    version: u64,
    unreachable: bool,
}

impl Memory {
    fn holder(&self) -> String {
        let server = self.0.lock().unwrap();
        let spec = server.lease.as_ref().and_then(|lease| lease.spec.clone());
        spec.and_then(|spec| spec.holder_identity).unwrap_or_default()
    }

    fn write(&self, lease: &Lease, exists: bool) -> Result<Lease, LeaseError> {
        let mut server = self.0.lock().unwrap();
        let current = server
            .lease
            .as_ref()
            .and_then(|old| old.metadata.resource_version.clone());
        if exists != current.is_some() || lease.metadata.resource_version != current {
            return Err(LeaseError::Conflict);
        }
        server.version += 1;
        let mut lease = lease.clone();
        lease.metadata.resource_version = Some(server.version.to_string());
        server.lease = Some(lease.clone());
        Ok(lease)
    }

    /// Like an API server that is gone: calls hang.
    async fn reach(&self) {
        let unreachable = self.0.lock().unwrap().unreachable;
        if unreachable {
            std::future::pending::<()>().await;
        }
    }
}

impl LeaseStore for Memory {
    async fn get(&self) -> Result<Option<Lease>, LeaseError> {
        self.reach().await;
        Ok(self.0.lock().unwrap().lease.clone())
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.reach().await;
        self.write(lease, false)
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.reach().await;
        self.write(lease, true)
    }
}

const QUICK: LeaderTimings = LeaderTimings {
    lease: Duration::from_millis(900),
    renew_deadline: Duration::from_millis(600),
    retry: Duration::from_millis(20),
};

fn join(store: &Memory, identity: &str) -> (Leadership, JoinHandle<()>) {
    let (sender, standing) = watch::channel(Standing::Standby);
    let release = CancellationToken::new();
    let leadership = Leadership {
        standing,
        release: release.clone(),
        patience: QUICK.renew_deadline,
    };
    let elector = Elector::new(LEADER_LEASE, identity, QUICK);
    let store = store.clone();
    let task = tokio::spawn(async move {
        let reason = elect(&store, elector, QUICK.retry, &sender, &release).await;
        sender.send_replace(Standing::Ended(reason));
    });
    (leadership, task)
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.unwrap()
}

#[tokio::test]
async fn one_leads_and_the_other_follows_at_once_after_a_release() {
    let store = Memory::default();
    let (first, _) = join(&store, "first");
    soon(first.acquired()).await.unwrap();
    let (second, _) = join(&store, "second");
    // Longer than the lease: renewals keep the second one out.
    let early = tokio::time::timeout(Duration::from_millis(1500), second.acquired()).await;
    assert!(early.is_err() && first.leads() && !second.leads());

    let begin = Instant::now();
    first.release().await;
    soon(second.acquired()).await.unwrap();
    assert!(begin.elapsed() < QUICK.lease, "{:?}", begin.elapsed());
    assert_eq!(store.holder(), "second");
    assert!(!first.leads());
    assert_eq!(soon(first.lost()).await.to_string(), "leader election ended: released");
}

#[tokio::test]
async fn a_dead_leader_is_replaced_only_after_the_lease() {
    let store = Memory::default();
    let (first, task) = join(&store, "first");
    soon(first.acquired()).await.unwrap();
    task.abort();
    assert_eq!(soon(first.lost()).await, thread_gone());
    let begin = Instant::now();
    let (second, _) = join(&store, "second");
    soon(second.acquired()).await.unwrap();
    assert!(begin.elapsed() >= QUICK.lease, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_leader_that_cannot_reach_the_server_stops_before_another_may_start() {
    let store = Memory::default();
    let (first, _) = join(&store, "first");
    soon(first.acquired()).await.unwrap();
    store.0.lock().unwrap().unreachable = true;
    let begin = Instant::now();
    assert_eq!(soon(first.lost()).await, not_renewed());
    assert!(begin.elapsed() < QUICK.lease, "{:?}", begin.elapsed());
    assert!(!first.leads());
}

#[tokio::test]
async fn a_leader_whose_lease_was_taken_has_lost() {
    let store = Memory::default();
    let (first, _) = join(&store, "first");
    soon(first.acquired()).await.unwrap();
    {
        let mut server = store.0.lock().unwrap();
        server.version += 1;
        let version = server.version.to_string();
        let lease = server.lease.as_mut().unwrap();
        lease.metadata.resource_version = Some(version);
        lease.spec.as_mut().unwrap().holder_identity = Some("thief".to_owned());
    }
    let ended = soon(first.lost()).await.to_string();
    assert!(ended.contains("thief"), "{ended}");
    assert_eq!(store.holder(), "thief");
}

#[tokio::test]
async fn of_two_claims_on_the_same_version_one_is_refused() {
    let store = Memory::default();
    let mut first = Elector::new(LEADER_LEASE, "first", QUICK);
    let mut second = Elector::new(LEADER_LEASE, "second", QUICK);
    let now = Instant::now();
    let Action::Create(mine) = first.observe(None, now, Timestamp::now()) else {
        panic!("no claim")
    };
    assert!(look(&store, &mut second).await.unwrap().is_none());
    assert!(matches!(store.create(&mine).await, Err(LeaseError::Conflict)));
    assert!(look(&store, &mut first).await.unwrap().is_none());
    assert_eq!((first.deadline(), store.holder()), (None, "second".to_owned()));
}

#[tokio::test]
async fn durations_that_contradict_each_other_end_the_election() {
    let leadership = start(LeaderConfig {
        connector: Connector::default(),
        kube: kube::Config::new("http://127.0.0.1:1".parse().unwrap()),
        namespace: "kubermatic".to_owned(),
        identity: "me".to_owned(),
        timings: LeaderTimings {
            renew_deadline: Duration::from_secs(20),
            ..LeaderTimings::default()
        },
    });
    let ended = soon(leadership.acquired()).await.unwrap_err();
    assert!(ended.to_string().contains("--leader-renew-deadline"), "{ended}");
}

#[tokio::test]
async fn without_a_server_a_candidate_stands_by_and_can_be_stopped() {
    let leadership = start(LeaderConfig {
        connector: Connector::default(),
        kube: kube::Config::new("http://127.0.0.1:1".parse().unwrap()),
        namespace: "kubermatic".to_owned(),
        identity: "me".to_owned(),
        timings: QUICK,
    });
    let early = tokio::time::timeout(Duration::from_millis(200), leadership.acquired()).await;
    assert!(early.is_err());
    soon(leadership.release()).await;
    let ended = soon(leadership.lost()).await.to_string();
    assert!(ended.contains("another operator led"), "{ended}");
}
