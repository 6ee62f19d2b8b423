//! What of the objects of a user cluster is worth a word: nodes, Pods, webhooks and aggregated APIs that do not work.
//! Reading only.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::super::survey::{each, list};
use crate::call::CallError;

/// Most names of a kind that findings get.
const SHOWN: usize = 10;
/// Objects per page.
const PAGE: u32 = 100;
/// Most Services of webhooks that are looked at.
const SERVICES: usize = 30;
/// A Pod that is Pending for longer waits for something that does not come.
const PENDING: SignedDuration = SignedDuration::from_mins(10);
/// The webhook that decides about everything else (gatekeeper 3, `charts/gatekeeper`); its sibling for labels of namespaces
/// fails closed by design.
const GATEKEEPER: &str = "validation.gatekeeper.sh";
/// Reasons that do not pass by themselves (Kubernetes `pkg/kubelet/images/types.go`, `pkg/kubelet/container/sync_result.go`).
const ERRORS: [&str; 8] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// The first ten of what `tell` says about the objects of a list, sorted.
pub(super) async fn gathered<K>(
    api: Api<K>,
    what: String,
    tell: impl Fn(&K) -> Option<String>,
) -> Result<Vec<String>, CallError>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut told = BTreeSet::new();
    each(api, what, ListParams::default().limit(PAGE), |object| {
        told.extend(tell(&object));
        if told.len() > SHOWN {
            told.pop_last();
        }
    })
    .await?;
    Ok(told.into_iter().collect())
}

/// A node that is not Ready.
pub(super) fn not_ready(node: &Node) -> Option<String> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    (!ready && node.metadata.deletion_timestamp.is_none()).then(|| node.name_any())
}

/// A Pod that waits because of an error, or for too long, with the reason.
pub(super) fn failing(pod: &Pod, now: Timestamp) -> Option<String> {
    let status = pod.status.as_ref()?;
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten();
    let mut waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    let error = waiting.find(|reason| ERRORS.contains(reason));
    let since = pod.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let late = status.phase.as_deref() == Some("Pending") && now.duration_since(since) > PENDING;
    let reason = error.or_else(|| late.then_some("Pending"))?;
    Some(format!("{} ({reason})", pod.name_any()))
}

/// An aggregated API that is not there.
pub(super) fn unavailable(service: &APIService) -> Option<String> {
    let conditions = service.status.as_ref().and_then(|status| status.conditions.as_ref());
    let available = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "Available")?;
    (available.status != "True").then(|| service.name_any())
}

/// Namespace and name of a Service.
type Place = (String, String);

/// Webhooks that can stop writes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Webhooks {
    /// Names of those that fail closed, by the Service behind them.
    pub(super) closed: BTreeMap<Place, BTreeSet<String>>,
    pub(super) gatekeeper_fails_closed: bool,
}

impl Webhooks {
    fn add(&mut self, name: &str, policy: Option<&str>, client: &WebhookClientConfig) {
        // Unset is Fail (admissionregistration.k8s.io/v1).
        if policy == Some("Ignore") {
            return;
        }
        self.gatekeeper_fails_closed |= name == GATEKEEPER;
        if let Some(service) = &client.service {
            let place = (service.namespace.clone(), service.name.clone());
            self.closed.entry(place).or_default().insert(name.to_owned());
        }
    }
}

/// All admission webhooks.
pub(super) async fn webhooks(client: &Client, place: &str) -> Result<Webhooks, CallError> {
    let mut webhooks = Webhooks::default();
    let validating = Api::<ValidatingWebhookConfiguration>::all(client.clone());
    let what = format!("validating webhooks of {place}");
    for one in list(validating, what, ListParams::default()).await? {
        for webhook in one.webhooks.iter().flatten() {
            webhooks.add(&webhook.name, webhook.failure_policy.as_deref(), &webhook.client_config);
        }
    }
    let mutating = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let what = format!("mutating webhooks of {place}");
    for one in list(mutating, what, ListParams::default()).await? {
        for webhook in one.webhooks.iter().flatten() {
            webhooks.add(&webhook.name, webhook.failure_policy.as_deref(), &webhook.client_config);
        }
    }
    Ok(webhooks)
}

/// Those of them that nobody answers: their Service has no ready endpoint.
pub(super) async fn dead_webhooks(
    client: &Client,
    what: String,
    closed: &BTreeMap<Place, BTreeSet<String>>,
) -> Result<Vec<String>, CallError> {
    if closed.len() > SERVICES {
        let problem = format!("more than {SERVICES} Services stand behind webhooks");
        return Err(CallError::unusable(what, problem));
    }
    let mut dead = BTreeSet::new();
    for ((namespace, service), names) in closed {
        let api = Api::<EndpointSlice>::namespaced(client.clone(), namespace);
        let parameters = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        let slices = list(api, what.clone(), parameters).await?;
        if !slices.iter().any(is_served) {
            dead.extend(
                names
                    .iter()
                    .map(|name| format!("{name} (Service {namespace}/{service})")),
            );
        }
    }
    Ok(dead.into_iter().take(SHOWN).collect())
}

/// Unset is ready (discovery.k8s.io/v1).
fn is_served(slice: &EndpointSlice) -> bool {
    let ready = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|conditions| conditions.ready) != Some(false)
    };
    slice.endpoints.iter().any(ready)
}
