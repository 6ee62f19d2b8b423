//! The Helm values that an installer run would get: read, merged, and told apart by a digest. Talks to the cluster, reading
//! only. Values hold secrets: no error, log or debug print may have any text of them.

use std::fmt;

use k8s_openapi::api::core::v1::Secret;
use kkp_upgrade_core::request::sha256;
use kkp_upgrade_kkp::helm::{ReleasePayload, decode, for_installer, newest_releases, operator_image, parse_yaml};
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::Value;

use crate::call::{CallError, call};

/// Release whose values are the platform's, where no Secret is named.
const RELEASE: &str = "kubermatic-operator";

/// Values as the installer gets them.
#[derive(Clone, PartialEq, Eq)]
pub struct EffectiveValues {
    /// The file for `--helm-values`. JSON, which is YAML in which no text can be taken for a number or a boolean.
    pub yaml: String,
    /// Digest of the values.
    pub digest: String,
    /// `kubermaticOperator.image.tag` as it was before the merge removed it.
    pub image_tag: Option<String>,
    /// `kubermaticOperator.image.repository` as it was before the merge wrote the running one.
    pub image_repository: Option<String>,
    /// Whether there were no values at all.
    pub empty: bool,
    /// `httpRoute.domain`.
    pub http_route_domain: Option<String>,
}

