//! A platform at 2.30.6 as its API shows it: a master that is also its only seed, without user clusters.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::fake_api::FakeApi;

pub(super) const UPGRADE: &str = "/apis/upgrade.k8c.io/v1alpha1/namespaces/kubermatic/kkpupgrades/to-2-31";
pub(super) const OPERATOR: &str = "/apis/apps/v1/namespaces/kubermatic/deployments/kkp-upgrade-operator";
pub(super) const KUBECONFIG: &str = "/api/v1/namespaces/kubermatic/secrets/seed-kubeconfig";

const RUNNING: &str = "v2.30.6";
/// What no output may ever hold.
pub(super) const CANARY: &str = "geheim-4711";

/// The platform, with a KKPUpgrade to 2.31.0 and its operator.
pub(super) fn platform() -> FakeApi {
    let api = FakeApi::default();
    for namespace in ["kubermatic", "kube-system"] {
        api.put(&format!("/api/v1/namespaces/{namespace}"), json!({}));
    }
    let kkp = "/apis/kubermatic.k8c.io/v1/namespaces/kubermatic";
    api.put(
        &format!("{kkp}/kubermaticconfigurations/kubermatic"),
        json!({"spec": {"auth": {"issuerClientSecret": CANARY, "serviceAccountKey": CANARY.repeat(5)}},
            "status": {"kubermaticVersion": RUNNING, "kubermaticEdition": "CE"}}),
    );
    api.put(
        &format!("{kkp}/seeds/kubermatic"),
        json!({"spec": {"kubeconfig": {"name": "seed-kubeconfig", "namespace": "kubermatic"}},
            "status": {"phase": "Healthy", "versions": {"kubermatic": RUNNING}, "conditions": {
                "KubeconfigValid": {"status": "True"}, "ResourcesReconciled": {"status": "True"}}}}),
    );
    api.put(
        KUBECONFIG,
        json!({"data": {"kubeconfig": STANDARD.encode(kubeconfig())}}),
    );
    for name in [
        "kubermatic-operator",
        "kubermatic-master-controller-manager",
        "kubermatic-seed-controller-manager",
        "kubermatic-webhook",
    ] {
        let path = format!("/apis/apps/v1/namespaces/kubermatic/deployments/{name}");
        api.put(
            &path,
            deployment(&format!("quay.io/kubermatic/kubermatic:{RUNNING}"), &[]),
        );
    }
    api.put(
        OPERATOR,
        deployment(
            "quay.io/kkp-upgrade/operator:v0.1.0",
            &["run", "--default-backup-claim=backups"],
        ),
    );
    api.put(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusters.kubermatic.k8c.io",
        json!({"metadata": {"annotations": {"app.kubernetes.io/version": RUNNING}}}),
    );
    release(&api);
    api.put(
        UPGRADE,
        json!({"apiVersion": "upgrade.k8c.io/v1alpha1", "kind": "KKPUpgrade",
        "metadata": {"uid": "11111111-aaaa", "generation": 1}, "spec": {"targetVersion": "2.31.0"}}),
    );
    api
}

fn deployment(image: &str, arguments: &[&str]) -> Value {
    json!({"metadata": {"generation": 1},
        "spec": {"replicas": 1, "selector": {}, "template": {"spec": {"containers": [
            {"name": "operator", "image": image, "args": arguments}]}}},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}})
}

fn kubeconfig() -> String {
    format!(
        "clusters: [{{name: c, cluster: {{server: 'https://seed.example.test'}}}}]\n\
         users: [{{name: u, user: {{token: {CANARY}}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
    )
}

/// The Helm release of KKP's operator, as Helm stores it.
fn release(api: &FakeApi) {
    let payload = json!({"name": "kubermatic-operator", "namespace": "kubermatic", "version": 1,
        "info": {"status": "deployed"}, "config": {"kubermaticOperator": {}, "password": CANARY},
        "chart": {"metadata": {"name": "kubermatic-operator", "version": "2.30.6", "appVersion": RUNNING}}});
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(payload.to_string().as_bytes()).unwrap();
    // Once by Helm, once more as the data of every Secret.
    let stored = STANDARD.encode(STANDARD.encode(packed.finish().unwrap()));
    api.put(
        "/api/v1/namespaces/kubermatic/secrets/sh.helm.release.v1.kubermatic-operator.v1",
        json!({"metadata": {"labels": {"owner": "helm", "name": "kubermatic-operator", "version": "1", "status": "deployed"}},
            "type": "helm.sh/release.v1", "data": {"release": stored}}),
    );
}
