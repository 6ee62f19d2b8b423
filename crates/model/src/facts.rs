//! What the shell would read of the small world in one round: no more than `needs` asks for.

use std::time::Duration;

use jiff::Timestamp;
use kkp_upgrade_core::decide::{Needs, RuleNeeds, needs, waits_for_queue};
use kkp_upgrade_core::facts::{self, *};
use kkp_upgrade_core::request::*;
use kkp_upgrade_core::rules::{Finding, Hop, ItemKind, Severity, Stage};
use kkp_upgrade_core::status::ClusterCounts;
use kkp_upgrade_core::timing::Timing;
use kkp_upgrade_core::version::KkpVersion;

use crate::bounds::Bounds;
use crate::recorded::{NOW, now};
use crate::state::{Attempt, Flap, Lease, Platform, Pod, Release, State, Upgrade};

const FROM: KkpVersion = KkpVersion::new(2, 30, 3);
const TO: KkpVersion = KkpVersion::new(2, 31, 0);
/// What an intent of this round is named with.
pub(crate) const HOLDER: &str = "this round";
/// resourceVersion of whatever is read: what was written since is kept with the operator.
const READ: &str = "as read";

/// What cannot be read in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sight {
    Clear,
    NoPlatform,
    NoEvidence,
    NoJob,
    NoRules,
    NoQueue,
    NoNote,
}

impl Sight {
    pub(crate) const BLIND: [Self; 6] = [
        Self::NoPlatform,
        Self::NoEvidence,
        Self::NoJob,
        Self::NoRules,
        Self::NoQueue,
        Self::NoNote,
    ];
}

pub(crate) fn timing() -> Timing {
    Timing {
        backup_attempts: 2,
        ..Timing::default()
    }
}

pub(crate) fn uid(upgrade: usize) -> String {
    format!("{upgrade}1111111-aaaa")
}

pub(crate) fn request(upgrade: &Upgrade) -> Request {
    Request {
        target: if upgrade.forward { TO } else { FROM },
        via: Vec::new(),
        edition: None,
        mode: Mode::Upgrade,
        paused: upgrade.paused,
        approval: ApprovalRequest::default(),
        maximum_parallel_reconciles: upgrade.limit,
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
        progress_deadline: Duration::from_secs(130),
        inside: Inside::None,
        seed_capacity: false,
        accepted_risks: Vec::new(),
        fixes: Vec::new(),
    }
}

pub(crate) fn object(index: usize, upgrade: &Upgrade) -> ObjectFacts {
    ObjectFacts {
        uid: uid(index),
        name: format!("upgrade-{index}"),
        namespace: "kubermatic".to_owned(),
        generation: upgrade.generation,
        created: Timestamp::from_second(NOW - 100_000 + i64::try_from(index).unwrap()).unwrap(),
        deleting: upgrade.deleting,
        finalizer: upgrade.finalizer,
        retry: upgrade.retry.text(),
        abort: upgrade.abort.text(),
        release: upgrade.release.text(),
        approve: None,
        approve_manager: None,
    }
}

/// The facts of one round.
pub(crate) fn read(bounds: &Bounds, state: &State, index: usize, sight: Sight) -> Facts {
    let upgrade = &state.upgrades[index];
    let (request, object) = (request(upgrade), object(index, upgrade));
    let status = &upgrade.status.status;
    let needs = needs(Some(&request), status, &object);
    let unknown = || "timeout".to_owned();
    let rules = |rules: &RuleNeeds| match sight {
        Sight::NoRules => Known::Unknown(unknown()),
        _ if rules.stages.contains(&Stage::Preflight) => Known::Is(findings(&state.platform)),
        _ => Known::Is(Vec::new()),
    };
    let queue = needs.queue && sight != Sight::NoQueue;
    let job = |name: String| match sight {
        Sight::NoJob => Known::Unknown(unknown()),
        _ => Known::Is(job(
            state,
            status.step.as_ref().and_then(|step| step.intent.as_deref()),
            &name,
        )),
    };
    Facts {
        now: now(),
        holder: HOLDER.to_owned(),
        object,
        platform_namespace: Known::Is("kubermatic".to_owned()),
        platform: match sight {
            Sight::NoPlatform => Known::Unknown(unknown()),
            _ if needs.platform => Known::Is(platform(bounds, &state.platform, &needs, sight)),
            _ => Known::NotRead,
        },
        findings: needs.rules.as_ref().map_or(Known::NotRead, rules),
        catalogue: None,
        etcd: Known::NotRead,
        others: if queue {
            Known::Is(others(state, index))
        } else {
            Known::Unknown(unknown())
        },
        lease: if queue {
            Known::Is(lease(state.platform.lease))
        } else {
            Known::Unknown(unknown())
        },
        job: needs.job.map_or(Known::NotRead, job),
        plan: needs.plan.map_or(Known::NotRead, |_| {
            Known::Is(upgrade.plan.as_deref().map(str::to_owned))
        }),
        refused: None,
        refusal_stands: false,
        marked: Known::Is(Vec::new()),
    }
}

