//! An API server in memory, as far as effects go: create-only names, resourceVersion and UID preconditions, merge patches.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// Objects by their path.
#[derive(Clone, Default)]
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    revision: u64,
    /// `METHOD path` of every request.
    requests: Vec<String>,
    /// Codes that the next requests are refused with; `None` = one that is not.
    refusals: Vec<Option<u16>>,
    /// Whether somebody else is always faster to write a status.
    status_refused: bool,
}

impl FakeApi {
    pub(crate) fn client(&self) -> Client {
        let state = self.state.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let state = state.clone();
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect_bytes().await.unwrap_or_default();
                let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                let (code, answer) = state.lock().unwrap().answer(&parts.method, parts.uri.path(), body);
                let response = Response::builder()
                    .status(code)
                    .header("content-type", "application/json");
                Ok::<_, Infallible>(response.body(Body::from(answer.to_string().into_bytes())).unwrap())
            }
        });
        Client::new(service, "kubermatic")
    }

    pub(crate) fn put(&self, path: &str, object: Value) {
        let mut state = self.state.lock().unwrap();
        let stored = state.store(path, object);
        assert!(stored["metadata"]["name"].is_string());
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state.lock().unwrap().objects.remove(path);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    pub(crate) fn refuse(&self, codes: &[u16]) {
        let refusals = codes.iter().copied().map(Some);
        self.state.lock().unwrap().refusals.extend(refusals);
    }

    /// The next request is answered, the one after it is refused.
    pub(crate) fn refuse_second(&self, code: u16) {
        self.state.lock().unwrap().refusals.extend([None, Some(code)]);
    }

    /// From now on, every write of a status loses a race, or none does.
    pub(crate) fn refuse_writes_of_status(&self, refused: bool) {
        self.state.lock().unwrap().status_refused = refused;
    }
}

impl State {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn answer(&mut self, method: &Method, path: &str, body: Value) -> (u16, Value) {
        self.requests.push(format!("{method} {path}"));
        if !self.refusals.is_empty()
            && let Some(code) = self.refusals.remove(0)
        {
            return failure(code);
        }
        let path = match path.strip_suffix("/status") {
            Some(_) if self.status_refused => return failure(409),
            Some(object) => object,
            None => path,
        };
        if method == Method::POST {
            let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
            return if self.objects.contains_key(&path) {
                failure(409)
            } else {
                (201, self.store(&path, body))
            };
        }
        let Some(existing) = self.objects.get(path).cloned() else {
            return failure(404);
        };
        let precondition = if method == Method::DELETE {
            &body["preconditions"]
        } else {
            &body["metadata"]
        };
        let lost = ["uid", "resourceVersion"].into_iter().any(|field| {
            let wanted = &precondition[field];
            !wanted.is_null() && *wanted != existing["metadata"][field]
        });
        if lost {
            return failure(409);
        }
        match *method {
            Method::DELETE => (200, self.objects.remove(path).unwrap()),
            Method::PUT => (200, self.store(path, body)),
            Method::PATCH => {
                let mut merged = existing;
                merge(&mut merged, &body);
                (200, self.store(path, merged))
            }
            _ => (200, existing),
        }
    }
}

/// A merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let fields = target.as_object_mut().unwrap();
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key).or_insert(Value::Null), change);
        }
    }
}

fn failure(code: u16) -> (u16, Value) {
    // The client tells a missing object by its reason, not by the code.
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "message": format!("refused with {code}"), "reason": reason,
    });
    (code, status)
}
