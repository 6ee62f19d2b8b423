//! One kind of object in one place: listed page by page, then watched. Talks to the cluster; get, list and watch only.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use kube::api::{ApiResource, ListParams, WatchEvent, WatchParams};
use kube::core::{DynamicResourceScope, GroupVersionKind};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{LIST, News, RETRY, SILENCE, WATCH_SECONDS};
use crate::event::{Actor, Event, Identity, ObjectKey, Verb, What, Write};

/// One page of a list.
const PAGE: u32 = 500;

/// One kind of object in one place.
pub(super) struct Source<K> {
    api: Api<K>,
    resource: ApiResource,
    what: String,
    labels: Option<String>,
    fields: Option<String>,
    /// resourceVersion of each object when it was last told.
    known: BTreeMap<String, (ObjectKey, String)>,
}

impl<K> Source<K>
where
    K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + 'static,
{
    pub(super) fn new(
        client: &Client,
        (group, version, kind, plural): (&str, &str, &str, &str),
        namespace: Option<&str>,
    ) -> Self {
        let kind = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        let api = match namespace {
            // The scope of the type is dynamic: a namespace is what the caller says.
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        Self {
            api,
            what: format!("{plural} in {}", namespace.unwrap_or("the cluster")),
            resource,
            labels: None,
            fields: None,
            known: BTreeMap::new(),
        }
    }

    pub(super) fn labelled(mut self, selector: &str) -> Self {
        self.labels = Some(selector.to_owned());
        self
    }

    pub(super) fn named(mut self, name: &str) -> Self {
        self.fields = Some(format!("metadata.name={name}"));
        self
    }

    /// The objects as they are now.
    pub(super) async fn list_once(&self) -> Vec<News> {
        match self.list().await {
            Ok((objects, _)) => {
                let seen = |object: &K| Some(event(What::Seen(self.key(object), value(object)?)));
                objects.iter().filter_map(seen).collect()
            }
            Err(why) => vec![self.unreadable(why)],
        }
    }

    /// Tells every change, until nobody listens.
    pub(super) async fn follow(mut self, tell: mpsc::Sender<News>) {
        while !tell.is_closed() {
            let problem = match self.list().await {
                Ok((objects, version)) => {
                    let known = self.relisted(&objects);
                    if send(&tell, known).await.is_err() {
                        return;
                    }
                    self.watched(&tell, version).await
                }
                Err(why) => Some(why),
            };
            if let Some(why) = problem {
                if tell.send(self.unreadable(why)).await.is_err() {
                    return;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn list(&self) -> Result<(Vec<K>, String), String> {
        let mut parameters = ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            ..ListParams::default().limit(PAGE)
        };
        let mut objects = Vec::new();
        loop {
            let page = timeout(LIST, self.api.list(&parameters))
                .await
                .map_err(|_| format!("no answer within {} s", LIST.as_secs()))?
                .map_err(|error| error.to_string())?;
            objects.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters.continue_token = Some(token),
                None => return Ok((objects, page.metadata.resource_version.unwrap_or_default())),
            }
        }
    }

    /// Watches from a version on. A watch that ends by itself goes on where it was; `Some` = what went wrong.
    async fn watched(&mut self, tell: &mpsc::Sender<News>, mut version: String) -> Option<String> {
        let parameters = WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            ..WatchParams::default().timeout(WATCH_SECONDS)
        };
        loop {
            let opened = timeout(LIST, self.api.watch(&parameters, &version)).await;
            let mut stream = match opened {
                Ok(Ok(stream)) => stream.boxed(),
                Ok(Err(error)) => return Some(error.to_string()),
                Err(_) => return Some("the watch was not opened in time".to_owned()),
            };
            loop {
                let next = match timeout(SILENCE, stream.try_next()).await {
                    Ok(Ok(Some(next))) => next,
                    Ok(Ok(None)) => break,
                    Ok(Err(error)) => return Some(error.to_string()),
                    Err(_) => return Some("the watch fell silent".to_owned()),
                };
                let (verb, object) = match next {
                    WatchEvent::Added(object) => (Verb::Create, object),
                    WatchEvent::Modified(object) => (Verb::Update, object),
                    WatchEvent::Deleted(object) => (Verb::Delete, object),
                    WatchEvent::Bookmark(mark) => {
                        version = mark.metadata.resource_version;
                        continue;
                    }
                    // 410: too old. The next list starts anew; it is a gap and no fault.
                    WatchEvent::Error(status) if status.code == 410 => return None,
                    WatchEvent::Error(status) => return Some(status.message.clone()),
                };
                version = object.resource_version().unwrap_or(version);
                let told = self.written(&object, verb);
                if send(tell, told.into_iter().collect()).await.is_err() {
                    return None;
                }
            }
        }
    }

    /// What a list after a gap tells: objects that are new or changed, without what they were before.
    fn relisted(&mut self, objects: &[K]) -> Vec<News> {
        let mut news = Vec::new();
        let mut gone = std::mem::take(&mut self.known);
        for object in objects {
            let (key, version) = (self.key(object), object.resource_version().unwrap_or_default());
            let name = key.to_string();
            let same = gone.remove(&name).is_some_and(|(_, known)| known == version);
            if !same && let Some(value) = value(object) {
                news.push(event(What::Lost(key.clone())));
                news.push(event(What::Seen(key.clone(), value)));
            }
            self.known.insert(name, (key, version));
        }
        news.extend(gone.into_values().map(|(key, _)| event(What::Lost(key))));
        news
    }

    fn written(&mut self, object: &K, verb: Verb) -> Option<News> {
        let key = self.key(object);
        let name = key.to_string();
        if verb == Verb::Delete {
            self.known.remove(&name);
        } else {
            let version = object.resource_version().unwrap_or_default();
            self.known.insert(name, (key.clone(), version));
        }
        let write = Write {
            actor: Actor {
                identity: Identity::Unknown,
                name: last_manager(object),
                pod_uid: None,
                pod: None,
            },
            verb,
            object: key,
            subresource: None,
            uid_precondition: None,
            version_precondition: None,
            before: None,
            after: Some(value(object)?),
            gone: verb == Verb::Delete,
        };
        Some(event(What::Write(Box::new(write))))
    }

    fn key(&self, object: &K) -> ObjectKey {
        ObjectKey {
            cluster: "master".to_owned(),
            group: self.resource.group.clone(),
            resource: self.resource.plural.clone(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        }
    }

    fn unreadable(&self, why: String) -> News {
        News::Unreadable {
            what: self.what.clone(),
            why,
        }
    }
}

fn event(what: What) -> News {
    News::Event(Event {
        time: Timestamp::now(),
        what,
    })
}

async fn send(tell: &mpsc::Sender<News>, news: Vec<News>) -> Result<(), ()> {
    for one in news {
        tell.send(one).await.map_err(drop)?;
    }
    Ok(())
}

fn value<K: Serialize>(object: &K) -> Option<Arc<serde_json::Value>> {
    serde_json::to_value(object).ok().map(Arc::new)
}

/// The field manager whose entry is the newest: who wrote last, as far as an object tells.
fn last_manager(object: &impl Resource) -> String {
    let entries = object.meta().managed_fields.iter().flatten();
    let newest = entries.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    newest.and_then(|entry| entry.manager.clone()).unwrap_or_default()
}