fn lease(lease: Lease) -> LeaseFacts {
    LeaseFacts {
        resource_version: (lease != Lease::Absent).then(|| READ.to_owned()),
        holder: match lease {
            Lease::Held(holder) => Some(uid(holder)),
            Lease::Absent | Lease::Free => None,
        },
    }
}

fn others(state: &State, index: usize) -> Vec<OtherUpgrade> {
    let there = state.upgrades.iter().enumerate();
    there
        .filter(|(other, upgrade)| *other != index && upgrade.present)
        .map(|(other, upgrade)| {
            let (facts, status) = (object(other, upgrade), &upgrade.status.status);
            OtherUpgrade {
                uid: facts.uid,
                name: facts.name,
                created: facts.created,
                waits_for_queue: !facts.deleting && waits_for_queue(Some(&request(upgrade)), status),
                terminal: status.has_ended(),
                hop_seconds: Vec::new(),
            }
        })
        .collect()
}

fn findings(platform: &Platform) -> Vec<Finding> {
    let blocker = |rule: &str| Finding {
        rule: rule.to_owned(),
        severity: Severity::Blocker,
        acceptable: false,
        hop: Hop { from: FROM, to: TO },
        ahead: false,
        kind: ItemKind::Platform,
        target: "kubermatic".to_owned(),
        message: "is not as it must be".to_owned(),
        remedy: "mend it".to_owned(),
        docs: None,
        unknown: false,
        transient: false,
        accepted: None,
        fix: None,
    };
    let mut findings = Vec::new();
    if platform.release != Release::Deployed {
        findings.push(blocker("release-not-deployed"));
    }
    if platform.blocker {
        findings.push(blocker("another"));
    }
    findings
}

/// Evidence of a version: stage 1 = master, 2 = seeds.
fn evidence(platform: &Platform, needs: &Needs, sight: Sight, stage: u8) -> Evidence {
    let Some(version) = needs.evidence else {
        return Evidence::Unknown("not read".to_owned());
    };
    if sight == Sight::NoEvidence {
        return Evidence::Unknown("timeout".to_owned());
    }
    let reached = if version == TO {
        platform.converged >= stage
    } else {
        !platform.touched
    };
    if reached && !(stage == 1 && platform.flap == Flap::Deployment) {
        Evidence::Proven
    } else {
        Evidence::Missing(vec!["a Deployment is rolling out".to_owned()])
    }
}

