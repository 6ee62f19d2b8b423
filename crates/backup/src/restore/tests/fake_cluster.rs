//! An API server in memory that can be written to: versions, UIDs, dry runs, status, garbage collection, and faults.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::fake_backup::{CLUSTER_UID, arguments, kind, kinds};
use crate::ClusterIdentity;
use crate::restore::object::essence;
use crate::restore::run::{leave_all, run};
use crate::restore::target::{Target, WriteLimits, object_address};
use crate::restore::{RestoreError, RestoreReport};

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// It is done, and the answer is lost.
    Lost,
    /// It does not arrive.
    Dead,
    Answer(u16, &'static str),
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) method: &'a Method,
    pub(super) address: &'a str,
    pub(super) dry_run: bool,
    /// Real writes before this one.
    pub(super) writes: u64,
}

/// Kinds whose status has no address.
const WITHOUT_STATUS: [&str; 3] = [
    "secrets/status",
    "configmaps/status",
    "validatingwebhookconfigurations/status",
];

type Judge = Box<dyn FnMut(&Call<'_>) -> Fault + Send>;

#[derive(Default)]
pub(super) struct State {
    pub(super) objects: BTreeMap<String, Value>,
    /// `<method> <address>` of every write that was done.
    pub(super) writes: Vec<String>,
    counter: u64,
    /// A field that the server sets in every ConfigMap, as a newer CRD's defaults do.
    pub(super) defaults: bool,
}

#[derive(Clone, Default)]
pub(super) struct FakeCluster {
    pub(super) state: Arc<Mutex<State>>,
    judge: Arc<Mutex<Option<Judge>>>,
}

pub(super) fn address(object: &Value) -> String {
    let namespace = object["metadata"]["namespace"].as_str();
    object_address(&kind(object), namespace, object["metadata"]["name"].as_str().unwrap())
}

impl FakeCluster {
    pub(super) fn with(objects: &[Value]) -> Self {
        let cluster = Self::default();
        for object in objects {
            cluster.put(object.clone());
        }
        cluster
    }

    /// An object as it is, also with a status.
    pub(super) fn put(&self, mut object: Value) {
        let mut state = self.state.lock().unwrap();
        state.stamp(&mut object);
        state.objects.insert(address(&object), object);
    }

    pub(super) fn remove(&self, object: &Value) {
        self.state.lock().unwrap().objects.remove(&address(object));
    }

    pub(super) fn get(&self, object: &Value) -> Option<Value> {
        self.state.lock().unwrap().objects.get(&address(object)).cloned()
    }

    pub(super) fn change(&self, object: &Value, change: impl FnOnce(&mut Value)) {
        let mut state = self.state.lock().unwrap();
        let mut changed = state.objects.get(&address(object)).unwrap().clone();
        change(&mut changed);
        state.counter += 1;
        changed["metadata"]["resourceVersion"] = state.counter.to_string().into();
        state.objects.insert(address(object), changed);
    }

    pub(super) fn on_call(&self, judge: impl FnMut(&Call<'_>) -> Fault + Send + 'static) {
        *self.judge.lock().unwrap() = Some(Box::new(judge));
    }

    pub(super) fn heal(&self) {
        *self.judge.lock().unwrap() = None;
    }

    pub(super) fn writes(&self) -> Vec<String> {
        self.state.lock().unwrap().writes.clone()
    }

    /// Everything, without what the server writes; UIDs of owners as names of what they mean.
    pub(super) fn content(&self) -> BTreeMap<String, Value> {
        let state = self.state.lock().unwrap();
        let names: BTreeMap<String, String> = state
            .objects
            .iter()
            .map(|(address, object)| (object["metadata"]["uid"].as_str().unwrap().to_owned(), address.clone()))
            .collect();
        let plain = |object: &Value| {
            let mut plain = essence(&kind(object), object, false);
            for owner in plain["metadata"]["ownerReferences"]
                .as_array_mut()
                .into_iter()
                .flatten()
            {
                owner["uid"] = names.get(owner["uid"].as_str().unwrap()).cloned().into();
            }
            plain
        };
        state
            .objects
            .iter()
            .map(|(address, object)| (address.clone(), plain(object)))
            .collect()
    }

    /// What Kubernetes' garbage collector would remove: objects with owners of which none lives.
    pub(super) fn garbage(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let lives = |owner: &Value| {
            state
                .objects
                .values()
                .any(|object| object["metadata"]["uid"] == owner["uid"])
        };
        let dead = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            !owners.is_empty() && !owners.iter().any(lives)
        };
        state
            .objects
            .iter()
            .filter(|(_, object)| dead(object))
            .map(|(address, _)| address.clone())
            .collect()
    }

    pub(super) fn target(&self, rate: u32) -> Target {
        let cluster = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let cluster = cluster.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                cluster.answer(&head.method, &head.uri.to_string(), &body)
            }
        });
        let limits = WriteLimits {
            rate,
            deadline: Duration::from_secs(20),
            pause: Duration::from_millis(1),
            established: Duration::from_secs(20),
        };
        Target::new(Client::new(service, "default"), limits)
    }

    /// A run with these arguments changed.
    pub(super) async fn restore(
        &self,
        volume: &Path,
        change: impl FnOnce(&mut crate::RestoreArguments),
    ) -> Result<RestoreReport, RestoreError> {
        let mut arguments = arguments(volume);
        change(&mut arguments);
        let identity = ClusterIdentity {
            uid: CLUSTER_UID.to_owned(),
            server_version: "v1.36.0".to_owned(),
        };
        let outcome = run(&arguments, self.target(arguments.rate), identity).await;
        leave_all(&arguments, outcome)
    }

    pub(super) async fn plan(&self, volume: &Path) -> RestoreReport {
        self.restore(volume, |_| {}).await.unwrap()
    }

    /// Plans, confirms, and does it.
    pub(super) async fn carry_out(&self, volume: &Path) -> Result<RestoreReport, RestoreError> {
        let plan = self.restore(volume, |_| {}).await?;
        self.restore(volume, |arguments| arguments.confirm = Some(plan.plan_digest))
            .await
    }

    fn answer(&self, method: &Method, uri: &str, body: &[u8]) -> Result<Response<Body>, std::io::Error> {
        let (address, query) = uri.split_once('?').unwrap_or((uri, ""));
        let dry_run = query.contains("dryRun=All");
        let call = Call {
            method,
            address,
            dry_run,
            writes: self.writes().len() as u64,
        };
        // The state is free meanwhile, so that a judge can change it.
        let fault = self
            .judge
            .lock()
            .unwrap()
            .as_mut()
            .map_or(Fault::None, |judge| judge(&call));
        let dead = || Err(std::io::Error::other("connection reset"));
        let (code, answer) = match fault {
            Fault::Dead => return dead(),
            Fault::Answer(code, message) => (code, failure(code, message)),
            Fault::None | Fault::Lost => self.state.lock().unwrap().serve(method, address, body, dry_run),
        };
        if fault == Fault::Lost {
            return dead();
        }
        let body = Body::from(answer.to_string().into_bytes());
        Ok(Response::builder().status(code).body(body).unwrap())
    }
}

