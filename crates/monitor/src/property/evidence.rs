//! S20: nothing counts as done that the objects do not prove, and what cannot be read is never taken for success.
//!
//! The check is simpler than the operator's and made without its code: images, roll-outs, the CRDs' annotation, the
//! clusters' conditions, as they stand in the world at the moment of the write.

use kkp_upgrade_core::conditions::ConditionType;
use kkp_upgrade_core::phase::Phase;
use serde_json::Value;

use super::{Property, Report, Seen};
use crate::event::ObjectKey;
use crate::expectations::Expectations;
use crate::names;
use crate::upgrade::Upgrade;
use crate::world::World;

/// Deployments of KKP's master components (KKP source, `pkg/controller/operator/master/resources`).
const MASTER: [&str; 3] = [
    "kubermatic-operator",
    "kubermatic-master-controller-manager",
    "kubermatic-webhook",
];
/// Deployments of KKP's seed components (KKP source, `pkg/controller/operator/seed/resources`).
const SEED: [&str; 2] = ["kubermatic-seed-controller-manager", "kubermatic-webhook"];
/// Conditions of a Cluster that carry the version which reconciled it last (KKP source, `pkg/controller/util`).
const CLUSTER: [&str; 4] = [
    "ClusterControllerReconciledSuccessfully",
    "CloudControllerReconciledSuccessfully",
    "UpdateControllerReconciledSuccessfully",
    "MonitoringControllerReconciledSuccessfully",
];

/// S20.
pub(super) struct ProvenDone;

impl Property for ProvenDone {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        if let Some(upgrade) = seen.upgrade()
            && let Some(why) = &upgrade.unreadable
        {
            report.say("S20", upgrade.title(), format!("the status cannot be read: {why}"));
        }
        let Some((before, after)) = seen.change() else { return };
        // A hop that is left for the next one was done, all of it.
        let left = before.status.hop.as_ref().filter(|_| next_hop(before, after));
        let Some(version) = left.or(after.status.hop.as_ref()).map(|hop| hop.to.clone()) else {
            return;
        };
        let news = |condition| !before.is_true(condition) && after.is_true(condition);
        let done = left.is_some() || (before.phase() != Some(Phase::Done) && after.phase() == Some(Phase::Done));
        let proof = Proof {
            world: seen.world,
            expectations: seen.expectations,
            version: &version,
            upgrade: after,
        };
        let mut say = |what: &str, missing: Vec<String>| {
            if !missing.is_empty() {
                report.say("S20", after.title(), format!("{what}, and {}", missing.join(", ")));
            }
        };
        if news(ConditionType::MasterUpgraded) || done {
            say("MasterUpgraded, Done or the next hop was written", proof.master());
        }
        if news(ConditionType::SeedsUpgraded) || done {
            say("SeedsUpgraded, Done or the next hop was written", proof.seeds());
        }
        if news(ConditionType::UserClustersConverged) || done {
            say(
                "UserClustersConverged, Done or the next hop was written",
                proof.clusters(),
            );
        }
    }
}

/// Whether a write goes on from one hop of a run to the next.
pub(super) fn next_hop(before: &Upgrade, after: &Upgrade) -> bool {
    let (Some(old), Some(new)) = (&before.status.hop, &after.status.hop) else {
        return false;
    };
    before.status.run_id == after.status.run_id
        && before.status.path == after.status.path
        && new.index == old.index + 1
        && new.from == old.to
        && matches!(before.phase(), Some(Phase::Preflight | Phase::Verifying))
        && after.phase() == Some(Phase::Preflight)
}

struct Proof<'a> {
    world: &'a World,
    expectations: &'a Expectations,
    version: &'a str,
    upgrade: &'a Upgrade,
}

