//! Tallies: what can only be said about all items of a kind together, as a field of the platform or of a seed. Pure.
//!
//! Counted while the items pass by, so that nobody holds them; a kind that could not be read, or an item that could not
//! be judged, makes the tally unknown.

use std::collections::BTreeMap;

use kube_cel::cel::{Context, Value as CelValue};
use serde::Deserialize;
use serde_json::Value;

use super::evaluation::{decide, read};
use super::expression::Expression;
use super::kind::{ItemKind, MASTER, Places};
use super::schema::{FieldSpec, FieldType, Item};
use super::vocabulary::{Vocabulary, check_docs, check_name};

/// Most different texts that a tally keeps.
const TEXTS: usize = 100_000;
/// Most of them that rules see, in alphabetical order.
const SHOWN: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TallyRecord {
    pub(super) on: String,
    pub(super) name: String,
    each: String,
    #[serde(rename = "where")]
    condition: String,
    #[serde(rename = "as")]
    outcome: Outcome,
    of: Option<String>,
    docs: String,
}

/// What is said about the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// How many there are.
    Count,
    /// The different texts, the first ten.
    Values,
    /// The texts that more than one item has, the first ten.
    Duplicates,
    /// The sum of a number.
    Sum,
}

/// One tally.
#[derive(Debug)]
pub struct Tally {
    /// `Platform` or `Seed`.
    pub on: ItemKind,
    /// Name, type and text of the field.
    pub spec: FieldSpec,
    /// The kind whose items are looked at.
    pub each: ItemKind,
    condition: Expression,
    outcome: Outcome,
    of: Option<Expression>,
}

impl Tally {
    pub(super) fn build(record: TallyRecord, vocabulary: &Vocabulary) -> Result<Self, String> {
        check_name(&record.name)?;
        check_docs(&record.docs)?;
        let on = match record.on.as_str() {
            "platform" => ItemKind::Platform,
            "seed" => ItemKind::Seed,
            other => return Err(format!("on `{other}` is neither platform nor seed")),
        };
        let each: ItemKind = record
            .each
            .parse()
            .map_err(|_| format!("each `{}` is not a kind of item", record.each))?;
        if matches!(each, ItemKind::Platform | ItemKind::Webhook | ItemKind::Account)
            || (each == ItemKind::Seed && on == ItemKind::Seed)
        {
            return Err(format!("{each} cannot be counted"));
        }
        if on == ItemKind::Seed && each.places() == Places::Master {
            return Err(format!("{each} is not read on seeds"));
        }
        if vocabulary.schema(on).iter().any(|known| known.name == record.name) {
            return Err("the name is taken".to_owned());
        }
        if record.of.is_none() != (record.outcome == Outcome::Count) {
            return Err("`of` belongs to values, duplicates and sum, and to them only".to_owned());
        }
        let compile = |source: &str| Expression::compile(source, each, vocabulary);
        Ok(Self {
            on,
            spec: FieldSpec {
                name: record.name,
                field_type: match record.outcome {
                    Outcome::Count | Outcome::Sum => FieldType::Integer,
                    Outcome::Values | Outcome::Duplicates => FieldType::Strings,
                },
                nullable: false,
                docs: record.docs,
            },
            each,
            condition: compile(&record.condition)?,
            outcome: record.outcome,
            of: record.of.as_deref().map(compile).transpose()?,
        })
    }

    /// Names of the item's fields that it looks at.
    pub(super) fn reads(&self) -> impl Iterator<Item = &str> {
        let of = self.of.iter().flat_map(|of| &of.it);
        self.condition.it.iter().chain(of).map(|field| field.name.as_str())
    }

    /// The place that an item at `place` counts for; `None` = it does not count.
    fn counts_for<'a>(&self, place: &'a str) -> Option<&'a str> {
        match self.on {
            ItemKind::Platform if place == MASTER || self.each.places() != Places::Both => Some(MASTER),
            ItemKind::Seed if place != MASTER => Some(place),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
struct Sum {
    number: i64,
    texts: BTreeMap<String, usize>,
}

/// All tallies of one evaluation.
#[derive(Debug, Default)]
pub(super) struct Tallies<'catalogue> {
    tallies: Vec<&'catalogue Tally>,
    /// By index of the tally and place.
    sums: BTreeMap<(usize, String), Result<Sum, String>>,
}

