//! Evaluation of all rules over the items of a platform, one item at a time. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube_cel::cel::{Context, Value};

use super::catalogue::Catalogue;
use super::expression::Expression;
use super::facts::{Facts, ItemFacts, SpecFacts};
use super::finding::{Finding, Hop, MESSAGE_BYTES, cut, escape, sort};
use super::fix::Fix;
use super::functions::{ConfiguredVersions, context, item_value};
use super::kind::{ItemKind, MASTER, Places};
use super::object::Object;
use super::record::{Severity, Stage};
use super::rule::Rule;
use super::schema::{Field, FieldSpec, Item};
use super::tally::{Tallies, Tally};
use super::vocabulary::Vocabulary;
use crate::fix::SeenObject;
use crate::version::KkpVersion;

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
    /// What the clock says.
    pub now: Timestamp,
}

/// One look at the platform. Every kind of item that a rule looks at must be mentioned, by an item, by
/// [`Evaluation::unreadable`] or by [`Evaluation::visited`]; the others become an undecided finding each, so that forgetting
/// to look is no pass.
pub struct Evaluation<'catalogue> {
    vocabulary: &'catalogue Vocabulary,
    /// The release whose schema the objects have.
    running: KkpVersion,
    now: Timestamp,
    scopes: Vec<Scope<'catalogue>>,
    /// Fields that rules look at, by kind.
    wanted: BTreeMap<ItemKind, BTreeSet<String>>,
    tallies: Tallies<'catalogue>,
    late: Vec<Late>,
    seen: BTreeSet<ItemKind>,
    /// Seeds of which nothing can be read.
    lost: BTreeSet<String>,
    /// Seeds on the cluster of the master.
    shared: BTreeSet<String>,
    findings: Vec<Finding>,
}

/// An item of the platform or of a seed.
struct Late {
    kind: ItemKind,
    place: String,
    target: String,
    item: Item,
    seen: Option<SeenObject>,
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
    /// Begins to evaluate the rules of these stages.
    #[must_use]
    pub fn new(catalogue: &'catalogue Catalogue, stages: &[Stage], input: &Input) -> Self {
        let spec = input.spec.item();
        let scope = |(index, hop): (usize, &Hop)| Scope {
            hop: *hop,
            rules: catalogue
                .rules()
                .iter()
                .filter(|rule| stages.contains(&rule.stage) && rule.concerns(hop.to))
                .collect(),
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
        let scopes: Vec<Scope<'_>> = input.hops.iter().enumerate().map(scope).collect();
        let (wanted, tallies) = wanted(catalogue.vocabulary(), &scopes);
        Self {
            vocabulary: catalogue.vocabulary(),
            running: input.hops.first().map_or(KkpVersion::new(2, 0, 0), |hop| hop.from),
            now: input.now,
            scopes,
            wanted,
            tallies: Tallies::new(tallies),
            late: Vec::new(),
            seen: BTreeSet::new(),
            lost: BTreeSet::new(),
            shared: BTreeSet::new(),
            findings: Vec::new(),
        }
    }

    /// Kinds that at least one rule looks at: the others need not be read.
    pub fn kinds(&self) -> impl Iterator<Item = ItemKind> + '_ {
        self.wanted.keys().copied()
    }

    /// Evaluates all rules of the object's kind.
    pub fn object(&mut self, object: &Object<'_>) {
        let Some(wanted) = self.wanted.get(&object.kind) else {
            self.seen.insert(object.kind);
            return;
        };
        let item = self.vocabulary.item(object, wanted, self.running, self.now);
        let seen = self.seen_object(object);
        self.show((object.kind, object.place, &object.target()), item, seen);
    }

    /// What a fix has to know of the object; `None` = no rule about its kind has one.
    fn seen_object(&self, object: &Object<'_>) -> Option<SeenObject> {
        let rules = self.scopes.iter().flat_map(|scope| &scope.rules);
        let fixes = rules
            .filter(|rule| rule.each == object.kind)
            .filter_map(|rule| rule.fix.as_ref());
        let mut paths = fixes.map(|fix| fix.path.as_str()).peekable();
        paths.peek()?;
        let document = object.kind.documents().first()?;
        let document = object.documents.get(document)?.as_ref().ok()?;
        Some(SeenObject::read(document, paths))
    }

