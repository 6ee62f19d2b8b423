//! Tallies: what can only be said about all items of a kind together, as a field of the platform or of a seed. Pure.
//!
//! Counted while the items pass by, so that nobody holds them; a kind that could not be read, or an item that could not
//! be judged, makes the tally unknown.

use std::collections::BTreeMap;

use kube_cel::cel::{Context, Value as CelValue};
use serde::Deserialize;
use serde_json::Value;

use super::expression::Expression;
use super::judgement::{decide, read};
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
    /// Why it is not known: of several reasons the first in the alphabet, so that nothing depends on who came first.
    problem: Option<String>,
}

impl Sum {
    fn spoil(&mut self, reason: String) {
        if self.problem.as_ref().is_none_or(|known| reason < *known) {
            self.problem = Some(reason);
        }
    }

    fn count(&mut self, text: String, times: usize) -> Result<(), String> {
        if let Some(known) = self.texts.get_mut(&text) {
            *known += times;
            return Ok(());
        }
        if self.texts.len() >= TEXTS {
            return Err(format!("there are more than {TEXTS} different texts"));
        }
        self.texts.insert(text, times);
        Ok(())
    }

    fn add(&mut self, number: i64) -> Result<(), String> {
        self.number = self.number.checked_add(number).ok_or("the sum is too large")?;
        Ok(())
    }

    fn absorb(&mut self, other: Self) {
        let Self { number, texts, problem } = other;
        let added = self.add(number);
        let counted = texts.into_iter().map(|(text, times)| self.count(text, times));
        let counted: Result<(), String> = counted.collect();
        let problems = [added.err(), counted.err(), problem];
        problems.into_iter().flatten().for_each(|reason| self.spoil(reason));
    }
}

/// What was counted so far; the tallies themselves come with each call, in an order of their own that never changes.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    /// By place of the tally in the vocabulary, and by place of the items.
    sums: BTreeMap<usize, BTreeMap<String, Sum>>,
}

impl Tallies {
    /// Somebody looks at items of the tallies' kind at `place`; there may be none.
    pub(super) fn visited<'a>(&mut self, tallies: impl Iterator<Item = (usize, &'a Tally)>, place: &str) {
        for (index, tally) in tallies {
            self.sum(index, tally, place);
        }
    }

    /// Items of `kind` at `place` could not be read.
    pub(super) fn unreadable<'a>(
        &mut self,
        tallies: impl Iterator<Item = (usize, &'a Tally)>,
        kind: ItemKind,
        place: &str,
        reason: &str,
    ) {
        for (index, tally) in tallies {
            if let Some(sum) = self.sum(index, tally, place) {
                sum.spoil(format!("{kind} could not be read: {reason}"));
            }
        }
    }

    /// An item passes by.
    pub(super) fn item<'a>(
        &mut self,
        tallies: impl Iterator<Item = (usize, &'a Tally)>,
        place: &str,
        item: &Item,
        context: &Context<'_>,
        spec: &Item,
    ) {
        // Tallies about the same items stand behind each other: what was decided for one holds for the next one.
        let mut before: Option<(&str, Result<bool, String>)> = None;
        for (index, tally) in tallies {
            let Some(sum) = self.sum(index, tally, place) else {
                continue;
            };
            let source = tally.condition.source.as_str();
            let counts = match before.take().filter(|(condition, _)| *condition == source) {
                Some((_, decided)) => decided,
                None => decide(&tally.condition, context, item, spec),
            };
            let outcome = match &counts {
                Ok(true) => add(sum, tally, context, item),
                Ok(false) => Ok(()),
                Err(reason) => Err(reason.clone()),
            };
            if let Err(reason) = outcome {
                sum.spoil(reason);
            }
            before = Some((source, counts));
        }
    }

    /// What the tally has counted for the place, where items there count at all.
    fn sum(&mut self, index: usize, tally: &Tally, place: &str) -> Option<&mut Sum> {
        let place = tally.counts_for(place)?;
        let sums = self.sums.entry(index).or_default();
        if !sums.contains_key(place) {
            sums.insert(place.to_owned(), Sum::default());
        }
        sums.get_mut(place)
    }

    /// Counts what others have counted.
    pub(super) fn absorb(&mut self, others: Self) {
        for (index, places) in others.sums {
            let sums = self.sums.entry(index).or_default();
            for (place, sum) in places {
                sums.entry(place).or_default().absorb(sum);
            }
        }
    }

    /// Adds the tallies of the platform, or of the seed at `place`, to its item.
    pub(super) fn fill<'a>(&self, tallies: impl Iterator<Item = (usize, &'a Tally)>, place: &str, item: &mut Item) {
        for (index, tally) in tallies {
            let value = match self.sums.get(&index).and_then(|sums| sums.get(place)) {
                Some(Sum {
                    problem: Some(reason), ..
                }) => Err(reason.clone()),
                Some(sum) => Ok(outcome(tally.outcome, sum)),
                None => Err(format!("nobody looked at {} of {place}", tally.each)),
            };
            item.put(&tally.spec.name, value);
        }
    }
}

fn add(sum: &mut Sum, tally: &Tally, context: &Context<'_>, item: &Item) -> Result<(), String> {
    let Some(of) = &tally.of else {
        return sum.add(1);
    };
    of.it.iter().try_for_each(|field| read(field, item, "it"))?;
    match of.program.execute(context) {
        Ok(CelValue::Int(number)) if tally.outcome == Outcome::Sum => sum.add(number),
        Ok(CelValue::String(text)) if tally.outcome != Outcome::Sum => sum.count(text.as_ref().clone(), 1),
        Ok(_) => Err("`of` gave neither a text nor a number".to_owned()),
        Err(error) => Err(error.to_string()),
    }
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
