//! S5, S6, S7 and the half of L4 that protects a running installer: what may start and when, by the installers' own ledger.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::gate::{is_condition_true, label};
use super::{BOTH, Property, Report, Seen};
use crate::event::{InstallerRecord, Verb};
use crate::expectations::Sources;
use crate::names;
use crate::world::World;

/// Name of the Job of a Pod.
fn job_of(pod: &str) -> &str {
    pod.rsplit_once('-').map_or(pod, |(job, _)| job)
}

/// Whether a Job is one of ours.
fn is_ours(world: &World, job: &str) -> bool {
    world
        .of("batch", "jobs")
        .any(|(key, value)| key.name == job && label(value, names::UPGRADE_LABEL).is_some())
}

/// Whether nothing of a Pod runs any more.
fn has_ended(world: &World, pod: &str) -> bool {
    let found = world.of("", "pods").find(|(key, _)| key.name == pod);
    found.is_none_or(|(_, pod)| {
        let phase = pod.pointer("/status/phase").and_then(Value::as_str);
        let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
        let terminated = |status: &Value| status.pointer("/state/terminated").is_some();
        matches!(phase, Some("Succeeded" | "Failed"))
            || statuses.is_some_and(|all| !all.is_empty() && all.iter().all(terminated))
    })
}

/// Runs of the installer that have started and of which no end is known.
#[derive(Default)]
struct OpenRuns(BTreeMap<String, InstallerRecord>);

impl OpenRuns {
    fn see(&mut self, record: &InstallerRecord) {
        match record.event.as_str() {
            "start" => drop(self.0.insert(record.run.clone(), record.clone())),
            "end" => drop(self.0.remove(&record.run)),
            _ => {}
        }
    }
}

/// S5: a Job starts the installer at most once, and one cluster has at most one installer at any instant.
#[derive(Default)]
pub(super) struct OneRun {
    open: OpenRuns,
    started: BTreeMap<String, usize>,
}

impl Property for OneRun {
    fn needs(&self) -> Sources {
        BOTH
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(record) = seen.installer() else { return };
        if record.event == "start" {
            let job = job_of(&record.pod);
            if is_ours(seen.world, job) {
                let starts = self.started.entry(job.to_owned()).or_default();
                *starts += 1;
                if *starts > 1 {
                    report.say(
                        "S5",
                        format!("Job {job}"),
                        format!("started the installer {starts} times"),
                    );
                }
            }
            let others = self.open.0.values().filter(|other| other.server == record.server);
            for other in others.filter(|other| !has_ended(seen.world, &other.pod)) {
                let text = format!("started while the run in Pod {} had not ended", other.pod);
                report.say("S5", format!("installer in Pod {}", record.pod), text);
            }
        }
        self.open.see(record);
    }
}

/// S6: an attempt begins only when every earlier one of the same target is proven over.
#[derive(Default)]
pub(super) struct NoBlindRetry {
    /// Job and whether it is over, by (UID, target).
    attempts: BTreeMap<(String, String), BTreeMap<String, bool>>,
    fenced: BTreeSet<String>,
}

impl Property for NoBlindRetry {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(write) = seen.write() else { return };
        let Some(object) = write.after.as_deref().or(write.before.as_deref()) else {
            return;
        };
        if write.object.is("", "configmaps") {
            let owner = object
                .pointer("/metadata/annotations")
                .and_then(|all| all.get(names::FENCE_OWNER));
            if owner.and_then(Value::as_str) == Some("operator") {
                self.fenced.insert(write.object.name.clone());
            }
        }
        if !write.object.is("batch", "jobs") || label(object, names::STEP_LABEL) != Some("installer") {
            return;
        }
        let text = |key| label(object, key).unwrap_or_default().to_owned();
        let key = (text(names::UPGRADE_LABEL), text(names::TARGET_LABEL));
        let attempts = self.attempts.entry(key).or_default();
        let name = &write.object.name;
        if write.verb == Verb::Create {
            for (other, over) in attempts.iter() {
                if other != name && !over && !self.fenced.contains(other) {
                    report.say("S6", &write.object, format!("created before Job {other} was over"));
                }
            }
        }
        let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
        let quiet = number("/status/active") == 0 && number("/status/terminating") == 0;
        let over = quiet && (is_condition_true(object, "Complete") || is_condition_true(object, "Failed"));
        let known = attempts.entry(name.clone()).or_insert(false);
        *known = *known || over;
    }
}

