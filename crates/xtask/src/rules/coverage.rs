//! The checklist of what is known about upgrades against the rules: each statement is a rule, a step of the operator, a
//! field, or stands there with the reason why not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use kkp_upgrade_core::rules::Catalogue;
use serde::Deserialize;

use super::{analysis, documents, documents_page};

const CHECKLIST: &str = include_str!("../../../../catalogue/checklist.yaml");

/// `catalogue/checklist.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Checklist {
    /// Ids by hop: `any` or a target minor.
    hops: BTreeMap<String, Vec<String>>,
    departures: Vec<Departure>,
}

/// Why an id is no rule, or not a rule alone.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Departure {
    id: String,
    kind: Kind,
    reason: String,
}

#[derive(Deserialize, PartialEq, Eq, Clone, Copy)]
#[serde(rename_all = "camelCase")]
enum Kind {
    /// The operator does it by itself.
    Step,
    /// A field of the KKPUpgrade decides it.
    Field,
    /// It is not built yet.
    NotYet,
    /// It cannot apply.
    Cannot,
}

/// Hops whose ids are all covered.
const COMPLETE: [&str; 2] = ["any", "2.31"];

/// Prints how much of both checklists is covered; with the analysis of the source documents also which of its rows are
/// missing.
///
/// # Errors
/// When checklists, catalogue or analysis do not load.
pub(super) fn run(analysis: Option<&Path>, report: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut problems = by_hop(report)?;
    problems.extend(by_document(analysis, report)?);
    for problem in &problems {
        writeln!(report, "{problem}")?;
    }
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Prints the checklist by document; returns what is wrong with it.
fn by_document(analysis: Option<&Path>, report: &mut dyn Write) -> anyhow::Result<Vec<String>> {
    let checklist = documents::read()?;
    for document in &checklist.documents {
        let [covered, cannot, not_yet] = documents_page::counts(std::slice::from_ref(document));
        writeln!(
            report,
            "{:>5}: {} statements, {covered} covered, {cannot} cannot apply, {not_yet} not yet ({})",
            document.id,
            document.statements.len(),
            document.title
        )?;
    }
    for statement in checklist.documents.iter().flat_map(|document| &document.statements) {
        if let Some(missing) = &statement.not_yet {
            writeln!(report, "not yet: {}: {missing}", statement.id)?;
        }
    }
    let mut problems = documents::problems(&checklist)?;
    match analysis {
        Some(file) => problems.extend(analysis::differences(&checklist, file)?),
        None => writeln!(report, "SKIPPED: rows of the analysis; name its file with --analysis")?,
    }
    Ok(problems)
}

/// Prints the checklist by hop; returns what is wrong with it.
fn by_hop(report: &mut dyn Write) -> anyhow::Result<Vec<String>> {
    let (checklist, covered) = read()?;
    for (hop, ids) in &checklist.hops {
        let of_kind = |kind: Kind| {
            let named = checklist.departures.iter().filter(|departure| departure.kind == kind);
            named.filter(|departure| ids.contains(&departure.id)).count()
        };
        let rules = ids.iter().filter(|id| covered.contains_key(*id)).count();
        writeln!(
            report,
            "{hop:>5}: {} statements, {rules} by rules, {} by steps, {} by fields, {} not yet",
            ids.len(),
            of_kind(Kind::Step),
            of_kind(Kind::Field),
            of_kind(Kind::NotYet),
        )?;
    }
    for departure in checklist
        .departures
        .iter()
        .filter(|departure| departure.kind == Kind::NotYet)
    {
        writeln!(report, "not yet: {}: {}", departure.id, departure.reason)?;
    }
    Ok(problems(&checklist, &covered))
}

type Covered = BTreeMap<String, Vec<String>>;

/// The checklist, and the rules by the id that they cover.
fn read() -> anyhow::Result<(Checklist, Covered)> {
    let checklist: Checklist = serde_saphyr::from_str(CHECKLIST).context("catalogue/checklist.yaml")?;
    let mut covered = Covered::new();
    for rule in Catalogue::embedded()?.rules() {
        for id in &rule.covers {
            covered.entry(id.clone()).or_default().push(rule.id.clone());
        }
    }
    Ok((checklist, covered))
}

fn problems(checklist: &Checklist, covered: &Covered) -> Vec<String> {
    let known: BTreeSet<&String> = checklist.hops.values().flatten().collect();
    let departed: BTreeSet<&String> = checklist.departures.iter().map(|departure| &departure.id).collect();
    let unknown = covered
        .iter()
        .filter(|(id, _)| !known.contains(id))
        .map(|(id, rules)| format!("{}: covers {id}, which is not in the checklist", rules.join(", ")));
    let strange = departed
        .iter()
        .filter(|id| !known.contains(**id))
        .map(|id| format!("departure {id} is not in the checklist"));
    let silent = checklist
        .departures
        .iter()
        .filter(|departure| departure.reason.trim().len() < 20)
        .map(|departure| format!("departure {} has no reason", departure.id));
    let missing = COMPLETE
        .iter()
        .flat_map(|hop| checklist.hops.get(*hop).into_iter().flatten().map(move |id| (hop, id)));
    let missing = missing
        .filter(|(_, id)| !covered.contains_key(*id) && !departed.contains(id))
        .map(|(hop, id)| format!("{hop}: {id} is covered by nothing"));
    unknown.chain(strange).chain(silent).chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_of_the_built_hops_is_a_rule_a_step_a_field_or_has_a_reason() {
        let (checklist, covered) = read().unwrap();
        assert_eq!(problems(&checklist, &covered), Vec::<String>::new());
        for hop in COMPLETE {
            assert!(checklist.hops.contains_key(hop), "{hop}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let (mut checklist, mut covered) = read().unwrap();
        covered.remove("gen-nodes-ready");
        covered
            .entry("no-such-id".to_owned())
            .or_default()
            .push("some-rule".to_owned());
        checklist.departures.push(Departure {
            id: "neither-this".to_owned(),
            kind: Kind::Cannot,
            reason: String::new(),
        });
        let problems = problems(&checklist, &covered);
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[3].contains("gen-nodes-ready"));
    }
}
