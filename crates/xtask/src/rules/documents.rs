//! The checklist of the documents that the operator has to cover: each statement is covered by rules, steps or fields that
//! exist, cannot apply, or is missing. Talks to no cluster.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use kkp_upgrade_core::decide::step_names;
use kkp_upgrade_core::phase::Phase;
use kkp_upgrade_core::rules::Catalogue;
use serde::Deserialize;
use serde_json::Value;
use strum::VariantArray as _;

const DOCUMENTS: &str = include_str!("../../../../catalogue/documents.yaml");
/// A reason, an explanation or what is missing says more than a word.
const SHORTEST: usize = 12;

/// `catalogue/documents.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Documents {
    pub(crate) documents: Vec<Document>,
}

/// One document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    /// Begins the ids of its statements.
    pub(crate) id: String,
    pub(crate) title: String,
    /// Minor that it is about; `None` = any upgrade. A rule of another hop covers nothing of it.
    pub(crate) hop: Option<String>,
    /// Where it can be read.
    pub(crate) address: Option<String>,
    /// In the document's order.
    pub(crate) statements: Vec<Statement>,
}

/// One statement and what became of it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Statement {
    pub(crate) id: String,
    /// Rows of the analysis that it is in.
    pub(crate) rows: Vec<String>,
    pub(crate) says: String,
    pub(crate) rules: Vec<String>,
    pub(crate) steps: Vec<String>,
    pub(crate) fields: Vec<String>,
    /// How steps and fields do it.
    pub(crate) how: Option<String>,
    /// Why it cannot apply.
    pub(crate) reason: Option<String>,
    /// What is missing.
    pub(crate) not_yet: Option<String>,
}

/// What became of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Covered,
    Cannot,
    NotYet,
}

impl Statement {
    /// The one answer.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub(crate) fn answer(&self) -> Result<Answer, &'static str> {
        let covered = !(self.rules.is_empty() && self.steps.is_empty() && self.fields.is_empty());
        match (covered, self.reason.is_some(), self.not_yet.is_some()) {
            (true, false, false) => Ok(Answer::Covered),
            (false, true, false) => Ok(Answer::Cannot),
            (false, false, true) => Ok(Answer::NotYet),
            (false, false, false) => Err("has no answer"),
            _ => Err("has answers that exclude each other"),
        }
    }
}

impl Document {
    /// How many statements have this answer.
    pub(crate) fn count(&self, answer: Answer) -> usize {
        let same = |statement: &&Statement| statement.answer() == Ok(answer);
        self.statements.iter().filter(same).count()
    }
}

/// What statements may name.
struct Known {
    /// With the minor that each is for; `None` = every hop.
    rules: BTreeMap<String, Option<String>>,
    steps: BTreeSet<String>,
    /// Schema of the custom resource.
    schema: Value,
}

/// The checklist that is compiled in.
///
/// # Errors
/// When it is not of the right form.
pub(crate) fn read() -> anyhow::Result<Documents> {
    serde_saphyr::from_str(DOCUMENTS).context("catalogue/documents.yaml")
}

/// Everything that is wrong with the checklist, a line each.
///
/// # Errors
/// When the catalogue or the custom resource does not load.
pub(super) fn problems(documents: &Documents) -> anyhow::Result<Vec<String>> {
    let known = known()?;
    let mut found = Vec::new();
    let mut ids = BTreeSet::new();
    for document in &documents.documents {
        let fresh = ids.insert(document.id.as_str());
        found.extend((!fresh).then(|| format!("{}: more than one document has this id", document.id)));
        let empty = document.statements.is_empty() || document.title.trim().is_empty();
        found.extend(empty.then(|| format!("{}: has no title or no statements", document.id)));
        for statement in &document.statements {
            let mut problem = |what: String| found.push(format!("{}: {what}", statement.id));
            if !ids.insert(&statement.id) {
                problem("more than one statement has this id".to_owned());
            }
            if !statement.id.starts_with(&format!("{}-", document.id)) {
                problem(format!("does not begin with {}-", document.id));
            }
            judge(statement, document.hop.as_deref(), &known, &mut problem);
        }
    }
    Ok(found)
}

fn known() -> anyhow::Result<Known> {
    let mut definition = serde_json::to_value(kkp_upgrade_api::crd())?;
    let schema = definition
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .context("the CustomResourceDefinition has no schema")?;
    let steps = step_names().iter().map(ToString::to_string);
    Ok(Known {
        rules: Catalogue::embedded()?
            .rules()
            .iter()
            .map(|rule| (rule.id.clone(), rule.hop.clone()))
            .collect(),
        steps: steps.chain(Phase::VARIANTS.iter().map(ToString::to_string)).collect(),
        schema: schema.take(),
    })
}

