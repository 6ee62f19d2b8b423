//! The plan as a page for people: for a ticket, a pull request or a terminal. Pure.

use std::fmt::Write as _;

use crate::plan::{Plan, count};
use crate::plan_document::PlanDocument;
use crate::rules::{Finding, Severity};

impl PlanDocument<'_> {
    /// As a Markdown page.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let plan = self.plan;
        let mut page = String::new();
        let route: Vec<String> = plan.path.iter().map(|version| cell(version)).collect();
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "# Upgrade plan: {}\n\nHop {} of {}: {} → {}.\n\nExpected duration: {}.\n",
            route.join(" → "),
            plan.hop.index,
            plan.hop.total,
            plan.hop.from,
            plan.hop.to,
            self.expected_duration,
        );
        if let Some(limit) = plan.maximum_parallel_reconciles {
            let _ = writeln!(
                page,
                "\nAt most {limit} user clusters of a seed are reconciled at once."
            );
        }
        fixes(&mut page, plan);
        targets(&mut page, plan);
        all_findings(&mut page, self.findings);
        for_good(&mut page, self);
        consent(&mut page, self);
        if let Some(catalogue) = self.catalogue {
            let _ = write!(
                page,
                "\nJudged by catalogue `{}` ({}).\n",
                catalogue.digest, catalogue.source
            );
        }
        page
    }
}

fn fixes(page: &mut String, plan: &Plan) {
    if plan.fixes.is_empty() {
        return;
    }
    page.push_str("\n## Mended before the installer runs\n\n");
    for fix in &plan.fixes {
        let back = if fix.temporary { "; put back at the end" } else { "" };
        let _ = writeln!(
            page,
            "- `{}`: {} (every {}{back})",
            fix.rule,
            cell(&fix.action),
            fix.kind
        );
    }
}

fn for_good(page: &mut String, document: &PlanDocument<'_>) {
    let point = &document.point_of_no_return;
    let _ = write!(page, "\n## Point of no return\n\n{}\n", point.meaning);
    if !point.for_good.is_empty() {
        page.push_str("\nFor good:\n\n");
        for what in &point.for_good {
            let _ = writeln!(page, "- {}", cell(what));
        }
    }
}

fn targets(page: &mut String, plan: &Plan) {
    page.push_str("\n## Targets\n\n| Target | Actions, in order |\n|---|---|\n");
    for target in &plan.targets {
        let actions: Vec<String> = (1..)
            .zip(&target.actions)
            .map(|(number, action)| format!("{number}. {}", cell(action)))
            .collect();
        let _ = writeln!(page, "| {} | {} |", cell(&target.name), actions.join("<br>"));
    }
}

fn all_findings(page: &mut String, findings: &[Finding]) {
    let counts = count(findings);
    let _ = write!(
        page,
        "\n## Findings\n\nBlockers: {}, warnings: {}, accepted: {}, for information: {}.\n",
        counts.blockers, counts.warnings, counts.accepted, counts.infos
    );
    if findings.is_empty() {
        return;
    }
    page.push_str("\n| Severity | Rule | What it is about | What is wrong | What to do |\n|---|---|---|---|---|\n");
    for finding in findings {
        let rule = match &finding.docs {
            Some(docs) => format!("[`{}`]({docs})", finding.rule),
            None => format!("`{}`", finding.rule),
        };
        let _ = writeln!(
            page,
            "| {} | {rule} | {} | {} | {} |",
            severity(finding),
            cell(&finding.subject()),
            cell(&finding.message),
            cell(&finding.remedy)
        );
    }
}

fn severity(finding: &Finding) -> String {
    let word = match (&finding.accepted, finding.severity) {
        (Some(accepted), _) => format!("accepted until {}", accepted.expiration_time),
        (None, Severity::Blocker) => "**blocker**".to_owned(),
        (None, other) => other.to_string(),
    };
    let word = match (finding.ahead, finding.is_to_be_fixed()) {
        (true, _) => format!("{word}, at hop {}", finding.hop),
        (false, true) => format!("{word}, to be fixed"),
        (false, false) => word,
    };
    if finding.unknown {
        format!("{word} (cannot be decided)")
    } else {
        word
    }
}