impl Proof<'_> {
    fn master(&self) -> Vec<String> {
        // A seed has a webhook of the same name, whose turn comes later.
        let mut missing = self.deployments(&MASTER, |cluster| cluster == self.expectations.master);
        missing.extend(self.definition(&self.expectations.master));
        missing
    }

    fn seeds(&self) -> Vec<String> {
        let mut missing = self.deployments(&SEED, |_| true);
        let clusters = self.world.clusters().iter();
        missing.extend(clusters.filter_map(|cluster| self.definition(cluster)));
        missing
    }

    /// The annotation of the CRDs is that of the target.
    fn definition(&self, cluster: &str) -> Option<String> {
        let definition = self.world.find(
            cluster,
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            "",
            names::CLUSTER_CRD,
        )?;
        let version = definition
            .pointer("/metadata/annotations")?
            .get(names::CRD_VERSION)?
            .as_str()?;
        (version.trim_start_matches('v') != self.version).then(|| format!("the CRDs on {cluster} are of {version}"))
    }

    /// Deployments of KKP run an image of the target, all of them, ready.
    fn deployments(&self, wanted: &[&str], on: impl Fn(&str) -> bool) -> Vec<String> {
        let ours = |key: &ObjectKey| {
            on(&key.cluster) && key.namespace == self.expectations.namespace && wanted.contains(&key.name.as_str())
        };
        let all = self.world.of("apps", "deployments").filter(|(key, _)| ours(key));
        all.filter_map(|(key, deployment)| self.not_rolled_out(key, deployment))
            .collect()
    }

    fn not_rolled_out(&self, key: &ObjectKey, deployment: &Value) -> Option<String> {
        let number = |path: &str| deployment.pointer(path).and_then(Value::as_i64).unwrap_or(0);
        let containers = deployment.pointer("/spec/template/spec/containers")?.as_array()?;
        let image = |container: &Value| Some(container.get("image")?.as_str()?.to_owned());
        let tag = |image: String| {
            image
                .rsplit_once(':')
                .map(|(_, tag)| tag.trim_start_matches('v').to_owned())
        };
        let versions: Vec<String> = containers.iter().filter_map(image).filter_map(tag).collect();
        if !versions.iter().any(|version| version == self.version) {
            return Some(format!("{key} runs {}", versions.join(", ")));
        }
        let replicas = deployment
            .pointer("/spec/replicas")
            .and_then(Value::as_i64)
            .unwrap_or(1);
        let rolled = number("/status/observedGeneration") >= number("/metadata/generation")
            && ["updatedReplicas", "availableReplicas", "replicas"]
                .iter()
                .all(|field| number(&format!("/status/{field}")) == replicas);
        (!rolled).then(|| format!("{key} has not rolled out"))
    }

    /// User clusters were reconciled by the target, those apart that nobody waits for.
    fn clusters(&self) -> Vec<String> {
        let all = self.world.of(names::KKP_GROUP, "clusters");
        all.filter(|(key, cluster)| !self.is_apart(&key.name, cluster))
            .filter_map(|(key, cluster)| {
                let old: Vec<&str> = CLUSTER
                    .into_iter()
                    .filter(|kind| !self.is_reconciled(cluster, kind))
                    .collect();
                (!old.is_empty()).then(|| format!("{key} has {} not at {}", old.join(", "), self.version))
            })
            .collect()
    }

    fn is_apart(&self, name: &str, cluster: &Value) -> bool {
        let paused = cluster.pointer("/spec/pause").and_then(Value::as_bool).unwrap_or(false);
        let deleting = cluster.pointer("/metadata/deletionTimestamp").is_some();
        let foreign = cluster.pointer("/metadata/labels/worker-name").is_some();
        let before = &self.upgrade.status.unhealthy_before;
        let unhealthy = before.iter().any(|place| place.rsplit('/').next() == Some(name));
        paused || deleting || foreign || unhealthy
    }

    fn is_reconciled(&self, cluster: &Value, kind: &str) -> bool {
        let Some(condition) = cluster.pointer(&format!("/status/conditions/{kind}")) else {
            return false;
        };
        let text = |field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
        text("status") == "True" && text("kubermaticVersion").trim_start_matches('v') == self.version
    }
}
