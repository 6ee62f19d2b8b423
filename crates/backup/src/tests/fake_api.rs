//! An API server in memory: revisions, exact lists, pages, compaction; and a hook for faults.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::run::{BackupArguments, Run};
use crate::{
    AttemptFolder, BackupError, ClusterIdentity, KeyPair, Reach, ReadLimits, Recipients, Snapshot, SnapshotRequest,
    Source, identify, write_snapshot,
};

type Collections = BTreeMap<String, Vec<Value>>;
type WireHook = Box<dyn FnMut(usize) -> Option<Wire> + Send>;
type Hook = Box<dyn FnMut(&str, &mut State) -> Option<(u16, Value)> + Send>;

pub(super) const CLUSTERS: &str = "/apis/kubermatic.k8c.io/v1/clusters";
pub(super) const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(super) const MAPS: &str = "/api/v1/namespaces/kubermatic/configmaps";
const NAMESPACES: &str = "/api/v1/namespaces";
/// Kinds that every API server has, also without an object.
const BUILT_IN: [&str; 10] = [
    "/namespaces",
    "/configmaps",
    "/secrets",
    "/mutatingwebhookconfigurations",
    "/validatingwebhookconfigurations",
    "/ingresses",
    "/clusterrolebindings",
    "/clusterroles",
    "/rolebindings",
    "/roles",
];

/// The key of all archives that tests write.
pub(super) static KEY: LazyLock<KeyPair> = LazyLock::new(KeyPair::generate);

#[derive(Default)]
pub(super) struct State {
    pub(super) revision: u64,
    pub(super) compacted: u64,
    pub(super) history: BTreeMap<u64, Collections>,
    pub(super) documents: BTreeMap<String, Value>,
    pub(super) log: Vec<String>,
    /// Collections that another etcd keeps, each with what is in that one.
    pub(super) elsewhere: BTreeMap<String, State>,
}

impl State {
    pub(super) fn write(&mut self, collection: &str, change: impl FnOnce(&mut Vec<Value>)) {
        let mut now = self
            .history
            .last_key_value()
            .map(|(_, now)| now.clone())
            .unwrap_or_default();
        change(now.entry(collection.to_owned()).or_default());
        self.revision += 1;
        self.history.insert(self.revision, now);
    }

    pub(super) fn add(&mut self, collection: &str, mut object: Value) {
        object["metadata"]["resourceVersion"] = (self.revision + 1).to_string().into();
        self.write(collection, |objects| objects.push(object));
    }

    /// From now on another etcd keeps this collection, and is at this revision.
    pub(super) fn keep_elsewhere(&mut self, collection: &str, revision: u64) {
        let objects = self.list(self.revision, collection).unwrap_or_default();
        let now = Collections::from([(collection.to_owned(), objects)]);
        let other = Self {
            revision,
            history: BTreeMap::from([(revision, now)]),
            ..Self::default()
        };
        self.elsewhere.insert(collection.to_owned(), other);
    }

    /// A kind of a CRD: the CRD itself and its place in the discovery.
    pub(super) fn add_kind(&mut self, group: &str, version: &str, plural: &str, kind: &str) {
        let groups = self
            .documents
            .entry("/apis".to_owned())
            .or_insert_with(|| json!({"groups": []}));
        let offer = json!({"groupVersion": format!("{group}/{version}"), "version": version});
        let list = groups["groups"].as_array_mut().unwrap();
        match list.iter_mut().find(|known| known["name"] == group) {
            Some(known) => {
                let versions = known["versions"].as_array_mut().unwrap();
                if !versions.contains(&offer) {
                    versions.push(offer);
                }
            }
            None => list.push(json!({"name": group, "versions": [offer.clone()], "preferredVersion": offer})),
        }
        let path = format!("/apis/{group}/{version}");
        let resources = self
            .documents
            .entry(path)
            .or_insert_with(|| json!({"groupVersion": format!("{group}/{version}"), "resources": []}));
        let offers = resources["resources"].as_array_mut().unwrap();
        offers.push(
            json!({"name": plural, "kind": kind, "namespaced": false, "singularName": "", "verbs": ["get", "list"]}),
        );
        offers.push(json!({"name": format!("{plural}/status"), "kind": kind, "namespaced": false, "singularName": "", "verbs": ["get"]}));
        self.write(&format!("/apis/{group}/{version}/{plural}"), |_| {});
        self.add(CRDS, crd(group, plural, version));
    }

    /// A namespace, and what is in it.
    pub(super) fn add_namespace(&mut self, name: &str) {
        self.add(NAMESPACES, json!({"metadata": {"name": name}}));
    }

