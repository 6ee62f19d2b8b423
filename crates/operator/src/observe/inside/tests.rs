//! A seed with user clusters: one that is well, one with everything wrong, one that is dead, one that is the seed itself.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kkp_upgrade_connection::{Connector, Peer};
use kkp_upgrade_core::rules::{Catalogue, Evaluation, Finding, Hop, Input, Stage};
use kkp_upgrade_core::version::KkpVersion;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::seeds::SeedConnections;

/// What a server has: lists and objects by path.
type Contents = BTreeMap<String, Value>;
/// `METHOD path` of every request.
type Requests = Arc<Mutex<Vec<String>>>;

/// A list that is not there is empty, an object that is not there is not found; a path of a list ends in its plural.
fn server(contents: Contents, requests: Requests) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let mut path = request.uri().path().to_owned();
        // Slices are asked for by the Service that they belong to.
        if let Some((_, service)) = request
            .uri()
            .query()
            .and_then(|query| query.split_once("service-name%3D"))
        {
            let service = service.split('&').next().unwrap_or_default();
            path = format!("{path}?{service}");
        }
        requests.lock().unwrap().push(format!("{} {path}", request.method()));
        let list = |items: &Value| json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items});
        let answer = match contents.get(&path) {
            Some(Value::Array(items)) => list(&items.clone().into()),
            Some(object) => object.clone(),
            None => list(&json!([])),
        };
        let code = if answer["kind"] == "Status" { 403 } else { 200 };
        assert_eq!(request.method(), Method::GET);
        let response = Response::builder()
            .status(code)
            .header("content-type", "application/json");
        let response = response.body(Body::from(answer.to_string().into_bytes())).unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    Client::new(service, "default")
}

const KUBECONFIG: &str = "clusters: [{name: c, cluster: {server: 'https://user.example.test'}}]\n\
    users: [{name: u, user: {token: geheim}}]\n\
    contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n";

fn system_namespace(uid: &str) -> (String, Value) {
    let namespace = json!({"metadata": {"name": "kube-system", "uid": uid}});
    ("/api/v1/namespaces/kube-system".to_owned(), namespace)
}

fn cluster(name: &str, spec: &Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec, "status": {"namespaceName": format!("cluster-{name}")}})
}

/// A seed with these Clusters, each with its kubeconfig.
fn seed(clusters: &[Value]) -> Contents {
    use k8s_openapi::ByteString;
    let secret = json!({"metadata": {"name": "admin-kubeconfig"},
        "data": {"kubeconfig": serde_json::to_value(ByteString(KUBECONFIG.into())).unwrap()}});
    let mut contents = Contents::from([("/apis/kubermatic.k8c.io/v1/clusters".to_owned(), json!(clusters))]);
    for cluster in clusters {
        let namespace = cluster["status"]["namespaceName"].as_str().unwrap();
        contents.insert(
            format!("/api/v1/namespaces/{namespace}/secrets/admin-kubeconfig"),
            secret.clone(),
        );
    }
    contents
}

