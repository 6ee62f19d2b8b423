//! Fixes of rules: a plain write to the one object that a finding is about. Checked when the catalogue is loaded. Pure.

use kube_cel::cel::{Context, Value as Cel};
use serde_json::Value;

use super::catalogue::Catalogue;
use super::expression::Expression;
use super::finding::{Finding, MESSAGE_BYTES, cut, escape, sort};
use super::judgement::{decide, read};
use super::kind::ItemKind;
use super::record::{FixRecord, Severity, Stage, TestRecord};
use super::rule::Rule;
use super::schema::{FieldSpec, FieldType, Item};
use super::vocabulary::Vocabulary;
use crate::fix::{ProposedFix, SeenObject, keys};

/// Fields that code computes from one value of the object: kind, path, name of the fact, and what the fact says where the
/// value is not set.
const COMPUTED: [(ItemKind, &str, &str, Option<bool>); 3] = [
    (ItemKind::Cluster, ".spec.version", "version", None),
    (ItemKind::Cluster, ".spec.pause", "paused", Some(false)),
    (
        ItemKind::Seed,
        ".metadata.annotations[\"kubermatic.k8c.io/skip-reconciling\"]",
        "skipReconciling",
        Some(false),
    ),
];

/// Kinds whose items are one object of KKP each.
const KINDS: [ItemKind; 4] = [
    ItemKind::Platform,
    ItemKind::Seed,
    ItemKind::Cluster,
    ItemKind::Template,
];

/// What a rule would write.
#[derive(Debug)]
pub struct Fix {
    /// What it does, in a line.
    pub title: String,
    /// Path of the value.
    pub path: String,
    /// Whether the original is put back at the end of the run.
    pub temporary: bool,
    /// Whether the write sets something in motion: then few at a time, each waited for.
    pub throttled: bool,
    /// Name of the fact that the value is.
    field: FieldSpec,
    /// What the fact says once the value is removed.
    unset: Value,
    /// `None` = remove what stands there.
    value: Option<Expression>,
    when: Option<Expression>,
    unless: Option<Expression>,
}

/// The fact that stands at a path, and what it says where nothing stands there.
fn fact_at(vocabulary: &Vocabulary, kind: ItemKind, path: &str) -> Option<(FieldSpec, Value)> {
    let computed = COMPUTED.iter().find(|(of, at, _, _)| *of == kind && *at == path);
    if let Some((_, _, name, unset)) = computed {
        let spec = vocabulary.schema(kind).into_iter().find(|field| field.name == *name)?;
        return Some((spec, unset.map_or(Value::Null, Value::Bool)));
    }
    let document = kind.documents().first()?;
    let field = vocabulary
        .paths(kind)
        .iter()
        .find(|field| field.document == *document && field.path.written() == path && field.take.is_scalar())?;
    Some((field.spec.clone(), field.unset.clone()))
}

/// Checks and compiles a fix.
///
/// # Errors
/// What is wrong with it.
pub(super) fn build(
    record: FixRecord,
    (each, stage): (ItemKind, Stage),
    tests: &[TestRecord],
    vocabulary: &Vocabulary,
) -> Result<Fix, String> {
    if !KINDS.contains(&each) {
        return Err(format!("items of kind {each} are no single object of KKP"));
    }
    if stage != Stage::Preflight {
        return Err(format!("a rule of stage {stage} is not asked before fixes are made"));
    }
    if record.title.trim().is_empty() || record.title.len() > MESSAGE_BYTES {
        return Err(format!("title is empty or longer than {MESSAGE_BYTES} bytes"));
    }
    if record.value.is_some() == record.remove {
        return Err("it has exactly one of value and remove: true".to_owned());
    }
    let known = keys(&record.path).and_then(|_| fact_at(vocabulary, each, &record.path));
    let (field, unset) = known.ok_or_else(|| {
        format!(
            "`{}` is not the path of a single value that {each} facts read",
            record.path
        )
    })?;
    if !tests.iter().any(|test| test.fixed.is_some()) {
        return Err("no test says what it becomes (fixed)".to_owned());
    }
    let compile = |name: &str, source: Option<String>| {
        let compiled = source.map(|source| Expression::compile(&source, each, vocabulary));
        compiled.transpose().map_err(|reason| format!("{name}: {reason}"))
    };
    Ok(Fix {
        value: compile("value", record.value)?,
        when: compile("when", record.when)?,
        unless: compile("unless", record.unless)?,
        title: record.title,
        path: record.path,
        temporary: record.temporary,
        throttled: record.throttled,
        field,
        unset,
    })
}

impl Fix {
    /// Fields that the fix looks at.
    pub(super) fn reads(&self) -> impl Iterator<Item = &FieldSpec> {
        [&self.value, &self.when, &self.unless]
            .into_iter()
            .flatten()
            .flat_map(|expression| &expression.it)
    }

