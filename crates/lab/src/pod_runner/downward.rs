//! Fields of a Pod and resources of a container as text (downward API). Pure.

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

/// The value of a `fieldPath`; `None` if it is not supported.
pub(super) fn field(pod: &Pod, path: &str) -> Option<String> {
    let spec = pod.spec.as_ref();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.labels" => pod.labels(),
            "metadata.annotations" => pod.annotations(),
            _ => return None,
        };
        return Some(map.get(key).cloned().unwrap_or_default());
    }
    match path {
        "metadata.name" => Some(pod.name_any()),
        "metadata.namespace" => pod.namespace(),
        "metadata.uid" => pod.uid(),
        "metadata.labels" => Some(lines(pod.labels())),
        "metadata.annotations" => Some(lines(pod.annotations())),
        "spec.nodeName" => Some(spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default()),
        "spec.serviceAccountName" => Some(account(pod)),
        "status.podIP" | "status.podIPs" => Some(super::address::of_pod(&pod.uid().unwrap_or_default()).to_string()),
        "status.hostIP" | "status.hostIPs" => Some("127.0.0.1".to_owned()),
        _ => None,
    }
}

/// Name of the Pod's ServiceAccount.
pub(super) fn account(pod: &Pod) -> String {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.service_account_name.clone())
        .unwrap_or_else(|| "default".to_owned())
}

fn lines(map: &std::collections::BTreeMap<String, String>) -> String {
    map.iter()
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The value of a `resourceFieldRef`: a limit that is not set is what the node has (8 CPUs, 32 GiB), a request 0.
pub(super) fn resource(container: &Container, path: &str, divisor: Option<&Quantity>) -> String {
    let resources = container.resources.as_ref();
    let (kind, name) = path.split_once('.').unwrap_or((path, ""));
    let limit = resources.and_then(|resources| resources.limits.as_ref()?.get(name));
    let request = resources.and_then(|resources| resources.requests.as_ref()?.get(name));
    let wanted = if kind == "requests" { request.or(limit) } else { limit };
    let default = match (kind, name) {
        ("limits", "cpu") => "8",
        ("limits", "memory") => "32Gi",
        _ => "0",
    };
    let value = amount(wanted.map_or(default, |quantity| quantity.0.as_str())).unwrap_or(0);
    let divisor = divisor
        .and_then(|quantity| amount(&quantity.0))
        .filter(|amount| *amount > 0)
        .unwrap_or(1000);
    value.div_ceil(divisor).to_string()
}

/// A quantity in thousandths.
fn amount(text: &str) -> Option<u128> {
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u128 = match unit {
        "m" => 1,
        "" => 1000,
        "k" => 1000 * 1000,
        "M" => 1000 * 1000_u128.pow(2),
        "G" => 1000 * 1000_u128.pow(3),
        "T" => 1000 * 1000_u128.pow(4),
        "Ki" => 1000 * 1024,
        "Mi" => 1000 * 1024_u128.pow(2),
        "Gi" => 1000 * 1024_u128.pow(3),
        "Ti" => 1000 * 1024_u128.pow(4),
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Some(whole.parse::<u128>().ok()? * factor + fraction * factor / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_and_resources_are_text() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "labels": {"a/b": "1"}}}))
                .unwrap();
        assert_eq!(field(&pod, "metadata.name").as_deref(), Some("p"));
        assert_eq!(field(&pod, "metadata.labels['a/b']").as_deref(), Some("1"));
        assert_eq!(field(&pod, "metadata.labels").as_deref(), Some("a/b=\"1\""));
        assert_eq!(field(&pod, "spec.other"), None);
        let container: Container = serde_json::from_value(json!({
            "name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "1.5Gi"}, "requests": {"cpu": "100m"}},
        }))
        .unwrap();
        assert_eq!(resource(&container, "limits.cpu", None), "2");
        assert_eq!(
            resource(&container, "requests.cpu", Some(&Quantity("1m".to_owned()))),
            "100"
        );
        assert_eq!(
            resource(&container, "requests.memory", Some(&Quantity("1Mi".to_owned()))),
            "1536"
        );
    }
}
