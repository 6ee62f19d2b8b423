//! Files of a catalogue as records, each with its place. What would take long or much memory is refused here, before
//! anything is built of it: a file may come from a ConfigMap. Pure.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::{Error, Spanned};

use super::kind::ItemKind;
use super::problem::{Located, Problems};
use super::release_file::{Minor, ReleaseFile};
use super::tally::TallyRecord;
use super::vocabulary::{FactFile, FieldRecord};

/// The file of releases.
pub(super) const RELEASES: &str = "releases.yaml";
/// The file of facts.
pub(super) const FACTS: &str = "facts.yaml";

/// Most rules of a catalogue: all of one stage are evaluated for every user cluster.
const RULES: usize = 1000;
/// Most minors, fields at paths and tallies of a catalogue.
const OTHERS: usize = 500;
/// Deepest lists and maps in each other.
const DEPTH: usize = 16;
/// Most lists, maps and values of one file.
const NODES: usize = 200_000;

/// A rule as it was written, and the hop that its file is for.
#[derive(Debug)]
pub(super) struct RuleEntry {
    pub(super) scope: String,
    pub(super) record: Value,
}

impl RuleEntry {
    pub(super) fn id(&self) -> Option<&str> {
        self.record.get("id").and_then(Value::as_str)
    }
}

/// Everything that the files say.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Repositories by edition; `None` = no file of releases was read.
    pub(super) images: Option<BTreeMap<String, String>>,
    pub(super) minors: Vec<Located<Minor>>,
    pub(super) fields: Vec<Located<(ItemKind, FieldRecord)>>,
    pub(super) tallies: Vec<Located<TallyRecord>>,
    pub(super) rules: Vec<Located<RuleEntry>>,
}

impl Records {
    /// Reads files by name and text. Problems name the file as `prefix` and name.
    pub(super) fn read(files: &[(&str, &str)], prefix: &str, problems: &mut Problems) -> Self {
        let mut records = Self::default();
        for (name, text) in files {
            let file = format!("{prefix}{name}");
            match (*name, scope(name)) {
                (RELEASES, _) => records.add_releases(&file, text, problems),
                (FACTS, _) => records.add_facts(&file, text, problems),
                (_, Some(scope)) => records.add_rules(&file, scope, text, problems),
                (_, None) => problems.of_file(
                    &file,
                    "is neither releases.yaml, facts.yaml nor rules/<any or minor>.yaml",
                ),
            }
        }
        records
    }

    pub(super) fn add_releases(&mut self, file: &str, text: &str, problems: &mut Problems) {
        let Some(read) = yaml::<ReleaseFile>(file, text, problems) else {
            return;
        };
        self.images.get_or_insert_default().extend(read.images);
        self.minors.extend(located(file, read.minors));
    }

    pub(super) fn add_facts(&mut self, file: &str, text: &str, problems: &mut Problems) {
        let Some(read) = yaml::<FactFile>(file, text, problems) else {
            return;
        };
        for (word, record) in read.kinds {
            match word.parse::<ItemKind>() {
                Ok(kind) => self.fields.extend(located(file, record.fields).map(|field| Located {
                    file: field.file,
                    line: field.line,
                    record: (kind, field.record),
                })),
                Err(_) => problems.of_file(file, &format!("`{word}` is not a kind of item")),
            }
        }
        self.tallies.extend(located(file, read.tallies));
    }

    pub(super) fn add_rules(&mut self, file: &str, scope: &str, text: &str, problems: &mut Problems) {
        let Some(records) = yaml::<Vec<Spanned<Value>>>(file, text, problems) else {
            return;
        };
        self.rules.extend(located(file, records).map(|rule| Located {
            file: rule.file,
            line: rule.line,
            record: RuleEntry {
                scope: scope.to_owned(),
                record: rule.record,
            },
        }));
    }

    /// Refuses more records than anybody writes.
    pub(super) fn check_size(&self, file: &str, problems: &mut Problems) {
        for (found, most, what) in [
            (self.rules.len(), RULES, "rules"),
            (self.minors.len(), OTHERS, "minors"),
            (self.fields.len(), OTHERS, "fields"),
            (self.tallies.len(), OTHERS, "tallies"),
        ] {
            if found > most {
                problems.of_file(file, &format!("there are {found} {what}, more than {most}"));
            }
        }
    }
}

/// `any` or the target minor that a file of rules is for.
fn scope(file: &str) -> Option<&str> {
    let name = file.strip_prefix("rules/")?.strip_suffix(".yaml")?;
    match name.split_once('/') {
        None => Some(name),
        Some((scope, topic)) => (!topic.contains('/')).then_some(scope),
    }
}

fn located<T>(file: &str, records: Vec<Spanned<T>>) -> impl Iterator<Item = Located<T>> {
    records.into_iter().map(move |record| Located {
        file: file.to_owned(),
        line: known(record.referenced.line()),
        record: record.value,
    })
}

/// 0 = the parser does not know it.
fn known(line: u64) -> Option<u64> {
    (line > 0).then_some(line)
}

/// Reads one document; what is wrong with it is told in one line.
fn yaml<T: DeserializeOwned>(file: &str, text: &str, problems: &mut Problems) -> Option<T> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH,
            max_nodes: NODES,
            max_documents: 1,
            // A short text with anchors may mean a very long one.
            max_anchors: 0,
            max_aliases: 0,
            max_merge_keys: 0,
        },
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Option<T>>(text, options) {
        Ok(Some(read)) => Some(read),
        Ok(None) => {
            problems.of_file(file, "is empty");
            None
        }
        Err(error) => {
            let line = error.location().and_then(|location| known(location.line()));
            problems.add(file, line, None, &told(&error));
            None
        }
    }
}

fn told(error: &Error) -> String {
    let text = error.without_snippet().to_string();
    text.lines().next().unwrap_or_default().to_owned()
}
