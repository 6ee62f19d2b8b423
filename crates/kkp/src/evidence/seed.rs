//! Evidence that a seed runs a version.
//!
//! Pure. Sources: KKP 2.31, `pkg/controller/operator/seed` (which Deployments, which tags, skipped Seeds),
//! `pkg/controller/operator/seed-init` (CRDs). `Seed.status.versions` and heartbeats are no evidence: the first is the
//! master's own version, the second does not move when nothing changes.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ObjectMeta;

use super::deployment::{Expectation, Tagged};
use super::{Evidence, Findings, Observed, target_minor};
use crate::types::seed::SKIP_RECONCILING;
use crate::types::{Field, Seed};

/// What was read of one seed.
#[derive(Clone, Debug)]
pub struct SeedObservation<'a> {
    /// The Seed as it stands on the master.
    pub seed: Observed<&'a Seed>,
    /// The Deployments of KKP's namespace on the seed.
    pub deployments: Observed<&'a [Deployment]>,
    /// Metadata of the CRD [`super::CLUSTER_CRD`] on the seed.
    pub cluster_crd: Observed<&'a ObjectMeta>,
}

/// Whether a KKP of this edition (`CE`, `EE`) reconciles a Seed of this name: the Community Edition knows only the Seed
/// `kubermatic`.
#[must_use]
pub fn is_reconciled_by(edition: &str, seed_name: &str) -> bool {
    edition == "EE" || seed_name == "kubermatic"
}

/// Whether a seed runs the target: CRDs stamped with it, seed-controller-manager, webhook and node port proxy (unless
/// disabled) rolled out at it, and KKP's operator reports the Seed as reachable and reconciled without being held.
#[must_use]
pub fn seed(target: &str, observation: &SeedObservation<'_>) -> Evidence {
    if let Err(unknown) = target_minor(target) {
        return unknown;
    }
    let mut findings = Findings::default();
    findings.crd(target, &observation.cluster_crd);
    let controllers = ["kubermatic-seed-controller-manager", "kubermatic-webhook"];
    findings.deployments(
        &observation.deployments,
        &controllers.map(|name| Expectation::controller(name, target)),
    );
    match &observation.seed {
        Observed::Found(seed) => {
            judge_seed(&mut findings, seed);
            judge_proxy(&mut findings, target, seed, &observation.deployments);
        }
        Observed::Absent => findings.missing("Seed: not found"),
        Observed::Unreadable(why) => findings.unknown(format!("Seed: {why}")),
    }
    findings.conclude()
}

fn judge_seed(findings: &mut Findings, seed: &Seed) {
    if seed.metadata.deletion_timestamp.is_some() {
        findings.missing("Seed: being deleted");
    }
    if seed
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key(SKIP_RECONCILING))
    {
        findings.missing(format!("Seed: held by annotation {SKIP_RECONCILING}"));
    }
    for kind in ["KubeconfigValid", "ResourcesReconciled"] {
        match seed.status.conditions.entry(kind) {
            Field::Set(condition) if condition.status.is_unreadable() => {
                findings.unknown(format!("Seed: status of condition {kind} is no text"));
            }
            Field::Set(condition) if condition.status.text() == "True" => {}
            Field::Set(condition) => findings.missing(format!("Seed: {kind} not True ({})", condition.reason.text())),
            Field::Unset => findings.missing(format!("Seed: no condition {kind}")),
            Field::Unreadable { .. } => findings.unknown(format!("Seed: condition {kind} is no object")),
        }
    }
}

fn judge_proxy(findings: &mut Findings, target: &str, seed: &Seed, deployments: &Observed<&[Deployment]>) {
    match seed.spec.nodeport_proxy.disable {
        Field::Set(true) => return,
        Field::Set(false) | Field::Unset => {}
        Field::Unreadable { .. } => {
            findings.unknown("Seed: spec.nodeportProxy.disable is no boolean");
            return;
        }
    }
    // What cannot be listed has been noted once already.
    if let Observed::Found(_) = deployments {
        let envoy = Expectation {
            name: "nodeport-proxy-envoy",
            tag: target,
            tagged: Tagged::AllExcept("envoy"),
            must_run: true,
        };
        findings.deployments(
            deployments,
            &[envoy, Expectation::controller("nodeport-proxy-updater", target)],
        );
    }
}
