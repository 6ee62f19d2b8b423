//! A small platform: what `decide` looks at, and what its effects do to it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::world_etcd::SimEtcd;
use super::world_fixes::SimObject;
use super::world_retention::SimRetention;
use crate::conditions::{ConditionType, kstatus_violations};
use crate::decide::{Decision, decide};
use crate::effect::{JobIntent, JobWork};
use crate::facts::*;
use crate::phase::Phase;
use crate::request::*;
use crate::rules::{Finding, Hop, ItemKind, Severity};
use crate::status::{CatalogueStatus, MESSAGE_BYTES, Status};
use crate::timing::Timing;
use crate::version::KkpVersion;

pub(super) const FROM: KkpVersion = KkpVersion::new(2, 30, 3);
pub(super) const TO: KkpVersion = KkpVersion::new(2, 31, 0);
pub(super) const UID: &str = "11111111-aaaa";

/// How an installer or backup ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Good,
    /// Nothing was changed.
    FailsEarly,
    /// The CRDs are already new.
    FailsLate,
    /// It never ends.
    Hangs,
}

#[derive(Debug, Clone)]
pub(super) struct SimJob {
    pub(super) intent: JobIntent,
    pub(super) uid: String,
    pub(super) age: u32,
    pub(super) ended: Option<bool>,
}

#[derive(Debug, Clone)]
pub(super) struct SimSeed {
    pub(super) name: String,
    pub(super) cluster: Option<String>,
    pub(super) limit: i64,
}

#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch that a test turns on its own"
)]
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) request: Result<Request, SpecError>,
    pub(super) status: Status,
    pub(super) object: ObjectFacts,
    pub(super) gone: bool,
    pub(super) namespace: Known<String>,
    pub(super) version: Option<KkpVersion>,
    /// Releases on the way that are newer than what runs.
    pub(super) stops: Vec<KkpVersion>,
    /// What the last installer that went well installed.
    pub(super) installed: KkpVersion,
    pub(super) field: Option<i64>,
    pub(super) mark: Known<Option<ThrottleMark>>,
    pub(super) revision: u64,
    pub(super) lease: LeaseFacts,
    pub(super) others: Known<Vec<OtherUpgrade>>,
    pub(super) jobs: BTreeMap<String, SimJob>,
    pub(super) foreign: bool,
    pub(super) fences: BTreeMap<String, Fence>,
    pub(super) starts: BTreeMap<String, u32>,
    pub(super) seeds: Vec<SimSeed>,
    pub(super) crd: KkpVersion,
    /// Rounds since the installer succeeded.
    pub(super) since_install: Option<u32>,
    pub(super) evidence_gone: bool,
    pub(super) unreadable: bool,
    pub(super) job_unreadable: bool,
    pub(super) findings: Known<Vec<Finding>>,
    /// Where they come from.
    pub(super) catalogue: Option<CatalogueStatus>,
    pub(super) installer: Outcome,
    pub(super) backup: Outcome,
    /// How far a Pod of the installer gets before it waits: before or after its fence.
    pub(super) stuck_before_fence: bool,
    pub(super) effects: Vec<String>,
    pub(super) phases: Vec<Phase>,
    pub(super) serial: u64,
    /// Size of the largest status so far, in bytes.
    pub(super) largest: usize,
    /// User clusters of each seed, all with long names.
    pub(super) clusters: i32,
    /// Hours by which the clock of the Jobs' node is ahead.
    pub(super) job_clock: i64,
    /// How backups were compared with the cluster, as their Jobs say it; `None` = not said.
    pub(super) comparison: Option<serde_json::Value>,
    /// Digest of what the plan's ConfigMap holds.
    pub(super) plan: Option<String>,
    /// Digest that backup Jobs tell.
    pub(super) digest: String,
    /// What the API server says to every effect.
    pub(super) refused: Option<String>,
    /// Whether it means it.
    pub(super) refusal_stands: bool,
    /// Objects that rules with a fix look at.
    pub(super) fixable: Vec<SimObject>,
    pub(super) marks_unreadable: bool,
    /// Why the Pod of the running Job cannot start.
    pub(super) waiting: Option<WaitingPod>,
    pub(super) timing: Timing,
    /// Etcds of user clusters and what KKP makes of the orders to back them up.
    pub(super) etcd: SimEtcd,
    pub(super) retention: SimRetention,
    /// The key in the cluster.
    pub(super) backup_key: Known<Option<BackupKey>>,
}

