//! A seed whose user clusters are read once for everybody, and what is said where reading breaks off.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use kkp_upgrade_core::facts::Known;
use kkp_upgrade_core::rules::Finding;
use kube::client::Body;
use serde_json::json;

use super::super::tests::preflight;
use super::super::user_clusters::{Judged, UserClusters};
use super::*;
use crate::cluster_views::ClusterViews;
use crate::seeds::SeedConnection;

const LISTS: [&str; 3] = [
    "/apis/apps/v1/deployments",
    "/apis/kubermatic.k8c.io/v1/addons",
    "/apis/kubermatic.k8c.io/v1/clusters",
];

/// A seed with a paused user cluster on the first page and an addon that is being deleted; what is in `broken` has no answer. Keeps
/// the paths that were asked for.
fn seed(broken: &'static str, asked: Arc<Mutex<Vec<String>>>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        let second = request.uri().query().unwrap_or_default().contains("continue=");
        lock(&asked).push(path.clone());
        let metadata = json!({"name": if second { "b" } else { "a" }, "creationTimestamp": "2026-05-01T00:00:00Z"});
        let object = match path.rsplit('/').next() {
            Some("clusters") => json!({"metadata": metadata, "spec": {"version": "1.33.5", "pause": !second},
                "status": {"namespaceName": "cluster-a", "conditions": {"SeedResourcesUpToDate": {"status": "True"}}}}),
            Some("addons") => json!({"metadata": {"name": "node-exporter", "namespace": "cluster-a"}, "spec": {}}),
            _ => json!(null),
        };
        let items: Vec<&Value> = Some(&object).filter(|object| !object.is_null()).into_iter().collect();
        let pages = path.ends_with("/clusters") && !second;
        let next = if pages { json!({"continue": "b"}) } else { json!({}) };
        let (code, answer) = if path.ends_with(broken) && !broken.is_empty() {
            (
                500,
                json!({"kind": "Status", "status": "Failure", "message": "broken", "code": 500}),
            )
        } else {
            (200, json!({"metadata": next, "items": items}))
        };
        let answer = Response::builder()
            .status(code)
            .body(Body::from(answer.to_string().into_bytes()));
        async move { Ok::<_, Infallible>(answer.unwrap()) }
    });
    Client::new(service, "kubermatic")
}

/// What rules say about a Secret of this certificate; `None` = the rule does not fail.
fn said_about(certificate: Option<&str>) -> Option<String> {
    let mut evaluation = preflight();
    let mut place = Place::new("master".to_owned(), evaluation.part());
    let encoded = certificate.map(|pem| k8s_openapi::ByteString(pem.as_bytes().to_vec()));
    let annotations = json!({"kubectl.kubernetes.io/last-applied-configuration": "key bytes", "mine": "kept"});
    let secret = json!({
        "metadata": {"name": "tls", "namespace": "dex", "creationTimestamp": "2026-05-01T00:00:00Z", "annotations": annotations},
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": encoded, "tls.key": "key bytes"},
    });
    place.show(ItemKind::TlsSecret, &secret);
    evaluation.absorb(place.end());
    let findings = evaluation.finish();
    assert!(!format!("{findings:?}").contains("key bytes"));
    let mut about = findings
        .into_iter()
        .filter(|finding| finding.rule == "tls-secret-expires");
    about
        .find(|finding| !finding.unknown)
        .map(|finding| format!("{}: {}", finding.target, finding.message))
}

