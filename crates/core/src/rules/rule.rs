//! One rule: its form is checked and its conditions are compiled when it is loaded. Pure.

use serde_json::{Map, Value};

use super::expression::Expression;
use super::facts::{Facts, SpecFacts};
use super::finding::MESSAGE_BYTES;
use super::fix::{self, Fix};
use super::kind::ItemKind;
use super::record::{Expectation, RuleRecord, Severity, Stage, TestRecord};
use super::schema::FieldSpec;
use super::vocabulary::Vocabulary;
use crate::version::KkpVersion;

/// Most tests of a rule.
const TESTS: usize = 100;
/// Most entries of a list in a test: conditions may loop over it, and loop in the loop.
const TEST_ENTRIES: usize = 64;
/// Longest text in a test, in bytes.
const TEST_BYTES: usize = 1024;
/// Longest address, source, or id of a statement, in bytes.
const SOURCE_BYTES: usize = 512;

/// One rule, ready to run.
#[derive(Debug)]
pub struct Rule {
    /// Stable id: metrics, documents and accepted risks name it.
    pub id: String,
    /// `None` = every hop, otherwise the target minor (`2.31`).
    pub hop: Option<String>,
    /// When it is evaluated.
    pub stage: Stage,
    /// How bad its findings are.
    pub severity: Severity,
    /// Whether its findings can be accepted.
    pub acceptable: bool,
    /// Whether its findings often pass by themselves (something does not answer): they are retried for a while before the
    /// upgrade says Stalled.
    pub transient: bool,
    /// One line about what a finding means.
    pub title: String,
    /// Kind of items that it looks at.
    pub each: ItemKind,
    /// What to do about a finding.
    pub remedy: String,
    /// Address of the official page.
    pub docs: Option<String>,
    /// Where KKP's behaviour was read.
    pub source: Option<String>,
    /// Ids of the list of knowledge about upgrades that it covers, see `catalogue/checklist.yaml`.
    pub covers: Vec<String>,
    /// What `spec.fixes` can ask for.
    pub fix: Option<Fix>,
    pub(super) when: Expression,
    pub(super) fail: Expression,
    pub(super) message: Expression,
    pub(super) tests: Vec<TestRecord>,
}

