//! The objects of a release: written into `manifest` as YAML documents, applied and deleted from it.

use crate::installer::field::field;
use anyhow::Context;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use serde_json::Value;

use crate::installer::access::within;

/// Writes objects as Helm keeps them.
pub(super) fn render(chart: &str, objects: &[Value]) -> anyhow::Result<String> {
    let mut text = String::new();
    for object in objects {
        let kind = field(object, "/kind").as_str().unwrap_or_default().to_lowercase();
        text.push_str(&["---\n# Source: ", chart, "/templates/", &kind, ".yaml\n"].concat());
        text.push_str(&serde_saphyr::to_string(object)?);
    }
    Ok(text)
}

/// Reads them back.
pub(super) fn parse(manifest: &str) -> anyhow::Result<Vec<Value>> {
    manifest
        .split("---\n")
        .filter(|document| document.lines().any(|line| !line.is_empty() && !line.starts_with('#')))
        .map(|document| serde_saphyr::from_str(document).context("manifest of the release is not YAML"))
        .collect()
}

fn api(client: &kube::Client, object: &Value) -> anyhow::Result<(Api<DynamicObject>, String)> {
    let kind = field(object, "/kind").as_str().context("object without kind")?;
    let version = field(object, "/apiVersion")
        .as_str()
        .context("object without apiVersion")?;
    let types = TypeMeta {
        api_version: version.to_owned(),
        kind: kind.to_owned(),
    };
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types)?);
    let name = field(object, "/metadata/name")
        .as_str()
        .context("object without name")?
        .to_owned();
    let api = match field(object, "/metadata/namespace").as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    Ok((api, name))
}

/// Creates or changes one object, as field manager `helm`.
pub(super) async fn apply(client: &kube::Client, object: &Value) -> anyhow::Result<()> {
    let (api, name) = api(client, object)?;
    let parameters = PatchParams::apply("helm").force();
    within(
        &format!("apply {name}"),
        api.patch(&name, &parameters, &Patch::Apply(object)),
    )
    .await?;
    Ok(())
}

/// Deletes one object, unless its annotation tells Helm to keep it. One that is not there is no error.
pub(super) async fn delete(client: &kube::Client, object: &Value) -> anyhow::Result<()> {
    if field(object, "/metadata/annotations/helm.sh~1resource-policy") == "keep" {
        return Ok(());
    }
    let (api, name) = api(client, object)?;
    match within(
        &format!("delete {name}"),
        api.delete(&name, &DeleteParams::background()),
    )
    .await
    {
        Err(error) if !crate::installer::access::is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_survive_the_manifest() {
        let objects = [
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "namespace": "n"}}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "b", "labels": {"v": "1"}}}),
        ];
        let text = render("chart", &objects).unwrap();
        assert!(text.contains("# Source: chart/templates/deployment.yaml"), "{text}");
        assert_eq!(parse(&text).unwrap(), objects);
        assert!(parse("").unwrap().is_empty());
    }
}
