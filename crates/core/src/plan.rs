//! The plan of a run: what will be done to which target, and its digest. Pure.

use serde::Serialize;

use crate::facts::PlatformFacts;
use crate::request::{Request, sha256};
use crate::rules::{Finding, Severity};
use crate::status::{FindingCounts, FindingStatus, Hop, message};

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
    /// Makes the plan of a hop. User clusters, times, messages and infos are not part of it, so that its digest stays
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
            .filter(|finding| finding.severity != Severity::Info && finding.kind != crate::rules::ItemKind::Cluster)
            .map(|finding| PlannedFinding {
                rule: finding.rule.clone(),
                target: finding.subject(),
                severity: severity_word(finding),
            })
            .collect();
        // Findings on user clusters count by rule, not by name.
        planned.extend(
            findings
                .iter()
                .filter(|f| f.kind == crate::rules::ItemKind::Cluster && f.severity != Severity::Info)
                .map(|finding| PlannedFinding {
                    rule: finding.rule.clone(),
                    target: "clusters".to_owned(),
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

    /// The plan and all findings, as YAML for people.
    #[must_use]
    pub fn to_yaml(&self, findings: &[Finding]) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            digest: String,
            plan: &'a Plan,
            findings: Vec<FindingStatus>,
        }
        let document = Document {
            digest: self.digest(),
            plan: self,
            findings: findings.iter().map(finding_status).collect(),
        };
        serde_saphyr::to_string(&document)
            .unwrap_or_else(|error| format!("# the plan cannot be written as YAML: {error}\n"))
    }
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
        message: message(&finding.message),
        remedy: message(&finding.remedy),
    }
}

/// Findings by severity.
#[must_use]
pub fn count(findings: &[Finding]) -> FindingCounts {
    let count = |wanted: &dyn Fn(&Finding) -> bool| {
        i32::try_from(findings.iter().filter(|f| wanted(f)).count()).unwrap_or(i32::MAX)
    };
    FindingCounts {
        blockers: count(&Finding::blocks),
        warnings: count(&|finding| finding.severity == Severity::Warning && finding.accepted.is_none()),
        infos: count(&|finding| finding.severity == Severity::Info),
        accepted: count(&|finding| finding.accepted.is_some()),
    }
}
