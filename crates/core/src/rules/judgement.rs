//! What is asked in one look, and what the rules say about one item: the same for everybody who looks at a part of it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube_cel::cel::{Context, Value};

use super::catalogue::Catalogue;
use super::evaluation::Input;
use super::expression::Expression;
use super::facts::Facts as _;
use super::finding::{Finding, Hop, MESSAGE_BYTES, cut, escape};
use super::fix::Fix;
use super::functions::context;
use super::kind::ItemKind;
use super::object::Object;
use super::record::Stage;
use super::rule::Rule;
use super::schema::{FieldSpec, Item};
use super::tally::Tally;
use crate::fix::SeenObject;
use crate::version::KkpVersion;

/// What is asked, ready to be asked of any number of items.
pub(super) struct Judgement {
    catalogue: Arc<Catalogue>,
    /// The release whose schema the objects have.
    running: KkpVersion,
    now: Timestamp,
    pub(super) scopes: Vec<Scope>,
    /// Fields that rules look at, by kind.
    wanted: BTreeMap<ItemKind, BTreeSet<String>>,
    /// Where the tallies that are looked at stand in the vocabulary, by the kind that they count.
    tallies: BTreeMap<ItemKind, Vec<usize>>,
}

/// One hop with its rules.
pub(super) struct Scope {
    pub(super) hop: Hop,
    /// Where the rules stand in the catalogue, by kind.
    rules: BTreeMap<ItemKind, Vec<usize>>,
    context: Context<'static>,
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

impl Judgement {
    pub(super) fn new(catalogue: &Arc<Catalogue>, stages: &[Stage], input: &Input) -> Self {
        let spec = input.spec.item();
        let scope = |(index, hop): (usize, &Hop)| Scope {
            hop: *hop,
            rules: rules_of(catalogue, stages, *hop),
            context: context(
                catalogue.releases(),
                *hop,
                &input.hops,
                input.started && index == 0,
                &spec,
                &input.configured,
                input.now,
            ),
            spec: spec.clone(),
        };
        let scopes: Vec<Scope> = input.hops.iter().enumerate().map(scope).collect();
        let (wanted, tallies) = wanted(catalogue, &scopes);
        Self {
            catalogue: Arc::clone(catalogue),
            running: input.hops.first().map_or(KkpVersion::new(2, 0, 0), |hop| hop.from),
            now: input.now,
            scopes,
            wanted,
            tallies,
        }
    }

    /// Kinds that a rule or a tally looks at.
    pub(super) fn kinds(&self) -> impl Iterator<Item = ItemKind> + '_ {
        self.wanted.keys().copied()
    }

    /// Whether a rule looks into the documents of items of the kind, not only at what is computed.
    pub(super) fn reads_documents(&self, kind: ItemKind) -> bool {
        let paths = self.catalogue.vocabulary().paths(kind);
        self.wanted
            .get(&kind)
            .is_some_and(|wanted| paths.iter().any(|field| wanted.contains(&field.spec.name)))
    }

    /// The tallies over items of `kind`, each with its place in the vocabulary.
    pub(super) fn tallies(&self, kind: ItemKind) -> impl Iterator<Item = (usize, &Tally)> {
        let all = &self.catalogue.vocabulary().tallies;
        let places = self.tallies.get(&kind).into_iter().flatten();
        places.filter_map(|place| Some((*place, all.get(*place)?)))
    }

    /// The tallies that are fields of the platform or of seeds, each with its place in the vocabulary.
    pub(super) fn tallies_on(&self, kind: ItemKind) -> impl Iterator<Item = (usize, &Tally)> {
        let all = self.tallies.keys().flat_map(|each| self.tallies(*each));
        all.filter(move |(_, tally)| tally.on == kind)
    }

    /// The rules of a hop about items of `kind`.
    pub(super) fn rules<'a>(&'a self, scope: &'a Scope, kind: ItemKind) -> impl Iterator<Item = &'a Rule> {
        let places = scope.rules.get(&kind).into_iter().flatten();
        places.filter_map(|place| self.catalogue.rules().get(*place))
    }

    /// The object as rules see it; `None` = nobody looks at its kind.
    pub(super) fn item(&self, object: &Object<'_>) -> Option<Item> {
        let wanted = self.wanted.get(&object.kind)?;
        let vocabulary = self.catalogue.vocabulary();
        Some(vocabulary.item(object, wanted, self.running, self.now))
    }

    /// What a fix has to know of the object; `None` = no rule about its kind has one.
    pub(super) fn seen_object(&self, object: &Object<'_>) -> Option<SeenObject> {
        let rules = self.scopes.iter().flat_map(|scope| self.rules(scope, object.kind));
        let fixes = rules.filter_map(|rule| rule.fix.as_ref());
        let mut paths = fixes.map(|fix| fix.path.as_str()).peekable();
        paths.peek()?;
        let document = object.kind.documents().first()?;
        let document = object.documents.get(document)?.as_ref().ok()?;
        Some(SeenObject::read(document, paths))
    }

