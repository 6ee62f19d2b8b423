//! The machinery of the slim types: one declaration gives the struct, its decoding, the table of the paths it reads and the
//! list of what could not be read. So the table cannot drift from the code.
//!
//! Pure; knows no KKP type.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};

use super::field::{Field, SecretText};

/// One path that a slim type reads, and the JSON type it expects there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPath {
    /// Dotted path; `[]` is a list item, `{}` the value of any key.
    pub path: String,
    /// `string`, `boolean`, `integer`, `array` or `object`.
    pub expected: &'static str,
}

/// One value of an object that has another type than expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadablePath {
    /// Dotted path of the value.
    pub path: String,
    /// The type that was expected.
    pub expected: &'static str,
    /// The type that was found.
    pub found: &'static str,
}

impl std::fmt::Display for UnreadablePath {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{}: expected {}, found {}",
            self.path, self.expected, self.found
        )
    }
}

/// What can stand at a path.
pub trait Shape {
    /// The JSON type of the value.
    const EXPECTED: &'static str;
    /// Adds the paths below this one.
    fn paths_below(_path: &str, _paths: &mut Vec<ReadPath>) {}
    /// Adds what is unreadable below this path.
    fn unreadable_below(&self, _path: &str, _unreadable: &mut Vec<UnreadablePath>) {}
}

/// A member of a slim struct: a [`Field`] or a nested section.
pub trait Member: Sized + Default {
    /// Decodes the member; never fails for a wrong type.
    ///
    /// # Errors
    /// Only when the input is no JSON at all.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
    /// The member of something that should be an object and is none.
    fn broken() -> Self;
    /// Adds this path and those below.
    fn paths(path: &str, paths: &mut Vec<ReadPath>);
    /// Adds what is unreadable here and below.
    fn unreadable(&self, path: &str, unreadable: &mut Vec<UnreadablePath>);
}

impl Shape for String {
    const EXPECTED: &'static str = "string";
}
impl Shape for SecretText {
    const EXPECTED: &'static str = "string";
}
impl Shape for bool {
    const EXPECTED: &'static str = "boolean";
}
impl Shape for i64 {
    const EXPECTED: &'static str = "integer";
}

impl<T: Shape + DeserializeOwned> Shape for Vec<Field<T>> {
    const EXPECTED: &'static str = "array";
    fn paths_below(path: &str, paths: &mut Vec<ReadPath>) {
        Field::<T>::paths(&format!("{path}[]"), paths);
    }
    fn unreadable_below(&self, path: &str, unreadable: &mut Vec<UnreadablePath>) {
        for (index, item) in self.iter().enumerate() {
            item.unreadable(&format!("{path}[{index}]"), unreadable);
        }
    }
}

impl<T: Shape + DeserializeOwned> Shape for BTreeMap<String, Field<T>> {
    const EXPECTED: &'static str = "object";
    fn paths_below(path: &str, paths: &mut Vec<ReadPath>) {
        Field::<T>::paths(&format!("{path}{{}}"), paths);
    }
    fn unreadable_below(&self, path: &str, unreadable: &mut Vec<UnreadablePath>) {
        for (key, value) in self {
            value.unreadable(&format!("{path}.{key}"), unreadable);
        }
    }
}

impl<T: Shape + DeserializeOwned> Member for Field<T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
    fn broken() -> Self {
        Self::Unreadable {
            found: "a parent that is no object",
        }
    }
    fn paths(path: &str, paths: &mut Vec<ReadPath>) {
        paths.push(ReadPath {
            path: path.to_owned(),
            expected: T::EXPECTED,
        });
        T::paths_below(path, paths);
    }
    fn unreadable(&self, path: &str, unreadable: &mut Vec<UnreadablePath>) {
        match self {
            Self::Unset => {}
            Self::Set(value) => value.unreadable_below(path, unreadable),
            Self::Unreadable { found } => {
                unreadable.push(UnreadablePath {
                    path: path.to_owned(),
                    expected: T::EXPECTED,
                    found,
                });
            }
        }
    }
}

/// Declares a slim struct: every member is a [`Field`] or another slim struct, every one optional.
macro_rules! slice {
    ($(#[$attribute:meta])* pub struct $name:ident {
        $($(#[$member_attribute:meta])* $key:literal => pub $member:ident: $kind:ty,)+
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
        pub struct $name {
            $(
                $(#[$member_attribute])*
                #[serde(default, rename = $key, deserialize_with = "crate::types::slice::Member::read")]
                pub $member: $kind,
            )+
        }

        impl crate::types::slice::Shape for $name {
            const EXPECTED: &'static str = "object";
            fn paths_below(path: &str, paths: &mut Vec<crate::types::slice::ReadPath>) {
                $(<$kind as crate::types::slice::Member>::paths(&format!("{path}.{}", $key), paths);)+
            }
            fn unreadable_below(&self, path: &str, unreadable: &mut Vec<crate::types::slice::UnreadablePath>) {
                $(crate::types::slice::Member::unreadable(&self.$member, &format!("{path}.{}", $key), unreadable);)+
            }
        }

        impl crate::types::slice::Member for $name {
            fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use crate::types::field::Field;
                Ok(match <Field<Self> as serde::Deserialize>::deserialize(deserializer)? {
                    Field::Set(section) => section,
                    Field::Unset => Self::default(),
                    Field::Unreadable { .. } => <Self as crate::types::slice::Member>::broken(),
                })
            }
            fn broken() -> Self {
                Self { $($member: crate::types::slice::Member::broken(),)+ }
            }
            fn paths(path: &str, paths: &mut Vec<crate::types::slice::ReadPath>) {
                <crate::types::field::Field<Self> as crate::types::slice::Member>::paths(path, paths);
            }
            fn unreadable(&self, path: &str, unreadable: &mut Vec<crate::types::slice::UnreadablePath>) {
                crate::types::slice::Shape::unreadable_below(self, path, unreadable);
            }
        }
    };
}

pub(crate) use slice;
