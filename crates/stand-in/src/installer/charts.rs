//! The charts of each stack by release, and their objects. Pure.
//!
//! Order and namespaces: KKP source, `pkg/install/stack/*`; versions of the charts are those of the release (up to 2.25 with `v`).

use crate::installer::field::{field, slot};
use serde_json::{Value, json};

use super::arguments::{Deploy, Stack};
use super::helm::Chart;
use crate::release::Release;

/// One chart of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChartStep {
    /// Name of chart and release.
    pub(super) name: &'static str,
    /// Namespace.
    pub(super) namespace: &'static str,
    /// Whether Helm waits and rolls back.
    pub(super) atomic: bool,
}

const fn step(name: &'static str, namespace: &'static str) -> ChartStep {
    ChartStep {
        name,
        namespace,
        atomic: true,
    }
}

const fn ingress(name: &'static str) -> ChartStep {
    ChartStep {
        name,
        namespace: name,
        atomic: false,
    }
}

/// The chart that carries KKP itself.
pub(super) const OPERATOR: ChartStep = step("kubermatic-operator", "kubermatic");
/// The chart after it.
pub(super) const TELEMETRY: ChartStep = step("telemetry", "telemetry-system");

/// Charts of the master stack before the operator. None of a headless installation.
#[must_use]
pub(super) fn before_operator(
    release: &Release,
    deploy: &Deploy,
    configuration: &Value,
    values: &Value,
) -> Vec<ChartStep> {
    if is_headless(configuration) {
        return Vec::new();
    }
    let minor = release.semantic_version().minor;
    let gateway = minor >= 31 || (minor >= 29 && deploy.switches.migrate_gateway_api);
    let external = !field(configuration, "/spec/ingress/gateway/externalGateway").is_null();
    let mut charts = Vec::new();
    match (gateway, external) {
        (true, false) => charts.push(ingress("envoy-gateway-controller")),
        (true, true) => {}
        (false, _) => charts.push(ingress("nginx-ingress-controller")),
    }
    let issuer = field(configuration, "/spec/ingress/certificateIssuer/name");
    if issuer.as_str().is_some_and(|name| !name.is_empty()) {
        charts.push(step("cert-manager", "cert-manager"));
    }
    let dex = minor >= 28 || (minor == 27 && field(values, "/useNewDexChart") == true);
    charts.push(if dex {
        step("dex", "dex")
    } else {
        step("oauth", "oauth")
    });
    charts
}

/// Whether the installation has neither API nor dashboard.
#[must_use]
pub(super) fn is_headless(configuration: &Value) -> bool {
    field(configuration, "/spec/featureGates/HeadlessInstallation") == true
}

/// Charts of the stacks that are deployed to seeds.
#[must_use]
pub(super) fn of_seed_stack(stack: Stack, release: &Release, deploy: &Deploy) -> Vec<ChartStep> {
    let minor = release.semantic_version().minor;
    let switches = &deploy.switches;
    let mut charts: Vec<ChartStep> = match stack {
        Stack::Master => Vec::new(),
        Stack::Seed => [step("minio", "minio"), step("s3-exporter", "kube-system")].into(),
        Stack::SeedMla => monitoring_charts(minor),
        Stack::UserClusterMla => user_cluster_monitoring_charts(),
    };
    if stack == Stack::Seed && switches.separate_seed && minor >= 30 {
        let name = if minor >= 31 {
            "envoy-gateway-controller"
        } else {
            "nginx-ingress-controller"
        };
        charts.insert(0, ingress(name));
    }
    charts.retain(|chart| match chart.name {
        "iap" if stack == Stack::SeedMla => switches.mla_include_iap,
        "loki" | "promtail" | "alloy" | "loki-distributed" => !switches.mla_skip_logging,
        "minio" if stack == Stack::UserClusterMla => !switches.mla_skip_minio,
        "minio-lifecycle-mgr" => !switches.mla_skip_minio_lifecycle_mgr,
        _ => true,
    });
    charts
}

fn monitoring_charts(minor: u64) -> Vec<ChartStep> {
    let monitoring = [
        "node-exporter",
        "kube-state-metrics",
        "grafana",
        "blackbox-exporter",
        "alertmanager",
        "prometheus",
        "helm-exporter",
        "karma",
    ];
    let mut charts: Vec<ChartStep> = monitoring.into_iter().map(|name| step(name, "monitoring")).collect();
    charts.push(step("iap", "iap"));
    charts.push(step("loki", "logging"));
    charts.push(step(if minor >= 29 { "alloy" } else { "promtail" }, "logging"));
    charts
}