/// S7: the installer does not start while a release that it manages is failed or pending: it would uninstall it (KKP source,
/// `pkg/install/util/helm.go`).
#[derive(Default)]
pub(super) struct NoPurge {
    /// Our runs, with the releases that were failed or pending when they started.
    threatened: BTreeMap<String, BTreeMap<String, String>>,
}

impl Property for NoPurge {
    fn needs(&self) -> Sources {
        BOTH
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(record) = seen.installer() else { return };
        if record.event == "start" && is_ours(seen.world, job_of(&record.pod)) {
            let found = threatened(seen.world, &seen.expectations.master);
            self.threatened.insert(record.run.clone(), found);
        }
        // Which releases a run manages is known when it comes to them.
        if let Some(chart) = record.step.strip_prefix("chart/")
            && let Some(status) = self.threatened.get(&record.run).and_then(|found| found.get(chart))
        {
            let text = format!("started while release {chart}, which it manages, was {status}");
            report.say("S7", format!("installer run {}", record.run), text);
        }
    }
}

/// Releases of the stack `kubermatic-master` (KKP source, `pkg/install/stack/kubermatic-master`).
const MASTER_STACK: [&str; 7] = [
    "kubermatic-operator",
    "cert-manager",
    "dex",
    "oauth",
    "nginx-ingress-controller",
    "envoy-gateway-controller",
    "telemetry",
];

/// S6: no Job of the installer is made while a release of its stack is failed or pending.
pub(super) struct NoThreatenedRelease;

impl Property for NoThreatenedRelease {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(write) = seen.write().filter(|write| write.verb == Verb::Create) else {
            return;
        };
        let job = write.after.as_deref().filter(|_| write.object.is("batch", "jobs"));
        if job.and_then(|job| label(job, names::STEP_LABEL)) != Some("installer") {
            return;
        }
        for (name, status) in threatened(seen.world, &seen.expectations.master) {
            if MASTER_STACK.contains(&name.as_str()) {
                report.say(
                    "S6",
                    &write.object,
                    format!("created while release {name} was {status}"),
                );
            }
        }
    }
}

/// Releases whose newest revision the installer would throw away, by name, with their state.
fn threatened(world: &World, master: &str) -> BTreeMap<String, String> {
    let mut newest: BTreeMap<(String, String), (u64, String)> = BTreeMap::new();
    for (key, secret) in world.of("", "secrets") {
        let place = key.cluster == master && names::RELEASE_NAMESPACES.contains(&key.namespace.as_str());
        if !place || !key.name.starts_with("sh.helm.release.v1.") {
            continue;
        }
        let text = |name| label(secret, name).unwrap_or_default();
        let revision: u64 = text("version").parse().unwrap_or(0);
        let known = newest
            .entry((key.namespace.clone(), text("name").to_owned()))
            .or_default();
        if revision >= known.0 {
            *known = (revision, text("status").to_owned());
        }
    }
    let purged = ["failed", "pending-install", "pending-upgrade", "pending-rollback"];
    newest
        .into_iter()
        .filter(|(_, (_, status))| purged.contains(&status.as_str()))
        .map(|((_, name), (_, status))| (name, status))
        .collect()
}

/// L4, first half: nobody of ours deletes a Job whose installer runs.
#[derive(Default)]
pub(super) struct NeverKilled {
    open: OpenRuns,
}

impl Property for NeverKilled {
    fn needs(&self) -> Sources {
        BOTH
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        if let Some(record) = seen.installer() {
            self.open.see(record);
        }
        let Some(write) = seen.operator_write().filter(|write| write.verb == Verb::Delete) else {
            return;
        };
        let killed = |record: &&InstallerRecord| {
            let name = &write.object.name;
            let hit = *name == record.pod || (write.object.is("batch", "jobs") && name == job_of(&record.pod));
            hit && !has_ended(seen.world, &record.pod)
        };
        if let Some(record) = self.open.0.values().find(killed) {
            report.say(
                "L4",
                &write.object,
                format!("deleted while the installer ran in Pod {}", record.pod),
            );
        }
    }
}
