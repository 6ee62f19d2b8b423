//! What KKP's webhook refuses, as far as an upgrade meets it (KKP 2.31 source, pkg/webhook and pkg/validation). Reads only.

use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde_json::Value;

use crate::cluster_access::{call, open_seed};
use crate::objects::{clusters, configurations, field, text};
use crate::release::{Release, parse_version};
use crate::start::Process;

/// Nothing if the request may pass, else the reason for people.
pub(super) async fn validate(process: &Process, resource: &str, request: &Value) -> Result<(), String> {
    let object = |key: &str| {
        request
            .get(key)
            .and_then(|object| serde_json::from_value::<DynamicObject>(object.clone()).ok())
    };
    let (new, old) = (object("object"), object("oldObject"));
    match resource {
        "seeds" => match new.or(old) {
            Some(seed) => validate_seed(process, &seed).await,
            None => Ok(()),
        },
        "kubermaticconfigurations" => new.map_or(Ok(()), |configuration| validate_configuration(&configuration)),
        "clusters" => match new {
            Some(cluster) => validate_cluster(&process.release, &known_versions(process).await, old.as_ref(), &cluster),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Every change of a Seed, also of an annotation and also its deletion, connects to the seed and lists its user clusters: a
/// Seed whose kubeconfig is broken cannot be changed. The Community Edition wants the name `kubermatic`.
async fn validate_seed(process: &Process, seed: &DynamicObject) -> Result<(), String> {
    let name = seed.metadata.name.as_deref().unwrap_or_default();
    if !process.release.reconciles_seed(name) {
        return Err(format!(
            "cannot create Seed {name}: Seeds must be named 'kubermatic' in the Community Edition"
        ));
    }
    let failed = |error: crate::Error| format!("failed to get the client of Seed {name}: {error}");
    let access = open_seed(&process.client, seed).await.map_err(failed)?;
    let user_clusters: Api<DynamicObject> = clusters(&access.client);
    match call(
        "list the user clusters",
        user_clusters.list_metadata(&ListParams::default()),
    )
    .await
    {
        // A seed that is not initialised has no user clusters.
        Err(error) if !error.is_not_found() => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Versions must parse and the default must be one of them; numbers such as `maximumParallelReconciles` are not looked at.
fn validate_configuration(configuration: &DynamicObject) -> Result<(), String> {
    let versions = configured_versions(configuration);
    for version in &versions {
        parse_version(version).map_err(|error| format!("spec.versions.versions: {error}"))?;
    }
    match text(configuration, "/spec/versions/default") {
        Some(default) if !versions.is_empty() && !versions.iter().any(|version| version == default) => Err(format!(
            "spec.versions.default: {default} is not one of spec.versions.versions"
        )),
        _ => Ok(()),
    }
}

fn configured_versions(configuration: &DynamicObject) -> Vec<String> {
    let versions = field(configuration, "/spec/versions/versions").and_then(Value::as_array);
    versions
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|version| version.trim_start_matches('v').to_owned())
        .collect()
}

/// A configured list replaces the built-in one completely.
async fn known_versions(process: &Process) -> Vec<String> {
    let api = configurations(&process.client, &process.namespace);
    let list = call("list KubermaticConfigurations", api.list(&ListParams::default())).await;
    let configured = list
        .ok()
        .and_then(|list| list.items.first().map(configured_versions))
        .unwrap_or_default();
    if configured.is_empty() {
        process.release.kubernetes.versions.clone()
    } else {
        configured
    }
}

/// A network plug-in version that this release does not know makes every change of the Cluster fail; the Kubernetes version
/// counts when it is new.
fn validate_cluster(
    release: &Release,
    versions: &[String],
    old: Option<&DynamicObject>,
    cluster: &DynamicObject,
) -> Result<(), String> {
    if cluster.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let plugin = text(cluster, "/spec/cniPlugin/type").unwrap_or_default();
    let accepted = match plugin {
        "canal" => &release.network_plugins.canal[..],
        "cilium" => &release.network_plugins.cilium[..],
        _ => &[],
    };
    if let Some(version) = text(cluster, "/spec/cniPlugin/version")
        && !accepted.is_empty()
        && !accepted.iter().any(|known| known == version)
    {
        return Err(format!("spec.cniPlugin.version: {plugin} {version} is not supported"));
    }
    let wanted = text(cluster, "/spec/version");
    let is_new = old.is_none_or(|old| text(old, "/spec/version") != wanted);
    match wanted {
        Some(version) if is_new && !versions.iter().any(|known| known == version) => {
            Err(format!("spec.version: unsupported version {version}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::objects::{cluster_resource, configuration_resource};
    use crate::release::Edition;

    fn cluster(spec: &Value) -> DynamicObject {
        DynamicObject::new("abc", &cluster_resource()).data(json!({ "spec": spec }))
    }

    fn verdict(old: Option<&Value>, new: &Value) -> Result<(), String> {
        let release = Release::of("2.31.0", Edition::Community).unwrap();
        validate_cluster(
            &release,
            &release.kubernetes.versions,
            old.map(cluster).as_ref(),
            &cluster(new),
        )
    }

    #[test]
    fn an_unknown_network_plugin_version_blocks_every_change() {
        let cluster = json!({"version": "1.34.1", "cniPlugin": {"type": "canal", "version": "v3.8"}});
        assert!(verdict(Some(&cluster), &cluster).is_err());
        assert!(verdict(None, &json!({"cniPlugin": {"type": "cilium", "version": "1.19.4"}})).is_ok());
        assert!(verdict(None, &json!({"cniPlugin": {"type": "none", "version": ""}})).is_ok());
    }

    #[test]
    fn a_dropped_kubernetes_version_counts_only_when_it_is_new() {
        let old = json!({"version": "1.32.1"});
        assert!(verdict(Some(&old), &old).is_ok());
        assert!(verdict(None, &old).is_err());
        assert!(verdict(Some(&json!({"version": "1.33.0"})), &old).is_err());
    }

    #[test]
    fn negative_numbers_in_the_configuration_pass() {
        let configuration =
            |spec: Value| DynamicObject::new("kubermatic", &configuration_resource()).data(json!({ "spec": spec }));
        assert!(
            validate_configuration(&configuration(
                json!({"seedController": {"maximumParallelReconciles": -5}})
            ))
            .is_ok()
        );
        assert!(
            validate_configuration(&configuration(
                json!({"versions": {"versions": ["v1.34.1"], "default": "1.34.1"}})
            ))
            .is_ok()
        );
        assert!(validate_configuration(&configuration(json!({"versions": {"versions": ["latest"]}}))).is_err());
        assert!(
            validate_configuration(&configuration(
                json!({"versions": {"versions": ["1.34.1"], "default": "1.33.0"}})
            ))
            .is_err()
        );
    }
}
