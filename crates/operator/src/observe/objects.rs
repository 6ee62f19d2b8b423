//! Reads the objects that rules look at and shows each to the evaluation, page by page. Reading only.

use std::sync::{Mutex, PoisonError};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use kkp_upgrade_connection::Unmanaged;
use kkp_upgrade_core::rules::{Evaluation, ItemKind, Places};
use kube::api::{GetParams, ListParams};
use kube::core::{DynamicObject, Request};
use kube::{Client, Resource as _};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::kinds::{Resource, Scope, resources};
use super::survey::{NAME, OBJECTS};
use crate::call::{CallError, call};
use crate::permissions::{CHART_NAMESPACES, NAMESPACE};

/// Objects per page.
const PAGE: u32 = 100;
/// Longest text of one object: etcd takes none over 1.5 MiB, and as a tree it takes many times that.
const OBJECT: usize = 2 << 20;
/// Lists of one cluster that are read at the same time: a hostile one fills an answer each.
const PARALLEL_LISTS: usize = 2;

/// An evaluation that several readers feed.
pub(super) type Sink<'a> = Mutex<Evaluation<'a>>;

/// Shows an object to an evaluation.
pub(super) type Show<'a> = &'a (dyn Fn(&mut Evaluation<'_>, ItemKind, &Value) + Send + Sync);

/// One page of any list.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    /// As text: only one object at a time becomes a tree.
    #[serde(default)]
    items: Vec<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

/// Whether items of the kind are looked for on the master, or on a seed.
pub(super) const fn is_read_at(kind: ItemKind, master: bool) -> bool {
    match kind.places() {
        Places::Both => true,
        Places::Master => master,
        Places::Seeds => !master,
    }
}

/// Reads all objects of these kinds on one cluster; `show` gets each. False when something could not be read, which the
/// evaluation has been told.
pub(super) async fn read(client: &Client, place: &str, kinds: &[ItemKind], sink: &Sink<'_>, show: Show<'_>) -> bool {
    let jobs = kinds
        .iter()
        .flat_map(|kind| resources(*kind).into_iter().map(|resource| (*kind, resource)));
    let lists: Vec<BoxFuture<'_, bool>> = jobs
        .map(|(kind, resource)| {
            async move {
                let outcome = list(client, place, kind, &resource, sink, show).await;
                let mut evaluation = lock(sink);
                match &outcome {
                    Ok(()) => evaluation.visited(kind, place),
                    Err(why) => evaluation.unreadable(kind, place, &why.to_string()),
                }
                outcome.is_ok()
            }
            .boxed()
        })
        .collect();
    let mut lists = stream::iter(lists).buffer_unordered(PARALLEL_LISTS);
    let mut complete = true;
    while let Some(read) = lists.next().await {
        complete &= read;
    }
    complete
}

pub(super) fn lock<'sink, 'catalogue>(
    sink: &'sink Sink<'catalogue>,
) -> std::sync::MutexGuard<'sink, Evaluation<'catalogue>> {
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows every object of a resource. A resource that the cluster does not have holds nothing; one that it has in another
/// version could not be read.
async fn list(
    client: &Client,
    place: &str,
    kind: ItemKind,
    resource: &Resource,
    sink: &Sink<'_>,
    show: Show<'_>,
) -> Result<(), CallError> {
    let what = format!("{} of {place}", resource.plural);
    let api_resource = resource.api_resource();
    let all = ListParams::default().limit(PAGE);
    let in_namespace = |namespace: &'static str| (Some(namespace), all.clone());
    let lists = match resource.scope {
        Scope::All => vec![(None, all)],
        Scope::Named(name) => vec![(None, all.fields(&format!("metadata.name={name}")))],
        Scope::Labelled(namespace, label) => vec![(Some(namespace), all.labels(label))],
        // A namespace that does not exist holds nothing.
        Scope::KkpNamespaces => std::iter::once(NAMESPACE)
            .chain(CHART_NAMESPACES)
            .map(in_namespace)
            .collect(),
    };
    for (namespace, parameters) in lists {
        let url = DynamicObject::url_path(&api_resource, namespace);
        let shown = pages(client, &what, &url, parameters, &|object| {
            show(&mut lock(sink), kind, object);
        })
        .await;
        match shown {
            Err(error) if error.is_not_found() => return missing(client, &what, resource).await,
            shown => shown?,
        }
    }
    Ok(())
}

pub(super) async fn pages(
    client: &Client,
    what: &str,
    url: &str,
    mut parameters: ListParams,
    show: &(dyn Fn(&Value) + Send + Sync),
) -> Result<(), CallError> {
    let unusable = |problem: &str| CallError::unusable(what, problem);
    for _ in 0..OBJECTS.div_ceil(PAGE) {
        let request = Request::new(url)
            .list(&parameters)
            .map_err(|_| unusable("the request cannot be built"))?;
        let page = call(what, client.request::<Page>(request)).await?;
        for text in page.items {
            if text.get().len() > OBJECT {
                return Err(unusable("the answer holds an object that is too large"));
            }
            let Unmanaged(object) = serde_json::from_str(text.get())
                .map_err(|_| unusable("the answer holds an object that is nested too deeply, or is none"))?;
            let name = object.pointer("/metadata/name").and_then(Value::as_str).map(str::len);
            if name.is_none_or(|length| length > NAME) {
                return Err(unusable(
                    "the answer holds an object without a name that an object can have",
                ));
            }
            show(&object);
        }
        match page.metadata.next.filter(|token| !token.is_empty()) {
            None => return Ok(()),
            Some(token) => parameters = parameters.continue_token(&token),
        }
    }
    Err(unusable("the list has no end"))
}

/// Versions of an API group.
#[derive(Deserialize)]
struct Group {
    versions: Vec<GroupVersion>,
}

#[derive(Deserialize)]
struct GroupVersion {
    version: String,
}

/// Why a list was not found: the cluster has nothing of the kind, or it has it in a version that we do not read.
async fn missing(client: &Client, what: &str, resource: &Resource) -> Result<(), CallError> {
    let request = Request::new("/apis").get(resource.group, &GetParams::default());
    let request = request.map_err(|_| CallError::unusable(what, "the request cannot be built"))?;
    let group = match call(
        format!("API group {}", resource.group),
        client.request::<Group>(request),
    )
    .await
    {
        Err(error) if error.is_not_found() => return Ok(()),
        group => group?,
    };
    let served: Vec<&str> = group.versions.iter().map(|version| version.version.as_str()).collect();
    if served.contains(&resource.version) {
        return Ok(());
    }
    let problem = format!(
        "{} is served as {}, not as {}",
        resource.group,
        served.join(", "),
        resource.version
    );
    Err(CallError::unusable(what, problem))
}