#[test]
fn a_certificate_that_ends_soon_is_told_and_nothing_else_of_its_secret() {
    let ends = |year: i32| {
        let mut parameters = rcgen::CertificateParams::new(vec!["login.example.test".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(year, 6, 1);
        parameters
            .self_signed(&rcgen::KeyPair::generate().unwrap())
            .unwrap()
            .pem()
    };
    assert_eq!(said_about(Some(&ends(2999))), None);
    let told = said_about(Some(&ends(2021))).unwrap();
    assert_eq!(told, "master/dex/tls: its certificate ends 2021-06-01T00:00:00Z");
    for unreadable in [None, Some("no certificate")] {
        let told = said_about(unreadable).unwrap();
        assert_eq!(told, "master/dex/tls: its certificate cannot be read");
    }
}

fn judged() -> Judged {
    Judged {
        target: "v2.31.0".to_owned(),
        worker_name: String::new(),
    }
}

fn search() -> Search {
    Search {
        kinds: [ItemKind::Cluster, ItemKind::Addon].into(),
        values: Arc::new(Ok(json!({}))),
    }
}

/// What is found about the objects of the seed, and the paths that were asked for: where the evidence was read before, with what
/// passed by then.
async fn found(broken: &'static str, evidence_first: bool) -> (Vec<Finding>, Vec<String>) {
    let asked = Arc::default();
    let connection = SeedConnection::of_a_test(seed(broken, Arc::clone(&asked)));
    let mut evaluation = preflight();
    let place = Place::new("eu".to_owned(), evaluation.part());
    let place = if evidence_first {
        let (judged, before) = (judged(), BTreeSet::new());
        let read = UserClusters::read(None, &connection, "eu", &judged, &before, Some(place));
        Box::pin(read).await.1
    } else {
        Some(place)
    };
    let place = place.unwrap_or_else(|| Place::new("eu".to_owned(), evaluation.part()));
    let parts = read(vec![(place, connection.client)], &search(), &evaluation).await;
    for part in parts {
        evaluation.absorb(part);
    }
    let mut findings = evaluation.finish();
    findings.retain(|finding| finding.target.starts_with("eu"));
    let mut asked = std::mem::take(&mut *lock(&asked));
    asked.sort();
    (findings, asked)
}

#[tokio::test]
async fn user_clusters_are_read_once_for_evidence_and_rules() {
    let (alone, _) = found("", false).await;
    let (together, asked) = found("", true).await;
    assert!(
        alone
            .iter()
            .any(|finding| finding.rule == "cluster-paused" && finding.target == "eu/a" && !finding.unknown),
        "{alone:?}"
    );
    assert_eq!(alone, together);
    assert_eq!(
        asked,
        [LISTS[0], LISTS[1], LISTS[2], LISTS[2]],
        "the Clusters have two pages"
    );
}

#[tokio::test]
async fn what_the_evidence_could_not_read_is_undecided_for_the_rules() {
    for broken in ["/addons", "/clusters"] {
        let (alone, _) = found(broken, false).await;
        let (together, asked) = found(broken, true).await;
        let undecided = |finding: &Finding| finding.unknown && finding.target == "eu";
        assert_eq!(alone.iter().any(undecided), broken == "/clusters", "{alone:?}");
        assert_eq!(alone, together, "{broken}");
        let times = asked.iter().filter(|path| path.ends_with(broken)).count();
        assert_eq!(times, 2, "the rules have asked themselves: {asked:?}");
    }
}

/// A seed that answers everything with this.
fn always(answer: &Value, asked: Arc<Mutex<Vec<String>>>) -> Client {
    let answer = answer.to_string();
    let service = tower::service_fn(move |request: Request<Body>| {
        lock(&asked).push(request.uri().path().to_owned());
        let answer = Response::new(Body::from(answer.clone().into_bytes()));
        async move { Ok::<_, Infallible>(answer) }
    });
    Client::new(service, "kubermatic")
}

#[tokio::test]
async fn what_is_no_list_of_user_clusters_is_none_that_is_empty() {
    let count = async |answer: Value| {
        let connection = SeedConnection::of_a_test(always(&answer, Arc::default()));
        let (judged, before) = (judged(), BTreeSet::new());
        let read = UserClusters::read(None, &connection, "eu", &judged, &before, None);
        Box::pin(read).await.0.counts
    };
    for empty in [json!({"metadata": {}, "items": []}), json!({"items": null})] {
        let counts = count(empty).await;
        assert!(matches!(&counts, Known::Is(counts) if counts.total == 0), "{counts:?}");
    }
    for strange in [json!({}), json!({"metadata": {}}), json!({"items": {}})] {
        let counts = count(strange).await;
        assert!(matches!(counts, Known::Unknown(_)), "{counts:?}");
    }
}

#[tokio::test]
async fn a_seed_whose_user_clusters_have_no_end_is_given_up() {
    let more = json!({"metadata": {"continue": "more"}, "items": []});
    let connection = SeedConnection::of_a_test(always(&more, Arc::default()));
    let (judged, before) = (judged(), BTreeSet::new());
    let read = UserClusters::read(None, &connection, "eu", &judged, &before, None);
    let given_up = Box::pin(read).await.0.given_up;
    assert!(
        given_up
            .as_deref()
            .is_some_and(|why| why.contains("the list has no end")),
        "{given_up:?}"
    );
}

#[tokio::test]
async fn behind_a_list_that_has_no_end_nothing_more_is_read() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let client = always(
        &json!({"metadata": {"continue": "more"}, "items": []}),
        Arc::clone(&asked),
    );
    let mut evaluation = preflight();
    let place = Place::new("eu".to_owned(), evaluation.part());
    let search = Search {
        kinds: [ItemKind::Pod, ItemKind::Cluster, ItemKind::Release].into(),
        ..search()
    };
    for part in read(vec![(place, client)], &search, &evaluation).await {
        evaluation.absorb(part);
    }
    let asked = std::mem::take(&mut *lock(&asked));
    assert_eq!(asked.len(), 1000, "as many pages as one list may have");
    assert!(asked.iter().all(|path| path == LISTS[2]), "{:?}", asked.last());
    let findings = evaluation.finish();
    for kind in [ItemKind::Cluster, ItemKind::Pod, ItemKind::Release] {
        let words = format!("{kind} could not be read: clusters of eu: the list has no end after 1000 pages");
        let told = |finding: &Finding| finding.unknown && finding.target == "eu" && finding.message.contains(&words);
        assert!(findings.iter().any(told), "{words}: {findings:?}");
    }
}

#[tokio::test]
async fn a_task_that_breaks_off_leaves_its_place_undecided() {
    let mut evaluation = preflight();
    let broken = std::future::poll_fn(|_| -> Poll<Evaluation> { panic!("a defect") });
    let part = in_a_task("eu", &search(), &evaluation, broken).await;
    evaluation.absorb(part);
    let findings = evaluation.finish();
    let of = |rule: &str| {
        let found = findings
            .iter()
            .find(|finding| finding.rule == rule && finding.target == "eu");
        found.map(|finding| finding.unknown && finding.blocks())
    };
    assert_eq!(of("cluster-version-unsupported"), Some(true), "{findings:?}");
}

#[tokio::test(start_paused = true)]
async fn a_seed_is_watched_behind_the_round_that_first_reads_it_and_not_beside_it() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let connection = SeedConnection::of_a_test(seed("", Arc::clone(&asked)));
    let views = ClusterViews::new(tokio::sync::watch::channel(0).0, Duration::from_mins(1));
    let (judged, before) = (judged(), BTreeSet::new());
    let known = || views.known("eu", &connection, &judged.target, "").is_some();
    assert!(!known());
    let read = UserClusters::read(Some(&views), &connection, "eu", &judged, &before, None);
    drop(Box::pin(read).await);
    assert_eq!(lock(&asked).len(), 4, "{asked:?}");
    assert!(known());
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(lock(&asked).len(), 4, "the round goes on: {asked:?}");
    views.begin();
    while lock(&asked).len() < 8 {
        tokio::task::yield_now().await;
    }
    views.end();
    let broken_off = UserClusters::read(Some(&views), &connection, "eu", &judged, &before, None);
    assert!(Box::pin(broken_off).now_or_never().is_none());
    assert!(!known(), "what did not come to its end is not begun anew by a watch");
}

#[tokio::test]
async fn a_seed_whose_user_clusters_cannot_be_read_is_not_watched() {
    for broken in ["/clusters", "/addons", "/deployments"] {
        let connection = SeedConnection::of_a_test(seed(broken, Arc::default()));
        let views = ClusterViews::new(tokio::sync::watch::channel(0).0, Duration::from_mins(1));
        let (judged, before) = (judged(), BTreeSet::new());
        let read = UserClusters::read(Some(&views), &connection, "eu", &judged, &before, None);
        drop(Box::pin(read).await);
        let view = views.known("eu", &connection, &judged.target, "");
        assert!(view.is_none(), "{broken}");
    }
}
