//! A seed that has used up its time in a round: it is said of everything there, and nothing more is asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Response;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::rules::{Field, Finding, PlatformFacts};
use kube::Client;
use kube::client::Body;
use serde_json::json;

use super::super::rules::{Reading, evaluate};
use super::super::tests::{NOW, preflight};
use super::*;
use crate::outside::Outside;
use crate::seeds::SeedConnections;

/// A master that has nothing.
fn master() -> Client {
    let service = tower::service_fn(|_: http::Request<Body>| async {
        let page = json!({"metadata": {}, "items": []});
        Ok::<_, Infallible>(Response::new(Body::from(page.to_string().into_bytes())))
    });
    Client::new(service, "kubermatic")
}

/// A seed that has said who it is and never answers again, and how often it was asked.
fn silent() -> (SeedConnection, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    let service = tower::service_fn(move |_: http::Request<Body>| {
        counter.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    (SeedConnection::of_a_test(Client::new(service, "kubermatic")), asked)
}

/// A seed with one user cluster of another KKP's, which does not say what it runs itself.
fn with_a_foreign_cluster() -> SeedConnection {
    let service = tower::service_fn(|request: http::Request<Body>| {
        let (code, answer) = match request.uri().path() {
            path if path.ends_with("/namespaces/kubermatic/deployments") => (
                500,
                json!({"kind": "Status", "status": "Failure", "message": "broken", "code": 500}),
            ),
            path if path.ends_with("/clusters") => {
                let metadata = json!({"name": "a", "labels": {"worker-name": "somebody"}});
                (
                    200,
                    json!({"metadata": {}, "items": [{"metadata": metadata, "spec": {}}]}),
                )
            }
            _ => (200, json!({"metadata": {}, "items": []})),
        };
        let answer = Response::builder()
            .status(code)
            .body(Body::from(answer.to_string().into_bytes()));
        async move { Ok::<_, Infallible>(answer.unwrap()) }
    });
    SeedConnection::of_a_test(Client::new(service, "kubermatic"))
}

fn request() -> Request {
    let object = json!({"apiVersion": "upgrade.k8c.io/v1alpha1", "kind": "KKPUpgrade", "metadata": {"name": "u"},
        "spec": {"targetVersion": "2.31.0", "checks": {"insideUserClusters": "Sample", "seedCapacity": "Requests"}}});
    let object: KKPUpgradeObject = serde_json::from_value(object).unwrap();
    Request::try_from(&object.parse_spec().unwrap()).unwrap()
}

fn reading(surveyed: Surveyed, connection: &SeedConnection) -> SeedReading {
    SeedReading {
        seed: serde_json::from_value(json!({"metadata": {"name": "eu"}, "spec": {}})).unwrap(),
        client: Ok(connection.client.clone()),
        separate: Ok(true),
        certificate_ends: None,
        survey: surveyed.survey,
        clusters: surveyed.clusters,
    }
}

#[tokio::test(start_paused = true)]
async fn a_seed_that_has_used_up_its_time_is_not_asked_again_in_the_round() {
    let (master, (connection, asked)) = (master(), silent());
    let seeds = SeedConnections::knowing("eu", connection.clone());
    let (outside, catalogue) = (Outside::default(), Known::NotRead);
    let observer = Observer::of_a_reader(&master, "kubermatic", None, &catalogue, &seeds, &outside);
    let evaluation = preflight();
    let place = Place::new("eu".to_owned(), evaluation.part());
    let began = tokio::time::Instant::now();
    let before = BTreeSet::new();
    let surveyed = Box::pin(survey_seed(
        &observer,
        (&connection, "eu"),
        "kubermatic",
        "v2.31.0",
        &before,
        Some(place),
    ));
    let surveyed = surveyed.await;
    let why = "seed eu: not read within 20 s";
    assert_eq!(surveyed.clusters.given_up.as_deref(), Some(why));
    let seeds = [reading(surveyed, &connection)];
    let (took, times) = (began.elapsed(), asked.load(Ordering::Relaxed));
    let reading = Reading {
        platform: PlatformFacts::default(),
        documents: ["configuration", "values"].map(|name| (name, Err("not of interest".to_owned()))),
        seeds: &seeds,
        seed_objects: Ok(BTreeMap::new()),
        webhooks: Vec::new(),
        accounts: Vec::new(),
        configured_limit: Field::Known(None),
        capacities: super::super::capacity::read(&seeds).await,
    };
    let nothing_begun = (evaluation, BTreeMap::new());
    let findings = Box::pin(evaluate(
        &observer,
        &request(),
        nothing_begun,
        &reading,
        NOW.parse().unwrap(),
    ))
    .await;
    assert_eq!((began.elapsed(), asked.load(Ordering::Relaxed)), (took, times));
    let of = |rule: &str| {
        findings
            .iter()
            .find(|finding| finding.rule == rule && finding.target == "eu")
    };
    let unsupported = of("cluster-version-unsupported").expect("a rule about every user cluster");
    assert!(unsupported.unknown && unsupported.blocks(), "{unsupported:?}");
    assert!(unsupported.message.contains(why), "{unsupported:?}");
    let inside = |finding: &Finding| finding.unknown && finding.message.contains("usercluster could not be read");
    let inside = findings
        .iter()
        .find(|finding| inside(finding) && finding.target == "eu");
    assert!(
        inside.is_some_and(|finding| finding.message.contains(why)),
        "{inside:?}"
    );
}

#[tokio::test]
async fn where_nobody_says_which_user_clusters_count_none_is_counted() {
    let (master, connection) = (master(), with_a_foreign_cluster());
    let (seeds, outside, catalogue) = (SeedConnections::default(), Outside::default(), Known::NotRead);
    let observer = Observer::of_a_reader(&master, "kubermatic", None, &catalogue, &seeds, &outside);
    let evaluation = preflight();
    let place = Place::new("eu".to_owned(), evaluation.part());
    let before = BTreeSet::new();
    let seed = (&connection, "eu");
    let surveyed = survey_seed(&observer, seed, "kubermatic", "v2.31.0", &before, Some(place));
    let surveyed = Box::pin(surveyed).await;
    let counts = &surveyed.clusters.counts;
    assert!(
        matches!(counts, Known::Unknown(why) if why.contains("Deployments of seed eu")),
        "{counts:?}"
    );
    assert_eq!(surveyed.clusters.first.as_deref(), Some("a"));
    assert!(surveyed.place.is_some(), "the rules have seen it");
}