fn consent(page: &mut String, document: &PlanDocument<'_>) {
    page.push_str("\n## Consent and next step\n\n");
    let digest = document.digest.as_ref();
    if let Some(digest) = digest {
        let _ = write!(page, "Digest of this plan: `{digest}`\n\n");
    } else {
        page.push_str(
            "This plan has no digest that can be approved: only the operator's plan of a KKPUpgrade has one.\n\n",
        );
    }
    let blocker = document.findings.iter().find(|finding| finding.blocks());
    match (blocker, digest) {
        (Some(first), _) => {
            let _ = writeln!(
                page,
                "Blocked: solve the blockers, or accept those whose rule allows it. `kubectl kkp-upgrade rules {}` explains the first.",
                first.rule
            );
        }
        (None, Some(digest)) => {
            let _ = writeln!(
                page,
                "Nothing blocks. With `spec.approval.mode: Manual`, approve it by the annotation `upgrade.k8c.io/approve: {digest}` \
                 on the KKPUpgrade, or by an entry in `spec.approval.digests`."
            );
        }
        (None, None) => {
            page.push_str("Nothing blocks. Apply the KKPUpgrade, and the operator makes the plan that counts.\n");
        }
    }
}

/// Text in a cell of a table: names and messages come from objects that others may write.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' => safe.extend(['\\', letter]),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            letter if letter.is_control() => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{PlannedFinding, PlannedFix, PlannedTarget};
    use crate::plan_document::{ExpectedDuration, ForGood, POINT_OF_NO_RETURN};
    use crate::rules::{Acceptance, Hop, ItemKind};
    use crate::version::KkpVersion;

    fn plan() -> Plan {
        Plan {
            upgrade: "u".to_owned(),
            path: vec!["2.30.6".to_owned(), "2.31.0".to_owned()],
            hop: crate::status::Hop {
                index: 1,
                total: 1,
                from: "2.30.6".to_owned(),
                to: "2.31.0".to_owned(),
            },
            maximum_parallel_reconciles: Some(3),
            fixes: vec![PlannedFix {
                rule: "cluster-version-unsupported".to_owned(),
                kind: "cluster".to_owned(),
                field: ".spec.version".to_owned(),
                action: "raise the version".to_owned(),
                temporary: false,
            }],
            targets: vec![
                PlannedTarget {
                    name: "master".to_owned(),
                    uid: "m".to_owned(),
                    actions: vec!["back up and verify".to_owned(), "run a|b".to_owned()],
                },
                PlannedTarget {
                    name: "eu".to_owned(),
                    uid: "e".to_owned(),
                    actions: vec!["prove it".to_owned()],
                },
            ],
            findings: vec![PlannedFinding {
                rule: "r".to_owned(),
                target: "t".to_owned(),
                severity: "blocker".to_owned(),
            }],
        }
    }

    fn page(findings: &[Finding], approvable: bool) -> String {
        let plan = plan();
        PlanDocument {
            digest: approvable.then(|| plan.digest()),
            catalogue: None,
            expected_duration: ExpectedDuration::of(&plan, &[600, 900]),
            point_of_no_return: ForGood {
                meaning: POINT_OF_NO_RETURN,
                for_good: vec!["2.31.0: Ingress → Gateway".to_owned()],
            },
            plan: &plan,
            findings,
        }
        .to_markdown()
    }

    fn finding(severity: Severity, message: &str) -> Finding {
        Finding {
            rule: "some-rule".to_owned(),
            severity,
            acceptable: true,
            hop: Hop {
                from: KkpVersion::new(2, 30, 6),
                to: KkpVersion::new(2, 31, 0),
            },
            kind: ItemKind::Seed,
            target: "eu".to_owned(),
            message: message.to_owned(),
            remedy: "mend it".to_owned(),
            docs: None,
            unknown: false,
            transient: false,
            accepted: None,
            ahead: false,
            fix: None,
        }
    }

    #[test]
    fn a_blocked_plan_as_a_page() {
        let accepted = Finding {
            accepted: Some(Acceptance {
                reason: "known".to_owned(),
                expiration_time: jiff::Timestamp::UNIX_EPOCH,
            }),
            docs: Some("https://docs.example.test/page".to_owned()),
            ..finding(Severity::Blocker, "is known")
        };
        let unknown = Finding {
            unknown: true,
            ..finding(Severity::Warning, "cannot be decided: it was not read")
        };
        let findings = [
            finding(Severity::Blocker, "is <b>wrong</b> | `rm`\nreally"),
            unknown,
            accepted,
        ];
        insta::assert_snapshot!(page(&findings, true));
    }

    #[test]
    fn what_cannot_be_approved_shows_no_digest() {
        let text = page(&[], false);
        assert!(!text.contains("sha256:"), "{text}");
        assert!(
            text.contains("no digest that can be approved") && text.contains("Nothing blocks"),
            "{text}"
        );
        let text = page(&[], true);
        assert!(
            text.contains(&format!("upgrade.k8c.io/approve: {}", plan().digest())),
            "{text}"
        );
    }
}
