//! Evidence that the master runs a version.
//!
//! Pure. Sources: KKP 2.31, `pkg/controller/operator/master` (which Deployments, which tags), `pkg/install/stack` (CRDs).

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ObjectMeta;

use super::deployment::{Expectation, Tagged};
use super::{Evidence, Findings, Observed, target_minor};
use crate::types::configuration::Component;
use crate::types::{Field, KubermaticConfiguration};
use crate::version;

/// What was read of the master.
#[derive(Clone, Debug)]
pub struct MasterObservation<'a> {
    /// The configuration of the platform.
    pub configuration: Observed<&'a KubermaticConfiguration>,
    /// The Deployments of KKP's namespace.
    pub deployments: Observed<&'a [Deployment]>,
    /// Metadata of the CRD [`super::CLUSTER_CRD`].
    pub cluster_crd: Observed<&'a ObjectMeta>,
}

/// Whether the master runs the target.
///
/// Operator, master-controller-manager and webhook are rolled out at the target, API and dashboard too (unless the platform is
/// headless, and with their tag overrides), the CRDs are stamped with it, and the configuration's status says so. The last
/// one is necessary and proves nothing alone.
#[must_use]
pub fn master(target: &str, observation: &MasterObservation<'_>) -> Evidence {
    if let Err(unknown) = target_minor(target) {
        return unknown;
    }
    let mut findings = Findings::default();
    findings.crd(target, &observation.cluster_crd);
    let controllers = [
        "kubermatic-operator",
        "kubermatic-master-controller-manager",
        "kubermatic-webhook",
    ];
    findings.deployments(
        &observation.deployments,
        &controllers.map(|name| Expectation::controller(name, target)),
    );
    match &observation.configuration {
        Observed::Found(configuration) => {
            judge_configuration(&mut findings, target, configuration, &observation.deployments);
        }
        Observed::Absent => findings.missing("KubermaticConfiguration: not found"),
        Observed::Unreadable(why) => findings.unknown(format!("KubermaticConfiguration: {why}")),
    }
    findings.conclude()
}

fn judge_configuration(
    findings: &mut Findings,
    target: &str,
    configuration: &KubermaticConfiguration,
    deployments: &Observed<&[Deployment]>,
) {
    match &configuration.status.kubermatic_version {
        Field::Set(reported) if version::same(reported, target) => {}
        Field::Set(reported) => {
            findings.missing(format!(
                "KubermaticConfiguration: status at {reported}, wanted {target}"
            ));
        }
        Field::Unset => findings.missing("KubermaticConfiguration: status has no version"),
        Field::Unreadable { .. } => findings.unknown("KubermaticConfiguration: status.kubermaticVersion is no text"),
    }
    match configuration.headless() {
        Field::Set(true) => return,
        Field::Set(false) | Field::Unset => {}
        Field::Unreadable { .. } => {
            findings.unknown("KubermaticConfiguration: feature gate HeadlessInstallation is no boolean");
            return;
        }
    }
    let spec = &configuration.spec;
    for (name, path, component) in [
        ("kubermatic-api", "spec.api", &spec.api),
        ("kubermatic-dashboard", "spec.ui", &spec.ui),
    ] {
        match component_tag(target, component) {
            Some(tag) => {
                let expectation = Expectation {
                    name,
                    tag: &tag,
                    tagged: Tagged::Containers,
                    must_run: false,
                };
                // What cannot be listed has been noted once already.
                if let Observed::Found(_) = deployments {
                    findings.deployments(deployments, &[expectation]);
                }
            }
            None => findings.unknown(format!("KubermaticConfiguration: tag override in {path} is no text")),
        }
    }
}

/// The tag that KKP gives a component: a pinned tag wins over a suffix (KKP 2.31, `resources/kubermatic/{api,ui}.go`).
fn component_tag(target: &str, component: &Component) -> Option<String> {
    if component.docker_tag.is_unreadable() || component.docker_tag_suffix.is_unreadable() {
        return None;
    }
    let (tag, suffix) = (component.docker_tag.text(), component.docker_tag_suffix.text());
    Some(match (tag, suffix) {
        ("", "") => target.to_owned(),
        ("", suffix) => format!("{target}-{suffix}"),
        (tag, _) => tag.to_owned(),
    })
}
