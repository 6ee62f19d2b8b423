//! Writes the address of this process into KKP's webhook configurations, and again when somebody replaces them.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{ClusterResourceScope, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::serve::Address;
use crate::Error;
use crate::cluster_access::call;
use crate::follow::{notify_on_change, wait};
use crate::objects::MANAGED_BY_LABEL;
use crate::start::Process;

const SELECTOR: &str = "=kubermatic-operator";
const SAFETY_NET: Duration = Duration::from_secs(10);

/// Publishes for ever.
pub(super) async fn run(process: &Process, address: &Address) -> Result<(), Error> {
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(process.client.clone());
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(process.client.clone());
    let changed = Arc::new(Notify::new());
    let ours = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}{SELECTOR}"));
    let mut watches = JoinSet::new();
    let followed: Api<PartialObjectMeta<ValidatingWebhookConfiguration>> = Api::all(process.client.clone());
    watches.spawn(notify_on_change(followed, ours.clone(), Arc::clone(&changed)));
    let followed: Api<PartialObjectMeta<MutatingWebhookConfiguration>> = Api::all(process.client.clone());
    watches.spawn(notify_on_change(followed, ours, Arc::clone(&changed)));
    loop {
        let published = async {
            publish(&validating, address).await?;
            publish(&mutating, address).await
        };
        let next = match published.await {
            Ok(()) => SAFETY_NET,
            Err(error) => {
                tracing::warn!(%error, "the webhook's address is not published everywhere");
                Duration::from_secs(1)
            }
        };
        wait(&changed, next).await;
    }
}

async fn publish<K>(api: &Api<K>, address: &Address) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let selection = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}{SELECTOR}"));
    for configuration in call("list webhook configurations", api.list(&selection)).await?.items {
        let name = configuration.name_any();
        let document = serde_json::to_value(&configuration).unwrap_or_default();
        let Some(webhooks) = addressed(document.get("webhooks").unwrap_or(&Value::Null), address) else {
            continue;
        };
        let patch =
            json!({ "metadata": { "resourceVersion": configuration.resource_version() }, "webhooks": webhooks });
        call(
            &format!("publish in {name}"),
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)),
        )
        .await?;
    }
    Ok(())
}

/// The webhooks with our address in place of any other, paths kept; nothing if they have it.
fn addressed(webhooks: &Value, address: &Address) -> Option<Value> {
    let bundle = base64::engine::general_purpose::STANDARD.encode(&address.certificate);
    let mut changed = webhooks.clone();
    for webhook in changed.as_array_mut()? {
        let client = webhook.get_mut("clientConfig")?;
        let path = client
            .get("url")
            .and_then(Value::as_str)
            .and_then(|url| url.splitn(4, '/').nth(3))
            .unwrap_or_default();
        *client = json!({ "url": format!("{}/{path}", address.origin), "caBundle": bundle });
    }
    (changed != *webhooks).then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_replaced_and_the_path_stays() {
        let address = Address {
            origin: "https://127.0.0.1:4711".to_owned(),
            certificate: "x".to_owned(),
        };
        let before = json!([{"name": "a", "clientConfig": {"url": "https://127.0.0.1:1/validate/seeds"}}]);
        let after = addressed(&before, &address).unwrap();
        assert_eq!(
            after.pointer("/0/clientConfig/url"),
            Some(&json!("https://127.0.0.1:4711/validate/seeds"))
        );
        assert_eq!(after.pointer("/0/clientConfig/caBundle"), Some(&json!("eA==")));
        assert_eq!(addressed(&after, &address), None);
    }
}
