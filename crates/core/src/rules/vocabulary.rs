//! What rules may name: the fields of every kind of item, from code and from `catalogue/facts.yaml`, and the lists of
//! releases. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;
use strum::IntoEnumIterator;

use super::facts::computed;
use super::kind::ItemKind;
use super::object::Object;
use super::path::{Path, Take};
use super::problem::{Located, Problems};
use super::schema::{FieldSpec, FieldType, Item};
use super::tally::{Tally, TallyRecord};
use crate::version::KkpVersion;

/// A field that is found at a path.
#[derive(Debug)]
pub struct PathField {
    /// Name, type and text.
    pub spec: FieldSpec,
    /// The document that the path looks into.
    pub document: &'static str,
    /// Where in the document.
    pub path: Path,
    pub(super) take: Take,
    pub(super) unset: Value,
    /// First minor of KKP 2 whose schema has the path; `None` = all that are supported.
    pub since: Option<u32>,
    /// Last minor of KKP 2 whose schema has the path.
    pub until: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FactFile {
    #[serde(default)]
    pub(super) kinds: BTreeMap<String, KindRecord>,
    #[serde(default)]
    pub(super) tallies: Vec<Spanned<TallyRecord>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KindRecord {
    pub(super) fields: Vec<Spanned<FieldRecord>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldRecord {
    pub(super) name: String,
    #[serde(rename = "type")]
    take: Take,
    path: String,
    from: Option<String>,
    #[serde(default)]
    unset: Value,
    since: Option<String>,
    until: Option<String>,
    docs: String,
}

/// What rules may name.
#[derive(Debug, Default)]
pub struct Vocabulary {
    fields: BTreeMap<ItemKind, Vec<PathField>>,
    pub(super) tallies: Vec<Tally>,
    /// Names of the lists that releases have.
    pub(super) lists: BTreeSet<String>,
}

impl Vocabulary {
    /// Makes the fields and tallies of `facts.yaml`; what is wrong with one of them names it.
    pub(super) fn build(
        fields: Vec<Located<(ItemKind, FieldRecord)>>,
        tallies: Vec<Located<TallyRecord>>,
        lists: BTreeSet<String>,
        problems: &mut Problems,
    ) -> Self {
        let mut vocabulary = Self {
            lists,
            ..Self::default()
        };
        for Located { file, line, record } in fields {
            let (kind, field) = record;
            let name = field.name.clone();
            if let Err(reason) = vocabulary.add(kind, field) {
                problems.add(&file, line, None, &format!("{kind}: field `{name}`: {reason}"));
            }
        }
        for Located { file, line, record } in tallies {
            let name = record.name.clone();
            match Tally::build(record, &vocabulary) {
                Ok(tally) => vocabulary.tallies.push(tally),
                Err(reason) => problems.add(&file, line, None, &format!("tally `{name}`: {reason}")),
            }
        }
        vocabulary
    }

    fn add(&mut self, kind: ItemKind, record: FieldRecord) -> Result<(), String> {
        let field = PathField::build(kind, record)?;
        if self.schema(kind).iter().any(|known| known.name == field.spec.name) {
            return Err("the name is taken".to_owned());
        }
        self.fields.entry(kind).or_default().push(field);
        Ok(())
    }

    /// Fields that a rule for items of `kind` may name.
    #[must_use]
    pub fn schema(&self, kind: ItemKind) -> Vec<FieldSpec> {
        let paths = self.paths(kind).iter().map(|field| field.spec.clone());
        let tallies = self
            .tallies
            .iter()
            .filter(|tally| tally.on == kind)
            .map(|tally| tally.spec.clone());
        computed(kind).into_iter().chain(paths).chain(tallies).collect()
    }

    /// Fields of `kind` that are found at paths.
    #[must_use]
    pub fn paths(&self, kind: ItemKind) -> &[PathField] {
        self.fields.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// Every kind with a field at a path.
    pub fn kinds(&self) -> impl Iterator<Item = ItemKind> + '_ {
        ItemKind::iter().filter(|kind| self.fields.contains_key(kind))
    }

    /// The object as rules see it: its fields that are `wanted`. `running` is the release whose schema the objects have.
    pub(super) fn item(
        &self,
        object: &Object<'_>,
        wanted: &BTreeSet<String>,
        running: KkpVersion,
        now: Timestamp,
    ) -> Item {
        let by_itself = if object.kind.is_object() {
            object.facts(now, wanted)
        } else {
            Item::default()
        };
        let mut item = by_itself.with(object.computed.clone());
        for field in self
            .paths(object.kind)
            .iter()
            .filter(|field| wanted.contains(&field.spec.name))
        {
            item.put(&field.spec.name, field.read(object, running));
        }
        item
    }
}

impl PathField {
    fn build(kind: ItemKind, record: FieldRecord) -> Result<Self, String> {
        check_name(&record.name)?;
        check_docs(&record.docs)?;
        let documents = kind.documents();
        let document = match &record.from {
            None => documents.first().copied(),
            Some(name) => documents.iter().find(|document| *document == name).copied(),
        };
        let single = record.take.is_scalar();
        let spec = FieldSpec {
            name: record.name,
            field_type: match record.take {
                Take::String => FieldType::String,
                Take::Integer | Take::Count => FieldType::Integer,
                Take::Boolean | Take::Present => FieldType::Boolean,
                Take::Strings | Take::Keys => FieldType::Strings,
            },
            nullable: single && record.unset.is_null(),
            docs: record.docs,
        };
        if !record.unset.is_null() && !single {
            return Err("`unset` belongs to a text, a number or a boolean".to_owned());
        }
        if let Some(reason) = spec.mismatch(&record.unset).filter(|_| single) {
            return Err(format!("`unset`: {reason}"));
        }
        Ok(Self {
            spec,
            document: document.ok_or_else(|| format!("{kind} has only these documents: {}", documents.join(", ")))?,
            path: Path::parse(&record.path)?,
            take: record.take,
            unset: record.unset,
            since: record.since.as_deref().map(minor).transpose()?,
            until: record.until.as_deref().map(minor).transpose()?,
        })
    }

    /// Whether the schema of KKP 2.`minor` has the path.
    #[must_use]
    pub fn exists_in(&self, minor: u32) -> bool {
        self.since.is_none_or(|since| since <= minor) && self.until.is_none_or(|until| minor <= until)
    }

    fn read(&self, object: &Object<'_>, running: KkpVersion) -> Result<Value, String> {
        let root = match object.documents.get(self.document) {
            Some(Ok(root)) => *root,
            Some(Err(reason)) => return Err(reason.clone()),
            None => return Err(format!("its {} was not read", self.document)),
        };
        let root = if self.exists_in(running.minor) {
            root
        } else {
            &Value::Null
        };
        let value = self.take.read(&self.path, root)?;
        Ok(if value.is_null() { self.unset.clone() } else { value })
    }
}

/// `2.26` as 26.
fn minor(text: &str) -> Result<u32, String> {
    let version: KkpVersion = format!("{text}.0")
        .parse()
        .map_err(|_| format!("`{text}` is no minor like `2.26`"))?;
    Ok(version.minor)
}

/// Names of fields and tallies are camelCase, as long as a person can read.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let fits = name.len() <= 48
        && name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    fits.then_some(())
        .ok_or_else(|| "the name is not camelCase of at most 48 letters".to_owned())
}

/// Longest text about a field, in bytes.
const DOCS_BYTES: usize = 1024;

/// A field says what it is.
pub(super) fn check_docs(docs: &str) -> Result<(), String> {
    if docs.trim().is_empty() {
        return Err("docs say nothing".to_owned());
    }
    (docs.len() <= DOCS_BYTES)
        .then_some(())
        .ok_or_else(|| format!("docs have more than {DOCS_BYTES} bytes"))
}
