//! Fixes: what a rule would write to mend its finding, the note that goes with it, and what is seen of both. Pure data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::facts::Known;
use crate::rules::{ItemKind, MASTER};

/// Annotation on a fixed object: the notes of all fixes on it, a JSON list of [`FixMark`].
pub const FIX_ANNOTATION: &str = "upgrade.k8c.io/fix";

/// The object of a fix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FixTarget {
    /// Platform (the `KubermaticConfiguration`), Seed, Cluster or Template.
    pub kind: ItemKind,
    /// Its name as findings have it, for example `eu/x7f2`.
    pub name: String,
}

impl FixTarget {
    /// Kind and name, as findings name it.
    #[must_use]
    pub fn subject(&self) -> String {
        match self.kind {
            ItemKind::Platform => "KubermaticConfiguration".to_owned(),
            kind => format!("{kind} {}", self.name),
        }
    }

    /// `master`, or the seed on whose cluster the object lives.
    #[must_use]
    pub fn place(&self) -> &str {
        match self.kind {
            ItemKind::Cluster => self.name.split('/').next().unwrap_or_default(),
            _ => MASTER,
        }
    }

    /// `metadata.name`; empty for the `KubermaticConfiguration`, of which there is one.
    #[must_use]
    pub fn object_name(&self) -> &str {
        match self.kind {
            ItemKind::Platform => "",
            _ => self.name.rsplit('/').next().unwrap_or_default(),
        }
    }
}

/// Our note about one fix: written in the same PATCH as the value, so that neither is there without the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FixMark {
    /// UID of the KKPUpgrade.
    pub owner: String,
    /// Id of the rule.
    pub rule: String,
    /// Path of the value, for example `.spec.version`.
    pub path: String,
    /// Value before; null = it was not set.
    pub original: Option<Value>,
    /// Value written; null = it was removed.
    pub applied: Option<Value>,
    /// Whether the original is put back at the end of the run.
    pub temporary: bool,
    /// Whether the write sets something in motion that is waited for.
    pub throttled: bool,
}

/// What an object said when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenObject {
    /// resourceVersion; a fix is written against this one only.
    pub resource_version: String,
    /// Notes on it; unknown = the annotation cannot be read.
    pub marks: Known<Vec<FixMark>>,
    /// Values by path; `None` = not set. A path that is not in here could not be read.
    pub values: BTreeMap<String, Option<Value>>,
}

impl SeenObject {
    /// Reads the notes, and the values at the paths of the notes and at `paths`.
    #[must_use]
    pub fn read<'p>(object: &Value, paths: impl IntoIterator<Item = &'p str>) -> Self {
        let note = object
            .pointer("/metadata/annotations")
            .and_then(|annotations| annotations.get(FIX_ANNOTATION));
        let marks = match note.map(|note| serde_json::from_str(note.as_str().unwrap_or_default())) {
            None => Known::Is(Vec::new()),
            Some(Ok(marks)) => Known::Is(marks),
            Some(Err(_)) => Known::Unknown("it is no list of notes".to_owned()),
        };
        let noted: Vec<String> = marks
            .value()
            .into_iter()
            .flatten()
            .map(|mark: &FixMark| mark.path.clone())
            .collect();
        let all = paths.into_iter().map(str::to_owned).chain(noted);
        let values = all.filter_map(|path| {
            let value = value_at(object, &keys(&path)?).ok()?;
            Some((path, value))
        });
        Self {
            resource_version: object
                .pointer("/metadata/resourceVersion")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            values: values.collect(),
            marks,
        }
    }
}

/// An object with notes on it.
#[derive(Debug, Clone, PartialEq)]
pub struct MarkedObject {
    /// The object.
    pub target: FixTarget,
    /// What it says.
    pub seen: SeenObject,
    /// What the object still has to reach of what a throttled fix set in motion; `None` = nothing.
    pub waiting: Option<String>,
}

/// What a rule proposes for the object of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposedFix {
    /// What it does, in a line.
    pub title: String,
    /// Path of the value.
    pub path: String,
    /// Value to write; null = to remove what stands there.
    pub value: Option<Value>,
    /// Whether it is put back at the end of the run.
    pub temporary: bool,
    /// Whether the write sets something in motion that is waited for.
    pub throttled: bool,
    /// Whether `spec.fixes` names the rule.
    pub requested: bool,
    /// Why it is not made although the rule has it; `None` = it can be made.
    pub refused: Option<String>,
    /// The object as it was read, where it was.
    #[serde(skip)]
    pub seen: Option<SeenObject>,
}

impl ProposedFix {
    /// Whether it is to be made.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.requested && self.refused.is_none()
    }
}

/// One write to one object: values with the notes about them, in one PATCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixIntent {
    /// The object.
    pub target: FixTarget,
    /// resourceVersion that was observed.
    pub resource_version: String,
    /// Values by path; `None` = remove.
    pub values: Vec<(String, Option<Value>)>,
    /// All notes that are on the object afterwards; none = the annotation goes.
    pub marks: Vec<FixMark>,
}

impl FixIntent {
    /// The merge patch.
    ///
    /// # Errors
    /// A path that cannot be written, or notes without a JSON form; then nothing may be written.
    pub fn patch(&self) -> Result<Value, String> {
        let mut patch = json!({});
        for (path, value) in &self.values {
            let keys = keys(path).ok_or_else(|| format!("path {path} cannot be written"))?;
            put(&mut patch, &keys, value.clone().unwrap_or(Value::Null));
        }
        let note = if self.marks.is_empty() {
            Value::Null
        } else {
            Value::String(serde_json::to_string(&self.marks).map_err(|error| error.to_string())?)
        };
        put(&mut patch, &["metadata", "annotations", FIX_ANNOTATION], note);
        let version = Value::String(self.resource_version.clone());
        put(&mut patch, &["metadata", "resourceVersion"], version);
        Ok(patch)
    }
}

