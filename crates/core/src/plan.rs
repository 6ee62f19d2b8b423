//! The plan of a run: what will be done to which target, and its digest. Pure.

use serde::Serialize;

use crate::facts::PlatformFacts;
use crate::fix::ProposedFix;
use crate::request::{Request, sha256};
use crate::rules::{Finding, Severity};
use crate::status::{FindingCounts, FindingStatus, Hop, PlanPart, message};

/// Name of the target that stands for the master in status, plan and Jobs.
pub const MASTER: &str = "master";

/// What a run will do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// UID of the KKPUpgrade: consent to one object's plan is none to another's.
    pub upgrade: String,
    /// Versions of the route.
    pub path: Vec<String>,
    /// The hop that comes now.
    pub hop: Hop,
    /// Limit on parallel reconciles during the run, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_parallel_reconciles: Option<i32>,
    /// What is mended before the installer runs, by rule: which user clusters it is about changes all the time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<PlannedFix>,
    /// Master and seeds, in order.
    pub targets: Vec<PlannedTarget>,
    /// Findings that block or warn, without their texts.
    pub findings: Vec<PlannedFinding>,
}

/// One target of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedTarget {
    /// `master`, or the name of the Seed.
    pub name: String,
    /// UID of the KubermaticConfiguration or of the Seed.
    pub uid: String,
    /// What is done to it, in order.
    pub actions: Vec<String>,
}

/// A fix as the digest sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedFix {
    /// Id of the rule.
    pub rule: String,
    /// Kind of the objects.
    pub kind: String,
    /// Path of the value that is written.
    pub field: String,
    /// What it does.
    pub action: String,
    /// Whether the value is put back at the end.
    pub temporary: bool,
}

/// A finding as the digest sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PlannedFinding {
    /// Id of the rule.
    pub rule: String,
    /// What it is about.
    pub target: String,
    /// `blocker`, `accepted` or `warning`.
    pub severity: String,
}

impl Plan {
    /// Makes the plan of a hop. User clusters, Pods, times, messages and infos are not part of it, so that its digest stays
    /// the same while nothing that matters changes.
    #[must_use]
    pub fn make(
        uid: &str,
        request: &Request,
        path: &[String],
        hop: &Hop,
        platform: &PlatformFacts,
        findings: &[Finding],
    ) -> Self {
        let mut planned: Vec<PlannedFinding> = findings
            .iter()
            .filter(|finding| counts(finding) && !finding.kind.comes_and_goes())
            .map(|finding| PlannedFinding {
                rule: finding.rule.clone(),
                target: finding.subject(),
                severity: severity_word(finding),
            })
            .collect();
        // Findings on what comes and goes by itself count by rule, not by name.
        planned.extend(
            findings
                .iter()
                .filter(|finding| counts(finding) && finding.kind.comes_and_goes())
                .map(|finding| PlannedFinding {
                    rule: finding.rule.clone(),
                    target: format!("{}s", finding.kind),
                    severity: severity_word(finding),
                }),
        );
        planned.sort();
        planned.dedup();
        Self {
            upgrade: uid.to_owned(),
            path: path.to_vec(),
            hop: hop.clone(),
            maximum_parallel_reconciles: request.maximum_parallel_reconciles,
            fixes: fixes(findings),
            targets: targets(request, hop, platform),
            findings: planned,
        }
    }

    /// `sha256:` over the canonical JSON (RFC 8785) of the plan.
    #[must_use]
    pub fn digest(&self) -> String {
        // A plan holds only texts, numbers and lists: it always has a canonical form.
        sha256(&serde_json_canonicalizer::to_vec(self).unwrap_or_default())
    }

    /// Short digests of the plan's parts by name: what differs between two plans, for people.
    #[must_use]
    pub fn parts(&self) -> Vec<PlanPart> {
        let (master, seeds): (Vec<_>, Vec<_>) = self.targets.iter().partition(|target| target.name == MASTER);
        let part = |name: &str, value: serde_json::Result<serde_json::Value>| {
            let text = value.unwrap_or_default().to_string();
            PlanPart {
                name: name.to_owned(),
                digest: sha256(text.as_bytes()).chars().skip("sha256:".len()).take(12).collect(),
            }
        };
        vec![
            part("route", serde_json::to_value((&self.path, &self.hop))),
            part("limit", serde_json::to_value(self.maximum_parallel_reconciles)),
            part("master", serde_json::to_value(master)),
            part("seeds", serde_json::to_value(seeds)),
            part("fixes", serde_json::to_value(&self.fixes)),
            part("findings", serde_json::to_value(&self.findings)),
        ]
    }
}