impl<'catalogue> Tallies<'catalogue> {
    pub(super) fn new(tallies: Vec<&'catalogue Tally>) -> Self {
        Self {
            tallies,
            sums: BTreeMap::new(),
        }
    }

    /// Somebody looks at items of `kind` at `place`; there may be none.
    pub(super) fn visited(&mut self, kind: ItemKind, place: &str) {
        self.each(kind, place, |_, _| Ok(()));
    }

    /// Items of `kind` at `place` could not be read.
    pub(super) fn unreadable(&mut self, kind: ItemKind, place: &str, reason: &str) {
        self.each(kind, place, |_, _| Err(format!("{kind} could not be read: {reason}")));
    }

    /// An item passes by.
    pub(super) fn item(&mut self, kind: ItemKind, place: &str, item: &Item, context: &Context<'_>, spec: &Item) {
        self.each(kind, place, |tally, sum| {
            if decide(&tally.condition, context, item, spec)? {
                add(sum, tally, context, item)?;
            }
            Ok(())
        });
    }

    fn each(&mut self, kind: ItemKind, place: &str, apply: impl Fn(&Tally, &mut Sum) -> Result<(), String>) {
        for (index, tally) in self.tallies.iter().enumerate().filter(|(_, tally)| tally.each == kind) {
            let Some(place) = tally.counts_for(place) else { continue };
            let sum = self
                .sums
                .entry((index, place.to_owned()))
                .or_insert_with(|| Ok(Sum::default()));
            // The first thing that could not be read decides: the sum cannot become right again.
            if let Ok(good) = sum
                && let Err(reason) = apply(tally, good)
            {
                *sum = Err(reason);
            }
        }
    }

    /// Adds the tallies of the platform, or of the seed at `place`, to its item.
    pub(super) fn fill(&self, kind: ItemKind, place: &str, item: &mut Item) {
        for (index, tally) in self.tallies.iter().enumerate().filter(|(_, tally)| tally.on == kind) {
            let value = match self.sums.get(&(index, place.to_owned())) {
                Some(Ok(sum)) => Ok(outcome(tally.outcome, sum)),
                Some(Err(reason)) => Err(reason.clone()),
                None => Err(format!("nobody looked at {} of {place}", tally.each)),
            };
            item.put(&tally.spec.name, value);
        }
    }
}

fn add(sum: &mut Sum, tally: &Tally, context: &Context<'_>, item: &Item) -> Result<(), String> {
    let Some(of) = &tally.of else {
        sum.number += 1;
        return Ok(());
    };
    of.it.iter().try_for_each(|field| read(field, item, "it"))?;
    match of.program.execute(context) {
        Ok(CelValue::Int(number)) if tally.outcome == Outcome::Sum => {
            sum.number = sum.number.checked_add(number).ok_or("the sum is too large")?;
        }
        Ok(CelValue::String(text)) if tally.outcome != Outcome::Sum => {
            if sum.texts.len() >= TEXTS {
                return Err(format!("there are more than {TEXTS} different texts"));
            }
            *sum.texts.entry(text.as_ref().clone()).or_default() += 1;
        }
        Ok(_) => return Err("`of` gave neither a text nor a number".to_owned()),
        Err(error) => return Err(error.to_string()),
    }
    Ok(())
}

fn outcome(outcome: Outcome, sum: &Sum) -> Value {
    let least = if outcome == Outcome::Duplicates { 2 } else { 1 };
    match outcome {
        Outcome::Count | Outcome::Sum => sum.number.into(),
        Outcome::Values | Outcome::Duplicates => {
            let texts = sum.texts.iter().filter(|(_, times)| **times >= least);
            texts
                .take(SHOWN)
                .map(|(text, _)| text.clone())
                .collect::<Vec<_>>()
                .into()
        }
    }
}