fn put(root: &mut Value, keys: &[&str], value: Value) {
    let Some((last, parents)) = keys.split_last() else {
        return;
    };
    let mut place = root;
    for key in parents {
        if !place.get(key).is_some_and(Value::is_object)
            && let Some(map) = place.as_object_mut()
        {
            map.insert((*key).to_owned(), json!({}));
        }
        let Some(next) = place.get_mut(key) else { return };
        place = next;
    }
    if let Some(map) = place.as_object_mut() {
        map.insert((*last).to_owned(), value);
    }
}

/// The keys of a path that leads to one value by keys alone: `.spec.version`, `.metadata.annotations["a.b/c"]`.
#[must_use]
pub fn keys(path: &str) -> Option<Vec<&str>> {
    let mut keys = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("[\"") {
            let (key, after) = quoted.split_once("\"]")?;
            keys.push(key);
            rest = after;
        } else {
            let plain = rest.strip_prefix('.')?;
            let end = plain.find(['.', '[']).unwrap_or(plain.len());
            let (key, after) = plain.split_at(end);
            keys.push(key);
            rest = after;
        }
    }
    let fits = !keys.is_empty() && keys.iter().all(|key| !key.is_empty() && !key.contains(['{', '}']));
    fits.then_some(keys)
}

/// The scalar that stands there; `None` = nothing.
///
/// # Errors
/// Something else stands there, which nobody may write over.
fn value_at(root: &Value, keys: &[&str]) -> Result<Option<Value>, NoScalar> {
    let mut place = root;
    for key in keys {
        match place {
            Value::Object(map) => match map.get(*key) {
                None | Some(Value::Null) => return Ok(None),
                Some(next) => place = next,
            },
            _ => return Err(NoScalar),
        }
    }
    match place {
        Value::String(_) | Value::Bool(_) | Value::Number(_) => Ok(Some(place.clone())),
        _ => Err(NoScalar),
    }
}

/// A list or an object stands where one value is wanted.
struct NoScalar;

/// A value as people read it; `unset` where there is none.
#[must_use]
pub fn shown(value: Option<&Value>) -> String {
    match value {
        None => "unset".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(path: &str) -> FixMark {
        FixMark {
            owner: "u".to_owned(),
            rule: "r".to_owned(),
            path: path.to_owned(),
            original: Some(json!("1.32.13")),
            applied: Some(json!("1.33.0")),
            temporary: false,
            throttled: true,
        }
    }

    #[test]
    fn value_note_and_precondition_are_one_patch() {
        let intent = FixIntent {
            target: FixTarget {
                kind: ItemKind::Cluster,
                name: "eu/x".to_owned(),
            },
            resource_version: "7".to_owned(),
            values: vec![
                (".spec.version".to_owned(), Some(json!("1.33.0"))),
                (".metadata.annotations[\"a.b/c\"]".to_owned(), None),
            ],
            marks: vec![mark(".spec.version")],
        };
        let patch = intent.patch().unwrap();
        assert_eq!(patch["spec"], json!({"version": "1.33.0"}));
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(patch["metadata"]["annotations"]["a.b/c"], Value::Null);
        let object = json!({"metadata": {"resourceVersion": "8", "annotations": patch["metadata"]["annotations"]},
            "spec": {"version": "1.33.0"}});
        let seen = SeenObject::read(&object, []);
        assert_eq!(seen.marks, Known::Is(intent.marks.clone()));
        assert_eq!(
            seen.values,
            BTreeMap::from([(".spec.version".to_owned(), Some(json!("1.33.0")))])
        );
        let back = FixIntent {
            marks: Vec::new(),
            ..intent
        };
        assert_eq!(
            back.patch().unwrap()["metadata"]["annotations"][FIX_ANNOTATION],
            Value::Null
        );
    }

    #[test]
    fn only_scalars_and_what_is_not_there_are_read() {
        let object = json!({"metadata": {"resourceVersion": "1"}, "spec": {"a": {"b": 1}, "n": null, "l": []}});
        let seen = SeenObject::read(
            &object,
            [".spec.a.b", ".spec.a", ".spec.n", ".spec.l", ".spec.x.y", ".spec.a.b.c"],
        );
        let expected = [(".spec.a.b", Some(json!(1))), (".spec.n", None), (".spec.x.y", None)];
        assert_eq!(
            seen.values,
            expected.map(|(path, value)| (path.to_owned(), value)).into()
        );
        let odd = json!({"metadata": {"annotations": {FIX_ANNOTATION: "{"}}});
        assert!(matches!(SeenObject::read(&odd, []).marks, Known::Unknown(_)));
    }

    #[test]
    fn paths_that_are_no_plain_keys_are_refused() {
        assert_eq!(
            keys(".spec.featureGates[\"A.b\"]"),
            Some(vec!["spec", "featureGates", "A.b"])
        );
        for path in [
            "",
            "spec",
            ".spec.a[]",
            ".spec{}.a",
            ".spec..a",
            ".spec[a=b].c",
            ".a[\"b",
        ] {
            assert_eq!(keys(path), None, "{path}");
        }
    }
}
