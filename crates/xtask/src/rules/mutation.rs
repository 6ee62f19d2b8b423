//! Mutation of rules: a changed condition that no test of its rule notices shows a test that is missing.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use kkp_upgrade_core::rules::Catalogue;
use serde_json::Value;

use super::mutant::mutants;

/// What became of the changes of one rule.
#[derive(Default)]
struct Outcome {
    changes: usize,
    survivors: Vec<String>,
}

/// Mutates the rules whose id contains `filter`.
///
/// # Errors
/// When a file of the catalogue cannot be read.
pub(super) fn run(filter: &str, report: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../catalogue");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).with_context(|| format!("catalogue/{name}"));
    let (releases, facts) = (read("releases.yaml")?, read("facts.yaml")?);
    let (mut rules, mut changes, mut survivors) = (0, 0, Vec::new());
    for (file, text) in Catalogue::embedded_files()
        .iter()
        .filter(|(file, _)| file.starts_with("rules/"))
    {
        let records: Vec<Value> = serde_saphyr::from_str(text).with_context(|| format!("catalogue/{file}"))?;
        for record in &records {
            let id = record.get("id").and_then(Value::as_str).unwrap_or_default();
            if !id.contains(filter) {
                continue;
            }
            rules += 1;
            let outcome = mutate(&releases, &facts, record)?;
            changes += outcome.changes;
            survivors.extend(
                outcome
                    .survivors
                    .into_iter()
                    .map(|survivor| format!("{id}: {survivor}")),
            );
        }
    }
    for survivor in &survivors {
        writeln!(report, "no test notices: {survivor}")?;
    }
    writeln!(
        report,
        "{rules} rules, {changes} changes, {} survivors",
        survivors.len()
    )?;
    Ok(if survivors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Changes of a record: by place what stands there instead.
fn changes(record: &Value) -> Vec<(&'static str, Vec<Value>)> {
    let source = |place: &str| record.pointer(place).and_then(Value::as_str);
    let conditions = ["/when", "/fail", "/fix/when", "/fix/unless", "/fix/value"];
    let mut all: Vec<(&'static str, Vec<Value>)> = conditions
        .into_iter()
        .filter_map(|place| Some((place, mutants(source(place)?).into_iter().map(Value::from).collect())))
        .collect();
    if let Some(path) = source("/fix/path") {
        let others = [
            format!("{path}~"),
            ".spec.pause".to_owned(),
            ".spec.version".to_owned(),
            ".spec.auth.clientID".to_owned(),
        ];
        let others = others.into_iter().filter(|other| other != path);
        all.push(("/fix/path", others.map(Value::from).collect()));
    }
    if record.pointer("/fix/remove").is_some() {
        all.push(("/fix/remove", vec![Value::from(false)]));
    }
    all
}

fn mutate(releases: &str, facts: &str, record: &Value) -> anyhow::Result<Outcome> {
    let hop = record.get("hop").and_then(Value::as_str).unwrap_or("any");
    let file = format!("rules/{hop}.yaml");
    let mut outcome = Outcome::default();
    for (part, changes) in changes(record) {
        for mutant in changes {
            outcome.changes += 1;
            let mut changed = record.clone();
            if let Some(place) = changed.pointer_mut(part) {
                *place = mutant.clone();
            }
            let text = serde_json::to_string(&[changed])?;
            let parsed = Catalogue::parse(&[
                ("releases.yaml", releases),
                ("facts.yaml", facts),
                (file.as_str(), &text),
            ]);
            // One that does not even load cannot be released.
            if parsed.is_ok_and(|catalogue| catalogue.run_tests().is_empty()) {
                outcome.survivors.push(format!("{part}: {mutant}"));
            }
        }
    }
    Ok(outcome)
}