pub(super) fn request() -> Request {
    Request {
        target: TO,
        via: Vec::new(),
        edition: None,
        mode: Mode::Upgrade,
        paused: false,
        approval: ApprovalRequest::default(),
        maximum_parallel_reconciles: Some(3),
        installer: InstallerRequest {
            helm_values: None,
            skip_charts: None,
            helm_timeout: Duration::from_mins(10),
        },
        backup: BackupRequest {
            storage: None,
            required: true,
            user_cluster_etcd: true,
            recipients: Vec::new(),
        },
        soak: Duration::from_mins(1),
        progress_deadline: Duration::from_mins(5),
        inside: Inside::None,
        seed_capacity: false,
        accepted_risks: Vec::new(),
        fixes: Vec::new(),
    }
}

pub(super) fn finding(unknown: bool) -> Finding {
    Finding {
        rule: "cluster-version-unsupported".to_owned(),
        severity: Severity::Blocker,
        acceptable: false,
        hop: Hop { from: FROM, to: TO },
        ahead: false,
        kind: ItemKind::Cluster,
        target: "eu/x7f2".to_owned(),
        message: "runs 1.29.1 ".repeat(30),
        remedy: "upgrade it".to_owned(),
        docs: None,
        unknown,
        transient: unknown,
        accepted: None,
        fix: None,
    }
}

impl World {
    /// A platform at `FROM`: a master that is also the seed `kubermatic`, and the seed `eu`.
    pub(super) fn new() -> Self {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let seed = |name: &str, cluster: &str| SimSeed {
            name: name.to_owned(),
            cluster: Some(cluster.to_owned()),
            limit: 10,
        };
        Self {
            now,
            request: Ok(request()),
            status: Status {
                observed_generation: -1,
                ..Status::default()
            },
            object: ObjectFacts {
                uid: UID.to_owned(),
                name: "to-2-31".to_owned(),
                namespace: "kubermatic".to_owned(),
                generation: 1,
                created: now,
                deleting: false,
                finalizer: false,
                retry: None,
                abort: None,
                release: None,
                approve: None,
                approve_manager: None,
            },
            gone: false,
            namespace: Known::Is("kubermatic".to_owned()),
            version: Some(FROM),
            stops: vec![TO],
            installed: TO,
            field: Some(20),
            mark: Known::Is(None),
            revision: 1,
            lease: LeaseFacts::default(),
            others: Known::Is(Vec::new()),
            jobs: BTreeMap::new(),
            foreign: false,
            fences: BTreeMap::new(),
            starts: BTreeMap::new(),
            seeds: vec![seed("kubermatic", "master-cluster"), seed("eu", "eu-cluster")],
            crd: FROM,
            since_install: None,
            evidence_gone: false,
            unreadable: false,
            job_unreadable: false,
            findings: Known::Is(Vec::new()),
            catalogue: None,
            installer: Outcome::Good,
            backup: Outcome::Good,
            stuck_before_fence: false,
            effects: Vec::new(),
            phases: Vec::new(),
            serial: 0,
            largest: 0,
            clusters: 4,
            job_clock: 0,
            comparison: None,
            plan: None,
            digest: "sha256:m".to_owned(),
            refused: None,
            refusal_stands: false,
            fixable: Vec::new(),
            marks_unreadable: false,
            waiting: None,
            timing: Timing::default(),
            etcd: SimEtcd::default(),
            retention: SimRetention::default(),
            backup_key: Known::Is(Some(BackupKey {
                recipient: "age1public".to_owned(),
                private: true,
            })),
        }
    }

    pub(super) fn spec(&mut self, change: impl FnOnce(&mut Request)) {
        change(self.request.as_mut().unwrap());
        self.object.generation += 1;
    }

    pub(super) fn phase(&self) -> Phase {
        self.status.phase().unwrap_or(Phase::Pending)
    }

    pub(super) fn reason(&self) -> String {
        self.status
            .condition(ConditionType::Ready)
            .map(|ready| ready.reason.clone())
            .unwrap_or_default()
    }

