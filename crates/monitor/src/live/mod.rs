//! A live platform as a stream of events: lists and watches of the master. Only get, list and watch, each with a deadline;
//! never a write. Of Secrets only metadata is asked for.
//!
//! A watch does not tell who wrote, so only what objects tell by themselves can be judged. After a gap nothing is compared
//! with what was known before it.

mod source;

use std::time::Duration;

use futures::future::join_all;
use kube::Client;
use kube::api::DynamicObject;
use kube::core::PartialObjectMeta;
use tokio::sync::mpsc;

use crate::event::Event;
use crate::names;
use source::Source;

/// Longest that the server may be silent in a list.
const LIST: Duration = Duration::from_secs(20);
/// How long a watch lasts before it is opened again, in seconds.
const WATCH_SECONDS: u32 = 60;
/// Longest that a watch may be silent: its own time and the way.
const SILENCE: Duration = Duration::from_secs(90);
/// Waiting time after a failed list or watch.
const RETRY: Duration = Duration::from_secs(5);

/// What a live platform tells.
#[derive(Debug)]
pub enum News {
    /// Something happened.
    Event(Event),
    /// Something cannot be read, and is not judged until it can be.
    Unreadable {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
}

/// What is read of the master.
fn sources(
    client: &Client,
    namespace: &str,
) -> (
    Vec<Source<DynamicObject>>,
    Vec<Source<PartialObjectMeta<DynamicObject>>>,
) {
    let place = |group, version, kind, plural| (group, version, kind, plural);
    let whole = [
        place(names::GROUP, "v1alpha1", "KKPUpgrade", "kkpupgrades"),
        place(
            names::KKP_GROUP,
            "v1",
            "KubermaticConfiguration",
            "kubermaticconfigurations",
        ),
        place(names::KKP_GROUP, "v1", "Seed", "seeds"),
        place("coordination.k8s.io", "v1", "Lease", "leases"),
        place("apps", "v1", "Deployment", "deployments"),
    ];
    let mut objects: Vec<_> = whole
        .into_iter()
        .map(|kind| Source::new(client, kind, Some(namespace)))
        .collect();
    let jobs = Source::new(client, place("batch", "v1", "Job", "jobs"), Some(namespace));
    objects.push(jobs.labelled(names::UPGRADE_LABEL));
    let maps = Source::new(client, place("", "v1", "ConfigMap", "configmaps"), Some(namespace));
    let definition = place(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    );
    let mut metadata = vec![
        maps.labelled(names::UPGRADE_LABEL),
        Source::new(client, definition, None).named(names::CLUSTER_CRD),
    ];
    metadata.extend(names::RELEASE_NAMESPACES.into_iter().map(|place_of| {
        Source::new(client, place("", "v1", "Secret", "secrets"), Some(place_of)).labelled("owner=helm")
    }));
    (objects, metadata)
}

/// Everything as it is now; what could not be read is told as well.
pub async fn list(client: &Client, namespace: &str) -> Vec<News> {
    let (objects, metadata) = sources(client, namespace);
    let mut news: Vec<News> = Vec::new();
    for told in join_all(objects.iter().map(Source::list_once)).await {
        news.extend(told);
    }
    for told in join_all(metadata.iter().map(Source::list_once)).await {
        news.extend(told);
    }
    // Upgrades last: what is said of them is judged by everything else.
    news.sort_by_key(|news| matches!(news, News::Event(event) if event.is_of_upgrade()));
    news
}

/// Everything as it changes, until the receiver is dropped.
#[must_use]
pub fn watch(client: &Client, namespace: &str) -> mpsc::Receiver<News> {
    let (tell, told) = mpsc::channel(1024);
    let (objects, metadata) = sources(client, namespace);
    for source in objects {
        tokio::spawn(source.follow(tell.clone()));
    }
    for source in metadata {
        tokio::spawn(source.follow(tell.clone()));
    }
    told
}