fn judge(statement: &Statement, hop: Option<&str>, known: &Known, problem: &mut dyn FnMut(String)) {
    if let Err(why) = statement.answer() {
        problem(why.to_owned());
    }
    for rule in &statement.rules {
        match known.rules.get(rule) {
            None => problem(format!("there is no rule {rule}")),
            Some(Some(own)) if hop != Some(own.as_str()) => {
                problem(format!("rule {rule} is for the hop to {own} only"));
            }
            Some(_) => {}
        }
    }
    for step in statement.steps.iter().filter(|step| !known.steps.contains(*step)) {
        problem(format!("there is no step or phase {step}"));
    }
    for field in statement.fields.iter().filter(|field| !has(&known.schema, field)) {
        problem(format!("the custom resource has no field {field}"));
    }
    let explained = !(statement.steps.is_empty() && statement.fields.is_empty());
    if explained != statement.how.is_some() {
        problem("how belongs to steps and fields, and to nothing else".to_owned());
    }
    let texts = [&statement.how, &statement.reason, &statement.not_yet];
    let texts = texts.into_iter().flatten().chain([&statement.says]);
    for text in texts.filter(|text| text.trim().len() < SHORTEST) {
        problem(format!("`{text}` says too little"));
    }
}

/// Whether the schema has a field of spec or status, such as `spec.acceptedRisks[].rule`.
fn has(schema: &Value, path: &str) -> bool {
    let below_a_part = path.starts_with("spec.") || path.starts_with("status.");
    let field = path.split('.').try_fold(schema, |node, name| {
        let plain = name.trim_end_matches("[]");
        let child = node.get("properties")?.get(plain)?;
        if plain == name { Some(child) } else { child.get("items") }
    });
    below_a_part && field.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_of_the_documents_has_one_answer_and_what_it_names_exists() {
        let documents = read().unwrap();
        assert_eq!(problems(&documents).unwrap(), Vec::<String>::new());
        let ids: Vec<&str> = documents
            .documents
            .iter()
            .map(|document| document.id.as_str())
            .collect();
        assert_eq!(
            ids,
            ["d1", "d2", "d3", "d4", "d5", "f"],
            "five documents, and the fields that two of them suggest"
        );
    }

    /// What is wrong with the first statement after `change`.
    fn after(change: impl Fn(&mut Statement)) -> Vec<String> {
        let mut documents = read().unwrap();
        documents.documents.truncate(1);
        documents.documents[0].statements.truncate(2);
        change(&mut documents.documents[0].statements[0]);
        problems(&documents).unwrap()
    }

    #[test]
    fn each_mistake_is_named() {
        let text = || Some("long enough for a reason".to_owned());
        let one = |change: &dyn Fn(&mut Statement), word: &str| {
            let found = after(change);
            assert!(found.len() == 1 && found[0].contains(word), "{word}: {found:?}");
        };
        assert_eq!(after(|_| {}), Vec::<String>::new());
        one(
            &|statement| statement.rules = vec!["no-such-rule".to_owned()],
            "no-such-rule",
        );
        one(
            &|statement| statement.rules = vec!["gateway-domain-missing".to_owned()],
            "hop to 2.31 only",
        );
        one(&|statement| statement.rules.clear(), "has no answer");
        one(&|statement| statement.reason = text(), "exclude each other");
        one(&|statement| statement.not_yet = text(), "exclude each other");
        one(&|statement| statement.says = "  ".to_owned(), "too little");
        one(&|statement| statement.id = "d1-02".to_owned(), "more than one");
        one(&|statement| statement.id = "x-01".to_owned(), "begin with d1-");
        one(&|statement| statement.how = text(), "how belongs");
        one(&|statement| statement.steps = vec!["Master".to_owned()], "how belongs");
        let with = |steps: &[&str], fields: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
            let (steps, fields): (Vec<String>, Vec<String>) = (owned(steps), owned(fields));
            after(|statement| {
                (statement.steps, statement.fields) = (steps.clone(), fields.clone());
                statement.how = text();
            })
        };
        assert_eq!(
            with(&["PutBack", "Verifying"], &["spec.acceptedRisks[].rule"]),
            Vec::<String>::new()
        );
        for field in [
            "spec.acceptedRisks.rule",
            "spec.mode.x",
            "spec.waves",
            "metadata.name",
            "spec",
        ] {
            assert!(with(&[], &[field])[0].contains("has no field"), "{field}");
        }
        assert!(with(&["Nowhere"], &[])[0].contains("no step or phase Nowhere"));
    }

    #[test]
    fn a_document_without_statements_and_one_that_is_there_twice_are_named() {
        let mut documents = read().unwrap();
        documents.documents[1].statements.clear();
        documents.documents[2].id = "d1".to_owned();
        let found = problems(&documents).unwrap();
        assert!(
            found
                .iter()
                .any(|problem| problem.contains("d2: has no title or no statements"))
        );
        assert!(
            found
                .iter()
                .any(|problem| problem.contains("d1: more than one document"))
        );
    }
}
