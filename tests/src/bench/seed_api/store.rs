//! Objects of one light seed, their history and who asked for them. Pure but for its lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Changes that a watch can still ask for.
const HISTORY: usize = 8_000;

/// What a request is about: resource, namespace, name; the last two where they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Plural name, such as `clusters`.
    pub resource: String,
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only this name.
    pub name: Option<String>,
}

impl Selection {
    fn takes(&self, resource: &str, key: &Key) -> bool {
        self.resource == resource
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.0)
            && self.name.as_ref().is_none_or(|name| *name == key.1)
    }
}

/// Stands for the name of a user cluster in a template.
pub const CLUSTER: &str = "@cluster@";
const REVISION: &str = "@revision@";

/// An object as text, in which the name of its user cluster can still be set.
pub struct Template {
    namespace: String,
    name: String,
    whole: String,
    metadata: String,
}

impl Template {
    /// From an object.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        let mut object = object.clone();
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".to_owned(), REVISION.into());
        }
        let metadata = json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": object.get("metadata").cloned().unwrap_or_default(),
        });
        Self {
            namespace,
            name,
            whole: object.to_string(),
            metadata: metadata.to_string(),
        }
    }
}

/// Namespace and name.
pub type Key = (String, String);

/// An object as it is sent, whole and as metadata only.
#[derive(Clone)]
pub struct Stored {
    whole: Arc<str>,
    metadata: Arc<str>,
}

impl Stored {
    /// The text for this kind of client.
    #[must_use]
    pub fn text(&self, metadata_only: bool) -> &Arc<str> {
        if metadata_only { &self.metadata } else { &self.whole }
    }
}

struct Change {
    revision: u64,
    kind: &'static str,
    resource: &'static str,
    key: Key,
    object: Stored,
}

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<&'static str, BTreeMap<Key, Stored>>,
    history: VecDeque<Change>,
}

/// One request that was answered.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it came.
    pub time: Timestamp,
    /// `get`, `list`, `watch`, `patch`.
    pub verb: &'static str,
    /// Plural name.
    pub resource: String,
}

/// The objects of one seed.
pub struct Store {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    calls: Mutex<Vec<Call>>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
            calls: Mutex::default(),
        }
    }
}

/// What a watch gets next.
pub enum Next {
    /// Lines to send and the revision to go on from.
    Lines(Vec<String>, u64),
    /// The revision is older than the history: list again.
    Gone,
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates or replaces an object; the moment of its commit.
    pub fn put(&self, resource: &'static str, object: &Value) -> Timestamp {
        self.put_from(resource, &Template::of(object), "")
    }

    /// The same from a template, for this user cluster: making each of 100,000 objects anew would take minutes.
    pub fn put_from(&self, resource: &'static str, template: &Template, cluster: &str) -> Timestamp {
        let key = (
            template.namespace.replace(CLUSTER, cluster),
            template.name.replace(CLUSTER, cluster),
        );
        let (whole, metadata) = (
            template.whole.replace(CLUSTER, cluster),
            template.metadata.replace(CLUSTER, cluster),
        );
        let mut state = self.lock();
        state.revision += 1;
        let revision = state.revision;
        let number = revision.to_string();
        let stored = Stored {
            whole: whole.replacen(REVISION, &number, 1).into(),
            metadata: metadata.replacen(REVISION, &number, 1).into(),
        };
        let before = state
            .objects
            .entry(resource)
            .or_default()
            .insert(key.clone(), stored.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        state.history.push_back(Change {
            revision,
            kind,
            resource,
            key,
            object: stored,
        });
        if state.history.len() > HISTORY {
            state.history.pop_front();
        }
        let time = Timestamp::now();
        drop(state);
        self.changed.send_replace(revision);
        time
    }

    /// One object.
    #[must_use]
    pub fn get(&self, resource: &str, key: &Key) -> Option<Stored> {
        self.lock().objects.get(resource)?.get(key).cloned()
    }

    /// A page of objects behind `after`, the revision, and the key to go on from.
    #[must_use]
    pub fn list(&self, selection: &Selection, after: Option<&Key>, limit: usize) -> (Vec<Stored>, u64, Option<Key>) {
        use std::ops::Bound::{Excluded, Unbounded};
        let state = self.lock();
        let none = BTreeMap::new();
        let objects = state.objects.get(selection.resource.as_str()).unwrap_or(&none);
        let start = after.map_or(Unbounded, Excluded);
        let mut page = Vec::new();
        let mut last = None;
        let mut more = false;
        for (key, object) in objects.range::<Key, _>((start, Unbounded)) {
            if !selection.takes(&selection.resource, key) {
                continue;
            }
            if page.len() == limit {
                more = true;
                break;
            }
            page.push(object.clone());
            last = Some(key.clone());
        }
        (page, state.revision, last.filter(|_| more))
    }

    /// Changes after a revision.
    #[must_use]
    pub fn since(&self, selection: &Selection, revision: u64, metadata_only: bool) -> Next {
        let state = self.lock();
        let oldest = state.history.front().map_or(0, |change| change.revision);
        if revision + 1 < oldest {
            return Next::Gone;
        }
        let start = state.history.partition_point(|change| change.revision <= revision);
        let lines = state
            .history
            .range(start..)
            .filter(|change| selection.takes(change.resource, &change.key))
            .map(|change| {
                format!(
                    "{{\"type\":\"{}\",\"object\":{}}}\n",
                    change.kind,
                    change.object.text(metadata_only)
                )
            });
        Next::Lines(lines.collect(), state.revision)
    }

    /// Tells of every new revision.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Notes a request.
    pub fn note(&self, verb: &'static str, resource: &str) {
        let call = Call {
            time: Timestamp::now(),
            verb,
            resource: resource.to_owned(),
        };
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// Every request so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str) -> Value {
        json!({"metadata": {"namespace": "n", "name": name}, "spec": {"x": 1}})
    }

    fn all() -> Selection {
        Selection {
            resource: "addons".to_owned(),
            ..Selection::default()
        }
    }

    #[test]
    fn a_list_comes_in_pages_and_in_order() {
        let store = Store::default();
        for name in ["c", "a", "b"] {
            store.put("addons", &object(name));
        }
        let (page, revision, next) = store.list(&all(), None, 2);
        assert_eq!((page.len(), revision), (2, 3));
        let (rest, _, end) = store.list(&all(), next.as_ref(), 2);
        assert!(rest.len() == 1 && end.is_none() && rest[0].text(false).contains("\"name\":\"c\""));
    }

    #[test]
    fn a_watch_gets_what_came_after_its_revision() {
        let store = Store::default();
        store.put("addons", &object("a"));
        store.put("pods", &object("p"));
        store.put("addons", &object("a"));
        let Next::Lines(lines, revision) = store.since(&all(), 1, true) else {
            panic!("gone")
        };
        assert_eq!((lines.len(), revision), (1, 3));
        assert!(lines[0].starts_with("{\"type\":\"MODIFIED\"") && !lines[0].contains("spec"));
    }

    #[test]
    fn a_watch_from_before_the_history_is_told_so() {
        let store = Store::default();
        for _ in 0..HISTORY + 10 {
            store.put("addons", &object("a"));
        }
        assert!(matches!(store.since(&all(), 2, false), Next::Gone));
    }
}
