//! The catalogue: rules and releases, compiled in, checked and compiled when loaded. Pure.

use std::fmt;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::expression::Expression;
use super::facts::{Facts, SpecFacts, schema};
use super::finding::MESSAGE_BYTES;
use super::record::{Expectation, RuleRecord, Severity, Stage, TestRecord};
use super::release_file;
use super::releases::{Release, Releases, RouteError};
use super::schema::{FieldSpec, ItemKind};
use crate::version::KkpVersion;

/// The files that are compiled in: name and text.
const EMBEDDED: [(&str, &str); 3] = [
    ("releases.yaml", include_str!("../../../../catalogue/releases.yaml")),
    ("rules/any.yaml", include_str!("../../../../catalogue/rules/any.yaml")),
    ("rules/2.31.yaml", include_str!("../../../../catalogue/rules/2.31.yaml")),
];

/// One thing that is wrong with a catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File.
    pub file: String,
    /// Id of the rule, when one is concerned.
    pub rule: Option<String>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Some(rule) => write!(formatter, "{}: rule `{rule}`: {}", self.file, self.reason),
            None => write!(formatter, "{}: {}", self.file, self.reason),
        }
    }
}

/// A catalogue that is not used: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rule catalogue is refused: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct CatalogueError(pub Vec<Problem>);

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

    /// Whether the rule is for hops that end at `version`.
    #[must_use]
    pub fn concerns(&self, version: KkpVersion) -> bool {
        self.hop.as_ref().is_none_or(|minor| *minor == version.minor_line())
    }
}

/// Rules and releases.
#[derive(Debug, Default)]
pub struct Catalogue {
    rules: Vec<Rule>,
    releases: Releases,
}

impl Catalogue {
    /// The catalogue of this build; parsed at the first call.
    ///
    /// # Errors
    /// A compiled-in file is broken; the tests of this crate keep that from being released.
    pub fn embedded() -> Result<&'static Self, CatalogueError> {
        static CATALOGUE: OnceLock<Result<Catalogue, CatalogueError>> = OnceLock::new();
        CATALOGUE
            .get_or_init(|| Self::parse(&EMBEDDED))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Reads `releases.yaml` and `rules/<any or target minor>.yaml` from (name, text) pairs.
    ///
    /// # Errors
    /// Everything that is wrong, each with file, rule and reason.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, CatalogueError> {
        let mut catalogue = Self::default();
        let mut problems = Vec::new();
        for (file, text) in files {
            let problem = |rule, reason| Problem {
                file: (*file).to_owned(),
                rule,
                reason,
            };
            if *file == "releases.yaml" {
                match release_file::parse(text) {
                    Ok(releases) => catalogue.releases = releases,
                    Err(reason) => problems.push(problem(None, reason)),
                }
            } else if let Some(scope) = file.strip_prefix("rules/").and_then(|name| name.strip_suffix(".yaml")) {
                catalogue.add_rules(scope, text, &mut |rule, reason| problems.push(problem(rule, reason)));
            } else {
                problems.push(problem(
                    None,
                    "is neither releases.yaml nor rules/<any or minor>.yaml".to_owned(),
                ));
            }
        }
        if files.iter().all(|(file, _)| *file != "releases.yaml") {
            problems.push(Problem {
                file: "releases.yaml".to_owned(),
                rule: None,
                reason: "is missing".to_owned(),
            });
        }
        if problems.is_empty() {
            Ok(catalogue)
        } else {
            Err(CatalogueError(problems))
        }
    }

    /// All rules, in the order of the files.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule with this id.
    #[must_use]
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// All releases.
    #[must_use]
    pub const fn releases(&self) -> &Releases {
        &self.releases
    }

    /// The release with exactly this version.
    #[must_use]
    pub fn release(&self, version: KkpVersion) -> Option<&Release> {
        self.releases.get(version)
    }

    /// The route, see [`Releases::path`].
    ///
    /// # Errors
    /// See [`Releases::path`].
    pub fn path(
        &self,
        from: KkpVersion,
        target: KkpVersion,
        via: &[KkpVersion],
    ) -> Result<Vec<KkpVersion>, RouteError> {
        self.releases.path(from, target, via)
    }

    fn add_rules(&mut self, scope: &str, text: &str, problem: &mut dyn FnMut(Option<String>, String)) {
        let records: Vec<Value> = match serde_saphyr::from_str(text) {
            Ok(records) => records,
            Err(error) => return problem(None, error.to_string()),
        };
        for record in records {
            let id = record.get("id").and_then(Value::as_str).map(ToOwned::to_owned);
            let rule = serde_json::from_value(record)
                .map_err(|error| error.to_string())
                .and_then(|record| build(record, scope));
            match rule {
                Ok(rule) if self.rule(&rule.id).is_some() => problem(id, "the id is used twice".to_owned()),
                Ok(rule) => self.rules.push(rule),
                Err(reason) => problem(id, reason),
            }
        }
    }
}

fn build(record: RuleRecord, scope: &str) -> Result<Rule, String> {
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
    let compile =
        |field: &str, source: &str| Expression::compile(source, each).map_err(|reason| format!("{field}: {reason}"));
    check_tests(&record.tests, each, record.when.trim() == "true")?;
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
    Ok(())
}

fn check_tests(tests: &[TestRecord], each: ItemKind, always: bool) -> Result<(), String> {
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
        check_item(&test.it, &schema(each))
            .and_then(|()| check_item(&test.spec, &SpecFacts::schema()))
            .map_err(|reason| format!("test `{}`: {reason}", test.name))
    })
}

fn check_item(item: &Map<String, Value>, fields: &[FieldSpec]) -> Result<(), String> {
    item.iter()
        .try_for_each(|(name, value)| match fields.iter().find(|field| field.name == *name) {
            None => Err(format!("`{name}` is not in the schema")),
            Some(field) => field.mismatch(value).map_or(Ok(()), Err),
        })
}
