//! Counters and gauges for Prometheus. Talks to no cluster; labels are closed sets, but for the names of the objects
//! that are described, whose series go with the object. Never a label with the text of an error.
//!
//! Names that start with `controller_runtime_` and `leader_election_` are those of controller-runtime: the Grafana
//! dashboard that KKP ships (`charts/monitoring/grafana/dashboards/kubermatic/controller-runtime.json`) reads them.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kkp_upgrade_core::phase::Phase;
use kkp_upgrade_core::status::{FindingCounts, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use strum::VariantArray as _;

use crate::leader::LEADER_LEASE;
use crate::lock;

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Value of the label `controller`.
const CONTROLLER: &str = "kkpupgrade";
/// Values of the label `result`, as in controller-runtime. All exist from the start, so that the first error is seen
/// as an increase.
const RESULTS: [&str; 4] = ["success", "error", "requeue", "requeue_after"];
/// Values of the label `status` of a condition.
const CONDITION_STATUSES: [&str; 3] = ["True", "False", "Unknown"];
/// Bounds of the time of one round, in seconds: most of it is API calls, each with a deadline of its own.
const ROUND_SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

type Labels = Vec<(&'static str, String)>;

/// Everything that is measured. Clones share their values.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    objects: Objects,
    rounds: Family<Labels, Counter>,
    errors: Family<Labels, Counter>,
    duration: Family<Labels, Histogram, fn() -> Histogram>,
    leader: Family<Labels, Gauge>,
    catalogue_refused: Gauge,
}

impl Metrics {
    /// Nothing measured yet, by an operator of this version.
    #[must_use]
    pub fn new(version: &str) -> Self {
        let mut registry = Registry::default();
        let objects = Objects::default();
        let rounds = Family::default();
        let errors = Family::default();
        let duration = Family::new_with_constructor(round_seconds as fn() -> Histogram);
        let leader = Family::default();
        let build = Info::new(vec![("version", version.to_owned())]);
        registry.register("kkp_upgrade_build", "The operator that runs", build);
        registry.register("controller_runtime_reconcile", "Rounds by result", rounds.clone());
        registry.register(
            "controller_runtime_reconcile_errors",
            "Rounds that ended with an error",
            errors.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_time_seconds",
            "How long rounds take",
            duration.clone(),
        );
        registry.register(
            "leader_election_master_status",
            "1 where this process leads",
            leader.clone(),
        );
        let catalogue_refused = Gauge::default();
        registry.register(
            "kkp_upgrade_catalogue_refused",
            "1 where ConfigMap kkp-upgrade-catalogue is there and refused",
            catalogue_refused.clone(),
        );
        registry.register_collector(Box::new(objects.clone()));
        let metrics = Self {
            registry: Arc::new(registry),
            objects,
            rounds,
            errors,
            duration,
            leader,
            catalogue_refused,
        };
        metrics.start_at_zero();
        metrics
    }

    fn start_at_zero(&self) {
        for result in RESULTS {
            drop(self.rounds.get_or_create(&with_result(result)));
        }
        drop(self.errors.get_or_create(&of_controller()));
        drop(self.duration.get_or_create(&of_controller()));
        self.leader(false);
    }

    /// The state of one KKPUpgrade, replacing what was known of it.
    pub fn observe_status(&self, namespace: &str, name: &str, status: &Status) {
        let key = (namespace.to_owned(), name.to_owned());
        self.objects.lock().insert(key, Object::from(status));
    }

    /// One KKPUpgrade is gone: so are its series.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.objects.lock().remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// A round has ended: with `success`, `requeue`, `requeue_after` or `error`.
    pub fn reconciled(&self, duration: Duration, result: &'static str) {
        self.rounds.get_or_create(&with_result(result)).inc();
        if result == "error" {
            self.errors.get_or_create(&of_controller()).inc();
        }
        self.duration
            .get_or_create(&of_controller())
            .observe(duration.as_secs_f64());
    }

    /// Whether this process leads.
    pub fn leader(&self, leads: bool) {
        let labels = vec![("name", LEADER_LEASE.to_owned())];
        self.leader.get_or_create(&labels).set(i64::from(leads));
    }

    /// Whether ConfigMap `kkp-upgrade-catalogue` is refused.
    pub fn catalogue_refused(&self, refused: bool) {
        self.catalogue_refused.set(i64::from(refused));
    }

    /// Everything, in the text format of `OpenMetrics`.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut page = String::new();
        if text::encode(&mut page, &self.registry).is_err() {
            // Writing to a String does not fail. A page without its end mark is refused by Prometheus.
            return String::new();
        }
        page
    }
}

fn round_seconds() -> Histogram {
    Histogram::new(ROUND_SECONDS)
}

fn of_controller() -> Labels {
    vec![("controller", CONTROLLER.to_owned())]
}

