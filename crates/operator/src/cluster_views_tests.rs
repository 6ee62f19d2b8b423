//! A view answers *not yet* by itself and everything else only as read live.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::apps::v1::Deployment;
use kkp_upgrade_kkp::types::{Addon, Cluster};
use serde_json::json;

use super::*;

const TARGET: &str = "v2.31.0";

fn cluster(tag: &str, heartbeat: &str) -> Cluster {
    let condition = json!({"status": "True", "kubermaticVersion": tag, "lastHeartbeatTime": heartbeat});
    let kinds = [
        "ClusterControllerReconciledSuccessfully",
        "CloudControllerReconciledSuccessfully",
        "UpdateControllerReconciledSuccessfully",
        "MonitoringControllerReconciledSuccessfully",
        "SeedResourcesUpToDate",
    ];
    let conditions: serde_json::Map<_, _> = kinds
        .map(|kind| (kind.to_owned(), condition.clone()))
        .into_iter()
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": "a"}, "spec": {"version": "1.34.1"},
        "status": {"namespaceName": "cluster-a", "conditions": conditions},
    }))
    .unwrap()
}

fn controller(tag: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "usercluster-controller", "namespace": "cluster-a", "generation": 1},
        "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c", "image": format!("quay.io/k/k:{tag}")}]}}},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1},
    }))
    .unwrap()
}

const CLUSTERS: Kind<Cluster> = Kind {
    index: 0,
    clear: ClusterPieces::clear_clusters,
    set: ClusterPieces::set_cluster,
    remove: ClusterPieces::remove_cluster,
};
const CONTROLLERS: Kind<Deployment> = Kind {
    index: 1,
    clear: ClusterPieces::clear_controllers,
    set: ClusterPieces::set_controller,
    remove: ClusterPieces::remove_controller,
};
const ADDONS: Kind<Addon> = Kind {
    index: 2,
    clear: ClusterPieces::clear_addons,
    set: ClusterPieces::set_addon,
    remove: ClusterPieces::remove_addon,
};

/// A view with one cluster at `tag`.
fn view(tag: &str) -> ClusterView {
    let state = Arc::new(Mutex::new(State {
        pieces: ClusterPieces::new(TARGET, ""),
        ..State::default()
    }));
    {
        let mut state = lock(&state);
        state.note(Some(Event::Init), &CLUSTERS);
        state.note(Some(Event::InitApply(cluster(tag, "1"))), &CLUSTERS);
        state.note(Some(Event::InitDone), &CLUSTERS);
        state.note(Some(Event::InitApply(controller(tag))), &CONTROLLERS);
        state.note(Some(Event::InitDone), &CONTROLLERS);
    }
    ClusterView {
        state,
        lasts: Duration::from_secs(30),
        identity: (String::new(), String::new()),
        asked: Mutex::new(tokio::time::Instant::now()),
        tasks: Vec::new(),
    }
}

fn complete(view: &ClusterView) {
    lock(&view.state).note::<Addon>(Some(Event::InitDone), &ADDONS);
}

/// A live read that finds the very same.
fn read(view: &ClusterView) {
    let pieces = lock(&view.state).pieces.clone();
    view.confirm(view.generation(), &pieces);
}

/// Whether the view holds what the last live read found.
fn confirmed(view: &ClusterView) -> bool {
    let state = lock(&view.state);
    state.confirmed == Some(state.generation)
}

#[test]
fn before_every_kind_was_listed_nothing_is_said() {
    let view = view("v2.30.6");
    assert!(view.pieces().is_none());
    complete(&view);
    assert!(view.pieces().is_none(), "nor before the first live read");
    read(&view);
    assert!(view.pieces().is_some(), "not yet converged needs no more");
}

