//! Consent to findings.

use super::*;
use jiff::Timestamp;

const NOW: &str = "2026-11-21T12:00:00Z";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn risk(rule: &str, targets: &[&str], end: &str) -> AcceptedRisk {
    AcceptedRisk {
        rule: rule.to_owned(),
        targets: targets.iter().map(ToString::to_string).collect(),
        reason: "known".to_owned(),
        expiration_time: time(end),
    }
}

/// Seed `eu` is Unhealthy, `us` could not be read in full.
fn findings() -> Vec<Finding> {
    let mut evaluation = healthy(&input());
    seed_item(
        &mut evaluation,
        "eu",
        &SeedFacts {
            phase: Some("Unhealthy".to_owned()).into(),
            ..seed()
        },
    );
    seed_item(
        &mut evaluation,
        "us",
        &SeedFacts {
            phase: Field::NotRead("timeout".to_owned()),
            ..seed()
        },
    );
    evaluation.finish()
}

fn blocking(risks: &[AcceptedRisk]) -> Vec<String> {
    accept(findings(), risks, time(NOW))
        .into_iter()
        .filter(Finding::blocks)
        .map(|finding| finding.target)
        .collect()
}

#[test]
fn consent_counts_for_its_targets_until_its_end() {
    let end = "2026-12-01T00:00:00Z";
    assert_eq!(blocking(&[]), ["eu", "us"]);
    assert_eq!(blocking(&[risk("seed-not-healthy", &["eu"], end)]), ["us"]);
    assert_eq!(blocking(&[risk("seed-not-healthy", &["seed eu"], end)]), ["us"]);
    assert_eq!(blocking(&[risk("seed-not-healthy", &["ap"], end)]), ["eu", "us"]);
    assert_eq!(blocking(&[risk("seed-unreachable", &[], end)]), ["eu", "us"]);
    assert_eq!(
        blocking(&[risk("seed-not-healthy", &["eu", "us"], end)]),
        Vec::<String>::new()
    );
}

#[test]
fn consent_to_all_targets_is_none_to_what_could_not_be_read() {
    assert_eq!(
        blocking(&[risk("seed-not-healthy", &[], "2026-12-01T00:00:00Z")]),
        ["us"]
    );
}

#[test]
fn what_has_run_out_does_not_count_and_is_named() {
    for end in ["2026-11-01T00:00:00Z", NOW] {
        let judged = accept(findings(), &[risk("seed-not-healthy", &["eu"], end)], time(NOW));
        let finding = judged.iter().find(|finding| finding.target == "eu").unwrap();
        assert!(finding.blocks());
        assert!(
            finding
                .message
                .ends_with(&format!("(accepted until {end}, which has passed)")),
            "{}",
            finding.message
        );
        assert!(finding.message.len() <= 256);
    }
}

#[test]
fn accepted_findings_stay_visible_after_the_open_ones() {
    let judged = accept(
        findings(),
        &[risk("seed-not-healthy", &["eu"], "2026-12-01T00:00:00Z")],
        time(NOW),
    );
    assert_eq!(
        found(&judged),
        [
            ("seed-not-healthy", "us"),
            ("seed-not-healthy", "eu"),
            ("one-way-change", "platform")
        ]
    );
    assert_eq!(judged[1].accepted.as_ref().unwrap().reason, "known");
}

#[test]
fn a_rule_that_guards_the_platform_cannot_be_accepted() {
    let mut evaluation = healthy(&input());
    evaluation.facts(
        "master/kubermatic/dex",
        &ReleaseFacts {
            status: "failed".to_owned().into(),
            revision: 2.into(),
            values_drift: Vec::new().into(),
        },
    );
    let risks = [
        risk(
            "helm-release-not-deployed",
            &["master/kubermatic/dex"],
            "2026-12-01T00:00:00Z",
        ),
        risk("helm-release", &[], "2026-12-01T00:00:00Z"),
    ];
    let judged = accept(evaluation.finish(), &risks, time(NOW));
    assert!(judged[0].blocks());
    assert_eq!(
        risk_problems(embedded(), &risks),
        [
            RiskProblem::NotAcceptable("helm-release-not-deployed".to_owned()),
            RiskProblem::UnknownRule("helm-release".to_owned())
        ]
    );
    assert_eq!(risk_problems(embedded(), &[risk("backup-skipped", &[], NOW)]), []);
}
