//! Paths into objects: how `catalogue/facts.yaml` says where a fact is found. Pure.
//!
//! ```text
//!  .spec.cniPlugin.type                       a value
//!  .spec.versions.versions[]                  every item of a list
//!  .spec.datacenters{}.country                every value of a map
//!  .metadata.labels["worker-name"]            a key with dots or dashes
//!  .status.conditions[type=Ready].status      the items of a list whose field has a value
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Items,
    Values,
    Where { key: String, value: String },
}

/// A path, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Step>, String);

/// Most steps of a path.
const STEPS: usize = 16;

impl Path {
    /// Parses the notation above.
    ///
    /// # Errors
    /// What is wrong, with the path.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let broken = |why: &str| format!("path `{text}`: {why}");
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (step, after) = step(rest).map_err(broken)?;
            steps.push(step);
            rest = after;
        }
        match steps.len() {
            0 => Err(broken("is empty")),
            1..=STEPS => Ok(Self(steps, text.to_owned())),
            _ => Err(broken("has too many steps")),
        }
    }

    /// The path as `catalogue/facts.yaml` writes it.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.1
    }

    /// The path as the tables of KKP's schemas write it: without the leading dot, `[]` for items, `{}` for values; a key
    /// in brackets is the key of a map.
    #[must_use]
    pub fn schema_notation(&self) -> String {
        self.0.iter().fold(String::new(), |mut path, step| {
            match step {
                Step::Key(key) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(key);
                }
                Step::Items | Step::Where { .. } => path.push_str("[]"),
                Step::Values => path.push_str("{}"),
            }
            path
        })
    }

    /// Everything that stands there. What is missing or null is nothing; a parent of another type is an error, because then
    /// nobody can say what stands below it.
    ///
    /// # Errors
    /// The step whose parent has another type.
    pub(super) fn select<'value>(&self, root: &'value Value) -> Result<Vec<&'value Value>, String> {
        self.0.iter().try_fold(vec![root], |found, step| {
            let mut next = Vec::with_capacity(found.len());
            for value in found {
                step.follow(value, &mut next)?;
            }
            Ok(next)
        })
    }
}

impl Step {
    fn follow<'value>(&self, value: &'value Value, found: &mut Vec<&'value Value>) -> Result<(), String> {
        let wrong = |wanted: &str| Err(format!("{self} belongs to {wanted}, found {}", type_name(value)));
        let mut add = |value: &'value Value| {
            if !value.is_null() {
                found.push(value);
            }
        };
        match (self, value) {
            (_, Value::Null) => {}
            (Self::Key(key), Value::Object(map)) => map.get(key).into_iter().for_each(add),
            (Self::Values, Value::Object(map)) => map.values().for_each(add),
            (Self::Items, Value::Array(items)) => items.iter().for_each(add),
            (Self::Where { key, value: wanted }, Value::Array(items)) => items
                .iter()
                .filter(|item| {
                    item.get(key)
                        .is_some_and(|value| text(value).is_ok_and(|text| text == *wanted))
                })
                .for_each(&mut add),
            (Self::Key(_) | Self::Values, _) => return wrong("an object"),
            (Self::Items | Self::Where { .. }, _) => return wrong("a list"),
        }
        Ok(())
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(key) => write!(formatter, ".{key}"),
            Self::Items => formatter.write_str("[]"),
            Self::Values => formatter.write_str("{}"),
            Self::Where { key, value } => write!(formatter, "[{key}={value}]"),
        }
    }
}

/// The first step of `text` and what follows it.
fn step(text: &str) -> Result<(Step, &str), &'static str> {
    if let Some(rest) = text.strip_prefix("[]") {
        return Ok((Step::Items, rest));
    }
    if let Some(rest) = text.strip_prefix("{}") {
        return Ok((Step::Values, rest));
    }
    if let Some(rest) = text.strip_prefix("[\"") {
        let (key, rest) = rest.split_once("\"]").ok_or("a key in brackets does not end")?;
        return Ok((Step::Key(key.to_owned()), rest));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (condition, rest) = rest.split_once(']').ok_or("a bracket does not end")?;
        let (key, value) = condition
            .split_once('=')
            .ok_or("brackets hold neither nothing, a key in quotes, nor key=value")?;
        return Ok((
            Step::Where {
                key: key.to_owned(),
                value: value.to_owned(),
            },
            rest,
        ));
    }
    let rest = text.strip_prefix('.').ok_or("a key begins with a dot")?;
    let end = rest.find(['.', '[', '{']).unwrap_or(rest.len());
    let (key, rest) = rest.split_at(end);
    if key.is_empty() {
        return Err("a key is empty");
    }
    Ok((Step::Key(key.to_owned()), rest))
}

/// What of the values at a path is the fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Take {
    /// The one text there.
    String,
    /// The one whole number there.
    Integer,
    /// The one boolean there.
    Boolean,
    /// All texts there, a list at the end of the path opened.
    Strings,
    /// Whether anything is there that is not empty.
    Present,
    /// How many values are there, a list at the end of the path opened.
    Count,
    /// The keys of the objects there.
    Keys,
}

impl Take {
    /// Whether the fact is the one value that stands at the path.
    pub(super) const fn is_scalar(self) -> bool {
        matches!(self, Self::String | Self::Integer | Self::Boolean)
    }

    /// The fact: `null` where a single value is not set.
    ///
    /// # Errors
    /// A value of another type, or several where one is wanted. The value itself is never repeated: it may be a secret.
    pub(super) fn read(self, path: &Path, root: &Value) -> Result<Value, String> {
        let found = path.select(root)?;
        match self {
            Self::Present => Ok(found.into_iter().any(is_something).into()),
            Self::Count => i64::try_from(opened(&found).count())
                .map(Value::from)
                .map_err(|error| error.to_string()),
            Self::Strings => opened(&found).map(|value| text(value).map(Value::from)).collect(),
            Self::Keys => keys(&found),
            Self::String | Self::Integer | Self::Boolean => match found.as_slice() {
                [] => Ok(Value::Null),
                [value] => self.single(value),
                _ => Err(format!("there are {} values where one is wanted", found.len())),
            },
        }
    }

    fn single(self, value: &Value) -> Result<Value, String> {
        match (self, value) {
            (Self::String, _) => text(value).map(Value::from),
            (Self::Boolean, Value::Bool(_)) => Ok(value.clone()),
            (Self::Integer, Value::Number(number)) if number.as_i64().is_some() => Ok(value.clone()),
            _ => Err(format!("it is not of type {self}, it is {}", type_name(value))),
        }
    }
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// The values, lists among them replaced by their items.
fn opened<'a>(found: &'a [&'a Value]) -> impl Iterator<Item = &'a Value> {
    found.iter().flat_map(|value| match value {
        Value::Array(items) => items.iter().collect::<Vec<_>>(),
        other => vec![*other],
    })
}

/// Scalars as text: Helm values write versions and ports with and without quotes.
fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Ok(String::new()),
        Value::Array(_) | Value::Object(_) => Err(format!("it is not a text, it is {}", type_name(value))),
    }
}

fn keys(found: &[&Value]) -> Result<Value, String> {
    let mut keys = BTreeSet::new();
    for value in found {
        let map = value
            .as_object()
            .ok_or_else(|| format!("it is not an object, it is {}", type_name(value)))?;
        keys.extend(map.keys().cloned());
    }
    Ok(keys.into_iter().collect::<Vec<_>>().into())
}

pub(super) const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The documents of an item by name, or why one could not be read.
pub type Documents<'a> = BTreeMap<&'static str, Result<&'a Value, String>>;
