//! Fields of items: their types, and what it means that one was not read. Pure.
//!
//! A rule names fields of one item; the catalogue refuses a rule that names a field which is not in here, so a typing
//! error cannot become a rule that never fails.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum FieldType {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// A list of texts.
    Strings,
}

/// One field that a rule may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldSpec {
    /// Name as rules write it, in camelCase.
    pub name: String,
    /// Type of a value that is set.
    pub field_type: FieldType,
    /// Whether the field may be unset in the API, which rules see as `null`.
    pub nullable: bool,
    /// Where the value is found in the objects of KKP, and what it means.
    pub docs: String,
}

impl FieldSpec {
    /// Why `value` cannot be a value of this field, if it cannot.
    pub(super) fn mismatch(&self, value: &Value) -> Option<String> {
        let fits = match (self.field_type, value) {
            (_, Value::Null) => self.nullable,
            (FieldType::String, Value::String(_)) | (FieldType::Boolean, Value::Bool(_)) => true,
            (FieldType::Integer, Value::Number(number)) => number.as_i64().is_some(),
            (FieldType::Strings, Value::Array(values)) => values.iter().all(Value::is_string),
            _ => false,
        };
        let wanted = if self.nullable { " or null" } else { "" };
        (!fits).then(|| format!("`{}` is not of type {}{wanted}", self.name, self.field_type))
    }
}

/// A fact that was read, or the reason why it was not. There is no third way: a field that nobody filled is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field<T> {
    /// The value as read; an `Option` inside means "may be unset in the API".
    Known(T),
    /// It could not be read, and why.
    NotRead(String),
}

impl<T> Default for Field<T> {
    fn default() -> Self {
        Self::NotRead("nobody looked".to_owned())
    }
}

impl<T> From<T> for Field<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T> Field<T> {
    /// A value, or the error that came instead of it.
    pub fn from_result<E: std::fmt::Display>(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Known(value),
            Err(error) => Self::NotRead(error.to_string()),
        }
    }

    /// Applies `change` to a known value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Field<U> {
        match self {
            Self::Known(value) => Field::Known(change(value)),
            Self::NotRead(reason) => Field::NotRead(reason),
        }
    }
}

/// One item as rules see it: the fields that were read, and why the others were not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Item {
    /// Values by field name; `null` = unset in the API. A field that is not here was not read.
    pub fields: Map<String, Value>,
    /// Reasons by field name.
    pub not_read: BTreeMap<String, String>,
}

impl Item {
    /// An item from a JSON object; every field that the object lacks counts as not read.
    #[must_use]
    pub fn from_fields(fields: Map<String, Value>) -> Self {
        Self {
            fields,
            not_read: BTreeMap::new(),
        }
    }

    /// This item with the fields of another one.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.fields.extend(other.fields);
        self.not_read.extend(other.not_read);
        self
    }

    /// Sets a field, or why it was not read.
    pub(super) fn put(&mut self, name: &str, value: Result<Value, String>) {
        match value {
            Ok(value) => drop(self.fields.insert(name.to_owned(), value)),
            Err(reason) => drop(self.not_read.insert(name.to_owned(), reason)),
        }
    }

    pub(super) fn set<T: FactValue>(&mut self, name: &str, field: &Field<T>) {
        match field {
            Field::Known(value) => drop(self.fields.insert(name.to_owned(), value.to_json())),
            Field::NotRead(reason) => drop(self.not_read.insert(name.to_owned(), reason.clone())),
        }
    }
}

/// A type that a fact can have.
pub trait FactValue {
    /// Type of the field in the schema.
    const TYPE: FieldType;
    /// Whether the value may be unset.
    const NULLABLE: bool = false;
    /// The value as rules see it.
    fn to_json(&self) -> Value;
}

impl FactValue for String {
    const TYPE: FieldType = FieldType::String;
    fn to_json(&self) -> Value {
        Value::String(self.clone())
    }
}

impl FactValue for i64 {
    const TYPE: FieldType = FieldType::Integer;
    fn to_json(&self) -> Value {
        Value::from(*self)
    }
}

impl FactValue for bool {
    const TYPE: FieldType = FieldType::Boolean;
    fn to_json(&self) -> Value {
        Value::Bool(*self)
    }
}

impl FactValue for Vec<String> {
    const TYPE: FieldType = FieldType::Strings;
    fn to_json(&self) -> Value {
        Value::from(self.clone())
    }
}

impl<T: FactValue> FactValue for Option<T> {
    const TYPE: FieldType = T::TYPE;
    const NULLABLE: bool = true;
    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, FactValue::to_json)
    }
}

/// `snake_case` to `camelCase`: Rust names and rule names of a field are the same word.
pub(super) fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.push_str(letters.as_str());
        name
    })
}
