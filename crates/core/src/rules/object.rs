//! One object as it was read: who it is, its documents, and what code computed about it. Pure.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::facts::{Facts, ObjectFacts};
use super::kind::{ItemKind, MASTER};
use super::path::Documents;
use super::schema::{Field, Item};

/// One object as it was read.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    /// Kind.
    pub kind: ItemKind,
    /// `master`, or the name of the seed on whose cluster it was read; of a Seed its own name.
    pub place: &'a str,
    /// Namespace, where it has one.
    pub namespace: Option<&'a str>,
    /// Name.
    pub name: &'a str,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// What paths look into.
    pub documents: Documents<'a>,
    /// What code computed.
    pub computed: Item,
}

impl<'a> Object<'a> {
    /// An object of the API server, as JSON.
    #[must_use]
    pub fn new(kind: ItemKind, place: &'a str, object: &'a Value) -> Self {
        let metadata = object.get("metadata").unwrap_or(&Value::Null);
        let text = |key: &str| metadata.get(key).and_then(Value::as_str);
        Self {
            kind,
            place,
            namespace: text("namespace"),
            name: text("name").unwrap_or_default(),
            deleting: metadata.get("deletionTimestamp").is_some_and(|time| !time.is_null()),
            created: text("creationTimestamp").and_then(|time| time.parse().ok()),
            documents: Documents::from([("object", Ok(object))]),
            computed: Item::default(),
        }
    }

    /// The same with facts that code computed.
    #[must_use]
    pub fn with(mut self, facts: &impl Facts) -> Self {
        self.computed = facts.item();
        self
    }

    /// The name in findings, in the form that [`ItemKind`] says.
    #[must_use]
    pub fn target(&self) -> String {
        match (self.kind, self.namespace) {
            (ItemKind::Platform, _) => "platform".to_owned(),
            (ItemKind::Seed, _) => self.name.to_owned(),
            (ItemKind::Cluster, _) | (_, None) => format!("{}/{}", self.place, self.name),
            (_, Some(namespace)) => format!("{}/{namespace}/{}", self.place, self.name),
        }
    }

    /// What it has by itself, as far as it is `wanted`.
    pub(super) fn facts(&self, now: Timestamp, wanted: &BTreeSet<String>) -> Item {
        let age = |created: Timestamp| now.duration_since(created);
        ObjectFacts {
            place: self.place.to_owned().into(),
            on_master: (self.place == MASTER).into(),
            namespace: self.namespace.map(ToOwned::to_owned).into(),
            name: self.name.to_owned().into(),
            deleting: self.deleting.into(),
            age_days: match self.created {
                Some(created) => Field::Known(
                    age(created)
                        .as_secs()
                        .div_euclid(SignedDuration::from_hours(24).as_secs()),
                ),
                None => Field::NotRead("the object has no time of creation".to_owned()),
            },
        }
        .item_of(&|name| wanted.contains(name))
    }
}
