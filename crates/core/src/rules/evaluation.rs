//! Evaluation of all rules over the items of a platform, one item at a time. Pure.

use std::collections::BTreeSet;

use kube_cel::cel::{Context, Value};
use strum::IntoEnumIterator;

use super::catalogue::{Catalogue, Rule};
use super::expression::Expression;
use super::facts::{Facts, ItemFacts, SpecFacts};
use super::finding::{Finding, Hop, MESSAGE_BYTES, cut, escape, sort};
use super::functions::{ConfiguredVersions, context, item_value};
use super::record::Stage;
use super::schema::{Field, FieldSpec, Item, ItemKind};

/// What is evaluated, besides the items.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// Steps of the route, the next one first.
    pub hops: Vec<Hop>,
    /// True once the first hop's installer may have touched the master: versions on the platform may differ then, and
    /// clusters may be waiting for their turn.
    pub started: bool,
    /// The request.
    pub spec: SpecFacts,
    /// `.spec.versions` of the `KubermaticConfiguration`.
    pub configured: Field<ConfiguredVersions>,
}

/// One look at the platform. Every kind of item must be mentioned, by an item, by [`Evaluation::unreadable`] or by
/// [`Evaluation::visited`]; the others become an undecided finding each, so that forgetting to look is no pass.
pub struct Evaluation<'catalogue> {
    stage: Stage,
    scopes: Vec<Scope<'catalogue>>,
    seen: BTreeSet<ItemKind>,
    findings: Vec<Finding>,
}

/// One hop with its rules.
pub(super) struct Scope<'catalogue> {
    pub(super) hop: Hop,
    pub(super) rules: Vec<&'catalogue Rule>,
    pub(super) context: Context<'static>,
    pub(super) spec: Item,
}

/// What one rule says about one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    NotApplicable,
    Pass,
    Fail(String),
    Unknown(String),
}

impl<'catalogue> Evaluation<'catalogue> {
    /// Begins to evaluate the rules of one stage.
    #[must_use]
    pub fn new(catalogue: &'catalogue Catalogue, stage: Stage, input: &Input) -> Self {
        let spec = input.spec.item();
        let scope = |(index, hop): (usize, &Hop)| Scope {
            hop: *hop,
            rules: catalogue
                .rules()
                .iter()
                .filter(|rule| rule.stage == stage && rule.concerns(hop.to))
                .collect(),
            context: context(
                catalogue.releases(),
                *hop,
                input.started && index == 0,
                &spec,
                &input.configured,
            ),
            spec: spec.clone(),
        };
        let scopes = input.hops.iter().enumerate().map(scope).collect();
        Self {
            stage,
            scopes,
            seen: BTreeSet::new(),
            findings: Vec::new(),
        }
    }

    /// Evaluates all rules of the facts' kind.
    pub fn facts<F: ItemFacts>(&mut self, target: &str, facts: &F) {
        self.item(F::KIND, target, &facts.item());
    }

    /// Evaluates all rules of `kind` for one item.
    pub fn item(&mut self, kind: ItemKind, target: &str, item: &Item) {
        self.seen.insert(kind);
        let value = item_value(item);
        for scope in &self.scopes {
            let mut context = scope.context.new_inner_scope();
            context.add_variable_from_value("it", value.clone());
            for rule in scope.rules.iter().filter(|rule| rule.each == kind) {
                let (message, unknown) = match judge(rule, &context, item, &scope.spec) {
                    Verdict::NotApplicable | Verdict::Pass => continue,
                    Verdict::Fail(message) => (message, false),
                    Verdict::Unknown(reason) => (reason, true),
                };
                self.findings.push(finding(rule, scope.hop, target, &message, unknown));
            }
        }
    }

    /// An item, or all items of a place (target = the place, for example the name of a seed), could not be read: every
    /// rule of the kind is undecided for it.
    pub fn unreadable(&mut self, kind: ItemKind, target: &str, reason: &str) {
        self.seen.insert(kind);
        for scope in &self.scopes {
            for rule in scope.rules.iter().filter(|rule| rule.each == kind) {
                let message = format!("cannot be decided: {kind} could not be read: {reason}");
                self.findings.push(finding(rule, scope.hop, target, &message, true));
            }
        }
    }

    /// All items of the kind were looked for; there may be none.
    pub fn visited(&mut self, kind: ItemKind) {
        self.seen.insert(kind);
    }

    /// All findings, worst first. A finding that later hops repeat is kept once.
    #[must_use]
    pub fn finish(mut self) -> Vec<Finding> {
        for kind in ItemKind::iter()
            .filter(|kind| !self.seen.contains(kind))
            .collect::<Vec<_>>()
        {
            self.unreadable(kind, "platform", &format!("nobody looked before {}", self.stage));
        }
        let mut findings = self.findings;
        findings.sort_by_key(|finding| self.scopes.iter().position(|scope| scope.hop == finding.hop));
        let mut known = BTreeSet::new();
        findings
            .retain(|finding| known.insert((finding.rule.clone(), finding.target.clone(), finding.message.clone())));
        sort(&mut findings);
        findings
    }
}

fn finding(rule: &Rule, hop: Hop, target: &str, message: &str, unknown: bool) -> Finding {
    Finding {
        rule: rule.id.clone(),
        severity: rule.severity,
        acceptable: rule.acceptable,
        transient: rule.transient || unknown,
        hop,
        kind: rule.each,
        target: cut(&escape(target), MESSAGE_BYTES),
        message: cut(&escape(message), MESSAGE_BYTES),
        remedy: rule.remedy.clone(),
        docs: rule.docs.clone(),
        unknown,
        accepted: None,
    }
}

/// What `rule` says about the item that `context` holds as `it`.
pub(super) fn judge(rule: &Rule, context: &Context<'_>, item: &Item, spec: &Item) -> Verdict {
    let undecided = |reason: String| Verdict::Unknown(format!("cannot be decided: {reason}"));
    match decide(&rule.when, context, item, spec) {
        Ok(true) => {}
        Ok(false) => return Verdict::NotApplicable,
        Err(reason) => return undecided(reason),
    }
    match decide(&rule.fail, context, item, spec) {
        Ok(false) => Verdict::Pass,
        Ok(true) => Verdict::Fail(message(rule, context)),
        Err(reason) => undecided(reason),
    }
}

/// Evaluates to true or false, or says why neither. All fields that the expression names must have been read, even
/// those that its operators would not look at: a rule is decided on the same facts for every item.
fn decide(expression: &Expression, context: &Context<'_>, item: &Item, spec: &Item) -> Result<bool, String> {
    expression.it.iter().try_for_each(|field| read(field, item, "it"))?;
    expression.spec.iter().try_for_each(|field| read(field, spec, "spec"))?;
    match expression.program.execute(context) {
        Ok(Value::Bool(outcome)) => Ok(outcome),
        Ok(_) => Err("the rule gave neither true nor false".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn read(field: &FieldSpec, item: &Item, variable: &str) -> Result<(), String> {
    let name = &field.name;
    match (item.fields.get(name), item.not_read.get(name)) {
        (Some(value), _) => field.mismatch(value).map_or(Ok(()), Err),
        (None, Some(reason)) => Err(format!("{variable}.{name} was not read: {reason}")),
        (None, None) => Err(format!("{variable}.{name} was not read")),
    }
}

/// The rule's message, or its title if the message names something that was not read: the finding stands anyway.
fn message(rule: &Rule, context: &Context<'_>) -> String {
    match rule.message.program.execute(context) {
        Ok(Value::String(message)) => message.as_ref().clone(),
        _ => rule.title.clone(),
    }
}