fn platform(bounds: &Bounds, platform: &Platform, needs: &Needs, sight: Sight) -> PlatformFacts {
    let evidence = |stage| evidence(platform, needs, sight, stage);
    let settled = if needs.evidence == Some(TO) {
        platform.converged == 3
    } else {
        !platform.touched
    };
    let counts = ClusterCounts {
        total: 2,
        converged: if settled && platform.flap != Flap::Cluster {
            2
        } else {
            1
        },
        failing: i32::from(platform.flap == Flap::Cluster),
        ..ClusterCounts::default()
    };
    let seed = |name: String, cluster: String| SeedFacts {
        etcd_destination: None,
        uid: format!("uid-{name}"),
        name,
        reachable: Known::Is(()),
        cluster_uid: Some(cluster),
        evidence: evidence(2),
        limit_in_force: Known::Is(Some(platform.in_force)),
        clusters: match needs.evidence {
            None => Known::NotRead,
            Some(_) if sight == Sight::NoEvidence => Known::Unknown("timeout".to_owned()),
            Some(_) => Known::Is(counts),
        },
        lagging: Vec::new(),
        unhealthy: Vec::new(),
    };
    let mut seeds = vec![seed("kubermatic".to_owned(), "master-cluster".to_owned())];
    seeds.extend((0..bounds.seeds).map(|number| seed(format!("seed-{number}"), format!("cluster-{number}"))));
    let readable = sight != Sight::NoEvidence;
    PlatformFacts {
        configuration: configuration(platform, sight),
        version: Some(if platform.touched { TO } else { FROM }),
        route: Known::Is(Ok(Vec::new())),
        edition: Some(Edition::CE),
        cluster_uid: "master-cluster".to_owned(),
        crd_version: match needs.evidence {
            None => Known::NotRead,
            Some(_) if !readable => Known::Unknown("timeout".to_owned()),
            Some(_) => Known::Is(Some(if platform.touched { TO.tag() } else { FROM.tag() })),
        },
        evidence: evidence(1),
        seeds,
        backup_storage: Some(Storage::Claim {
            claim: "backups".to_owned(),
            path: "/".to_owned(),
        }),
        backup_key: Known::Is(Some(BackupKey {
            recipient: "age1public".to_owned(),
            private: true,
        })),
        installer: needs.installer.map_or(Known::NotRead, |version| {
            Known::Is(InstallerFacts {
                image: format!("kubermatic:{}", version.tag()),
                values_digest: "sha256:v".to_owned(),
                values_secret: None,
                flags: Vec::new(),
                proxies: Vec::new(),
            })
        }),
    }
}

fn configuration(platform: &Platform, sight: Sight) -> ConfigurationFacts {
    ConfigurationFacts {
        namespace: "kubermatic".to_owned(),
        name: "kubermatic".to_owned(),
        uid: "kkp".to_owned(),
        resource_version: READ.to_owned(),
        maximum_parallel_reconciles: platform.field,
        throttle_mark: match sight {
            Sight::NoNote => Known::Unknown("not JSON".to_owned()),
            _ => Known::Is(platform.mark.as_ref().map(|mark| ThrottleMark {
                owner: uid(mark.owner),
                original: mark.original,
                applied: mark.applied,
            })),
        },
    }
}

fn job(state: &State, intent: Option<&str>, name: &str) -> JobFacts {
    let Some(attempt) = state.attempts.iter().find(|attempt| &*attempt.name == name) else {
        return JobFacts::Absent {
            fence: facts::Fence::Absent,
        };
    };
    let fence = match attempt.fence {
        crate::state::Fence::Absent => facts::Fence::Absent,
        crate::state::Fence::Pod => facts::Fence::Pod,
        crate::state::Fence::Operator => facts::Fence::Operator,
    };
    let Some(job) = attempt.job else {
        // As the shell reads it: a Pod that outlives its Job is looked for where the fence says that it was let through.
        return if fence == facts::Fence::Pod && attempt.orphan.is_some() {
            JobFacts::Running {
                uid: String::new(),
                fence,
                waiting: None,
            }
        } else {
            JobFacts::Absent { fence }
        };
    };
    if intent != Some(&*attempt.digest) {
        return JobFacts::Foreign;
    }
    let uid = job.uid.to_string();
    match job.pod {
        Pod::Succeeded(age) => JobFacts::Succeeded {
            uid,
            message: receipt(attempt, age),
        },
        Pod::Failed => JobFacts::Failed {
            uid,
            message: "exit 1".to_owned(),
        },
        Pod::Waiting | Pod::Checked | Pod::Stuck | Pod::Running | Pod::Touched => JobFacts::Running {
            uid,
            fence,
            waiting: (job.pod == Pod::Stuck).then(|| WaitingPod {
                why: "ErrImagePull".to_owned(),
                name: name.to_owned(),
                uid: READ.to_owned(),
                resource_version: READ.to_owned(),
            }),
        },
    }
}

/// What a backup says at its end.
fn receipt(attempt: &Attempt, age: i64) -> String {
    let time = Timestamp::from_second(NOW - age).unwrap();
    serde_json::json!({"path": attempt.name, "manifestDigest": "sha256:m", "objects": 10, "bytes": 100,
        "verifiedTime": time.to_string()})
    .to_string()
}
