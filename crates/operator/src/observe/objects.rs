//! Reads the objects that rules look at and shows each of them, page by page. Reading only.

use std::sync::Mutex;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kkp_upgrade_connection::Unmanaged;
use kkp_upgrade_core::rules::{ItemKind, Places};
use kube::api::{GetParams, ListParams};
use kube::core::{DynamicObject, Request};
use kube::{Api, Client, Resource as _};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::kinds::{Resource, Scope, resources};
use super::place::Place;
use super::survey::{NAME, OBJECTS};
use crate::call::{CallError, call};
use crate::lock;
use crate::permissions::{CHART_NAMESPACES, NAMESPACE};

/// Objects per page.
pub(super) const PAGE: u32 = 100;
/// Longest text of one object: etcd takes none over 1.5 MiB, and as a tree it takes many times that.
const OBJECT: usize = 2 << 20;
/// Lists of one cluster that are read at the same time: a hostile one fills an answer each.
const PARALLEL_LISTS: usize = 2;

/// Is shown an object.
pub(super) type Show<'a> = &'a (dyn Fn(&Value) + Send + Sync);

/// One page of any list.
#[derive(Deserialize)]
struct Page<'text> {
    #[serde(default)]
    metadata: PageMetadata,
    /// Where they stand in the text: only one object at a time becomes a tree. `None` = null, which is how Go may write that there
    /// are none; an answer without the field is no list.
    #[serde(borrow, deserialize_with = "Option::deserialize")]
    items: Option<Vec<&'text RawValue>>,
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

/// Reads all objects of these kinds on one cluster and shows them; what could not be read, the place has been told. Behind a
/// list that has no end nothing more is read of it: the next one would have none either.
pub(super) async fn read(client: &Client, place: &Mutex<Place>, kinds: &[ItemKind]) {
    let name = lock(place).name().to_owned();
    let jobs = kinds
        .iter()
        .flat_map(|kind| resources(*kind).into_iter().map(|resource| (*kind, resource)));
    let lists: Vec<BoxFuture<'_, ()>> = jobs
        .map(|(kind, resource)| {
            let name = &name;
            async move {
                let given_up = lock(place).given_up().map(str::to_owned);
                if let Some(why) = given_up {
                    return lock(place).unreadable(kind, &why);
                }
                let show = |object: &Value| lock(place).show(kind, object);
                let read = list(client, name, &resource, &show).await;
                let mut place = lock(place);
                match read {
                    Ok(()) => place.visited(kind),
                    Err(endless @ CallError::Endless { .. }) => place.give_up(kind, &endless.to_string()),
                    Err(why) => place.unreadable(kind, &why.to_string()),
                }
            }
            .boxed()
        })
        .collect();
    stream::iter(lists)
        .buffer_unordered(PARALLEL_LISTS)
        .collect::<()>()
        .await;
}

/// Shows every object of a resource. A resource that the cluster does not have holds nothing; one that it has in another
/// version could not be read.
async fn list(client: &Client, place: &str, resource: &Resource, show: Show<'_>) -> Result<(), CallError> {
    let what = format!("{} of {place}", resource.plural);
    let api_resource = resource.api_resource();
    let all = ListParams::default().limit(PAGE);
    let in_namespaces = |namespaces: Vec<&'static str>, parameters: &ListParams| {
        let each = namespaces.into_iter();
        each.map(|namespace| (Some(namespace), parameters.clone())).collect()
    };
    let lists: Vec<_> = match resource.scope {
        Scope::All => vec![(None, all)],
        Scope::Named(name) => vec![(None, all.fields(&format!("metadata.name={name}")))],
        Scope::Labelled(namespace, label) => vec![(Some(namespace), all.labels(label))],
        // A namespace that does not exist holds nothing.
        Scope::KkpNamespaces => in_namespaces(std::iter::once(NAMESPACE).chain(CHART_NAMESPACES).collect(), &all),
        Scope::SecretsOfType(secrets, namespaces) => {
            let namespaces = existing(client, namespaces).await?;
            in_namespaces(namespaces, &all.fields(&format!("type={secrets}")))
        }
    };
    for (namespace, parameters) in lists {
        let url = DynamicObject::url_path(&api_resource, namespace);
        match pages(client, &what, &url, parameters, show).await {
            Err(error) if error.is_not_found() => return missing(client, &what, resource).await,
            shown => shown?,
        }
    }
    Ok(())
}

/// Those of these namespaces that exist.
async fn existing(client: &Client, namespaces: &[&'static str]) -> Result<Vec<&'static str>, CallError> {
    let mut found = Vec::new();
    for namespace in namespaces {
        if exists(client, namespace).await? {
            found.push(*namespace);
        }
    }
    Ok(found)
}

/// Whether the cluster has the namespace.
pub(super) async fn exists(client: &Client, namespace: &str) -> Result<bool, CallError> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let found = call(format!("namespace {namespace}"), namespaces.get_metadata_opt(namespace)).await?;
    Ok(found.is_some())
}

/// Shows every object of a list, page by page, without its managed fields.
pub(super) async fn pages(
    client: &Client,
    what: &str,
    url: &str,
    mut parameters: ListParams,
    show: Show<'_>,
) -> Result<(), CallError> {
    let pages = OBJECTS.div_ceil(PAGE);
    for _ in 0..pages {
        let request = Request::new(url)
            .list(&parameters)
            .map_err(|_| CallError::unusable(what, "the request cannot be built"))?;
        let text = call(what, client.request_text(request)).await?;
        match show_page(what, &text, show)?.filter(|token| !token.is_empty()) {
            None => return Ok(()),
            Some(token) => parameters = parameters.continue_token(&token),
        }
    }
    Err(CallError::endless(what, pages))
}

/// Shows every object of a page and says where the next one begins.
fn show_page(what: &str, text: &str, show: Show<'_>) -> Result<Option<String>, CallError> {
    let unusable = |problem: &str| CallError::unusable(what, problem);
    let page: Page<'_> = serde_json::from_str(text).map_err(|error| CallError::Failed {
        what: what.to_owned(),
        source: Box::new(kube::Error::SerdeError(error)),
    })?;
    for text in page.items.unwrap_or_default() {
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
    Ok(page.metadata.next)
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