impl fmt::Debug for EffectiveValues {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EffectiveValues")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// Digest of merged values: over canonical JSON (RFC 8785), so that neither order nor spelling counts.
///
/// # Errors
/// When the values hold a number that JSON cannot express.
pub fn values_digest(values: &Value) -> Result<String, CallError> {
    serde_json_canonicalizer::to_vec(values)
        .map(|bytes| sha256(&bytes))
        .map_err(|_| {
            CallError::unusable(
                "make the digest of the Helm values",
                "a number cannot be written as JSON",
            )
        })
}

/// The values of a Secret (name, key), or else those of the live release `kubermatic-operator`, as the installer gets them:
/// with the running repository, without a pinned tag.
///
/// # Errors
/// When they cannot be read, or cannot be merged.
pub async fn effective_values(
    client: &Client,
    namespace: &str,
    values_secret: Option<(String, String)>,
    running_repository: &str,
) -> Result<EffectiveValues, CallError> {
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let (what, values) = match values_secret {
        Some((name, key)) => from_secret(&secrets, namespace, &name, &key).await?,
        None => from_release(&secrets, namespace).await?,
    };
    merge(&what, values, running_repository)
}

async fn from_secret(
    secrets: &Api<Secret>,
    namespace: &str,
    name: &str,
    key: &str,
) -> Result<(String, Value), CallError> {
    let what = format!("read the Helm values in Secret {namespace}/{name}");
    let secret = call(what.clone(), secrets.get(name)).await?;
    let Some(bytes) = secret.data.as_ref().and_then(|data| data.get(key)) else {
        return Err(CallError::unusable(what, format!("it has no key {key}: add it")));
    };
    let Ok(text) = std::str::from_utf8(&bytes.0) else {
        return Err(CallError::unusable(what, format!("key {key} is no text (UTF-8)")));
    };
    let values = parse_yaml(text).map_err(|error| CallError::unusable(what.clone(), error.to_string()))?;
    Ok((what, values))
}

async fn from_release(secrets: &Api<Secret>, namespace: &str) -> Result<(String, Value), CallError> {
    let what = format!("read the Helm values of release {namespace}/{RELEASE}");
    let selector = ListParams::default().labels(&format!("owner=helm,name={RELEASE}"));
    let list = call(what.clone(), secrets.list_metadata(&selector)).await?;
    let index = newest_releases(list.items.iter().map(|secret| &secret.metadata));
    if let Some(unreadable) = index.unreadable.first() {
        let problem = format!("Secret {} has no usable label {}", unreadable.secret, unreadable.label);
        return Err(CallError::unusable(what, problem));
    }
    let Some(release) = index.get(namespace, RELEASE) else {
        let problem = "there is no such release: name a Secret in spec.installer.helmValuesRef";
        return Err(CallError::unusable(what, problem));
    };
    let payload = payload(secrets, &what, &release.secret).await?;
    Ok((what, payload.user_values))
}

/// What a release Secret holds.
///
/// # Errors
/// When it cannot be read, or its payload cannot be decoded.
pub(crate) async fn payload(secrets: &Api<Secret>, what: &str, secret: &str) -> Result<ReleasePayload, CallError> {
    let found = call(what, secrets.get(secret)).await?;
    let bytes = found
        .data
        .as_ref()
        .and_then(|data| data.get("release"))
        .map(|bytes| bytes.0.as_slice());
    decode(secret, bytes).map_err(|error| CallError::unusable(what, error.to_string()))
}

/// Version of the chart of one revision of a release, without the `v` that charts up to KKP 2.25 have.
///
/// # Errors
/// When the release cannot be read.
pub async fn chart_version(client: &Client, namespace: &str, name: &str, revision: i64) -> Result<String, CallError> {
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let what = format!("read revision {revision} of release {namespace}/{name}");
    let payload = payload(&secrets, &what, &format!("sh.helm.release.v1.{name}.v{revision}")).await?;
    Ok(payload.chart_version.trim_start_matches('v').to_owned())
}

/// Merges, and tells what the rules want to know.
fn merge(what: &str, values: Value, running_repository: &str) -> Result<EffectiveValues, CallError> {
    let unusable = |error: String| CallError::unusable(what, error);
    // A release that was installed without any values has null.
    let values = if values.is_null() {
        Value::Object(serde_json::Map::new())
    } else {
        values
    };
    let empty = values.as_object().is_some_and(serde_json::Map::is_empty);
    let image = operator_image(&values).map_err(|error| unusable(error.to_string()))?;
    let domain = values
        .pointer("/httpRoute/domain")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let merged = for_installer(values, running_repository).map_err(|error| unusable(error.to_string()))?;
    let yaml =
        serde_json::to_string_pretty(&merged).map_err(|_| unusable("they cannot be written as JSON".to_owned()))?;
    Ok(EffectiveValues {
        yaml: yaml + "\n",
        digest: values_digest(&merged)?,
        image_tag: image.tag,
        image_repository: image.repository,
        empty,
        http_route_domain: domain,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_repository_is_kept_the_tag_goes_and_the_digest_is_of_what_is_run() {
        let pinned =
            json!({"kubermaticOperator": {"image": {"tag": "v2.30.6"}}, "httpRoute": {"domain": "kkp.example.test"}});
        let values = merge("read", pinned, "mirror/kubermatic-ee").unwrap();
        assert_eq!(values.image_tag.as_deref(), Some("v2.30.6"));
        assert_eq!(values.http_route_domain.as_deref(), Some("kkp.example.test"));
        let written = parse_yaml(&values.yaml).unwrap();
        assert_eq!(
            written["kubermaticOperator"],
            json!({"image": {"repository": "mirror/kubermatic-ee"}})
        );
        assert_eq!(values_digest(&written).unwrap(), values.digest);
        let other = merge("read", written, "mirror/kubermatic").unwrap();
        assert_ne!(other.digest, values.digest);
    }

    #[test]
    fn order_and_spelling_do_not_count() {
        let digest = |text: &str| merge("read", parse_yaml(text).unwrap(), "a/b").unwrap().digest;
        assert_eq!(
            digest("x: 'no'\ny: {a: 1, b: yes}\n"),
            digest("y:\n  b: true\n  a: 1\nx: \"no\"\n")
        );
        assert_ne!(digest("x: 'no'\n"), digest("x: no\n"));
        assert_eq!(merge("read", Value::Null, "a/b").unwrap().digest, digest(""));
    }

    #[test]
    fn neither_errors_nor_debug_prints_have_values() {
        let error = merge("read", json!({"kubermaticOperator": "geheim"}), "a/b").unwrap_err();
        assert!(!error.to_string().contains("geheim"), "{error}");
        let values = merge("read", json!({"password": "geheim"}), "a/b").unwrap();
        assert!(!format!("{values:?}").contains("geheim"));
    }
}
