//! The stand-in against a real API server, with a pod runner that fakes every Pod.

use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::storage::v1::StorageClass;
use kkp_lab::control_plane::{ControlPlane, ControlPlaneOptions, Programs};
use kkp_lab::pod_runner::{self, PodRunnerConfig};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::*;
use crate::installer::helm::{Helm, Status};
use crate::release::Edition;

struct Bench {
    folder: tempfile::TempDir,
    plane: ControlPlane,
}

struct Outcome {
    code: u8,
    text: String,
}

impl Outcome {
    #[track_caller]
    fn refused_with(&self, text: &str) {
        assert_eq!(self.code, 1, "{}", self.text);
        assert!(self.text.contains(text), "{}", self.text);
    }

    #[track_caller]
    fn good(&self) {
        assert_eq!(self.code, 0, "{}", self.text);
        assert!(
            self.text
                .lines()
                .last()
                .unwrap()
                .contains("🛬 Installation completed successfully")
        );
    }
}

impl Bench {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let programs = tokio::task::spawn_blocking(Programs::ensure).await.unwrap().unwrap();
        let options = ControlPlaneOptions {
            name: "master".to_owned(),
            folder: folder.path().join("plane"),
            data_from: None,
            audit: false,
        };
        let plane = ControlPlane::start(&programs, options).await.unwrap();
        let runner = PodRunnerConfig {
            client: plane.client(),
            node_name: "node".to_owned(),
            images: folder.path().join("images"),
            work_folder: folder.path().join("pods"),
            api_port: plane.port(),
            ca_pem: plane.ca(),
        };
        tokio::spawn(async move { pod_runner::run(runner).await.map(drop) });
        Self { folder, plane }
    }

    fn client(&self) -> kube::Client {
        self.plane.client()
    }

    fn write(&self, name: &str, content: &Value) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content.to_string()).unwrap();
        path.display().to_string()
    }

    async fn install(&self, version: &str, edition: Edition, values: &Value, more: &[&str]) -> Outcome {
        let values = self.write("values.yaml", values);
        let kubeconfig = self.plane.kubeconfig().display().to_string();
        let buffer = Arc::new(Mutex::new(Vec::new()));
        let surroundings = Surroundings {
            environment: Environment::from([("KUBECONFIG".to_owned(), kubeconfig)]),
            release: Release::of(version, edition).unwrap(),
            state_folder: self.state_folder(),
            output: buffer.clone(),
        };
        let mut args = vec![
            "deploy",
            "-o",
            "json",
            "--helm-values",
            &values,
            "--skip-dependencies",
            "--helm-timeout",
            "10s",
        ];
        args.extend(more);
        let code = run_in(args.into_iter().map(OsString::from).collect(), surroundings).await;
        let text = String::from_utf8(buffer.lock().unwrap().clone()).unwrap();
        Outcome { code, text }
    }

    async fn upgrade(&self, version: &str) -> Outcome {
        self.install(version, Edition::Community, &values(), &["--disable-telemetry"])
            .await
    }

    fn state_folder(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn helm(&self) -> Helm {
        Helm::new(self.client(), Ledger::open(&self.state_folder()).unwrap())
    }

    async fn history(&self) -> Vec<(u32, Status, String)> {
        let history = self.helm().history("kubermatic", "kubermatic-operator").await.unwrap();
        history
            .iter()
            .map(|release| (release.version, release.status(), release.chart().version.clone()))
            .collect()
    }

    async fn operator_image(&self) -> String {
        let deployments: Api<Deployment> = Api::namespaced(self.client(), "kubermatic");
        let operator = serde_json::to_value(deployments.get("kubermatic-operator").await.unwrap()).unwrap();
        operator["spec"]["template"]["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn crd_version(&self) -> String {
        let definitions: Api<
            k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
        > = Api::all(self.client());
        let seeds = definitions.get("seeds.kubermatic.k8c.io").await.unwrap();
        seeds.metadata.annotations.unwrap()["app.kubernetes.io/version"].clone()
    }

    async fn platform_is(&self, version: &str, edition: &str) {
        let api = state::kkp_namespaced(&self.client(), "KubermaticConfiguration");
        let status = json!({"status": {"kubermaticVersion": version, "kubermaticEdition": edition}});
        api.patch_status("kubermatic", &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
    }

    /// Everything that a run could have changed.
    async fn writes(&self) -> Vec<String> {
        let secrets: Api<Secret> = Api::all(self.client());
        let list = secrets.list(&ListParams::default().labels("owner=helm")).await.unwrap();
        let mut all: Vec<String> = list
            .into_iter()
            .map(|secret| secret.metadata.resource_version.unwrap())
            .collect();
        all.push(self.operator_image().await);
        all.push(self.crd_version().await);
        all
    }

    fn script(&self, text: &str) {
        std::fs::create_dir_all(self.state_folder()).unwrap();
        std::fs::write(self.state_folder().join("script.yaml"), text).unwrap();
    }
}

fn values() -> Value {
    json!({"kubermaticOperator": {"imagePullSecret": "{}"}})
}

fn configuration() -> Value {
    json!({
        "apiVersion": "kubermatic.k8c.io/v1", "kind": "KubermaticConfiguration",
        "metadata": {"name": "kubermatic", "namespace": "kubermatic"},
        "spec": {"ingress": {"domain": "kkp.example.test"}, "featureGates": {"HeadlessInstallation": true}},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_installer_behaves_like_the_real_one_on_a_real_api_server() {
    let bench = Bench::start().await;
    fresh_installation_needs_a_storage_class(&bench).await;
    an_upgrade_replaces_definitions_and_adds_a_revision(&bench).await;
    preconditions_are_checked_before_any_write(&bench).await;
    a_chart_that_does_not_come_up_is_rolled_back(&bench).await;
    a_pinned_tag_keeps_the_old_platform(&bench).await;
    a_killed_run_leaves_a_release_that_the_next_run_purges(&bench).await;
    the_seed_stack_makes_releases(&bench).await;
    every_run_is_in_the_ledger(&bench.state_folder());
}

async fn fresh_installation_needs_a_storage_class(bench: &Bench) {
    let file = bench.write("kubermatic.yaml", &configuration());
    let arguments = ["--config", file.as_str(), "--disable-telemetry"];
    let refused = bench.install("2.30.6", Edition::Community, &values(), &arguments).await;
    refused.refused_with("failed to deploy StorageClass: no --storageclass flag given.");
    assert!(bench.history().await.is_empty());
    let class = StorageClass {
        metadata: kube::api::ObjectMeta {
            name: Some("kubermatic-fast".to_owned()),
            ..Default::default()
        },
        provisioner: "lab".to_owned(),
        ..StorageClass::default()
    };
    Api::all(bench.client())
        .create(&PostParams::default(), &class)
        .await
        .unwrap();
    bench
        .install("2.30.6", Edition::Community, &values(), &arguments)
        .await
        .good();
    assert_eq!(bench.history().await, [(1, Status::Deployed, "2.30.6".to_owned())]);
    assert_eq!(bench.operator_image().await, "quay.io/kubermatic/kubermatic:v2.30.6");
    assert_eq!(bench.crd_version().await, "v2.30.6");
    let again = bench.upgrade("2.30.6").await;
    again.good();
    assert!(again.text.contains("Release is up-to-date"), "{}", again.text);
    assert_eq!(bench.history().await.len(), 1, "nothing to do");
}

async fn an_upgrade_replaces_definitions_and_adds_a_revision(bench: &Bench) {
    bench.platform_is("v2.30.6", "CE").await;
    bench.upgrade("2.31.0").await.good();
    let expected = [
        (1, Status::Superseded, "2.30.6".to_owned()),
        (2, Status::Deployed, "2.31.0".to_owned()),
    ];
    assert_eq!(bench.history().await, expected);
    assert_eq!(bench.crd_version().await, "v2.31.0");
    assert_eq!(bench.operator_image().await, "quay.io/kubermatic/kubermatic:v2.31.0");
}

async fn preconditions_are_checked_before_any_write(bench: &Bench) {
    let before = bench.writes().await;
    bench.platform_is("v2.29.1", "CE").await;
    let message = "existing installation is on version v2.29.1 and must be updated to KKP 2.31 first";
    bench.upgrade("2.31.1").await.refused_with(message);
    bench.platform_is("v2.31.0", "EE").await;
    let message = "existing installation uses the Enterprise Edition, refusing to change to Community Edition";
    bench.upgrade("2.31.1").await.refused_with(message);
    bench.platform_is("v2.31.0", "CE").await;
    a_seed_and_its_clusters_are_checked(bench).await;
    assert_eq!(bench.writes().await, before, "nothing was written");
}

async fn a_seed_and_its_clusters_are_checked(bench: &Bench) {
    let client = bench.client();
    let secret = json!({"metadata": {"name": "seed-kubeconfig"},
        "stringData": {"kubeconfig": std::fs::read_to_string(bench.plane.kubeconfig()).unwrap()}});
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "kubermatic");
    secrets
        .create(&PostParams::default(), &serde_json::from_value(secret).unwrap())
        .await
        .unwrap();
    let seeds = state::kkp_namespaced(&client, "Seed");
    let seed = json!({"apiVersion": "kubermatic.k8c.io/v1", "kind": "Seed", "metadata": {"name": "kubermatic"},
        "spec": {"kubeconfig": {"name": "absent", "namespace": "kubermatic"}}});
    seeds
        .create(&PostParams::default(), &serde_json::from_value(seed).unwrap())
        .await
        .unwrap();
    bench
        .upgrade("2.31.1")
        .await
        .refused_with("failed to create client for Seed cluster");
    let patch = |patch: Value| {
        let seeds = seeds.clone();
        async move {
            seeds
                .patch("kubermatic", &PatchParams::default(), &Patch::Merge(patch))
                .await
                .unwrap()
        }
    };
    patch(json!({"spec": {"kubeconfig": {"name": "seed-kubeconfig"}}})).await;
    let status = |conditions: Value, version: &str| {
        let seeds = seeds.clone();
        let patch = json!({"status": {"conditions": conditions, "versions": {"kubermatic": version}}});
        async move {
            seeds
                .patch_status("kubermatic", &PatchParams::default(), &Patch::Merge(patch))
                .await
                .unwrap()
        }
    };
    status(
        json!({"KubeconfigValid": {"status": "True"}, "ResourcesReconciled": {"status": "False"}}),
        "v2.31.0",
    )
    .await;
    bench.upgrade("2.31.1").await.refused_with("is not healthy");
    status(json!({"ResourcesReconciled": {"status": "True"}}), "v2.29.0").await;
    bench
        .upgrade("2.31.1")
        .await
        .refused_with("is on version v2.29.0 and must be updated first");
    status(json!({}), "v2.31.0").await;
    let clusters: Api<DynamicObject> = state::kkp(&client, "Cluster");
    let cluster = json!({"apiVersion": "kubermatic.k8c.io/v1", "kind": "Cluster", "metadata": {"name": "old"},
        "spec": {"version": "1.32.13", "containerRuntime": "docker"}});
    clusters
        .create(&PostParams::default(), &serde_json::from_value(cluster).unwrap())
        .await
        .unwrap();
    let refused = bench.upgrade("2.31.1").await;
    refused.refused_with("cluster old (version 1.32.13) on Seed kubermatic would not be supported anymore");
    refused.refused_with("docker");
    clusters
        .delete("old", &kube::api::DeleteParams::default())
        .await
        .unwrap();
}

async fn a_chart_that_does_not_come_up_is_rolled_back(bench: &Bench) {
    bench.script("installer: {faults: [{step: chart/kubermatic-operator, when: during, action: fail, message: no quota, times: 1}]}");
    bench
        .upgrade("2.31.1")
        .await
        .refused_with("has been rolled back due to atomic being set: no quota");
    let states: Vec<_> = bench
        .history()
        .await
        .into_iter()
        .map(|(_, status, chart)| (status, chart))
        .collect();
    let tail = [
        (Status::Failed, "2.31.1".to_owned()),
        (Status::Deployed, "2.31.0".to_owned()),
    ];
    assert_eq!(states[2..], tail);
    assert_eq!(bench.operator_image().await, "quay.io/kubermatic/kubermatic:v2.31.0");
    assert_eq!(bench.crd_version().await, "v2.31.1", "definitions do not go back");
}

async fn a_pinned_tag_keeps_the_old_platform(bench: &Bench) {
    let pinned = json!({"kubermaticOperator": {"image": {"tag": "v2.31.0"}, "imagePullSecret": "{}"}});
    bench
        .install("2.31.2", Edition::Community, &pinned, &["--disable-telemetry"])
        .await
        .good();
    assert_eq!(bench.operator_image().await, "quay.io/kubermatic/kubermatic:v2.31.0");
    assert_eq!(
        bench.history().await.last().unwrap().2,
        "2.31.2",
        "the release looks upgraded"
    );
}

async fn a_killed_run_leaves_a_release_that_the_next_run_purges(bench: &Bench) {
    bench.script("installer: {faults: [{step: chart/kubermatic-operator, when: during, action: crash, times: 1}]}");
    assert_eq!(bench.upgrade("2.31.3").await.code, 2);
    assert_eq!(bench.history().await.last().unwrap().1, Status::PendingUpgrade);
    let next = bench.upgrade("2.31.3").await;
    next.good();
    assert!(
        next.text
            .contains("Uninstalling defunct release before a clean installation is attempted…")
    );
    assert_eq!(
        bench.history().await,
        [(1, Status::Deployed, "2.31.3".to_owned())],
        "the history is gone"
    );
}

async fn the_seed_stack_makes_releases(bench: &Bench) {
    let refused = bench
        .install("2.31.3", Edition::Community, &values(), &["kubermatic-seed"])
        .await;
    refused.refused_with("minio.credentials.accessKey");
    let values = json!({"minio": {"credentials": {"accessKey": "a", "secretKey": "b"}}});
    bench
        .install("2.31.3", Edition::Community, &values, &["kubermatic-seed"])
        .await
        .good();
    for (namespace, name) in [("minio", "minio"), ("kube-system", "s3-exporter")] {
        let newest = bench.helm().newest(namespace, name).await.unwrap().unwrap();
        assert_eq!((newest.version, newest.status()), (1, Status::Deployed));
    }
}

fn every_run_is_in_the_ledger(folder: &Path) {
    let text = std::fs::read_to_string(folder.join("ledger.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
    assert_eq!(count("start"), count("end") + 1, "the crashed run has no end");
    let start = lines.iter().find(|line| line["event"] == "start").unwrap();
    assert_eq!(start["version"], "v2.30.6");
    assert!(start["server"].as_str().unwrap().starts_with("https://127.0.0.1:"));
    assert!(
        lines
            .iter()
            .all(|line| line["runId"].as_str().is_some_and(|id| !id.is_empty()))
    );
    assert!(lines.iter().any(|line| line["effect"] == "helm-uninstall"));
}