    /// Evaluates all rules of the facts' kind.
    pub fn facts<F: ItemFacts>(&mut self, target: &str, facts: &F) {
        let place = target.split('/').next().unwrap_or_default();
        self.item(F::KIND, place, target, facts.item());
    }

    /// Evaluates all rules of `kind` for one item at `place`. Those of the platform and of seeds wait until everything that is
    /// counted has passed by.
    pub fn item(&mut self, kind: ItemKind, place: &str, target: &str, item: Item) {
        self.show((kind, place, target), item, None);
    }

    fn show(&mut self, (kind, place, target): (ItemKind, &str, &str), item: Item, seen: Option<SeenObject>) {
        self.seen.insert(kind);
        if let Some(scope) = self.scopes.first() {
            let mut context = scope.context.new_inner_scope();
            context.add_variable_from_value("it", item_value(&item));
            self.tallies.item(kind, place, &item, &context, &scope.spec);
        }
        if kind.places() == Places::Both && self.shared.contains(place) {
            return;
        }
        if matches!(kind, ItemKind::Platform | ItemKind::Seed) {
            self.late.push(Late {
                kind,
                place: place.to_owned(),
                target: target.to_owned(),
                item,
                seen,
            });
        } else {
            judge_all(&self.scopes, (kind, target), &item, seen.as_ref(), &mut self.findings);
        }
    }

    /// An item, or all items of `place`, could not be read: every rule of the kind is undecided for it.
    pub fn unreadable(&mut self, kind: ItemKind, place: &str, reason: &str) {
        let cluster = place.split('/').next().unwrap_or_default();
        self.tallies.unreadable(kind, cluster, reason);
        if kind.places() != Places::Both || !self.shared.contains(cluster) {
            self.undecided(kind, place, reason);
        }
    }

    fn undecided(&mut self, kind: ItemKind, target: &str, reason: &str) {
        self.seen.insert(kind);
        for scope in &self.scopes {
            for rule in scope.rules.iter().filter(|rule| rule.each == kind) {
                let message = format!("cannot be decided: {kind} could not be read: {reason}");
                self.findings.push(finding(rule, scope.hop, target, &message, true));
            }
        }
    }

    /// The seed's cluster is the master's: what is looked for on both counts for the seed's tallies, and is judged once, as the
    /// master's.
    pub fn shared(&mut self, place: &str) {
        self.shared.insert(place.to_owned());
    }

    /// Nothing of a seed can be read. The seed itself says so, in one finding: its rules that would need to look inside keep
    /// quiet where another one blocks because of it, and so do the rules about its objects.
    pub fn lost(&mut self, place: &str, reason: &str) {
        self.lost.insert(place.to_owned());
        let kinds: Vec<ItemKind> = self.wanted.keys().copied().collect();
        for kind in kinds.into_iter().filter(|kind| kind.places() != Places::Master) {
            self.seen.insert(kind);
            self.tallies.unreadable(kind, place, reason);
        }
    }

    /// Whether a rule looks into the documents of items of the kind, not only at what is computed.
    #[must_use]
    pub fn reads_documents(&self, kind: ItemKind) -> bool {
        let paths = self.vocabulary.paths(kind);
        self.wanted
            .get(&kind)
            .is_some_and(|wanted| paths.iter().any(|field| wanted.contains(&field.spec.name)))
    }

    /// All items of the kind at `place` were looked for; there may be none.
    pub fn visited(&mut self, kind: ItemKind, place: &str) {
        self.seen.insert(kind);
        self.tallies.visited(kind, place);
    }

