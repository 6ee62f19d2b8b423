//! Objects that carry notes of fixes: what was written, what stands there now, and what it has still to come to. Reading only.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use kkp_upgrade_core::fix::{FIX_ANNOTATION, FixMark, FixTarget, MarkedObject, SeenObject, shown};
use kkp_upgrade_core::rules::ItemKind;
use kkp_upgrade_core::status::Status;
use kkp_upgrade_kkp::evidence;
use kkp_upgrade_kkp::types::{Cluster, KubermaticConfiguration, Seed};
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject};
use kube::{Client, Resource as _};
use serde::Deserialize as _;
use serde_json::Value;

use super::configuration::Found;
use super::kinds::resources;
use super::objects::pages;
use super::observer::Observer;
use crate::call::CallError;
use crate::lock;

/// Objects per page.
const PAGE: u32 = 100;

/// All of them, on the master and on every seed. A seed that cannot be read makes the whole unknown where status says that
/// something was changed there: nobody may say that it has arrived or is put back.
pub(super) async fn read(
    observer: &Observer<'_>,
    found: &Found,
    status: &Status,
) -> Result<Vec<MarkedObject>, CallError> {
    let namespace = Some(found.namespace.as_str());
    let master = &observer.client;
    let configuration = ApiResource::erase::<KubermaticConfiguration>(&());
    let platform = |_: &str| "platform".to_owned();
    let mut all = list(master, (&configuration, namespace), ItemKind::Platform, &platform).await?;
    let seeds = ApiResource::erase::<Seed>(&());
    all.extend(list(master, (&seeds, namespace), ItemKind::Seed, &str::to_owned).await?);
    for template in resources(ItemKind::Template) {
        let of_master = |name: &str| format!("master/{name}");
        all.extend(list(master, (&template.api_resource(), None), ItemKind::Template, &of_master).await?);
    }
    let before: BTreeSet<&str> = status.unhealthy_before.iter().map(String::as_str).collect();
    for (seed, client) in seed_clients(observer, found, status).await? {
        match clusters(&client, &seed, &before).await {
            Ok(marked) => all.extend(marked),
            Err(error) if is_clean(status, &seed) => tracing::debug!(seed, %error, "not asked for notes of fixes"),
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Whether status knows of nothing that was changed on a seed. A list that was cut may have left something out.
fn is_clean(status: &Status, seed: &str) -> bool {
    let there = |object: &str| object.starts_with(&format!("cluster {seed}/"));
    let cut = |rule: &Option<String>| rule.as_ref().is_some_and(String::is_empty);
    let changes = &status.changes;
    !status.fixing.iter().any(|object| there(object))
        && changes
            .iter()
            .all(|change| !there(&change.object) && !cut(&change.rule))
}

/// Clients of all seeds that the running edition reconciles, but those that do not answer and on which nothing was changed.
async fn seed_clients(
    observer: &Observer<'_>,
    found: &Found,
    status: &Status,
) -> Result<Vec<(String, Client)>, CallError> {
    let mut known = observer.seeds.known().await;
    let edition = found.configuration.status.kubermatic_edition.text();
    let resource = ApiResource::erase::<Seed>(&());
    let url = DynamicObject::url_path(&resource, Some(found.namespace.as_str()));
    let names = Mutex::new(Vec::new());
    let show = |object: &Value| {
        let name = object
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if evidence::is_reconciled_by(edition, name) {
            lock(&names).push(name.to_owned());
        }
    };
    pages(
        observer.client,
        "list of Seeds",
        &url,
        ListParams::default().limit(PAGE),
        &show,
    )
    .await?;
    let names = names.into_inner().unwrap_or_else(PoisonError::into_inner);
    let client = |name: String| match known.remove(&name) {
        Some(connection) => Some(Ok((name, connection.client))),
        None if is_clean(status, &name) => None,
        None => Some(Err(CallError::unusable(format!("seed {name}"), "is not connected"))),
    };
    names.into_iter().filter_map(client).collect()
}

/// Marked user clusters of one seed.
async fn clusters(client: &Client, seed: &str, before: &BTreeSet<&str>) -> Result<Vec<MarkedObject>, CallError> {
    let found = Mutex::new(Vec::new());
    let show = |object: &Value| {
        let named = |name: &str| format!("{seed}/{name}");
        if let Some(mut marked) = marked(object, ItemKind::Cluster, &named) {
            let any_health = before.contains(marked.target.name.as_str());
            marked.waiting = waiting(object, &marked.seen, any_health);
            lock(&found).push(marked);
        }
    };
    let url = DynamicObject::url_path(&ApiResource::erase::<Cluster>(&()), None);
    let what = format!("Clusters of seed {seed}");
    pages(client, &what, &url, ListParams::default().limit(PAGE), &show).await?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

async fn list(
    client: &Client,
    (resource, namespace): (&ApiResource, Option<&str>),
    kind: ItemKind,
    named: &(dyn Fn(&str) -> String + Send + Sync),
) -> Result<Vec<MarkedObject>, CallError> {
    let found = Mutex::new(Vec::new());
    let show = |object: &Value| {
        let marked = marked(object, kind, named);
        lock(&found).extend(marked);
    };
    let url = DynamicObject::url_path(resource, namespace);
    let what = format!("{} of the master", resource.plural);
    pages(client, &what, &url, ListParams::default().limit(PAGE), &show).await?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The object, where a note of ours stands on it.
fn marked(object: &Value, kind: ItemKind, named: &dyn Fn(&str) -> String) -> Option<MarkedObject> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str)?;
    object.pointer("/metadata/annotations")?.get(FIX_ANNOTATION)?;
    Some(MarkedObject {
        target: FixTarget {
            kind,
            name: named(name),
        },
        seen: SeenObject::read(object, []),
        waiting: None,
    })
}

/// What a user cluster has still to come to after a fix has set it in motion. One that cannot be read waits, too.
fn waiting(object: &Value, seen: &SeenObject, any_health: bool) -> Option<String> {
    let moves = |mark: &&FixMark| mark.throttled && seen.values.get(&mark.path) == Some(&mark.applied);
    let mark = seen.marks.value()?.iter().find(moves)?;
    let Ok(cluster) = Cluster::deserialize(object) else {
        return Some("the Cluster cannot be read".to_owned());
    };
    evidence::control_plane_missing(&cluster, &shown(mark.applied.as_ref()), any_health)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cluster(running: &str, note: &str) -> Value {
        let up = "HealthStatusUp";
        json!({
            "metadata": {"name": "x", "resourceVersion": "9", "annotations": {FIX_ANNOTATION: note}},
            "spec": {"version": "1.33.0"},
            "status": {
                "versions": {"controlPlane": running, "apiserver": running},
                "conditions": {"SeedResourcesUpToDate": {"status": "True"}},
                "extendedHealth": {"etcd": up, "controller": up, "apiserver": up, "scheduler": up,
                    "cloudProviderInfrastructure": up, "userClusterControllerManager": up, "machineController": up},
            },
        })
    }

    fn note(path: &str, throttled: bool) -> String {
        json!([{"owner": "u", "rule": "r", "path": path, "original": "1.32.13", "applied": "1.33.0",
            "temporary": false, "throttled": throttled}])
        .to_string()
    }

    fn waits(object: &Value) -> Option<String> {
        let found = marked(object, ItemKind::Cluster, &|name| format!("eu/{name}")).unwrap();
        assert_eq!(
            (found.target.name.as_str(), found.seen.resource_version.as_str()),
            ("eu/x", "9")
        );
        waiting(object, &found.seen, false)
    }

    #[test]
    fn a_moved_cluster_is_waited_for_until_its_control_plane_is_there() {
        let note = note(".spec.version", true);
        assert!(waits(&cluster("1.32.13", &note)).unwrap().contains("1.32.13"));
        assert_eq!(waits(&cluster("1.33.0", &note)), None);
    }

    #[test]
    fn what_was_set_in_motion_by_nobody_is_not_waited_for() {
        assert_eq!(waits(&cluster("1.32.13", &note(".spec.version", false))), None);
        assert_eq!(waits(&cluster("1.32.13", "not ours")), None);
        let mut other = cluster("1.32.13", &note(".spec.version", true));
        other["spec"]["version"] = json!("1.34.1");
        assert_eq!(waits(&other), None);
    }

    #[test]
    fn a_seed_is_clean_when_nothing_was_changed_there() {
        use kkp_upgrade_core::status::Change;
        let change = |object: &str, rule: &str, permanent: bool| Status {
            changes: vec![Change {
                object: object.to_owned(),
                rule: Some(rule.to_owned()),
                permanent,
                ..Change::default()
            }],
            ..Status::default()
        };
        assert!(is_clean(&Status::default(), "eu"));
        assert!(!is_clean(&change("cluster eu/x", "cluster-paused", false), "eu"));
        assert!(is_clean(&change("cluster eu/x", "cluster-paused", false), "us"));
        assert!(!is_clean(
            &change("cluster eu/x", "cluster-version-unsupported", true),
            "eu"
        ));
        assert!(!is_clean(&change("3 more", "", true), "eu"), "the list was cut");
        let moving = Status {
            fixing: vec!["cluster eu/x".to_owned()],
            ..Status::default()
        };
        assert!(!is_clean(&moving, "eu") && is_clean(&moving, "us"));
    }

    /// An older state would not show the ones that were just set in motion, and more than the limit would follow.
    #[tokio::test]
    async fn clusters_on_their_way_are_counted_from_the_newest_state() {
        let body = json!({"metadata": {}, "items": [cluster("1.32.13", &note(".spec.version", true))]}).to_string();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let query = request.uri().query().unwrap_or_default();
            assert!(!query.contains("resourceVersion"), "any state will do: {query}");
            let answer = http::Response::new(kube::client::Body::from(body.clone().into_bytes()));
            async move { Ok::<_, std::convert::Infallible>(answer) }
        });
        let found = clusters(&Client::new(service, "kubermatic"), "eu", &BTreeSet::new()).await;
        let waiting: Vec<bool> = found.unwrap().iter().map(|cluster| cluster.waiting.is_some()).collect();
        assert_eq!(waiting, [true]);
    }

    #[test]
    fn objects_without_a_note_are_left_out() {
        let plain = json!({"metadata": {"name": "x", "annotations": {"a": "b"}}});
        assert!(marked(&plain, ItemKind::Seed, &str::to_owned).is_none());
    }
}
