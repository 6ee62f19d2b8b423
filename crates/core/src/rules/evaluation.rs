//! Evaluation of all rules over the items of a platform, one item at a time. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::catalogue::Catalogue;
use super::facts::{ItemFacts, SpecFacts};
use super::finding::{Finding, Hop, sort};
use super::functions::{ConfiguredVersions, item_value};
use super::judgement::{Judgement, finding};
use super::kind::{ItemKind, MASTER, Places};
use super::object::Object;
use super::record::{Severity, Stage};
use super::schema::{Field, Item};
use super::tally::Tallies;
use crate::fix::SeenObject;

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
///
/// Several may look at the same time, each at a [part](Evaluation::part): joined by [`Evaluation::absorb`], they say what one
/// would have said, whoever saw what, and in whatever order.
pub struct Evaluation {
    judgement: Arc<Judgement>,
    tallies: Tallies,
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

impl Evaluation {
    /// Begins to evaluate the rules of these stages.
    #[must_use]
    pub fn new(catalogue: &Arc<Catalogue>, stages: &[Stage], input: &Input) -> Self {
        Self::of(Arc::new(Judgement::new(catalogue, stages, input)))
    }

    fn of(judgement: Arc<Judgement>) -> Self {
        Self {
            judgement,
            tallies: Tallies::default(),
            late: Vec::new(),
            seen: BTreeSet::new(),
            lost: BTreeSet::new(),
            shared: BTreeSet::new(),
            findings: Vec::new(),
        }
    }

    /// Another evaluation of the same, for some of the items; [`Evaluation::absorb`] takes what it has seen.
    #[must_use]
    pub fn part(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            ..Self::of(Arc::clone(&self.judgement))
        }
    }

    /// Everything that a part has seen counts as seen here.
    pub fn absorb(&mut self, part: Self) {
        self.tallies.absorb(part.tallies);
        self.late.extend(part.late);
        self.seen.extend(part.seen);
        self.lost.extend(part.lost);
        self.shared.extend(part.shared);
        self.findings.extend(part.findings);
    }