fn user_cluster_monitoring_charts() -> Vec<ChartStep> {
    let names = [
        "mla-secrets",
        "alertmanager-proxy",
        "consul",
        "minio",
        "cortex",
        "grafana",
        "loki-distributed",
        "minio-lifecycle-mgr",
    ];
    names.into_iter().map(|name| step(name, "mla")).collect()
}

/// Chart metadata in this release.
#[must_use]
pub(super) fn chart(release: &Release, name: &str) -> Chart {
    let version = release.semantic_version();
    let plain = if version.minor <= 25 {
        format!("v{version}")
    } else {
        version.to_string()
    };
    Chart {
        name: name.to_owned(),
        version: plain,
        app_version: release.version.clone(),
        api_version: "v2".to_owned(),
    }
}

/// The operator's image. Two traps of the real charts: the default repository is that of the Community Edition in both
/// editions' images, and a tag in the values wins over the release (KKP source, `charts/kubermatic-operator/values.yaml`).
#[must_use]
pub(super) fn operator_image(release: &Release, values: &Value) -> String {
    let image = field(values, "/kubermaticOperator/image");
    let given = |key: &str| image[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let repository = given("repository").unwrap_or_else(|| release.shared_repository("kubermatic"));
    let tag = given("tag").unwrap_or_else(|| release.version.clone());
    format!("{repository}:{tag}")
}

/// The objects of a chart.
#[must_use]
pub(super) fn objects(release: &Release, step: &ChartStep, values: &Value) -> Vec<Value> {
    if step.name == OPERATOR.name {
        return operator_objects(&operator_image(release, values));
    }
    let image = format!("{}:{}", release.shared_repository(step.name), release.version);
    let mut objects = vec![deployment(
        step.name,
        step.namespace,
        &release.version,
        &json!([{"name": step.name, "image": image}]),
    )];
    if step.name == "minio" {
        // Without a keep policy: an uninstall takes the etcd backups with it.
        objects.push(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "minio-data", "namespace": step.namespace},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "kubermatic-fast",
                     "resources": {"requests": {"storage": "10Gi"}}},
        }));
    }
    objects
}

fn deployment(name: &str, namespace: &str, version: &str, containers: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace,
                     "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/version": version,
                                "app.kubernetes.io/managed-by": "Helm"}},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
            "template": {"metadata": {"labels": {"app.kubernetes.io/name": name}}, "spec": {"containers": containers}},
        },
    })
}

fn operator_objects(image: &str) -> Vec<Value> {
    let name = OPERATOR.name;
    let namespace = OPERATOR.namespace;
    let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
    let containers = json!([{
        "name": "operator", "image": image, "imagePullPolicy": "IfNotPresent",
        "command": ["kubermatic-operator"],
        "args": ["-internal-address=0.0.0.0:8085", "-namespace=$(POD_NAMESPACE)", "-log-format=json",
                 "-enable-leader-election"],
        "env": [{"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
    }]);
    let mut deployment = deployment(name, namespace, tag, &containers);
    *slot(&mut deployment, &["spec", "template", "spec", "serviceAccountName"]) = json!(name);
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{name}-{namespace}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }),
        deployment,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Edition;

    #[test]
    fn a_pinned_tag_and_the_missing_repository_are_traps() {
        let enterprise = Release::of("2.31.0", Edition::Enterprise).unwrap();
        assert_eq!(
            operator_image(&enterprise, &json!({})),
            "quay.io/kubermatic/kubermatic:v2.31.0"
        );
        let values = json!({"kubermaticOperator": {"image": {"tag": "v2.30.6", "repository": "mirror/kkp-ee"}}});
        assert_eq!(operator_image(&enterprise, &values), "mirror/kkp-ee:v2.30.6");
    }

    #[test]
    fn the_master_stack_changes_with_the_minor() {
        let names = |version: &str, configuration: &Value, values: &Value| -> Vec<&'static str> {
            let release = Release::of(version, Edition::Community).unwrap();
            let deploy = crate::installer::tests::deploy_arguments(&["deploy"]);
            before_operator(&release, &deploy, configuration, values)
                .iter()
                .map(|step| step.name)
                .collect()
        };
        let issuer = json!({"spec": {"ingress": {"certificateIssuer": {"name": "letsencrypt"}}}});
        assert_eq!(
            names("2.26.1", &issuer, &json!({})),
            ["nginx-ingress-controller", "cert-manager", "oauth"]
        );
        assert_eq!(
            names("2.27.1", &json!({}), &json!({"useNewDexChart": true})),
            ["nginx-ingress-controller", "dex"]
        );
        assert_eq!(
            names("2.31.0", &json!({}), &json!({})),
            ["envoy-gateway-controller", "dex"]
        );
        let headless = json!({"spec": {"featureGates": {"HeadlessInstallation": true}}});
        assert!(names("2.31.0", &headless, &json!({})).is_empty());
    }
}