    /// All findings, worst first. A finding that later hops repeat is kept once.
    #[must_use]
    pub fn finish(mut self) -> Vec<Finding> {
        for late in std::mem::take(&mut self.late) {
            let Late {
                kind,
                place,
                target,
                mut item,
                seen,
            } = late;
            let place = if kind == ItemKind::Platform { MASTER } else { &place };
            self.tallies.fill(kind, place, &mut item);
            let mut findings = Vec::new();
            judge_all(&self.scopes, (kind, &target), &item, seen.as_ref(), &mut findings);
            if self.lost.contains(place)
                && findings
                    .iter()
                    .any(|finding| !finding.unknown && finding.severity == Severity::Blocker)
            {
                findings.retain(|finding| !finding.unknown);
            }
            self.findings.append(&mut findings);
        }
        let missing: Vec<ItemKind> = self
            .wanted
            .keys()
            .filter(|kind| !self.seen.contains(kind))
            .copied()
            .collect();
        for kind in missing {
            self.undecided(kind, "platform", "nobody looked");
        }
        let mut findings = self.findings;
        let first = self.scopes.first().map(|scope| scope.hop);
        findings.sort_by_key(|finding| self.scopes.iter().position(|scope| scope.hop == finding.hop));
        let mut known = BTreeSet::new();
        let mut told = BTreeMap::new();
        findings.retain_mut(|finding| {
            finding.ahead = Some(finding.hop) != first;
            let item = (finding.rule.clone(), finding.target.clone());
            // What an item has at the first hop that it concerns is not said again for those behind it.
            if finding.ahead && told.get(&item).is_some_and(|hop| *hop != finding.hop) {
                return false;
            }
            told.entry(item.clone()).or_insert(finding.hop);
            known.insert((item, finding.message.clone()))
        });
        sort(&mut findings);
        findings
    }
}

/// Fields that are looked at, by kind, and the tallies among them.
fn wanted<'catalogue>(
    vocabulary: &'catalogue Vocabulary,
    scopes: &[Scope<'catalogue>],
) -> (BTreeMap<ItemKind, BTreeSet<String>>, Vec<&'catalogue Tally>) {
    let mut wanted: BTreeMap<ItemKind, BTreeSet<String>> = BTreeMap::new();
    for rule in scopes.iter().flat_map(|scope| &scope.rules) {
        let fields = wanted.entry(rule.each).or_default();
        let named = [&rule.when, &rule.fail, &rule.message]
            .into_iter()
            .flat_map(|expression| &expression.it);
        fields.extend(named.map(|field| field.name.clone()));
        let fix = rule.fix.iter().flat_map(Fix::reads);
        fields.extend(fix.map(|field| field.name.clone()));
    }
    let named = |tally: &&Tally| {
        wanted
            .get(&tally.on)
            .is_some_and(|fields| fields.contains(&tally.spec.name))
    };
    let tallies: Vec<&Tally> = vocabulary.tallies.iter().filter(named).collect();
    for tally in &tallies {
        let fields = wanted.entry(tally.each).or_default();
        fields.extend(tally.reads().map(ToOwned::to_owned));
    }
    (wanted, tallies)
}

/// What all rules of a kind say about one item.
fn judge_all(
    scopes: &[Scope<'_>],
    (kind, target): (ItemKind, &str),
    item: &Item,
    seen: Option<&SeenObject>,
    findings: &mut Vec<Finding>,
) {
    let value = item_value(item);
    for scope in scopes {
        let mut context = scope.context.new_inner_scope();
        context.add_variable_from_value("it", value.clone());
        for rule in scope.rules.iter().filter(|rule| rule.each == kind) {
            let (message, unknown) = match judge(rule, &context, item, &scope.spec) {
                Verdict::NotApplicable | Verdict::Pass => continue,
                Verdict::Fail(message) => (message, false),
                Verdict::Unknown(reason) => (reason, true),
            };
            let fix = rule.fix.as_ref().filter(|_| !unknown);
            let fix = fix.and_then(|fix| fix.propose(&context, item, &scope.spec, seen.cloned()));
            findings.push(Finding {
                fix,
                ..finding(rule, scope.hop, target, &message, unknown)
            });
        }
    }
}

fn finding(rule: &Rule, hop: Hop, target: &str, message: &str, unknown: bool) -> Finding {
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
