//! A seed that has used up its time in a round: it is said of everything there, and nothing more is asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Response;
use jiff::Timestamp;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::rules::{Catalogue, Field, Hop, Input, PlatformFacts, Stage};
use kkp_upgrade_core::version::KkpVersion;
use kube::Client;
use kube::client::Body;
use serde_json::json;

use super::super::rules::{Reading, evaluate};
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
    let connection = SeedConnection {
        client: Client::new(service, "kubermatic"),
        cluster_uid: "seed".to_owned(),
        identity: (String::new(), String::new()),
        certificate_ends: None,
    };
    (connection, asked)
}

fn request() -> Request {
    let object = json!({"apiVersion": "upgrade.k8c.io/v1alpha1", "kind": "KKPUpgrade", "metadata": {"name": "u"},
        "spec": {"targetVersion": "2.31.0", "checks": {"insideUserClusters": "Sample", "seedCapacity": "Requests"}}});
    let object: KKPUpgradeObject = serde_json::from_value(object).unwrap();
    Request::try_from(&object.parse_spec().unwrap()).unwrap()
}

fn evaluation(now: Timestamp) -> Evaluation {
    let (from, to) = (KkpVersion::new(2, 30, 6), KkpVersion::new(2, 31, 0));
    let input = Input {
        hops: vec![Hop { from, to }],
        now,
        ..Input::default()
    };
    Evaluation::new(&Catalogue::embedded_shared().unwrap(), &[Stage::Preflight], &input)
}

fn reading(surveyed: Surveyed, connection: &SeedConnection) -> SeedReading {
    SeedReading {
        seed: serde_json::from_value(json!({"metadata": {"name": "eu"}, "spec": {}})).unwrap(),
        client: Ok(connection.client.clone()),
        separate: Ok(true),
        certificate_ends: None,
        survey: surveyed.survey,
        clusters: surveyed.clusters,
        given_up: surveyed.given_up,
    }
}

#[tokio::test(start_paused = true)]
async fn a_seed_that_has_used_up_its_time_is_not_asked_again_in_the_round() {
    let (master, (connection, asked)) = (master(), silent());
    let (seeds, outside, catalogue) = (SeedConnections::default(), Outside::default(), Known::NotRead);
    let observer = Observer::of_a_reader(&master, "kubermatic", None, &catalogue, &seeds, &outside);
    let now: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    let evaluation = evaluation(now);
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
    assert_eq!(surveyed.given_up.as_deref(), Some(why));
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
    let findings = Box::pin(evaluate(&observer, &request(), nothing_begun, &reading, now)).await;
    assert_eq!((began.elapsed(), asked.load(Ordering::Relaxed)), (took, times));
    let of = |rule: &str| {
        findings
            .iter()
            .find(|finding| finding.rule == rule && finding.target == "eu")
    };
    let unsupported = of("cluster-version-unsupported").expect("a rule about every user cluster");
    assert!(unsupported.unknown && unsupported.blocks(), "{unsupported:?}");
    assert!(unsupported.message.contains(why), "{unsupported:?}");
}