    /// What all rules of a hop say about the item that `context` holds as `it`; `seen` is asked where a fix has to know.
    pub(super) fn judge_all(
        &self,
        (scope, context): (&Scope, &Context<'_>),
        (kind, target): (ItemKind, &str),
        item: &Item,
        seen: &dyn Fn() -> Option<SeenObject>,
        findings: &mut Vec<Finding>,
    ) {
        for rule in self.rules(scope, kind) {
            let (message, unknown) = match judge(rule, context, item, &scope.spec) {
                Verdict::NotApplicable | Verdict::Pass => continue,
                Verdict::Fail(message) => (message, false),
                Verdict::Unknown(reason) => (reason, true),
            };
            let fix = rule.fix.as_ref().filter(|_| !unknown);
            let fix = fix.and_then(|fix| fix.propose(context, item, &scope.spec, seen()));
            findings.push(Finding {
                fix,
                ..finding(rule, scope.hop, target, &message, unknown)
            });
        }
    }
}

impl Scope {
    /// What rules of this hop see together with an item.
    pub(super) fn context_of(&self, item: Value) -> Context<'_> {
        let mut context = self.context.new_inner_scope();
        context.add_variable_from_value("it", item);
        context
    }
}

/// Where the rules of these stages for this hop stand in the catalogue, by kind.
fn rules_of(catalogue: &Catalogue, stages: &[Stage], hop: Hop) -> BTreeMap<ItemKind, Vec<usize>> {
    let mut rules: BTreeMap<ItemKind, Vec<usize>> = BTreeMap::new();
    for (place, rule) in catalogue.rules().iter().enumerate() {
        if stages.contains(&rule.stage) && rule.concerns(hop.to) {
            rules.entry(rule.each).or_default().push(place);
        }
    }
    rules
}

/// Fields that are looked at, by kind, and the tallies among them.
fn wanted(
    catalogue: &Catalogue,
    scopes: &[Scope],
) -> (BTreeMap<ItemKind, BTreeSet<String>>, BTreeMap<ItemKind, Vec<usize>>) {
    let mut wanted: BTreeMap<ItemKind, BTreeSet<String>> = BTreeMap::new();
    let places = scopes.iter().flat_map(|scope| scope.rules.values().flatten());
    for rule in places.filter_map(|place| catalogue.rules().get(*place)) {
        let fields = wanted.entry(rule.each).or_default();
        let named = [&rule.when, &rule.fail, &rule.message]
            .into_iter()
            .flat_map(|expression| &expression.it);
        fields.extend(named.map(|field| field.name.clone()));
        let fix = rule.fix.iter().flat_map(Fix::reads);
        fields.extend(fix.map(|field| field.name.clone()));
    }
    let named = |tally: &Tally| {
        let fields = wanted.get(&tally.on);
        fields.is_some_and(|fields| fields.contains(&tally.spec.name))
    };
    let all = catalogue.vocabulary().tallies.iter().enumerate();
    let named: Vec<(usize, &Tally)> = all.filter(|(_, tally)| named(tally)).collect();
    let mut tallies: BTreeMap<ItemKind, Vec<usize>> = BTreeMap::new();
    for (place, tally) in named {
        let fields = wanted.entry(tally.each).or_default();
        fields.extend(tally.reads().map(ToOwned::to_owned));
        tallies.entry(tally.each).or_default().push(place);
    }
    (wanted, tallies)
}

pub(super) fn finding(rule: &Rule, hop: Hop, target: &str, message: &str, unknown: bool) -> Finding {
    Finding {
        rule: rule.id.clone(),
        severity: rule.severity,
        acceptable: rule.acceptable,
        transient: rule.transient || unknown,
        hop,
        ahead: false,
        kind: rule.each,
        target: cut(&escape(target), MESSAGE_BYTES),
        message: cut(&escape(message), MESSAGE_BYTES),
        remedy: rule.remedy.clone(),
        docs: rule.docs.clone(),
        unknown,
        accepted: None,
        fix: None,
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
pub(super) fn decide(expression: &Expression, context: &Context<'_>, item: &Item, spec: &Item) -> Result<bool, String> {
    expression.it.iter().try_for_each(|field| read(field, item, "it"))?;
    expression.spec.iter().try_for_each(|field| read(field, spec, "spec"))?;
    match expression.program.execute(context) {
        Ok(Value::Bool(outcome)) => Ok(outcome),
        Ok(_) => Err("the rule gave neither true nor false".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn read(field: &FieldSpec, item: &Item, variable: &str) -> Result<(), String> {
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
