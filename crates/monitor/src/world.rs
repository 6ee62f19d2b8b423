//! All objects as they were last written. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::event::{Event, ObjectKey, What};
use crate::names;
use crate::upgrade::Upgrade;

/// All objects as they were last written, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct World {
    objects: BTreeMap<ObjectKey, Arc<Value>>,
    upgrades: BTreeMap<String, Upgrade>,
    clusters: BTreeSet<String>,
}

impl World {
    /// The object of this key, where it is known.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// All known objects of a resource.
    pub fn of<'a>(&'a self, group: &'a str, resource: &'a str) -> impl Iterator<Item = (&'a ObjectKey, &'a Value)> {
        self.objects
            .iter()
            .filter(move |(key, _)| key.is(group, resource))
            .map(|(key, value)| (key, &**value))
    }

    /// A known object by cluster, resource, namespace and name.
    pub(crate) fn find(
        &self,
        cluster: &str,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Option<&Value> {
        let key = ObjectKey {
            cluster: cluster.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        self.objects.get(&key).map(|value| &**value)
    }

    /// Every `KKPUpgrade` that exists.
    pub(crate) fn upgrades(&self) -> impl Iterator<Item = &Upgrade> {
        self.upgrades.values()
    }

    /// The `KKPUpgrade` of a UID.
    pub(crate) fn upgrade(&self, uid: &str) -> Option<&Upgrade> {
        self.upgrades.get(uid)
    }

    /// Names of all clusters that anything was written on.
    pub(crate) const fn clusters(&self) -> &BTreeSet<String> {
        &self.clusters
    }

    /// Takes in what happened.
    pub fn apply(&mut self, event: &Event) {
        match &event.what {
            What::Write(write) => {
                self.clusters.insert(write.object.cluster.clone());
                match (&write.after, write.gone) {
                    (Some(after), false) => self.put(&write.object, after),
                    (_, true) => self.forget(&write.object),
                    (None, false) => {}
                }
            }
            What::Seen(key, value) => {
                self.clusters.insert(key.cluster.clone());
                self.put(key, value);
            }
            What::Lost(key) => {
                self.objects.remove(key);
            }
            What::Installer(_) => {}
        }
    }

    fn put(&mut self, key: &ObjectKey, value: &Arc<Value>) {
        if key.is(names::GROUP, "kkpupgrades") {
            let upgrade = Upgrade::read(value);
            self.upgrades.insert(upgrade.uid.clone(), upgrade);
        }
        self.objects.insert(key.clone(), value.clone());
    }

    fn forget(&mut self, key: &ObjectKey) {
        self.objects.remove(key);
        if key.is(names::GROUP, "kkpupgrades") {
            let name = format!("{}/{}", key.namespace, key.name);
            self.upgrades.retain(|_, upgrade| upgrade.name != name);
        }
    }
}