fn broken() -> Contents {
    let waiting = |name: &str, reason: &str| {
        json!({"metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": "Running", "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": reason}}}]}})
    };
    let webhook = |name: &str, service: &str| {
        json!({"name": name, "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"namespace": "policy", "name": service}}})
    };
    Contents::from([
        system_namespace("broken"),
        (
            "/api/v1/nodes".to_owned(),
            json!([{"metadata": {"name": "up"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
                {"metadata": {"name": "down"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}]),
        ),
        (
            "/api/v1/namespaces/kube-system/pods".to_owned(),
            json!([waiting("dns", "ImagePullBackOff"), waiting("new", "ContainerCreating"),
                {"metadata": {"name": "stuck", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Pending"}}]),
        ),
        (
            "/apis/apiregistration.k8s.io/v1/apiservices".to_owned(),
            json!([{"metadata": {"name": "v1."}}, {"metadata": {"name": "v1beta1.metrics.k8s.io"},
                "status": {"conditions": [{"type": "Available", "status": "False"}]}}]),
        ),
        (
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations".to_owned(),
            json!([{"metadata": {"name": "v"}, "webhooks": [webhook("validation.gatekeeper.sh", "dead"), webhook("a.example.test", "live")]}]),
        ),
        (
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations".to_owned(),
            json!([{"metadata": {"name": "m"}, "webhooks": [
                {"name": "open", "failurePolicy": "Ignore", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                    "clientConfig": {"service": {"namespace": "policy", "name": "dead"}}}]}]),
        ),
    ])
}

/// Looks into the clusters; `inside` answers for each by name. Returns the findings, and what was asked of the seed.
async fn look(asked: Inside, seed: Contents, inside: BTreeMap<&'static str, Client>) -> (Vec<Finding>, Vec<String>) {
    let requests = Requests::default();
    let seeds = SeedConnections::new(Connector::around(move |peer, client| match peer {
        Peer::UserCluster { seed, name } if seed == "eu" => inside.get(name.as_str()).cloned().unwrap_or(client),
        _ => client,
    }));
    let connection = SeedConnection::of_a_test(server(seed, requests.clone()));
    let (from, to) = (KkpVersion::new(2, 30, 6), KkpVersion::new(2, 31, 0));
    let input = Input {
        hops: vec![Hop { from, to }],
        ..Input::default()
    };
    let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
    let catalogue = Catalogue::embedded_shared().unwrap();
    let sink = Mutex::new(Evaluation::new(&catalogue, &[Stage::Preflight], &input));
    read_seed(&seeds, ("eu", &connection), asked, &sink, now).await;
    lock(&sink).visited(ItemKind::UserCluster, MASTER);
    let findings = sink.into_inner().unwrap().finish();
    let ours = findings
        .into_iter()
        .filter(|finding| finding.kind == ItemKind::UserCluster);
    let asked = std::mem::take(&mut *requests.lock().unwrap());
    (ours.collect(), asked)
}

fn told(findings: &[Finding]) -> BTreeSet<(String, String, bool)> {
    findings
        .iter()
        .map(|finding| (finding.rule.clone(), finding.target.clone(), finding.unknown))
        .collect()
}

#[tokio::test]
async fn what_is_wrong_inside_is_told_by_cluster() {
    let slice =
        json!([{"metadata": {"name": "live"}, "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}]}]);
    let mut contents = broken();
    contents.insert(
        "/apis/discovery.k8s.io/v1/namespaces/policy/endpointslices?live".to_owned(),
        slice,
    );
    let well = server(Contents::from([system_namespace("well")]), Requests::default());
    let inside = BTreeMap::from([("bad", server(contents, Requests::default())), ("good", well)]);
    let clusters = [cluster("bad", &json!({})), cluster("good", &json!({}))];
    let mut on_seed = seed(&clusters);
    on_seed.insert(
        "/api/v1/namespaces/cluster-bad/pods".to_owned(),
        json!([{"metadata": {"name": "apiserver-0", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Pending"}}]),
    );
    let (findings, _) = look(Inside::Sample, on_seed, inside).await;
    let rules = [
        ("user-cluster-api-unavailable", "v1beta1.metrics.k8s.io"),
        ("user-cluster-control-plane-failing", "apiserver-0 (Pending)"),
        ("user-cluster-gatekeeper-closed", "validation.gatekeeper.sh"),
        ("user-cluster-nodes-not-ready", "not Ready: down"),
        (
            "user-cluster-system-pods-failing",
            "dns (ImagePullBackOff), stuck (Pending)",
        ),
        (
            "user-cluster-webhook-dead",
            "fails closed without an endpoint: validation.gatekeeper.sh (Service policy/dead)",
        ),
    ];
    let expected: BTreeSet<_> = rules
        .iter()
        .map(|(rule, _)| ((*rule).to_owned(), "eu/bad".to_owned(), false))
        .collect();
    assert_eq!(told(&findings), expected);
    for (rule, part) in rules {
        let message = &findings.iter().find(|finding| finding.rule == rule).unwrap().message;
        assert!(message.contains(part), "{rule}: {message}");
    }
}

#[tokio::test]
async fn who_does_not_answer_or_is_another_is_undecided_once_and_ends_nothing() {
    let no = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403});
    let refuses = Contents::from([("/api/v1/namespaces/kube-system".to_owned(), no)]);
    let inside = BTreeMap::from([
        ("dead", server(refuses, Requests::default())),
        (
            "loop",
            server(Contents::from([system_namespace("seed")]), Requests::default()),
        ),
        (
            "good",
            server(Contents::from([system_namespace("good")]), Requests::default()),
        ),
    ]);
    let clusters = ["dead", "loop", "good", "bare"].map(|name| cluster(name, &json!({})));
    let mut on_seed = seed(&clusters);
    let bare = json!({"metadata": {"name": "admin-kubeconfig"}, "data": {}});
    on_seed.insert(
        "/api/v1/namespaces/cluster-bare/secrets/admin-kubeconfig".to_owned(),
        bare,
    );
    let (findings, _) = look(Inside::All, on_seed, inside).await;
    let nodes = "user-cluster-nodes-not-ready".to_owned();
    let expected: BTreeSet<_> = ["bare", "dead", "loop"]
        .map(|name| (nodes.clone(), format!("eu/{name}"), true))
        .into();
    assert_eq!(told(&findings), expected);
    for (target, part) in [
        ("eu/bare", "has no key `kubeconfig`"),
        ("eu/dead", "403 Forbidden: no"),
        ("eu/loop", "the seed itself answers"),
    ] {
        let message = &findings
            .iter()
            .find(|finding| finding.target == target)
            .unwrap()
            .message;
        assert!(message.contains(part) && !message.contains("geheim"), "{message}");
    }
}

#[tokio::test]
async fn nothing_is_asked_where_nobody_asked_for_it() {
    let clusters = [cluster("bad", &json!({}))];
    let (findings, requests) = look(Inside::None, seed(&clusters), BTreeMap::new()).await;
    assert_eq!((told(&findings), requests), (BTreeSet::new(), Vec::<String>::new()));
}

#[tokio::test]
async fn those_that_kkp_leaves_alone_are_left_alone() {
    let mut deleted = cluster("deleted", &json!({}));
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let clusters = [cluster("paused", &json!({"pause": true})), deleted];
    let (findings, requests) = look(Inside::All, seed(&clusters), BTreeMap::new()).await;
    assert_eq!(told(&findings), BTreeSet::new());
    assert_eq!(requests, ["GET /apis/kubermatic.k8c.io/v1/clusters"]);
}

#[test]
fn a_sample_is_small_and_stays_the_same() {
    let all = |count: usize| -> Vec<Chosen> {
        (0..count)
            .map(|number| Chosen {
                name: format!("c{number}"),
                namespace: format!("cluster-c{number}"),
            })
            .collect()
    };
    let (sample, beyond) = choose(all(40), Inside::Sample);
    assert_eq!((sample.len(), beyond), (SAMPLE, 0));
    let mut turned = all(40);
    turned.reverse();
    assert_eq!(choose(turned, Inside::Sample).0, sample);
    // One more changes at most one of them.
    let after = choose(all(41), Inside::Sample).0;
    assert!(sample.iter().filter(|chosen| after.contains(chosen)).count() >= SAMPLE - 1);
    assert_eq!(choose(all(MOST + 7), Inside::All).1, 7);
    assert_eq!(choose(all(3), Inside::None).0, Vec::new());
}

#[test]
fn what_is_left_out_is_told() {
    assert_eq!(left_out(10, 0, 0), None);
    let late = left_out(10, 4, 0).unwrap();
    assert!(late.starts_with("4 of 10 user clusters"), "{late}");
    let beyond = left_out(500, 0, 12).unwrap();
    assert!(beyond.starts_with("12 user clusters are left out"), "{beyond}");
}