impl Rule {
    /// Names of the item's fields that decide the rule.
    #[must_use]
    pub fn reads(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .when
            .it
            .iter()
            .chain(&self.fail.it)
            .map(|field| field.name.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether the rule is decided by one of these fields of the item, or tells it.
    pub(super) fn names_one_of(&self, fields: &[&str]) -> bool {
        let named = [&self.when, &self.fail, &self.message];
        let mut named = named.into_iter().flat_map(|expression| &expression.it);
        named.any(|field| fields.contains(&field.name.as_str()))
    }

    /// The CEL condition that says whether the rule concerns an item.
    #[must_use]
    pub fn when(&self) -> &str {
        &self.when.source
    }

    /// The CEL condition that is a finding where it is true.
    #[must_use]
    pub fn fail(&self) -> &str {
        &self.fail.source
    }

    /// Whether the rule is for hops that end at `version`.
    #[must_use]
    pub fn concerns(&self, version: KkpVersion) -> bool {
        self.hop.as_ref().is_none_or(|minor| *minor == version.minor_line())
    }
}

/// Checks and compiles a rule of a file for the hop `scope`.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn build(record: RuleRecord, scope: &str, vocabulary: &Vocabulary) -> Result<Rule, String> {
    check_texts(&record)?;
    if record.hop != scope {
        return Err(format!(
            "hop `{}` does not belong into the file of hop `{scope}`",
            record.hop
        ));
    }
    let hop = (record.hop != "any").then_some(record.hop);
    if let Some(minor) = &hop {
        format!("{minor}.0")
            .parse::<KkpVersion>()
            .map_err(|_| format!("hop `{minor}` is neither `any` nor a minor like `2.31`"))?;
    }
    let each: ItemKind = record
        .each
        .parse()
        .map_err(|_| format!("each `{}` is not a kind of item", record.each))?;
    let compile = |field: &str, source: &str| {
        Expression::compile(source, each, vocabulary).map_err(|reason| format!("{field}: {reason}"))
    };
    check_tests(&record.tests, &vocabulary.schema(each), record.when.trim() == "true")?;
    let build_fix = |fix| fix::build(fix, (each, record.stage), &record.tests, vocabulary);
    let fix = record
        .fix
        .map(build_fix)
        .transpose()
        .map_err(|reason| format!("fix: {reason}"))?;
    if fix.is_none() && record.tests.iter().any(|test| test.fixed.is_some()) {
        return Err("a test says what the fix becomes, and there is none".to_owned());
    }
    Ok(Rule {
        when: compile("when", &record.when)?,
        fail: compile("fail", &record.fail)?,
        message: compile("message", &record.message)?,
        id: record.id,
        hop,
        stage: record.stage,
        severity: record.severity,
        acceptable: record.acceptable,
        transient: record.transient,
        title: record.title,
        each,
        remedy: record.remedy,
        docs: record.docs,
        source: record.source,
        covers: record.covers,
        fix,
        tests: record.tests,
    })
}

fn check_texts(record: &RuleRecord) -> Result<(), String> {
    let id = &record.id;
    let letters = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
    if id.is_empty() || id.len() > 64 || !id.bytes().all(letters) {
        return Err("the id is not kebab-case of at most 64 letters".to_owned());
    }
    for (name, text) in [("title", &record.title), ("remedy", &record.remedy)] {
        if text.trim().is_empty() || text.len() > MESSAGE_BYTES {
            return Err(format!("{name} is empty or longer than {MESSAGE_BYTES} bytes"));
        }
    }
    let others = record.docs.iter().chain(&record.source).chain(&record.covers);
    match others.into_iter().find(|text| text.len() > SOURCE_BYTES) {
        Some(_) => Err(format!("docs, source or covers is longer than {SOURCE_BYTES} bytes")),
        None => Ok(()),
    }
}

fn check_tests(tests: &[TestRecord], fields: &[FieldSpec], always: bool) -> Result<(), String> {
    if tests.len() > TESTS {
        return Err(format!("has more than {TESTS} tests"));
    }
    let has = |wanted| tests.iter().any(|test| test.expect == wanted);
    for wanted in [Expectation::Fail, Expectation::Pass] {
        if !has(wanted) {
            return Err(format!("no test expects `{wanted}`"));
        }
    }
    if !always && !has(Expectation::NotApplicable) {
        return Err("`when` is not `true` and no test expects `notApplicable`".to_owned());
    }
    tests.iter().try_for_each(|test| {
        check_item(&test.it, fields)
            .and_then(|()| check_item(&test.spec, &SpecFacts::schema()))
            .map_err(|reason| format!("test `{}`: {reason}", test.name))
    })
}

fn check_item(item: &Map<String, Value>, fields: &[FieldSpec]) -> Result<(), String> {
    item.iter()
        .try_for_each(|(name, value)| match fields.iter().find(|field| field.name == *name) {
            None => Err(format!("`{name}` is not in the schema")),
            Some(field) => field.mismatch(value).map_or_else(|| check_value(name, value), Err),
        })
}

/// Refuses what a condition would work on for long.
fn check_value(name: &str, value: &Value) -> Result<(), String> {
    let entries = value.as_array().map_or(&[][..], Vec::as_slice);
    if entries.len() > TEST_ENTRIES {
        return Err(format!("`{name}` has more than {TEST_ENTRIES} entries"));
    }
    let long = |value: &Value| value.as_str().is_some_and(|text| text.len() > TEST_BYTES);
    if long(value) || entries.iter().any(long) {
        return Err(format!("`{name}` has a text of more than {TEST_BYTES} bytes"));
    }
    Ok(())
}
