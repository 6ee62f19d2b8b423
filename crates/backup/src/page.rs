//! Pages of lists: how many objects each has, and what came over the wire of it. Talks to nothing.
//!
//! A page travels as text: whoever writes or digests its objects takes it apart, while the next one is on its way.

use std::fmt;

use kkp_upgrade_connection::Unmanaged;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use crate::BackupError;
use crate::api::{ReadLimits, Subject};

/// Objects of the first page of a list: Helm releases have up to 1 MiB each, and nobody knows before.
const FIRST_PAGE: u32 = 20;
/// How many times shorter a page is asked for that was too long, and longer at most than the one before it.
const SHORTER: u32 = 8;
const LONGER: u32 = 4;
/// What a page should have, in bytes: three of them are in memory at once, and one of those as objects, which take several times
/// as much.
const PAGE_BYTES: usize = 2 << 20;

/// How many objects the pages of a list have: few at first, then as many as fit into the wanted length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageSize {
    objects: u32,
    most: u32,
}

impl PageSize {
    /// Of the first page of a list.
    pub(crate) fn first(limits: ReadLimits) -> Self {
        Self {
            objects: limits.page.min(FIRST_PAGE),
            most: limits.page,
        }
    }

    /// A single object.
    pub(crate) fn one() -> Self {
        Self { objects: 1, most: 1 }
    }

    /// Of a page that is asked for again because it was too long.
    pub(crate) fn shorter(self) -> Self {
        Self {
            objects: (self.objects / SHORTER).max(1),
            ..self
        }
    }

    /// Number of objects to ask for.
    pub(crate) fn objects(self) -> u32 {
        self.objects
    }

    /// Of the page after one with so many bytes and objects, if the next objects are like these.
    pub(crate) fn after(self, bytes: usize, objects: usize) -> Self {
        let each = (bytes / objects.max(1)).max(1);
        let fitting = u32::try_from(PAGE_BYTES / each).unwrap_or(self.most);
        Self {
            objects: fitting
                .min(self.objects.saturating_mul(LONGER))
                .clamp(1, self.most.max(1)),
            ..self
        }
    }
}

/// One page of a list, as text that was looked through once.
pub(crate) struct RawPage {
    text: String,
    label: String,
    /// Its number, from 1.
    pub(crate) number: u32,
    /// What it is of.
    pub(crate) revision: String,
    /// Token of the next one.
    pub(crate) next: Option<String>,
    /// How many objects it has.
    pub(crate) objects: usize,
}

impl RawPage {
    /// Finds what has to be known before the next page can be asked for.
    pub(crate) fn read(text: String, subject: &Subject<'_>) -> Result<Self, BackupError> {
        let Outline { metadata, items } = serde_json::from_str(&text).map_err(|error| wrong(&error, subject))?;
        Ok(Self {
            text,
            label: subject.resource.to_owned(),
            number: subject.page,
            revision: metadata.revision,
            next: Some(metadata.next).filter(|token| !token.is_empty()),
            objects: items.0,
        })
    }

    /// Length of the answer.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Its objects without their managed fields; some ten milliseconds of work.
    pub(crate) fn items(&self) -> Result<Vec<Value>, BackupError> {
        #[derive(Deserialize)]
        struct Content {
            // Go writes an empty list as null.
            items: Option<Vec<Unmanaged>>,
        }
        let subject = Subject {
            resource: &self.label,
            page: self.number,
            revision: &self.revision,
        };
        let content: Content = serde_json::from_str(&self.text).map_err(|error| wrong(&error, &subject))?;
        let items = content.items.unwrap_or_default();
        Ok(items.into_iter().map(|Unmanaged(item)| item).collect())
    }
}

#[derive(Deserialize)]
struct Outline {
    #[serde(default)]
    metadata: Metadata,
    items: Count,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default, rename = "resourceVersion")]
    revision: String,
    #[serde(default, rename = "continue")]
    next: String,
}

/// How many there are; nothing of them is kept.
struct Count(usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counting;
        impl<'de> Visitor<'de> for Counting {
            type Value = Count;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count(0))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while items.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count))
            }
        }
        deserializer.deserialize_any(Counting)
    }
}

fn wrong(error: &serde_json::Error, subject: &Subject<'_>) -> BackupError {
    if error.is_data() {
        return subject.malformed("it is no list of objects");
    }
    subject.malformed(place(error))
}

/// Only where it stops being JSON is told, not what stands there.
pub(crate) fn place(error: &serde_json::Error) -> String {
    format!("it is no JSON from line {} column {} on", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_large_objects_are_short() {
        let limits = |page| ReadLimits {
            page,
            ..ReadLimits::default()
        };
        let next = |bytes, objects, page| {
            let first = PageSize::first(limits(page));
            first.after(bytes, objects).objects()
        };
        assert_eq!(next(20 << 10, 20, 500), 80);
        assert_eq!(next(20 << 20, 20, 500), 2);
        assert_eq!(next(3 << 20, 1, 500), 1);
        assert_eq!(next(60, 0, 3), 3);
        let first = PageSize::first(limits(500));
        assert_eq!((first.objects(), first.after(1, 1).objects()), (20, 80));
        assert_eq!(first.after(1, 1).after(1, 1).after(1, 1).objects(), 500);
        assert_eq!(first.after(1, 1).shorter().objects(), 10);
        assert_eq!(PageSize::one().shorter().objects(), 1);
    }

    #[test]
    fn a_page_is_a_list_or_nothing() {
        let read = |text: &str| RawPage::read(text.to_owned(), &Subject::of("maps"));
        let page = read(r#"{"metadata": {"resourceVersion": "7", "continue": "x"}, "items": [{"a": 1}, {}]}"#).unwrap();
        assert_eq!(
            (page.revision.as_str(), page.next.as_deref(), page.objects),
            ("7", Some("x"), 2)
        );
        assert_eq!(
            page.items().unwrap(),
            [serde_json::json!({"a": 1}), serde_json::json!({})]
        );
        let last = read(r#"{"metadata": {"continue": ""}, "items": null}"#).unwrap();
        assert_eq!((last.next, last.objects), (None, 0));
        for (text, reason) in [
            (r#"{"kind": "Status"}"#, "no list"),
            (r#"{"items": {"secret": 1}}"#, "no list"),
            (r#"{"items": [{"secret"#, "line 1"),
            ("<html>", "line 1"),
        ] {
            let message = read(text).map(|page| page.objects).unwrap_err().to_string();
            assert!(message.contains(reason) && !message.contains("secret"), "{message}");
        }
    }
}
