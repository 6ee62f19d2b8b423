//! Tests of the rule engine and of the catalogue that is compiled in.

mod acceptance;
mod bounds;
mod embedded;
mod evaluating;
mod fixes;
mod laws;
mod loading;
mod overlay;
mod parts;
mod routes;

use std::sync::{Arc, OnceLock};

use super::*;
use jiff::Timestamp;
use strum::IntoEnumIterator;

use crate::version::KkpVersion;

fn version(text: &str) -> KkpVersion {
    text.parse().unwrap()
}

fn hop(from: &str, to: &str) -> Hop {
    Hop {
        from: version(from),
        to: version(to),
    }
}

/// The rules about the step itself, which every platform meets: those of one topic each would be in the way of tests of the
/// engine.
fn core_rules() -> &'static Arc<Catalogue> {
    static CATALOGUE: OnceLock<Arc<Catalogue>> = OnceLock::new();
    CATALOGUE.get_or_init(|| {
        let catalogue = Catalogue::parse(&[
            ("releases.yaml", include_str!("../../../../catalogue/releases.yaml")),
            ("facts.yaml", include_str!("../../../../catalogue/facts.yaml")),
            ("rules/any.yaml", include_str!("../../../../catalogue/rules/any.yaml")),
        ]);
        Arc::new(catalogue.unwrap())
    })
}

fn embedded() -> &'static Catalogue {
    Catalogue::embedded().unwrap()
}

const ISSUER: &str = "https://kkp.example.com/dex";

/// A request for the usual step, with everything read.
fn input() -> Input {
    Input {
        hops: vec![hop("2.30.6", "2.31.0")],
        started: false,
        spec: SpecFacts::usual(),
        configured: ConfiguredVersions::default().into(),
        now: NOW,
    }
}

fn platform() -> PlatformFacts {
    PlatformFacts {
        configurations: 1.into(),
        version: Some("v2.30.6".to_owned()).into(),
        edition: Some("CE".to_owned()).into(),
        operator_image_tag: Some("v2.30.6".to_owned()).into(),
        operator_chart_version: Some("2.30.6".to_owned()).into(),
        gitops_owner: None.into(),
        kubernetes_major: 1.into(),
        kubernetes_minor: 33.into(),
        storage_class_fast: true.into(),
        values_image_tag: None.into(),
        values_image_repository: None.into(),
        values_empty: false.into(),
        operator_image_repository: Some("quay.io/kubermatic/kubermatic".to_owned()).into(),
        service_account_key_length: 32.into(),
        login_clients: 1.into(),
        login_client_public: false.into(),
        login_client_secret: "same".to_owned().into(),
        login_redirect_uris: vec!["https://kkp.example.com/api/v2/auth/callback".to_owned()].into(),
        external_dns_ingress_only: Vec::new().into(),
        gateway_crd_policy: false.into(),
        values_http_route_domain: Some("kkp.example.com".to_owned()).into(),
        headless: false.into(),
        catalogue_refused: None.into(),
        login_issuer: ISSUER.to_owned().into(),
        issuer_answered: true.into(),
        issuer_objection: String::new().into(),
        issuer_status: Some(200).into(),
        issuer_named: Some(ISSUER.to_owned()).into(),
        issuer_scopes: Some(vec!["offline_access".to_owned()]).into(),
        issuer_grant_types: None.into(),
        issuer_challenge_methods: None.into(),
        domain_addresses: vec!["192.0.2.7".to_owned()].into(),
        gateway_addresses: vec!["192.0.2.7".to_owned()].into(),
        nginx_balancer_addresses: Vec::new().into(),
    }
}

fn seed() -> SeedFacts {
    SeedFacts {
        phase: Some("Healthy".to_owned()).into(),
        version: Some("v2.30.6".to_owned()).into(),
        controller_version: Some("v2.30.6".to_owned()).into(),
        kubeconfig_valid: Some("True".to_owned()).into(),
        resources_reconciled: Some("True".to_owned()).into(),
        reachable: true.into(),
        reach_error: None.into(),
        separate: true.into(),
        skip_reconciling: false.into(),
        held: false.into(),
        configured_limit: None.into(),
        client_certificate_ends: None.into(),
        control_plane_room: Some(20).into(),
        control_planes: 10.into(),
        cpu_requested_percent: 40.into(),
        memory_requested_percent: 60.into(),
    }
}

fn cluster(kubernetes: &str) -> ClusterFacts {
    ClusterFacts {
        version: kubernetes.to_owned().into(),
        paused: false.into(),
        pause_reason: None.into(),
        worker_name: None.into(),
        unhealthy_parts: Vec::new().into(),
        container_runtime: Some("containerd".to_owned()).into(),
    }
}

/// An evaluation of a platform without findings: two seeds and their clusters.
fn healthy(input: &Input) -> Evaluation {
    let mut evaluation = Evaluation::new(core_rules(), &[Stage::Preflight], input);
    platform_item(&mut evaluation, &platform());
    seed_item(&mut evaluation, "eu", &seed());
    seed_item(&mut evaluation, "us", &seed());
    cluster_item(&mut evaluation, "eu", &cluster("1.33.5"));
    let release = ReleaseFacts {
        status: "deployed".to_owned().into(),
        revision: 3.into(),
        values_drift: Vec::new().into(),
    };
    object(
        &mut evaluation,
        ItemKind::Release,
        "master",
        "kubermatic-operator",
        &release,
    );
    for kind in ItemKind::iter() {
        for place in ["master", "eu", "us"] {
            evaluation.visited(kind, place);
        }
    }
    evaluation
}

/// 2026-06-01.
const NOW: Timestamp = Timestamp::constant(1_780_272_000, 0);

/// Shows an object of which code computed `facts`, with empty documents.
fn object(evaluation: &mut Evaluation, kind: ItemKind, place: &str, name: &str, facts: &impl Facts) {
    let nothing = serde_json::json!({});
    let documents = kind.documents().iter().map(|name| (*name, Ok(&nothing))).collect();
    evaluation.object(&Object {
        kind,
        place,
        namespace: (kind == ItemKind::Release).then_some("kubermatic"),
        name,
        deleting: false,
        created: Some(NOW),
        documents,
        computed: facts.item(),
    });
}

fn platform_item(evaluation: &mut Evaluation, facts: &PlatformFacts) {
    object(evaluation, ItemKind::Platform, "master", "", facts);
}

fn seed_item(evaluation: &mut Evaluation, name: &str, facts: &SeedFacts) {
    object(evaluation, ItemKind::Seed, name, name, facts);
}

fn cluster_item(evaluation: &mut Evaluation, seed: &str, facts: &ClusterFacts) {
    let cluster = serde_json::json!({"metadata": {"name": "aaaa", "creationTimestamp": "2026-05-01T00:00:00Z"},
        "status": {"conditions": {"SeedResourcesUpToDate": {"status": "True"}}}});
    evaluation.object(&Object::new(ItemKind::Cluster, seed, &cluster).with(facts));
}

fn found(findings: &[Finding]) -> Vec<(&str, &str)> {
    findings
        .iter()
        .map(|finding| (finding.rule.as_str(), finding.target.as_str()))
        .collect()
}
