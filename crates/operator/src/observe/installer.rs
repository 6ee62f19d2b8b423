//! How the installer would be run: image, flags, values. Reading only.

use k8s_openapi::api::apps::v1::Deployment;
use kkp_upgrade_core::facts::InstallerFacts;
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::version::KkpVersion;
use kkp_upgrade_kkp::helm::Release;
use kkp_upgrade_kkp::image::ImageReference;
use kkp_upgrade_kkp::types::KubermaticConfiguration;
use kkp_upgrade_kkp::types::configuration::Proxy;

use super::observer::Observer;
use crate::call::CallError;
use crate::execute::values::{EffectiveValues, effective_values};

/// Image of container `operator` in Deployment `kubermatic-operator`.
#[must_use]
pub fn operator_image(deployment: &Deployment) -> Option<ImageReference> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    let container = pod
        .containers
        .iter()
        .find(|container| container.name == "operator")
        .or_else(|| pod.containers.first())?;
    ImageReference::parse(container.image.as_deref()?).ok()
}

/// The Helm values that the installer would get, and how it would be run.
pub(super) struct Installer {
    pub(super) values: Result<EffectiveValues, CallError>,
    pub(super) facts: Result<InstallerFacts, String>,
}

pub(super) async fn read(
    observer: &Observer<'_>,
    request: &Request,
    target: KkpVersion,
    configuration: &KubermaticConfiguration,
    operator: Result<Option<&Deployment>, String>,
    releases: &[Release],
    unreadable: &[(String, String)],
) -> Installer {
    let image = operator.and_then(|deployment| {
        let image = deployment.and_then(operator_image);
        image.ok_or_else(|| "Deployment kubermatic-operator has no usable image".to_owned())
    });
    let repository = image.as_ref().map(|image| image.repository.clone()).unwrap_or_default();
    let secret = request.installer.helm_values.clone();
    let values = effective_values(observer.client, observer.namespace, secret.clone(), &repository).await;
    let facts = match (&image, &values, unreadable.first()) {
        (_, _, Some((namespace, why))) => Err(format!("releases in {namespace} cannot be read: {why}")),
        (Err(why), _, _) => Err(why.clone()),
        (_, Err(error), _) => Err(error.to_string()),
        (Ok(image), Ok(values), None) => Ok(InstallerFacts {
            image: image.with_tag(&target.tag()).to_string(),
            values_digest: values.digest.clone(),
            values_secret: secret,
            flags: flags(request, target, releases),
            proxies: proxies(&configuration.spec.proxy),
        }),
    };
    Installer { values, facts }
}

/// Flags of `deploy kubermatic-master`: what is not installed is not installed by an upgrade. A chart counts as installed
/// when it or its predecessor is (KKP 2.28: `oauth` became `dex`; 2.31: `nginx-ingress-controller` became
/// `envoy-gateway-controller`).
fn flags(request: &Request, target: KkpVersion, releases: &[Release]) -> Vec<String> {
    let installed = |names: &[&str]| releases.iter().any(|release| names.contains(&release.name.as_str()));
    let ingress: &[&str] = if target >= KkpVersion::new(2, 31, 0) {
        &["envoy-gateway-controller", "nginx-ingress-controller"]
    } else {
        &["nginx-ingress-controller", "envoy-gateway-controller"]
    };
    let charts = [&["cert-manager"][..], ingress, &["dex", "oauth"]];
    let inferred = || {
        let missing = charts.iter().filter(|names| !installed(names));
        missing
            .filter_map(|names| names.first())
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let skip = request.installer.skip_charts.clone().unwrap_or_else(inferred);
    let mut flags = Vec::new();
    if !skip.is_empty() {
        flags.push("--skip-charts".to_owned());
        flags.push(skip.join(","));
    }
    if !installed(&["telemetry"]) {
        flags.push("--disable-telemetry".to_owned());
    }
    // The old Ingress objects stay until a person has moved DNS: deleting them is a step of its own, never a surprise.
    if target.minor_line() == "2.31" && installed(&["nginx-ingress-controller"]) {
        flags.push("--skip-ingress-cleanup".to_owned());
    }
    flags
}

/// KKP's proxies (`spec.proxy` of the `KubermaticConfiguration`) as the variables that Go programs read. The API server is
/// never asked through a proxy.
fn proxies(proxy: &Proxy) -> Vec<(String, String)> {
    let variables = [("HTTP_PROXY", proxy.http.text()), ("HTTPS_PROXY", proxy.https.text())];
    let mut set: Vec<(String, String)> = variables
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if !set.is_empty() {
        let own = "$(KUBERNETES_SERVICE_HOST),127.0.0.1,localhost,.svc,.cluster.local";
        let given = proxy.no_proxy.text();
        let all = if given.is_empty() {
            own.to_owned()
        } else {
            format!("{given},{own}")
        };
        set.push(("NO_PROXY".to_owned(), all));
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_never_stand_between_the_installer_and_the_api_server() {
        let read = |value: serde_json::Value| {
            let configuration: KubermaticConfiguration =
                serde_json::from_value(serde_json::json!({"metadata": {}, "spec": {"proxy": value}})).unwrap();
            proxies(&configuration.spec.proxy)
        };
        assert_eq!(read(serde_json::json!({})), []);
        assert_eq!(read(serde_json::json!({"noProxy": "10.0.0.0/8"})), []);
        let set = read(serde_json::json!({"https": "http://proxy.example.test:3128", "noProxy": "10.0.0.0/8"}));
        assert_eq!(
            set[0],
            ("HTTPS_PROXY".to_owned(), "http://proxy.example.test:3128".to_owned())
        );
        assert!(set[1].1.starts_with("10.0.0.0/8,$(KUBERNETES_SERVICE_HOST),"));
    }
}