pub(super) fn failure(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "Test", "message": message})
}

impl State {
    fn stamp(&mut self, object: &mut Value) {
        self.counter += 1;
        let metadata = &mut object["metadata"];
        if metadata["uid"].is_null() {
            metadata["uid"] = format!("live-{}", self.counter).into();
        }
        metadata["resourceVersion"] = self.counter.to_string().into();
        metadata["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    }

    fn serve(&mut self, method: &Method, address: &str, body: &[u8], dry_run: bool) -> (u16, Value) {
        if let Some(document) = self.discovery(address) {
            return document;
        }
        if *method == Method::GET {
            let found = self.objects.get(address).cloned();
            return found.map_or_else(|| (404, failure(404, "not found")), |object| (200, object));
        }
        let body: Value = serde_json::from_slice(body).unwrap();
        let result = match *method {
            Method::POST => self.create(body),
            Method::PUT => self.replace(address, body),
            _ => (405, failure(405, "no such verb")),
        };
        let (code, object) = result;
        if code < 300 && !dry_run {
            self.writes.push(format!("{method} {address}"));
            self.objects.insert(self::address(&object), object.clone());
        }
        (code, object)
    }

    fn create(&mut self, mut object: Value) -> (u16, Value) {
        assert!(object["metadata"]["uid"].is_null() && object["metadata"]["resourceVersion"].is_null());
        if self.objects.contains_key(&address(&object)) {
            return (409, failure(409, "already exists"));
        }
        if let Some(namespace) = object["metadata"]["namespace"].as_str()
            && !self.objects.contains_key(&format!("/api/v1/namespaces/{namespace}"))
        {
            return (404, failure(404, "namespace not found"));
        }
        object.as_object_mut().unwrap().remove("status");
        if object["kind"] == "CustomResourceDefinition" {
            object["status"] =
                json!({"conditions": [{"type": "Established", "status": "True"}], "storedVersions": ["v1"]});
        }
        self.stamp(&mut object);
        self.fill_in(&mut object);
        (201, object)
    }

    fn replace(&mut self, address: &str, mut object: Value) -> (u16, Value) {
        let of_status = address.ends_with("/status");
        let Some(live) = self.objects.get(address.trim_end_matches("/status")).cloned() else {
            return (404, failure(404, "not found"));
        };
        if live["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return (409, failure(409, "the object has been modified"));
        }
        if of_status {
            let status = object["status"].take();
            object = live;
            object["status"] = status;
        } else {
            object["status"] = live["status"].clone();
            if object["status"].is_null() {
                object.as_object_mut().unwrap().remove("status");
            }
            object["metadata"]["uid"] = live["metadata"]["uid"].clone();
            self.fill_in(&mut object);
        }
        self.stamp(&mut object);
        (200, object)
    }

    fn fill_in(&self, object: &mut Value) {
        if self.defaults && object["kind"] == "ConfigMap" {
            object["immutable"] = false.into();
        }
    }

    /// The discovery: built-in kinds, and those whose CRD lives.
    fn discovery(&self, address: &str) -> Option<(u16, Value)> {
        let served: Vec<_> = kinds()
            .into_iter()
            .filter(|resource| {
                let crd = format!("{}/{}.{}", crds(), resource.plural, resource.group);
                let own = resource.group == "kubermatic.k8c.io";
                let versions = self.objects.get(&crd).map(|crd| crd["spec"]["versions"].clone());
                !own || versions.is_some_and(|versions| {
                    versions
                        .as_array()
                        .unwrap()
                        .iter()
                        .any(|version| version["name"] == resource.version.as_str())
                })
            })
            .collect();
        if address == "/apis/kubermatic.k8c.io" {
            return Some((200, json!({"versions": [{"version": "v2"}]})));
        }
        let of = |resource: &&crate::Resource| {
            let root = if resource.group.is_empty() { "/api" } else { "/apis" };
            format!("{root}/{}", resource.api_version()) == address
        };
        if !kinds().iter().any(|resource| of(&resource)) {
            return None;
        }
        let offers: Vec<Value> = served
            .iter()
            .filter(of)
            .flat_map(|resource| [resource.plural.clone(), format!("{}/status", resource.plural)])
            .filter(|name| !WITHOUT_STATUS.contains(&name.as_str()))
            .map(|name| json!({"name": name}))
            .collect();
        Some((200, json!({"resources": offers})))
    }
}

fn crds() -> String {
    crate::Resource::crds().collection_path()
}