    pub(super) fn add_secret(&mut self, namespace: &str, name: &str, content: &str) {
        let secret = json!({"metadata": {"name": name, "namespace": namespace}, "data": {"value": content}});
        self.add(&format!("{NAMESPACES}/{namespace}/secrets"), secret);
    }

    /// The objects of a collection; one over all namespaces is put together from theirs.
    fn list(&self, at: u64, path: &str) -> Option<Vec<Value>> {
        let (_, then) = self.history.range(..=at).next_back()?;
        if let Some(objects) = then.get(path) {
            return Some(objects.clone());
        }
        let (root, plural) = path.rsplit_once('/')?;
        let within = |place: &str| {
            let rest = place
                .strip_prefix(root)
                .and_then(|rest| rest.strip_prefix("/namespaces/"));
            rest.and_then(|rest| rest.split_once('/'))
                .is_some_and(|(_, found)| found == plural)
        };
        let all: Vec<Value> = then
            .iter()
            .filter(|(place, _)| within(place))
            .flat_map(|(_, all)| all.clone())
            .collect();
        (!all.is_empty() || BUILT_IN.iter().any(|kind| path.ends_with(kind))).then_some(all)
    }

    fn answer(&self, path: &str, query: &BTreeMap<String, String>) -> (u16, Value) {
        if let Some(document) = self.documents.get(path) {
            return (200, document.clone());
        }
        let limit: usize = query.get("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
        let (at, from) = match (query.get("continue"), query.get("resourceVersion")) {
            (Some(token), rest) => {
                assert!(rest.is_none(), "a real API server refuses both together");
                let (at, from) = token.split_once('-').unwrap();
                (at.parse().unwrap(), from.parse().unwrap())
            }
            (None, Some(exact)) => {
                assert_eq!(query.get("resourceVersionMatch").map(String::as_str), Some("Exact"));
                (exact.parse().unwrap(), 0)
            }
            (None, None) => (self.revision, 0_usize),
        };
        if at < self.compacted {
            return (410, failure(410, "Expired", "too old resource version"));
        }
        let Some(objects) = self.list(at, path) else {
            return (
                404,
                failure(404, "NotFound", "the server could not find the requested resource"),
            );
        };
        let page: Vec<Value> = objects.iter().skip(from).take(limit).cloned().collect();
        let end = from + page.len();
        let next = if end < objects.len() {
            format!("{at}-{end}")
        } else {
            String::new()
        };
        (
            200,
            json!({"metadata": {"resourceVersion": at.to_string(), "continue": next}, "items": page}),
        )
    }
}

pub(super) fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

pub(super) fn crd(group: &str, plural: &str, version: &str) -> Value {
    json!({
        "metadata": {"name": format!("{plural}.{group}"), "managedFields": [{"manager": "noise"}]},
        "spec": {"group": group, "names": {"plural": plural}, "versions": [{"name": version, "served": true}]},
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    })
}

pub(super) fn cluster(name: &str, note: &str) -> Value {
    json!({"metadata": {"name": name, "uid": name}, "spec": {"note": note, "big": i64::MAX}})
}

/// What comes over the wire instead of an answer.
pub(super) enum Wire {
    Answer(u16, Value),
    Text(&'static str),
    /// So much, and then the connection is gone.
    BreaksOff(&'static str),
    Silence,
}

#[derive(Clone)]
pub(super) struct FakeApi {
    pub(super) state: Arc<Mutex<State>>,
    hook: Arc<Mutex<Option<Hook>>>,
    wire: Arc<Mutex<Option<WireHook>>>,
    deadline: Duration,
}

impl FakeApi {
    /// A platform with seven clusters, a `ConfigMap` and three namespaces, of which one is KKP's.
    pub(super) fn platform() -> Self {
        let mut state = State::default();
        state.documents.insert(
            "/api/v1/namespaces/kube-system".to_owned(),
            json!({"metadata": {"uid": "cluster-one"}}),
        );
        state.documents.insert(
            "/api/v1/namespaces/kubermatic".to_owned(),
            json!({"metadata": {"uid": "n"}}),
        );
        state
            .documents
            .insert("/version".to_owned(), json!({"gitVersion": "v1.36.0"}));
        for namespace in ["default", "kube-system", "kubermatic"] {
            state.add_namespace(namespace);
        }
        state.add_kind("kubermatic.k8c.io", "v1", "clusters", "Cluster");
        for number in 1..=7 {
            state.add(CLUSTERS, cluster(&format!("c{number}"), "first"));
        }
        state.add(
            MAPS,
            json!({"metadata": {"name": "extra", "namespace": "kubermatic"}, "data": {"key": "value"}}),
        );
        Self {
            state: Arc::new(Mutex::new(state)),
            hook: Arc::default(),
            wire: Arc::default(),
            deadline: Duration::from_secs(20),
        }
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// Called before every answer, with path and query.
    pub(super) fn on_request(&self, hook: impl FnMut(&str, &mut State) -> Option<(u16, Value)> + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    /// Called with the number of each request, from 0.
    pub(super) fn on_wire(&self, hook: impl FnMut(usize) -> Option<Wire> + Send + 'static) {
        *self.wire.lock().unwrap() = Some(Box::new(hook));
    }

    /// Who reads it waits no longer than this for an answer.
    pub(super) fn patient_for(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    pub(super) fn source(&self, page: u32) -> Source {
        self.source_with(ReadLimits {
            page,
            deadline: self.deadline,
            ..ReadLimits::default()
        })
    }

    pub(super) fn source_with(&self, limits: ReadLimits) -> Source {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (api, uri) = (server.clone(), request.uri().clone());
            async move { Ok::<_, Infallible>(api.respond(&uri).await) }
        });
        Source::new(Client::new(service, "default"), limits)
    }

    async fn respond(&self, uri: &Uri) -> Response<BoxBody<Bytes, io::Error>> {
        let number = self.change(|state| state.log.len());
        let (code, body) = self.answer(uri);
        let wire = self.wire.lock().unwrap().as_mut().and_then(|hook| hook(number));
        let (code, text, breaks_off) = match wire {
            None => (code, body.to_string(), false),
            Some(Wire::Answer(code, body)) => (code, body.to_string(), false),
            Some(Wire::Text(text)) => (200, text.to_owned(), false),
            Some(Wire::BreaksOff(text)) => (200, text.to_owned(), true),
            Some(Wire::Silence) => std::future::pending().await,
        };
        let gone = breaks_off.then(|| Err(io::Error::from(io::ErrorKind::ConnectionReset)));
        let pieces = [Ok(Frame::data(Bytes::from(text)))].into_iter().chain(gone);
        let body = BodyExt::boxed(StreamBody::new(futures::stream::iter(pieces)));
        Response::builder().status(code).body(body).unwrap()
    }

    fn answer(&self, uri: &Uri) -> (u16, Value) {
        let address = uri.to_string();
        let query = uri.query().unwrap_or_default();
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut state = self.state.lock().unwrap();
        state.log.push(address.clone());
        let forced = self
            .hook
            .lock()
            .unwrap()
            .as_mut()
            .and_then(|hook| hook(&address, &mut state));
        let keeper = state.elsewhere.get(uri.path()).unwrap_or(&*state);
        forced.unwrap_or_else(|| keeper.answer(uri.path(), &query))
    }

    pub(super) async fn request(&self) -> SnapshotRequest {
        SnapshotRequest {
            name: "run-1".to_owned(),
            target: "master".to_owned(),
            platform_version: "2.30.6".to_owned(),
            namespace: "kubermatic".to_owned(),
            reach: Reach::Named,
            recipients: Recipients::parse(std::slice::from_ref(&KEY.recipient)).unwrap(),
            cluster: identify(&self.source(500)).await.unwrap(),
            started: Timestamp::UNIX_EPOCH,
        }
    }

    /// Takes a snapshot, pages of three, into a fresh folder.
    pub(super) async fn snapshot(&self, volume: &Path) -> (AttemptFolder, Result<Snapshot, BackupError>) {
        self.snapshot_with(volume, Reach::Named).await
    }

    pub(super) async fn snapshot_with(
        &self,
        volume: &Path,
        reach: Reach,
    ) -> (AttemptFolder, Result<Snapshot, BackupError>) {
        let folder = AttemptFolder::claim(volume, "run-1", "master").unwrap();
        let request = SnapshotRequest {
            reach,
            ..self.request().await
        };
        let written = write_snapshot(&self.source(3), &request, &folder).await;
        (folder, written)
    }

    pub(super) fn run(&self, volume: &Path) -> Run {
        self.run_on(volume.into(), volume)
    }

    /// The same on any store, with the result in this folder.
    pub(super) fn run_on(&self, store: crate::Store, volume: &Path) -> Run {
        Run {
            source: self.source(3),
            store,
            arguments: BackupArguments {
                kubeconfig: None,
                target: "master".to_owned(),
                namespace: "kubermatic".to_owned(),
                store: crate::StoreArguments::volume(volume),
                name: "run-1".to_owned(),
                platform_version: "2.30.6".to_owned(),
                recipients: vec![KEY.recipient.clone()],
                cluster_uid: None,
                result_file: volume.join("result"),
                verify_only: false,
                manifest_digest: None,
                identity: None,
            },
            cluster: ClusterIdentity {
                uid: "cluster-one".to_owned(),
                server_version: "v1.36.0".to_owned(),
            },
            clock: || Timestamp::UNIX_EPOCH,
        }
    }
}
