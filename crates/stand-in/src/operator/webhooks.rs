//! KKP's admission webhook configurations, all `failurePolicy: Fail` (KKP 2.31.0, measured: 12 validating, 6 mutating).
//!
//! There is no Service in the test bed: the webhook process publishes the address that it listens on. Until then an address
//! stands here that refuses, as in the time when the real webhook's Pod is away.

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::Api;
use serde_json::{Value, json};

use crate::Error;
use crate::apply::Applier;
use crate::cluster_access::call;
use crate::objects::{MANAGED_BY_LABEL, VERSION_LABEL};
use crate::release::{Location, Release, Webhook, WebhookKind};

/// Nobody listens on the port of tcpmux.
const REFUSING: &str = "https://127.0.0.1:1";

/// Creates or updates the configurations of a location; a published address stays.
pub(super) async fn ensure(applier: &Applier, release: &Release, location: Location) -> Result<(), Error> {
    for webhook in release
        .webhooks
        .iter()
        .filter(|webhook| webhook.location.contains(&location))
    {
        let unusable = |error: serde_json::Error| Error::Refused(format!("webhook {}: {error}", webhook.name));
        if webhook.kinds.contains(&WebhookKind::Validating) {
            let api: Api<ValidatingWebhookConfiguration> = Api::all(applier.client.clone());
            let live = call(&format!("read webhook {}", webhook.name), api.get_opt(&webhook.name)).await?;
            let client = live
                .and_then(|live| live.webhooks)
                .and_then(|mut webhooks| webhooks.pop());
            let client = client.and_then(|webhook| serde_json::to_value(webhook.client_config).ok());
            let document = document(release, webhook, "validate", client);
            applier
                .cluster_wide::<ValidatingWebhookConfiguration>(&serde_json::from_value(document).map_err(unusable)?)
                .await?;
        }
        if webhook.kinds.contains(&WebhookKind::Mutating) {
            let api: Api<MutatingWebhookConfiguration> = Api::all(applier.client.clone());
            let live = call(&format!("read webhook {}", webhook.name), api.get_opt(&webhook.name)).await?;
            let client = live
                .and_then(|live| live.webhooks)
                .and_then(|mut webhooks| webhooks.pop());
            let client = client.and_then(|webhook| serde_json::to_value(webhook.client_config).ok());
            let document = document(release, webhook, "mutate", client);
            applier
                .cluster_wide::<MutatingWebhookConfiguration>(&serde_json::from_value(document).map_err(unusable)?)
                .await?;
        }
    }
    Ok(())
}

fn document(release: &Release, webhook: &Webhook, verb: &str, published: Option<Value>) -> Value {
    let resource = &webhook.resource;
    let client = published.unwrap_or_else(|| json!({ "url": format!("{REFUSING}/{verb}/{resource}") }));
    // Only Seeds are looked at before they are deleted (KKP 2.31 source, pkg/webhook/seed).
    let operations = if resource == "seeds" {
        json!(["CREATE", "UPDATE", "DELETE"])
    } else {
        json!(["CREATE", "UPDATE"])
    };
    json!({
        "metadata": {
            "name": webhook.name,
            "labels": { MANAGED_BY_LABEL: super::MANAGER, VERSION_LABEL: release.version },
        },
        "webhooks": [{
            "name": format!("{resource}.{}", webhook.group),
            "clientConfig": client,
            "rules": [{
                "apiGroups": [webhook.group], "apiVersions": ["*"], "operations": operations, "resources": [resource], "scope": "*",
            }],
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "matchPolicy": "Equivalent",
            "timeoutSeconds": if resource == "seeds" { 30 } else { 10 },
            "admissionReviewVersions": ["v1"],
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Edition;

    #[test]
    fn a_published_address_stays_and_everything_else_is_written_again() {
        let release = Release::of("2.31.0", Edition::Community).unwrap();
        let seeds = release
            .webhooks
            .iter()
            .find(|webhook| webhook.resource == "seeds")
            .unwrap();
        let published = json!({"url": "https://127.0.0.1:4711/validate/seeds", "caBundle": "eA=="});
        let first = document(&release, seeds, "validate", None);
        let again = document(&release, seeds, "validate", Some(published.clone()));
        assert_eq!(
            first.pointer("/webhooks/0/clientConfig/url"),
            Some(&json!("https://127.0.0.1:1/validate/seeds"))
        );
        assert_eq!(again.pointer("/webhooks/0/clientConfig"), Some(&published));
        assert_eq!(again.pointer("/webhooks/0/failurePolicy"), Some(&json!("Fail")));
        // Status subresources are not covered: controllers can report while the webhook is away.
        assert_eq!(again.pointer("/webhooks/0/rules/0/resources"), Some(&json!(["seeds"])));
    }
}
