//! A plan for people: on the terminal, and as a page. Pure.

use std::fmt::Write as _;

use kkp_upgrade_core::plan_document::PlanDocument;

use super::report::{FindingEntry, Report};
use crate::console::{Console, Mark};

/// The terminal's form.
pub(super) fn screen(report: &Report, console: &Console) -> String {
    let mut text = String::new();
    head(&mut text, report, console);
    if let Some(plan) = &report.plan {
        let rows = plan.targets.iter().map(|target| {
            let actions = (1..)
                .zip(&target.actions)
                .map(|(number, action)| format!("{number}. {action}"));
            vec![target.name.clone(), actions.collect::<Vec<_>>().join("\n")]
        });
        block(
            &mut text,
            &console.heading("Targets"),
            &console.table(&["TARGET", "ACTIONS"], rows),
        );
    }
    for (severity, mark) in [
        ("blocker", Mark::Bad),
        ("warning", Mark::Warning),
        ("toBeFixed", Mark::Info),
        ("later", Mark::Warning),
        ("accepted", Mark::Good),
        ("info", Mark::Info),
    ] {
        findings(&mut text, report, console, severity, mark);
    }
    if !report.not_looked_at.is_empty() || !report.not_permitted.is_empty() {
        let permitted = report
            .not_permitted
            .iter()
            .map(|right| format!("not permitted: {right}"));
        let lines: Vec<String> = permitted
            .chain(report.not_looked_at.iter().cloned())
            .map(|line| format!("· {line}"))
            .collect();
        block(&mut text, &console.heading("Not seen"), &lines.join("\n"));
    }
    foot(&mut text, report);
    text
}

/// Writing to a String cannot fail.
fn head(text: &mut String, report: &Report, console: &Console) {
    let _ = write!(text, "KKPUpgrade {}/{}", report.namespace, report.name);
    if !report.path.is_empty() {
        let _ = write!(text, ": {}", report.path.join(" → "));
    }
    if let Some(plan) = &report.plan {
        let _ = write!(text, " (hop {} of {})", plan.hop.index, plan.hop.total);
    }
    let state = report.verdict.state;
    let _ = writeln!(
        text,
        "\n{}: {}",
        console.marked(state.mark(), state.words()),
        report.verdict.message
    );
}

fn block(text: &mut String, heading: &str, body: &str) {
    let _ = write!(text, "\n{heading}\n{body}\n");
}

fn findings(text: &mut String, report: &Report, console: &Console, severity: &str, mark: Mark) {
    let found: Vec<&FindingEntry> = report
        .findings
        .iter()
        .filter(|finding| finding.severity == severity)
        .collect();
    if found.is_empty() {
        return;
    }
    let title = match severity {
        "toBeFixed" => "TO BE FIXED".to_owned(),
        "later" => "AT A LATER HOP".to_owned(),
        other => other.to_uppercase(),
    };
    let heading = console.marked(mark, &format!("{title} ({})", found.len()));
    let rows = found.iter().map(|finding| {
        let message = if finding.unknown {
            format!("? {}", finding.message)
        } else {
            finding.message.clone()
        };
        vec![
            finding.rule.clone(),
            finding.target.clone(),
            message,
            finding.remedy.clone(),
        ]
    });
    let table = console.table(&["RULE", "ABOUT", "WHAT IS WRONG", "WHAT TO DO"], rows);
    block(text, &heading, &table);
}

fn foot(text: &mut String, report: &Report) {
    if report.plan.is_some() {
        let _ = write!(text, "\nExpected duration: {}\n", report.expected_duration);
        let _ = write!(text, "\nPoint of no return: {}\n", report.point_of_no_return.meaning);
        for what in &report.point_of_no_return.for_good {
            let _ = writeln!(text, "  for good: {what}");
        }
    }
    match (&report.digest, &report.digest_missing, &report.operator_plan) {
        (Some(digest), _, Some(_)) => {
            let _ = write!(text, "\nDigest: {digest} (the operator's plan is the same)\n");
        }
        (Some(digest), _, None) => {
            let _ = write!(text, "\nDigest: {digest} (the operator has not written a plan yet)\n");
        }
        (None, Some(why), _) => {
            let _ = write!(text, "\nDigest: none that can be approved: {why}\n");
        }
        (None, None, _) => {}
    }
    let _ = writeln!(text, "Next:   {}", report.next);
}

/// The page's form.
pub(super) fn page(report: &Report) -> String {
    let verdict = &report.verdict;
    let mut page = match &report.plan {
        Some(plan) => PlanDocument {
            digest: report.digest.clone(),
            catalogue: report.catalogue.as_ref(),
            expected_duration: report.expected_duration,
            point_of_no_return: report.point_of_no_return.clone(),
            plan,
            findings: &report.raw,
        }
        .to_markdown(),
        None => format!("# Upgrade {}/{}\n", report.namespace, report.name),
    };
    let _ = write!(
        page,
        "\n## Verdict\n\n**{}**: {}\n",
        verdict.state.words(),
        verdict.message
    );
    if let Some(why) = &report.digest_missing {
        let _ = write!(page, "\nNo digest that can be approved: {why}.\n");
    }
    let unseen: Vec<String> = report
        .not_permitted
        .iter()
        .map(|right| format!("- not permitted: {right}"))
        .chain(report.not_looked_at.iter().map(|line| format!("- {line}")))
        .collect();
    if !unseen.is_empty() {
        let _ = write!(page, "\nNot seen:\n\n{}\n", unseen.join("\n"));
    }
    let _ = write!(page, "\nNext: `{}`\n", report.next);
    page
}