fn fixes(findings: &[Finding]) -> Vec<PlannedFix> {
    let wanted = findings.iter().filter(|finding| finding.is_to_be_fixed());
    let mut fixes: Vec<PlannedFix> = wanted
        .filter_map(|finding| {
            let fix = finding.fix.as_ref()?;
            Some(PlannedFix {
                rule: finding.rule.clone(),
                kind: finding.kind.to_string(),
                field: fix.path.clone(),
                action: fix.title.clone(),
                temporary: fix.temporary,
            })
        })
        .collect();
    fixes.sort();
    fixes.dedup();
    fixes
}

fn targets(request: &Request, hop: &Hop, platform: &PlatformFacts) -> Vec<PlannedTarget> {
    let mut master = Vec::new();
    master.push(if request.backup.required {
        "back up and verify".to_owned()
    } else {
        "no backup (policy Skip)".to_owned()
    });
    if let Some(limit) = request.maximum_parallel_reconciles {
        master.push(format!(
            "set maximumParallelReconciles to {limit} for the time of the run"
        ));
    }
    match platform.installer.value() {
        Some(installer) => master.push(format!(
            "run {} with: deploy kubermatic-master {} (values {})",
            installer.image,
            installer.flags.join(" "),
            installer.values_digest
        )),
        None => master.push(format!(
            "run the installer (not decided: {})",
            platform.installer.why_not()
        )),
    }
    master.push(format!("prove that the master runs {}", hop.to));
    let mut targets = vec![PlannedTarget {
        name: MASTER.to_owned(),
        uid: platform.configuration.uid.clone(),
        actions: master,
    }];
    targets.extend(platform.seeds.iter().map(|seed| {
        let mut actions = Vec::new();
        if request.backup.required && seed.cluster_uid.as_deref() != Some(platform.cluster_uid.as_str()) {
            actions.push("back up and verify".to_owned());
        }
        let etcd = request.backup.required && request.backup.user_cluster_etcd;
        if let Some(destination) = seed.etcd_destination.as_ref().filter(|_| etcd) {
            actions.push(format!(
                "let KKP back up the etcd of each user cluster to destination {destination}"
            ));
        }
        actions.push(format!(
            "prove that the seed runs {} and that its user clusters were reconciled by it",
            hop.to
        ));
        PlannedTarget {
            name: seed.name.clone(),
            uid: seed.uid.clone(),
            actions,
        }
    }));
    targets
}

/// Whether consent to the plan is consent to this finding: what only a later hop has to fear is agreed to with that hop.
fn counts(finding: &Finding) -> bool {
    finding.severity != Severity::Info && !finding.ahead
}

fn severity_word(finding: &Finding) -> String {
    if finding.accepted.is_some() {
        "accepted".to_owned()
    } else {
        finding.severity.to_string().to_lowercase()
    }
}

/// A finding as status shows it.
#[must_use]
pub fn finding_status(finding: &Finding) -> FindingStatus {
    FindingStatus {
        rule: finding.rule.clone(),
        severity: severity_word(finding),
        target: message(&finding.subject()),
        hop: finding.ahead.then(|| finding.hop.to_string()),
        message: message(&finding.message),
        remedy: message(&finding.remedy),
        fix: finding.fix.as_ref().and_then(fix_word),
    }
}

fn fix_word(fix: &ProposedFix) -> Option<String> {
    let word = match (fix.requested, &fix.refused) {
        (true, None) => "requested",
        (true, Some(_)) => "refused",
        (false, None) => "available",
        (false, Some(_)) => return None,
    };
    Some(word.to_owned())
}

/// Findings by severity.
#[must_use]
pub fn count(findings: &[Finding]) -> FindingCounts {
    let count = |wanted: &dyn Fn(&Finding) -> bool| {
        i32::try_from(findings.iter().filter(|f| wanted(f)).count()).unwrap_or(i32::MAX)
    };
    FindingCounts {
        blockers: count(&Finding::blocks),
        warnings: count(&|finding| {
            let warns =
                finding.severity == Severity::Warning || (finding.severity == Severity::Blocker && finding.ahead);
            warns && finding.accepted.is_none() && !finding.is_to_be_fixed()
        }),
        infos: count(&|finding| finding.severity == Severity::Info),
        accepted: count(&|finding| finding.accepted.is_some()),
        to_be_fixed: count(&Finding::is_to_be_fixed),
    }
}