    /// Kinds that at least one rule looks at: the others need not be read.
    pub fn kinds(&self) -> impl Iterator<Item = ItemKind> + '_ {
        self.judgement.kinds()
    }

    /// Evaluates all rules of the object's kind.
    pub fn object(&mut self, object: &Object<'_>) {
        let judgement = Arc::clone(&self.judgement);
        match judgement.item(object) {
            Some(item) => {
                let seen = || judgement.seen_object(object);
                self.show((object.kind, object.place, &object.target()), item, &seen);
            }
            None => drop(self.seen.insert(object.kind)),
        }
    }

    /// Evaluates all rules of the facts' kind.
    pub fn facts<F: ItemFacts>(&mut self, target: &str, facts: &F) {
        let place = target.split('/').next().unwrap_or_default();
        self.item(F::KIND, place, target, facts.item());
    }

    /// Evaluates all rules of `kind` for one item at `place`. Those of the platform and of seeds wait until everything that is
    /// counted has passed by.
    pub fn item(&mut self, kind: ItemKind, place: &str, target: &str, item: Item) {
        self.show((kind, place, target), item, &|| None);
    }

    fn show(
        &mut self,
        (kind, place, target): (ItemKind, &str, &str),
        item: Item,
        seen: &dyn Fn() -> Option<SeenObject>,
    ) {
        self.seen.insert(kind);
        let judgement = Arc::clone(&self.judgement);
        let waits = matches!(kind, ItemKind::Platform | ItemKind::Seed);
        let told_elsewhere = self.is_told_by_master(kind, place, target);
        let value = item_value(&item);
        for (index, scope) in judgement.scopes.iter().enumerate() {
            let counts = index == 0 && judgement.tallies(kind).next().is_some();
            let judged = !waits && !told_elsewhere && judgement.rules(scope, kind).next().is_some();
            if !counts && !judged {
                continue;
            }
            let context = scope.context_of(value.clone());
            if counts {
                let tallies = judgement.tallies(kind);
                self.tallies.item(tallies, place, &item, &context, &scope.spec);
            }
            if judged {
                let findings = &mut self.findings;
                judgement.judge_all((scope, &context), (kind, target), &item, seen, findings);
            }
        }
        if waits && !told_elsewhere {
            self.late.push(Late {
                kind,
                place: place.to_owned(),
                target: target.to_owned(),
                item,
                seen: seen(),
            });
        }
    }

    /// An item, or all items of `place`, could not be read: every rule of the kind is undecided for it.
    pub fn unreadable(&mut self, kind: ItemKind, place: &str, reason: &str) {
        let cluster = place.split('/').next().unwrap_or_default();
        self.tallies
            .unreadable(self.judgement.tallies(kind), kind, cluster, reason);
        if !self.is_told_by_master(kind, cluster, place) {
            self.undecided(kind, place, reason);
        }
    }

    /// The seed's cluster is the master's, where the same is seen. Two things nobody tells but the seed: whether a webhook takes
    /// user clusters, and what is installed in `kube-system`, where only seeds are looked at.
    fn is_told_by_master(&self, kind: ItemKind, place: &str, target: &str) -> bool {
        let of_the_seed_alone = match kind {
            ItemKind::Webhook => true,
            ItemKind::Release => target
                .split('/')
                .nth(1)
                .is_none_or(|namespace| namespace == "kube-system"),
            _ => false,
        };
        kind.places() == Places::Both && self.shared.contains(place) && !of_the_seed_alone
    }

    fn undecided(&mut self, kind: ItemKind, target: &str, reason: &str) {
        self.seen.insert(kind);
        for scope in &self.judgement.scopes {
            for rule in self.judgement.rules(scope, kind) {
                let message = format!("cannot be decided: {kind} could not be read: {reason}");
                self.findings.push(finding(rule, scope.hop, target, &message, true));
            }
        }
    }

    /// The seed's cluster is the master's: what is looked for on both counts for the seed's tallies, and is judged once, as the
    /// master's, but for what only the seed tells: its webhook, and what is installed in `kube-system`.
    pub fn shared(&mut self, place: &str) {
        self.shared.insert(place.to_owned());
    }

    /// Nothing of a seed can be read. The seed itself says so, in one finding: its rules that would need to look inside keep
    /// quiet where another one blocks because of it, and so do the rules about its objects.
    pub fn lost(&mut self, place: &str, reason: &str) {
        self.lost.insert(place.to_owned());
        for kind in self.judgement.kinds().filter(|kind| kind.places() != Places::Master) {
            self.seen.insert(kind);
            self.tallies
                .unreadable(self.judgement.tallies(kind), kind, place, reason);
        }
    }

    /// Whether a rule looks into the documents of items of the kind, not only at what is computed.
    #[must_use]
    pub fn reads_documents(&self, kind: ItemKind) -> bool {
        self.judgement.reads_documents(kind)
    }

    /// All items of the kind at `place` were looked for; there may be none.
    pub fn visited(&mut self, kind: ItemKind, place: &str) {
        self.seen.insert(kind);
        self.tallies.visited(self.judgement.tallies(kind), place);
    }

    /// All findings, worst first. A finding that later hops repeat is kept once.
    #[must_use]
    pub fn finish(mut self) -> Vec<Finding> {
        for late in std::mem::take(&mut self.late) {
            self.judge_late(late);
        }
        let missing: Vec<ItemKind> = self.kinds().filter(|kind| !self.seen.contains(kind)).collect();
        for kind in missing {
            self.undecided(kind, "platform", "nobody looked");
        }
        let hops: Vec<Hop> = self.judgement.scopes.iter().map(|scope| scope.hop).collect();
        in_order(self.findings, &hops)
    }

    /// What the rules say about the platform or a seed, now that everything is counted.
    fn judge_late(&mut self, late: Late) {
        let Late {
            kind,
            place,
            target,
            mut item,
            seen,
        } = late;
        let place = if kind == ItemKind::Platform { MASTER } else { &place };
        let judgement = Arc::clone(&self.judgement);
        self.tallies.fill(judgement.tallies_on(kind), place, &mut item);
        let value = item_value(&item);
        let mut findings = Vec::new();
        for scope in &judgement.scopes {
            let context = scope.context_of(value.clone());
            let seen = || seen.clone();
            judgement.judge_all((scope, &context), (kind, &target), &item, &seen, &mut findings);
        }
        let blocks = |finding: &Finding| !finding.unknown && finding.severity == Severity::Blocker;
        if self.lost.contains(place) && findings.iter().any(blocks) {
            findings.retain(|finding| !finding.unknown);
        }
        self.findings.append(&mut findings);
    }
}

/// The findings of these hops, each told once, worst first.
fn in_order(mut findings: Vec<Finding>, hops: &[Hop]) -> Vec<Finding> {
    findings.sort_by_key(|finding| hops.iter().position(|hop| *hop == finding.hop));
    let mut known = BTreeSet::new();
    let mut told = BTreeMap::new();
    findings.retain_mut(|finding| {
        finding.ahead = Some(&finding.hop) != hops.first();
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