    /// What the fix would write on the item that `context` holds; `None` = it is none for this item.
    pub(super) fn propose(
        &self,
        context: &Context<'_>,
        item: &Item,
        spec: &Item,
        seen: Option<SeenObject>,
    ) -> Option<ProposedFix> {
        if let Some(when) = &self.when
            && decide(when, context, item, spec) != Ok(true)
        {
            return None;
        }
        let outcome = self.refusal(context, item).and_then(|()| self.outcome(context, item));
        Some(ProposedFix {
            title: self.title.clone(),
            path: self.path.clone(),
            value: outcome.as_ref().ok().cloned().flatten(),
            temporary: self.temporary,
            throttled: self.throttled,
            requested: false,
            refused: outcome.err().map(|why| cut(&escape(&why), MESSAGE_BYTES)),
            seen,
        })
    }

    fn refusal(&self, context: &Context<'_>, item: &Item) -> Result<(), String> {
        let Some(unless) = &self.unless else { return Ok(()) };
        match evaluate(unless, context, item)? {
            Cel::String(why) if why.is_empty() => Ok(()),
            Cel::String(why) => Err(why.as_ref().clone()),
            _ => Err("`unless` gave no text".to_owned()),
        }
    }

    fn outcome(&self, context: &Context<'_>, item: &Item) -> Result<Option<Value>, String> {
        let Some(value) = &self.value else { return Ok(None) };
        let value = match evaluate(value, context, item)? {
            Cel::String(text) if !text.is_empty() => Value::from(text.as_ref().clone()),
            Cel::Bool(flag) => Value::from(flag),
            Cel::Int(number) => Value::from(number),
            _ => return Err("there is no value that would mend it".to_owned()),
        };
        let fits = match self.field.field_type {
            FieldType::String => value.is_string(),
            FieldType::Integer => value.is_i64(),
            FieldType::Boolean => value.is_boolean(),
            FieldType::Strings => false,
        };
        if fits {
            Ok(Some(value))
        } else {
            Err(format!("the value is not of type {}", self.field.field_type))
        }
    }

    /// The item once the fix was made.
    pub(super) fn applied(&self, proposal: &ProposedFix, item: &Item) -> Item {
        let mut after = item.clone();
        let value = proposal.value.clone().unwrap_or_else(|| self.unset.clone());
        after.fields.insert(self.field.name.clone(), value);
        after
    }
}

fn evaluate(expression: &Expression, context: &Context<'_>, item: &Item) -> Result<Cel, String> {
    expression.it.iter().try_for_each(|field| read(field, item, "it"))?;
    expression.program.execute(context).map_err(|error| error.to_string())
}

/// Why an entry of `spec.fixes` cannot be honoured: the spec is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FixProblem {
    /// There is no such rule.
    #[error("there is no rule `{0}`; rules with a fix: {1}")]
    UnknownRule(String, String),
    /// The rule has no fix.
    #[error("rule `{0}` has no fix: remove the entry and solve the finding; rules with a fix: {1}")]
    NoFix(String, String),
}

/// Entries of `spec.fixes` that make the spec invalid.
#[must_use]
pub fn fix_problems(catalogue: &Catalogue, requested: &[String]) -> Vec<FixProblem> {
    let with_fix = || {
        let rules = catalogue.rules().iter().filter(|rule| rule.fix.is_some());
        rules.map(|rule| rule.id.as_str()).collect::<Vec<_>>().join(", ")
    };
    let problem = |id: &String| match catalogue.rule(id) {
        None => Some(FixProblem::UnknownRule(id.clone(), with_fix())),
        Some(Rule { fix: None, .. }) => Some(FixProblem::NoFix(id.clone(), with_fix())),
        Some(_) => None,
    };
    requested.iter().filter_map(problem).collect()
}

/// Marks the fixes that `spec.fixes` names and sorts the findings anew. A fix that cannot be made is named in the message of its
/// finding, which goes on to block.
#[must_use]
pub fn request_fixes(mut findings: Vec<Finding>, requested: &[String]) -> Vec<Finding> {
    for finding in findings.iter_mut().filter(|finding| requested.contains(&finding.rule)) {
        let Some(fix) = &mut finding.fix else { continue };
        fix.requested = true;
        if let Some(why) = fix.refused.as_ref().filter(|_| finding.severity != Severity::Info) {
            let note = cut(&format!(" (not fixed: {why})"), MESSAGE_BYTES / 2);
            finding.message = cut(&finding.message, MESSAGE_BYTES.saturating_sub(note.len())) + &note;
        }
    }
    sort(&mut findings);
    findings
}