    pub(super) fn message(&self) -> String {
        self.status
            .condition(ConditionType::Ready)
            .map(|ready| ready.message.clone())
            .unwrap_or_default()
    }

    pub(super) fn stalled(&self) -> bool {
        self.status.is_true(ConditionType::Stalled)
    }

    pub(super) fn point(&self) -> String {
        self.status
            .point_of_no_return
            .as_ref()
            .map(|point| point.state.clone())
            .unwrap_or_default()
    }

    pub(super) fn step_job(&self) -> Option<String> {
        self.status.step.as_ref().and_then(|step| step.job.clone())
    }

    pub(super) fn installers(&self) -> Vec<&SimJob> {
        self.jobs
            .values()
            .filter(|job| matches!(job.intent.work, JobWork::Installer { .. }))
            .collect()
    }

    pub(super) fn did(&self, word: &str) -> usize {
        self.effects.iter().filter(|effect| effect.starts_with(word)).count()
    }

    /// Decides, and checks what must be right about every decision.
    pub(super) fn decide(&mut self) -> Decision {
        let facts = self.facts();
        let decision = decide(self.request.as_ref(), &self.status, &facts, &self.timing);
        assert_eq!(
            decision,
            decide(self.request.as_ref(), &self.status, &facts, &self.timing),
            "same inputs, same answer"
        );
        let wrong = kstatus_violations(self.object.generation, &decision.status);
        assert!(wrong.is_empty(), "{wrong:?}\n{:#?}", decision.status);
        let holder = |status: &Status| status.step.as_ref().and_then(|step| step.holder.clone());
        if decision.effect.is_some() {
            assert_eq!(
                holder(&decision.status),
                Some(facts.holder),
                "an effect is named before it happens"
            );
        }
        check_texts(&decision.status);
        let size = serde_json::to_vec(&decision.status).unwrap().len();
        assert!(size <= 64 * 1024, "{size} bytes");
        self.largest = self.largest.max(size);
        decision
    }

    /// One round as the shell makes it: decide, record, carry out.
    pub(super) fn round(&mut self) -> Decision {
        let decision = self.decide();
        self.record(&decision);
        if let Some(effect) = &decision.effect {
            self.check_start(effect);
            self.carry_out(effect);
        }
        decision
    }

    pub(super) fn record(&mut self, decision: &Decision) {
        let (before, after) = (self.phase(), decision.status.phase().unwrap_or(Phase::Pending));
        if before != after {
            assert!(
                <crate::phase::Outcome as strum::VariantArray>::VARIANTS
                    .iter()
                    .any(|way| before.next(*way) == Some(after)),
                "no way from {before} to {after}"
            );
            if after == Phase::Done {
                let target = crate::decide::hop::target(&decision.status).unwrap();
                assert!(self.fully_proven(target), "Done without proof");
            }
            self.phases.push(after);
        }
        self.status = decision.status.clone();
    }

    /// Rounds until nothing happens for a long time: then the same facts give no effect and the same status.
    pub(super) fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..2000 {
            let before = self.status.clone();
            let decision = self.round();
            let still = decision.effect.is_none() && before == self.status;
            quiet = if still { quiet + 1 } else { 0 };
            self.tick(if decision.requeue.is_zero() {
                Duration::from_secs(1)
            } else {
                Duration::from_secs(10)
            });
            if quiet > 40 || self.gone {
                return;
            }
        }
        panic!("never at rest: {:#?}", self.status);
    }

    /// Rounds until `reached`.
    pub(super) fn until(&mut self, reached: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if reached(self) {
                return;
            }
            let decision = self.round();
            self.tick(if decision.requeue.is_zero() {
                Duration::from_secs(1)
            } else {
                Duration::from_secs(10)
            });
        }
        panic!("never reached: {:#?}", self.status);
    }
}

fn check_texts(status: &Status) {
    fn walk(value: &serde_json::Value) {
        match value {
            serde_json::Value::String(text) => assert!(text.len() <= MESSAGE_BYTES, "too long: {text}"),
            serde_json::Value::Array(items) => items.iter().for_each(walk),
            serde_json::Value::Object(fields) => fields.values().for_each(walk),
            _ => {}
        }
    }
    walk(&serde_json::to_value(status).unwrap());
    assert!(status.insights.len() <= 10 && status.findings.len() <= 10 && status.history.len() <= 10);
}
