//! Helm releases of KKP's charts: their state from the labels of their Secrets, and for rules that look into them what they
//! were installed with. Reading only.

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kkp_upgrade_core::rules::{Documents, Facts as _, Field, ItemKind, MASTER, Object, ReleaseFacts};
use kkp_upgrade_kkp::helm::{Release, ReleasePayload, newest_releases};
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::objects;
use crate::call::{CallError, call};
use crate::execute::values::payload;
use crate::permissions::{CHART_NAMESPACES, MASTER_STACK_NAMESPACES, NAMESPACE};

/// Release Secrets that are read at the same time.
const PARALLEL: usize = 4;
/// Releases that the master stack upgrades with the values of the run (KKP installer, stack `kubermatic-master`).
const MASTER_STACK: [&str; 7] = [
    "kubermatic-operator",
    "cert-manager",
    "nginx-ingress-controller",
    "envoy-gateway-controller",
    "oauth",
    "dex",
    "telemetry",
];
/// Most keys that are named.
const DRIFT: usize = 10;

/// Newest revision of each release in the chart namespaces that exist, and the namespaces that could not be read.
pub(super) async fn read(client: &Client) -> (Vec<Release>, Vec<(String, String)>) {
    let (mut releases, mut unreadable) = (Vec::new(), Vec::new());
    for namespace in MASTER_STACK_NAMESPACES {
        match in_namespace(client, namespace).await {
            Ok(found) => releases.extend(found),
            Err(error) => unreadable.push((namespace.to_owned(), error.to_string())),
        }
    }
    (releases, unreadable)
}

async fn in_namespace(client: &Client, namespace: &str) -> Result<Vec<Release>, CallError> {
    if !objects::exists(client, namespace).await? {
        return Ok(Vec::new());
    }
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let selector = ListParams::default().labels("owner=helm");
    let list = call(
        format!("Helm releases in {namespace}"),
        secrets.list_metadata(&selector),
    )
    .await?;
    let index = newest_releases(list.items.iter().map(|secret| &secret.metadata));
    match index.unreadable.first() {
        // The Secret may be the newest revision: an older one that is `deployed` proves nothing then.
        Some(bad) => Err(CallError::unusable(
            format!("Helm release Secret {namespace}/{}", bad.secret),
            format!("label `{}` is missing or malformed", bad.label),
        )),
        None => Ok(index.releases),
    }
}

/// A release with what it was installed with.
pub(super) struct Installed {
    release: Release,
    /// Name, version and application version of the chart, as rules see them.
    metadata: Result<Value, String>,
    values: Result<Value, String>,
}

impl Installed {
    /// The release as rules see it.
    pub(super) fn object<'a>(&'a self, place: &'a str, wanted: &Result<Value, String>) -> Object<'a> {
        let facts = ReleaseFacts {
            status: self.release.status.to_string().into(),
            revision: i64::try_from(self.release.revision).unwrap_or(i64::MAX).into(),
            values_drift: Field::from_result(self.drift(place, wanted)),
        };
        let document = |document: &'a Result<Value, String>| document.as_ref().map_err(Clone::clone);
        Object {
            kind: ItemKind::Release,
            place,
            namespace: Some(&self.release.namespace),
            name: &self.release.name,
            deleting: false,
            created: None,
            documents: Documents::from([
                ("values", document(&self.values)),
                ("metadata", document(&self.metadata)),
            ]),
            computed: facts.item(),
        }
    }
}

impl Installed {
    /// Keys that the release was installed with and that the values for the installer lack or have otherwise.
    fn drift(&self, place: &str, wanted: &Result<Value, String>) -> Result<Vec<String>, String> {
        if place != MASTER || !MASTER_STACK.contains(&self.release.name.as_str()) {
            return Ok(Vec::new());
        }
        let installed = self.values.as_ref().map_err(Clone::clone)?;
        let wanted = wanted.as_ref().map_err(Clone::clone)?;
        let mut drift = Vec::new();
        for (key, value) in installed.as_object().into_iter().flatten() {
            match (value, wanted.get(key)) {
                (value, Some(other)) if value == other => {}
                (Value::Object(inner), Some(Value::Object(others))) => drift.extend(
                    inner
                        .iter()
                        .filter(|(name, value)| others.get(*name) != Some(value))
                        .map(|(name, _)| format!("{key}.{name}")),
                ),
                _ => drift.push(key.clone()),
            }
        }
        // The run writes these two by itself.
        drift.retain(|key| key != "kubermaticOperator.image" && key != "kubermaticOperator.imagePullSecret");
        drift.sort();
        drift.truncate(DRIFT);
        Ok(drift)
    }
}

/// Newest revision of each release of KKP's charts, on the master or on a seed.
pub(super) async fn read_everywhere(
    client: &Client,
    place: &str,
    with_payload: bool,
) -> (Vec<Installed>, Vec<(String, String)>) {
    let (mut releases, mut unreadable) = (Vec::new(), Vec::new());
    // `s3-exporter` lives in kube-system; the master's kube-system is not ours to read.
    let more = (place != MASTER).then_some("kube-system");
    let namespaces = std::iter::once(NAMESPACE).chain(CHART_NAMESPACES).chain(more);
    let lists: Vec<BoxFuture<'_, _>> = namespaces
        .map(|namespace| async move { (namespace, in_namespace(client, namespace).await) }.boxed())
        .collect();
    let mut reading = stream::iter(lists).buffered(PARALLEL);
    while let Some((namespace, found)) = reading.next().await {
        match found {
            Ok(found) => releases.extend(found),
            Err(error) => unreadable.push((namespace.to_owned(), error.to_string())),
        }
    }
    let installed: Vec<BoxFuture<'_, _>> = releases
        .into_iter()
        .map(|release| install_facts(client, release, with_payload).boxed())
        .collect();
    (stream::iter(installed).buffered(PARALLEL).collect().await, unreadable)
}

async fn install_facts(client: &Client, release: Release, with_payload: bool) -> Installed {
    let what = format!("Helm release {}/{}", release.namespace, release.name);
    let payload = if with_payload {
        let secrets = Api::<Secret>::namespaced(client.clone(), &release.namespace);
        payload(&secrets, &what, &release.secret)
            .await
            .map_err(|error| error.to_string())
    } else {
        Err("no rule looks into it".to_owned())
    };
    let metadata = |payload: &ReleasePayload| {
        json!({
            "name": payload.chart_name,
            "version": payload.chart_version.trim_start_matches('v'),
            "appVersion": payload.app_version,
        })
    };
    Installed {
        release,
        metadata: payload.as_ref().map(metadata).map_err(Clone::clone),
        values: payload.map(|payload| payload.user_values),
    }
}