fn with_result(result: &'static str) -> Labels {
    vec![("controller", CONTROLLER.to_owned()), ("result", result.to_owned())]
}

/// What is shown of one KKPUpgrade.
#[derive(Debug)]
struct Object {
    target: String,
    from: String,
    run: i64,
    phase: Option<Phase>,
    conditions: Vec<(String, String)>,
    progress: f64,
    leftovers: i64,
    findings: FindingCounts,
}

impl From<&Status> for Object {
    fn from(status: &Status) -> Self {
        let percent = status.progress.as_ref().map_or(0, |progress| progress.percent);
        Self {
            target: status.target_version.clone().unwrap_or_default(),
            from: status.from_version.clone().unwrap_or_default(),
            run: status.run_id.unwrap_or_default(),
            // Not looked at yet is Pending; a phase of a newer operator is none that this one knows.
            phase: status
                .phase
                .as_deref()
                .map_or(Some(Phase::Pending), |phase| phase.parse().ok()),
            conditions: status
                .conditions
                .iter()
                .map(|condition| (condition.r#type.clone(), condition.status.clone()))
                .collect(),
            progress: f64::from(percent) / 100.0,
            leftovers: {
                let owed = status.changes.iter().filter(|change| !change.permanent);
                i64::try_from(owed.count()).unwrap_or(i64::MAX)
            },
            findings: status.plan.as_ref().map(|plan| plan.findings).unwrap_or_default(),
        }
    }
}

/// The upgrades. Their series are made at each scrape, so none can outlive its object.
#[derive(Debug, Clone, Default)]
struct Objects(Arc<Mutex<BTreeMap<(String, String), Object>>>);

impl Objects {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Object>> {
        lock(&self.0)
    }
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let objects = self.lock();
        infos(&mut encoder, &objects)?;
        let encoder = &mut encoder;
        let phase = "Phase of the upgrade: 1 for the one it is in";
        gauges(encoder, "kkp_upgrade_status_phase", phase, &objects, phases)?;
        let condition = "Conditions of the upgrade: 1 for the status that each has";
        gauges(encoder, "kkp_upgrade_condition", condition, &objects, conditions)?;
        let progress = "How far the upgrade is, from 0 to 1";
        gauges(encoder, "kkp_upgrade_progress_ratio", progress, &objects, |object| {
            vec![(Vec::new(), object.progress)]
        })?;
        let leftovers = "What the upgrade changed and has not put back yet";
        gauges(encoder, "kkp_upgrade_leftovers", leftovers, &objects, |object| {
            vec![(Vec::new(), object.leftovers)]
        })?;
        let found = "Findings of the last plan";
        gauges(encoder, "kkp_upgrade_findings", found, &objects, findings)
    }
}

fn infos(encoder: &mut DescriptorEncoder, objects: &BTreeMap<(String, String), Object>) -> Result<(), Error> {
    let help = "What the upgrade is about";
    let mut family = encoder.encode_descriptor("kkp_upgrade", help, None, MetricType::Info)?;
    for (key, object) in objects {
        let mut labels = named(key);
        labels.push(("target", object.target.clone()));
        labels.push(("from", object.from.clone()));
        labels.push(("run", object.run.to_string()));
        family.encode_info(&labels)?;
    }
    Ok(())
}

fn gauges<V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder,
    name: &'static str,
    help: &str,
    objects: &BTreeMap<(String, String), Object>,
    samples: impl Fn(&Object) -> Vec<(Labels, V)>,
) -> Result<(), Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (key, object) in objects {
        for (more, value) in samples(object) {
            let mut labels = named(key);
            labels.extend(more);
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

fn named((namespace, name): &(String, String)) -> Labels {
    vec![("namespace", namespace.clone()), ("name", name.clone())]
}

fn phases(object: &Object) -> Vec<(Labels, i64)> {
    let sample = |phase: &Phase| {
        (
            vec![("phase", phase.to_string())],
            i64::from(object.phase == Some(*phase)),
        )
    };
    Phase::VARIANTS.iter().map(sample).collect()
}

fn conditions(object: &Object) -> Vec<(Labels, i64)> {
    let mut samples = Vec::new();
    for (kind, current) in &object.conditions {
        for status in CONDITION_STATUSES {
            let labels = vec![("type", kind.clone()), ("status", status.to_owned())];
            samples.push((labels, i64::from(current == status)));
        }
    }
    samples
}

fn findings(object: &Object) -> Vec<(Labels, i64)> {
    let counts = &object.findings;
    [
        ("blocker", counts.blockers),
        ("accepted", counts.accepted),
        ("warning", counts.warnings),
        ("info", counts.infos),
    ]
    .into_iter()
    .map(|(severity, count)| (vec![("severity", severity.to_owned())], i64::from(count)))
    .collect()
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
