//! An API server in memory that answers reads, refuses those that its user may not make, and notes every request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use kkp_upgrade_connection::{Connector, read_only};
use kkp_upgrade_operator::seeds::SeedConnections;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// A client of a server that answers each method, path and body with a code and a text.
pub(super) fn answering(answer: impl Fn(&Method, &str, &[u8]) -> (u16, Vec<u8>) + Send + Sync + 'static) -> Client {
    let answer = Arc::new(answer);
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = Arc::clone(&answer);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let (code, text) = answer(&head.method, head.uri.path(), &body);
            Ok::<_, Infallible>(Response::builder().status(code).body(Body::from(text)).unwrap())
        }
    });
    Client::new(service, "kubermatic")
}

/// Objects by their path.
#[derive(Clone, Default)]
pub(super) struct FakeApi {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    requests: Vec<(Method, String)>,
    /// Resource and namespace (`*` = everywhere) that may not be read.
    forbidden: Vec<(&'static str, &'static str)>,
}

/// A path in its parts.
struct Place {
    group: String,
    namespace: Option<String>,
    resource: String,
    name: Option<String>,
}

impl FakeApi {
    pub(super) fn put(&self, path: &str, mut object: Value) {
        let (_, name) = path.rsplit_once('/').unwrap();
        object["metadata"]["name"] = name.into();
        object["metadata"]["resourceVersion"] = "1".into();
        if let Some(namespace) = place(path).namespace {
            object["metadata"]["namespace"] = namespace.into();
        }
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-{name}").into();
        }
        self.state.lock().unwrap().objects.insert(path.to_owned(), object);
    }

    pub(super) fn edit(&self, path: &str, edit: impl FnOnce(&mut Value)) {
        edit(self.state.lock().unwrap().objects.get_mut(path).unwrap());
    }

    pub(super) fn remove(&self, path: &str) {
        self.state.lock().unwrap().objects.remove(path).unwrap();
    }

    /// From now on the user may not read the resource in the namespace; `*` = everywhere.
    pub(super) fn forbid(&self, resource: &'static str, namespace: &'static str) {
        self.state.lock().unwrap().forbidden.push((resource, namespace));
    }

    /// Every request so far.
    pub(super) fn requests(&self) -> Vec<(Method, String)> {
        self.state.lock().unwrap().requests.clone()
    }

    fn raw(&self) -> Client {
        let state = self.state.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (code, answer) = state.lock().unwrap().answer(request.method(), request.uri());
            let response = Response::builder()
                .status(code)
                .header("content-type", "application/json")
                .body(Body::from(answer.to_string().into_bytes()));
            async { Ok::<_, Infallible>(response.unwrap()) }
        });
        Client::new(service, "default")
    }

    /// A client as the plugin makes it.
    pub(super) fn client(&self) -> Client {
        read_only(&self.raw())
    }

    /// Connections to seeds, which all lead here.
    pub(super) fn seeds(&self) -> SeedConnections {
        let api = self.clone();
        SeedConnections::new(Connector::around(move |_, _| api.client()))
    }
}

impl State {
    fn answer(&mut self, method: &Method, uri: &Uri) -> (u16, Value) {
        let path = uri.path();
        self.requests.push((method.clone(), path.to_owned()));
        if path == "/version" {
            return (
                200,
                json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0", "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}),
            );
        }
        let place = place(path);
        if self.may_not(&place) {
            return forbidden(&place);
        }
        match &place.name {
            Some(_) => match self.objects.get(path) {
                Some(object) => (200, object.clone()),
                None => failure(404, "NotFound", "it is not there"),
            },
            None => (200, self.list(&place, uri.query().unwrap_or_default())),
        }
    }

    fn may_not(&self, place: &Place) -> bool {
        let here = place.namespace.as_deref().unwrap_or("*");
        self.forbidden
            .iter()
            .any(|(resource, namespace)| *resource == place.resource && (*namespace == "*" || *namespace == here))
    }

    /// All objects of a resource, or the one that a field selector names.
    fn list(&self, wanted: &Place, query: &str) -> Value {
        let named = query
            .split_once("metadata.name%3D")
            .map(|(_, rest)| rest.split('&').next());
        let fits = |path: &str| {
            let place = place(path);
            place.group == wanted.group
                && place.resource == wanted.resource
                && (wanted.namespace.is_none() || place.namespace == wanted.namespace)
                && named.is_none_or(|named| place.name.as_deref() == named)
        };
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(path, _)| fits(path))
            .map(|(_, object)| object)
            .collect();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
    }
}

fn place(path: &str) -> Place {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => (String::new(), rest),
        ["apis", group, _, rest @ ..] => ((*group).to_owned(), rest),
        other => (String::new(), other),
    };
    let text = |text: &&str| Some((*text).to_owned());
    let (namespace, resource, name) = match rest {
        ["namespaces", namespace, resource, name] => (text(namespace), *resource, text(name)),
        ["namespaces", namespace, resource] => (text(namespace), *resource, None),
        [resource, name] => (None, *resource, text(name)),
        [resource] => (None, *resource, None),
        _ => (None, "", None),
    };
    Place {
        group,
        namespace,
        resource: resource.to_owned(),
        name,
    }
}

/// In the words of a real API server.
fn forbidden(place: &Place) -> (u16, Value) {
    let Place {
        group,
        namespace,
        resource,
        name,
    } = place;
    let verb = if name.is_some() { "get" } else { "list" };
    let named = name.as_ref().map_or_else(String::new, |name| format!(" \"{name}\""));
    let where_ = namespace.as_ref().map_or_else(
        || "at the cluster scope".to_owned(),
        |namespace| format!("in the namespace \"{namespace}\""),
    );
    let dotted = if group.is_empty() {
        resource.clone()
    } else {
        format!("{resource}.{group}")
    };
    let message = format!(
        "{dotted}{named} is forbidden: User \"jane\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {where_}"
    );
    failure(403, "Forbidden", &message)
}

fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": message});
    (code, status)
}
