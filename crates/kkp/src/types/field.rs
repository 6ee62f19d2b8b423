//! Leaves that never fail the object around them.
//!
//! Pure. KKP's schemas change between releases and users write odd things into them; one object of a list must not hide the
//! other thousands. So a value of the wrong type becomes [`Field::Unreadable`] in its own place, keeps the *kind* of what
//! stood there and never the value, and everything that asks for it sees that it is unknown.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{
    BoolDeserializer, F64Deserializer, I64Deserializer, MapAccessDeserializer, SeqAccessDeserializer, StrDeserializer,
    U64Deserializer,
};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::slice::Shape;

const ARRAY: &str = "array";
const OBJECT: &str = "object";

/// One value of an object: unset (absent or null), set, or of a type that this crate cannot read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// Absent or null.
    #[default]
    Unset,
    /// Present and readable.
    Set(T),
    /// Present with a wrong type.
    Unreadable {
        /// The JSON type that was found.
        found: &'static str,
    },
}

/// A list whose items are lenient.
pub type List<T> = Field<Vec<Field<T>>>;

/// A JSON object with free keys whose values are lenient.
pub type Table<T> = Field<BTreeMap<String, Field<T>>>;

impl<T> Field<T> {
    /// The value when it is set and readable.
    pub const fn get(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Unset | Self::Unreadable { .. } => None,
        }
    }

    /// The same field, borrowed.
    pub const fn as_ref(&self) -> Field<&T> {
        match self {
            Self::Set(value) => Field::Set(value),
            Self::Unset => Field::Unset,
            Self::Unreadable { found } => Field::Unreadable { found },
        }
    }

    /// Whether a value stood there that could not be read.
    pub const fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable { .. })
    }
}

impl Field<String> {
    /// The text; empty when it is unset or unreadable.
    #[must_use]
    pub fn text(&self) -> &str {
        self.get().map_or("", String::as_str)
    }
}

impl<T> Table<T> {
    /// The entry of a key; an unreadable table has unreadable entries.
    pub fn entry(&self, key: &str) -> Field<&T> {
        match self {
            Self::Set(entries) => entries.get(key).map_or(Field::Unset, Field::as_ref),
            Self::Unset => Field::Unset,
            Self::Unreadable { found } => Field::Unreadable { found },
        }
    }

    /// All readable entries in the order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &T)> {
        let readable = self.get().into_iter().flatten();
        readable.filter_map(|(key, value)| Some((key.as_str(), value.get()?)))
    }
}

impl<T> List<T> {
    /// All readable items.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.get().into_iter().flatten().filter_map(Field::get)
    }
}

impl<'de, T: Deserialize<'de> + Shape> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor(PhantomData))
    }
}

struct FieldVisitor<T>(PhantomData<T>);

fn scalar<T, E>(value: Result<T, E>, found: &'static str) -> Field<T> {
    value.map_or(Field::Unreadable { found }, Field::Set)
}

impl<'de, T: Deserialize<'de> + Shape> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Field::Unset)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Field::Unset)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Field::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(scalar(T::deserialize(BoolDeserializer::<E>::new(value)), "boolean"))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(scalar(T::deserialize(I64Deserializer::<E>::new(value)), "number"))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(scalar(T::deserialize(U64Deserializer::<E>::new(value)), "number"))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(scalar(T::deserialize(F64Deserializer::<E>::new(value)), "number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(scalar(T::deserialize(StrDeserializer::<E>::new(value)), "string"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        // A derived struct would take its members from a list by position.
        let value = (T::EXPECTED == ARRAY).then(|| T::deserialize(SeqAccessDeserializer::new(&mut items)));
        // Whatever was not taken must still be read past, or the objects behind this one are lost.
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(value.map_or(Field::Unreadable { found: ARRAY }, |value| scalar(value, ARRAY)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let value = (T::EXPECTED == OBJECT).then(|| T::deserialize(MapAccessDeserializer::new(&mut entries)));
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(value.map_or(Field::Unreadable { found: OBJECT }, |value| scalar(value, OBJECT)))
    }
}

/// A text of which only the length is kept: it is, or may be, a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecretText {
    /// Length in bytes.
    pub length: usize,
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Length;
        impl Visitor<'_> for Length {
            type Value = SecretText;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<SecretText, E> {
                Ok(SecretText { length: value.len() })
            }
        }
        deserializer.deserialize_str(Length)
    }
}
