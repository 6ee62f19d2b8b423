//! Tests of the rule engine and of the catalogue that is compiled in.

mod acceptance;
mod embedded;
mod evaluating;
mod laws;
mod loading;
mod routes;

use super::*;
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

fn embedded() -> &'static Catalogue {
    Catalogue::embedded().unwrap()
}

/// A request for the usual step, with everything read.
fn input() -> Input {
    Input {
        hops: vec![hop("2.30.6", "2.31.0")],
        started: false,
        spec: SpecFacts {
            edition: None.into(),
            maximum_parallel_reconciles: Some(3).into(),
            backup_policy: "Required".to_owned().into(),
            backup_storage: true.into(),
        },
        configured: ConfiguredVersions::default().into(),
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
        values_http_route_domain: Some("kkp.example.com".to_owned()).into(),
        headless: false.into(),
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
        skip_reconciling: false.into(),
        held: false.into(),
        stuck_clusters: 0.into(),
        configured_limit: None.into(),
    }
}

fn cluster(kubernetes: &str) -> ClusterFacts {
    ClusterFacts {
        version: kubernetes.to_owned().into(),
        deleting: false.into(),
        paused: false.into(),
        pause_reason: None.into(),
        worker_name: None.into(),
        unhealthy_parts: Vec::new().into(),
        container_runtime: Some("containerd".to_owned()).into(),
    }
}

/// An evaluation of a platform without findings: two seeds and their clusters.
fn healthy(input: &Input) -> Evaluation<'static> {
    let mut evaluation = Evaluation::new(embedded(), Stage::Preflight, input);
    evaluation.facts("platform", &platform());
    evaluation.facts("eu", &seed());
    evaluation.facts("us", &seed());
    evaluation.facts("eu/aaaa", &cluster("1.33.5"));
    evaluation.facts(
        "master/kubermatic/kubermatic-operator",
        &ReleaseFacts {
            status: "deployed".to_owned().into(),
            revision: 3.into(),
        },
    );
    for kind in [ItemKind::Deployment, ItemKind::Pod, ItemKind::Webhook] {
        evaluation.visited(kind);
    }
    evaluation
}

fn found(findings: &[Finding]) -> Vec<(&str, &str)> {
    findings
        .iter()
        .map(|finding| (finding.rule.as_str(), finding.target.as_str()))
        .collect()
}
