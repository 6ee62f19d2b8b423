//! `ValidateConfiguration`: what the files must say before anything is looked at in the cluster (KKP source,
//! `pkg/install/stack/kubermatic-master/validation.go`). Pure.

use crate::installer::field::{field, slot};
use serde_json::{Map, Value, json};

use super::charts::is_headless;
use crate::release::Release;

/// Result of the checks.
#[derive(Debug, Default)]
pub(super) struct Validated {
    /// The values with what was filled in.
    pub(super) values: Value,
    /// What was filled in and what looks odd.
    pub(super) warnings: Vec<String>,
    /// What ends the run.
    pub(super) failures: Vec<String>,
}

/// Checks configuration and Helm values for the master stack.
#[must_use]
pub(super) fn master(release: &Release, configuration: &Value, values: Value) -> Validated {
    let mut result = Validated {
        values,
        ..Validated::default()
    };
    result.failures.extend(
        configuration_failures(release, configuration)
            .into_iter()
            .map(|failure| format!("KubermaticConfiguration: {failure}")),
    );
    if result.values.as_object().is_none_or(Map::is_empty) {
        result
            .failures
            .push("Helm values: no values were given (--helm-values), the charts can't be configured".to_owned());
        return result;
    }
    let pull_secret = text(field(configuration, "/spec/imagePullSecret"));
    fill(
        &mut result,
        &["kubermaticOperator", "imagePullSecret"],
        pull_secret,
        "spec.imagePullSecret",
    );
    if !is_headless(configuration) {
        let domain = text(field(configuration, "/spec/ingress/domain"));
        fill_dex(&mut result, release, domain);
    }
    result
}

/// Checks Helm values for the `kubermatic-seed` stack.
#[must_use]
pub(super) fn seed(values: Value) -> Validated {
    let mut result = Validated {
        values,
        ..Validated::default()
    };
    for key in ["accessKey", "secretKey"] {
        if text(field(&result.values, &format!("/minio/credentials/{key}"))).is_empty() {
            result
                .failures
                .push(format!("Helm values: minio.credentials.{key} must be set"));
        }
    }
    result
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn configuration_failures(release: &Release, configuration: &Value) -> Vec<String> {
    let mut failures = Vec::new();
    if field(configuration, "/metadata/namespace") != "kubermatic" {
        failures.push("the namespace must be \"kubermatic\"".to_owned());
    }
    let spec = field(configuration, "/spec");
    if text(field(spec, "/ingress/domain")).is_empty() {
        failures.push("spec.ingress.domain cannot be left empty".to_owned());
    }
    if is_headless(configuration) {
        return failures;
    }
    let key = text(field(spec, "/auth/serviceAccountKey"));
    if key.len() < 32 {
        failures.push("spec.auth.serviceAccountKey is invalid: the key must be at least 32 characters long".to_owned());
    }
    let oidc = field(spec, "/featureGates/OIDCKubeCfgEndpoint") == true || release.semantic_version().minor >= 31;
    let secrets = ["issuerClientSecret", "issuerCookieKey"];
    for name in secrets
        .into_iter()
        .filter(|name| oidc && text(field(spec, &format!("/auth/{name}"))).is_empty())
    {
        failures.push(format!("spec.auth.{name} must be a non-empty secret"));
    }
    failures
}

fn fill(result: &mut Validated, path: &[&str], value: &str, origin: &str) {
    let place = slot(&mut result.values, path);
    if place.as_str().is_some_and(|text| !text.is_empty()) {
        return;
    }
    *place = json!(value);
    let path = path.join(".");
    result.warnings.push(format!(
        "Helm values: {path} is empty, setting to {origin} from KubermaticConfiguration"
    ));
}

fn fill_dex(result: &mut Validated, release: &Release, domain: &str) {
    let minor = release.semantic_version().minor;
    let new_chart = minor >= 28 || (minor == 27 && field(&result.values, "/useNewDexChart") == true);
    if !new_chart {
        return fill(result, &["dex", "ingress", "host"], domain, "spec.ingress.domain");
    }
    let hosts = slot(&mut result.values, &["dex", "ingress", "hosts"]);
    if !text(field(hosts, "/0/host")).is_empty() {
        return;
    }
    *hosts = json!([{"host": domain}]);
    result.warnings.push(
        "Helm values: dex.ingress.hosts is empty, setting to spec.ingress.domain from KubermaticConfiguration"
            .to_owned(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Edition;

    fn configuration(headless: bool) -> Value {
        json!({"metadata": {"namespace": "kubermatic"},
               "spec": {"ingress": {"domain": "kkp.example.test"}, "imagePullSecret": "{}",
                        "featureGates": {"HeadlessInstallation": headless}}})
    }

    fn failures(version: &str, configuration: &Value, values: Value) -> Vec<String> {
        master(
            &Release::of(version, Edition::Community).unwrap(),
            configuration,
            values,
        )
        .failures
    }

    #[test]
    fn a_headless_installation_needs_no_secrets() {
        let values = json!({"kubermaticOperator": {}});
        assert!(failures("2.31.0", &configuration(true), values.clone()).is_empty());
        assert_eq!(
            failures("2.30.6", &configuration(false), values.clone()).len(),
            1,
            "the service account key"
        );
        assert_eq!(
            failures("2.31.0", &configuration(false), values).len(),
            3,
            "and the issuer's two"
        );
    }

    #[test]
    fn values_domain_and_namespace_are_required() {
        let failures = failures(
            "2.31.0",
            &json!({"spec": {"featureGates": {"HeadlessInstallation": true}}}),
            json!({}),
        );
        assert_eq!(failures.len(), 3, "{failures:?}");
    }

    #[test]
    fn the_login_host_is_filled_in_where_the_chart_of_the_release_reads_it() {
        let filled = |version: &str| {
            let release = Release::of(version, Edition::Community).unwrap();
            master(&release, &configuration(false), json!({"dex": {"replicas": 2}})).values
        };
        let old = filled("2.26.1");
        assert_eq!(old["dex"]["ingress"]["host"], "kkp.example.test");
        let new = filled("2.31.0");
        assert_eq!(new["dex"]["ingress"]["hosts"][0]["host"], "kkp.example.test");
        assert_eq!(new["dex"]["replicas"], 2);
    }

    #[test]
    fn the_pull_secret_is_filled_in_and_kept_when_given() {
        let release = Release::of("2.31.0", Edition::Community).unwrap();
        let filled = master(&release, &configuration(true), json!({"a": 1}));
        assert_eq!(filled.values["kubermaticOperator"]["imagePullSecret"], "{}");
        assert_eq!(filled.warnings.len(), 1);
        let kept = master(
            &release,
            &configuration(true),
            json!({"kubermaticOperator": {"imagePullSecret": "mine"}}),
        );
        assert_eq!(kept.values["kubermaticOperator"]["imagePullSecret"], "mine");
        assert!(kept.warnings.is_empty());
    }
}