#[test]
fn what_a_run_rests_on_was_read_live_and_has_not_changed_since() {
    let view = view(TARGET);
    complete(&view);
    assert!(
        view.pieces().is_none(),
        "a watch alone never says that all is converged"
    );
    read(&view);
    assert!(view.pieces().is_some() && confirmed(&view));
    let change = lock(&view.state).note(Some(Event::Apply(cluster("v2.30.6", "2"))), &CLUSTERS);
    assert_eq!(change, Change::Decision, "it is not converged any more");
    assert!(
        !confirmed(&view),
        "it would have to be read again to count as converged"
    );
    assert!(view.pieces().is_some(), "but not yet is not yet");
}

#[test]
fn a_live_read_that_says_something_else_confirms_nothing() {
    let view = view(TARGET);
    complete(&view);
    let mut other = ClusterPieces::new(TARGET, "");
    other.set_cluster(&cluster("v2.30.6", "1"));
    view.confirm(view.generation(), &other);
    assert!(!confirmed(&view));
    let pieces = lock(&view.state).pieces.clone();
    let before = view.generation();
    lock(&view.state).note(Some(Event::Apply(controller("v2.30.6"))), &CONTROLLERS);
    view.confirm(before, &pieces);
    assert!(!confirmed(&view), "the read began before the change");
}

#[test]
fn a_broken_watch_vouches_for_nothing_until_it_speaks_again() {
    let view = view("v2.30.6");
    complete(&view);
    read(&view);
    lock(&view.state).note::<Addon>(None, &ADDONS);
    assert!(view.pieces().is_none());
    complete(&view);
    assert!(view.pieces().is_some());
}

#[test]
fn heartbeats_change_nothing_and_wake_nobody() {
    let view = view(TARGET);
    complete(&view);
    let before = view.generation();
    let change = lock(&view.state).note(Some(Event::Apply(cluster(TARGET, "later"))), &CLUSTERS);
    assert_eq!((change, view.generation()), (Change::None, before));
    let change = lock(&view.state).note(Some(Event::Apply(controller("v2.30.6"))), &CONTROLLERS);
    assert_eq!(change, Change::Decision, "the seed is not settled any more");
}

#[test]
fn a_view_is_trusted_for_a_while_after_a_live_read_only() {
    for tag in [TARGET, "v2.30.6"] {
        let mut view = view(tag);
        complete(&view);
        read(&view);
        assert!(view.pieces().is_some());
        view.lasts = Duration::ZERO;
        assert!(view.pieces().is_none(), "{tag}: the watch may be frozen");
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_round_asks_for_is_not_watched_for_ever() {
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| {
        std::future::pending::<Result<http::Response<kube::client::Body>, Infallible>>()
    });
    let connection = SeedConnection::of_a_test(Client::new(service, "kubermatic"));
    let views = ClusterViews::new(watch::channel(0).0, Duration::from_mins(1));
    views.of("eu", &connection, "v2.30.7", "");
    views.of("eu", &connection, TARGET, "");
    for _ in 0..2 {
        tokio::time::advance(UNASKED * 2 / 3).await;
        assert!(views.known("eu", &connection, TARGET, "").is_some());
        views.retain(|_, _| true);
    }
    let of = |target| views.known("eu", &connection, target, "").is_some();
    assert_eq!((of("v2.30.7"), of(TARGET)), (false, true));
}

#[tokio::test]
async fn a_seed_whose_lists_have_no_end_is_not_asked_for_ever() {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    let service = tower::service_fn(move |_: http::Request<kube::client::Body>| {
        counter.fetch_add(1, Ordering::Relaxed);
        let page = json!({"kind": "List", "apiVersion": "v1", "metadata": {"continue": "more"}, "items": []});
        let answer = http::Response::new(kube::client::Body::from(page.to_string().into_bytes()));
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = SeedConnection::of_a_test(Client::new(service, "kubermatic"));
    let views = ClusterViews::new(watch::channel(0).0, Duration::from_mins(1));
    let view = views.of("eu", &connection, TARGET, "");
    views.begin();
    let all = 3 * OBJECTS.div_ceil(PAGE);
    while !view.tasks.iter().all(AbortHandle::is_finished) {
        assert!(asked.load(Ordering::Relaxed) <= all, "a list goes on");
        tokio::task::yield_now().await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), all);
}
