//! A control plane with a pod runner, and a namespace of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kkp_lab::control_plane::{ControlPlane, ControlPlaneOptions, Programs};
use kkp_lab::image_folder::{ImageConfig, ImageFolder, ImageSource, LabConfig};
use kkp_lab::pod_runner::{self, Control, PodRunnerConfig, log_file};
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(40);

/// The control plane, the image folder and a pod runner.
pub(crate) struct Ground {
    plane: ControlPlane,
    runner: JoinHandle<()>,
    folder: tempfile::TempDir,
}

/// One namespace for one case.
#[derive(Clone)]
pub(crate) struct Bed {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) images: ImageFolder,
    pub(crate) work_folder: PathBuf,
    pub(crate) control: Control,
    pub(crate) config: PodRunnerConfig,
}

/// An image with a shell and the host's tools.
pub(crate) fn shell_image() -> ImageSource {
    let names = vec!["/bin/sh".to_owned(), "tool".to_owned()];
    ImageSource {
        program: "/bin/sh".into(),
        names,
        config: ImageConfig {
            user: "65534".to_owned(),
            ..ImageConfig::default()
        },
        lab: LabConfig {
            host_libraries: true,
            mounts: vec![kkp_lab::image_folder::LabMount {
                source: "/usr/bin".into(),
                target: "/host-tools".into(),
                read_only: true,
            }],
        },
        ..ImageSource::default()
    }
}

impl Ground {
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::Builder::new().prefix("kkp-pr").tempdir().unwrap();
        let programs = Programs::ensure().unwrap();
        let options = ControlPlaneOptions {
            name: "test".to_owned(),
            folder: folder.path().join("plane"),
            data_from: None,
            audit: false,
        };
        let plane = ControlPlane::start(&programs, options).await.unwrap();
        ImageFolder::new(folder.path().join("images"))
            .add("lab.example/shell:1", &shell_image())
            .unwrap();
        let config = config(&plane, folder.path(), "node");
        let runner = spawn_runner(config);
        Self { plane, runner, folder }
    }

    pub(crate) async fn bed(&self, case: &str) -> Bed {
        let client = self.plane.client();
        let namespace = case.replace('_', "-");
        let namespace: String = namespace
            .chars()
            .take(60)
            .collect::<String>()
            .trim_end_matches('-')
            .to_owned();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        namespaces.create(&PostParams::default(), &object).await.unwrap();
        let config = config(&self.plane, self.folder.path(), "node");
        let bed = Bed {
            client,
            namespace,
            images: ImageFolder::new(&config.images),
            control: Control::new(&config.work_folder),
            work_folder: config.work_folder.clone(),
            config,
        };
        // Pods are refused until the controller manager has made it.
        bed.wait("the default ServiceAccount", async || {
            bed.api::<k8s_openapi::api::core::v1::ServiceAccount>()
                .get_opt("default")
                .await
                .unwrap()
        })
        .await;
        bed
    }

    pub(crate) async fn stop(mut self) {
        self.runner.abort();
        self.plane.stop().await.unwrap();
    }
}

fn config(plane: &ControlPlane, folder: &Path, node: &str) -> PodRunnerConfig {
    PodRunnerConfig {
        client: plane.client(),
        node_name: node.to_owned(),
        images: folder.join("images"),
        work_folder: folder.join(format!("pods-{node}")),
        api_port: plane.port(),
        ca_pem: plane.ca(),
    }
}

pub(crate) fn spawn_runner(config: PodRunnerConfig) -> JoinHandle<()> {
    tokio::spawn(async move {
        let error = pod_runner::run(config).await.unwrap_err();
        panic!("the pod runner ended: {error}");
    })
}

impl Bed {
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates any object from JSON; kinds of the core group, `apps/v1`, `batch/v1` and RBAC.
    pub(crate) async fn create(&self, group: &str, kind: &str, object: Value) {
        let (group, version) = group.split_once('/').unwrap_or(("", group));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    /// Creates a Job of the shell image; `pod` is merged into its Pod spec.
    pub(crate) async fn job(&self, name: &str, pod: Value) {
        let mut spec = json!({"restartPolicy": "Never"});
        merge(&mut spec, &pod);
        let job = json!({
            "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": {"app": name}}, "spec": spec}},
        });
        self.create("batch/v1", "Job", job).await;
    }

    /// Creates a Pod that no Job owns.
    pub(crate) async fn pod(&self, name: &str, spec: Value) {
        self.create(
            "v1",
            "Pod",
            json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}),
        )
        .await;
    }

    /// Waits for a value; says what was missing.
    pub(crate) async fn wait<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let start = tokio::time::Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(start.elapsed() < DEADLINE, "{}: no {what} in time", self.namespace);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Waits until an object fulfils a condition.
    pub(crate) async fn wait_object<K>(&self, name: &str, what: &str, fulfils: impl Fn(&K) -> bool) -> K
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let api = self.api::<K>();
        self.wait(what, async || {
            api.get_opt(name).await.unwrap().filter(|object| fulfils(object))
        })
        .await
    }

    /// Waits until the Pod with the label `app=name` fulfils a condition, given as view on its JSON.
    pub(crate) async fn wait_pod(&self, name: &str, what: &str, fulfils: impl Fn(&Value) -> bool) -> Value {
        let api = self.api::<Pod>();
        let parameters = kube::api::ListParams::default().labels(&format!("app={name}"));
        self.wait(what, async || {
            let pods = api.list(&parameters).await.unwrap().items;
            pods.into_iter()
                .map(|pod| serde_json::to_value(pod).unwrap())
                .find(|pod| fulfils(pod))
        })
        .await
    }

    /// Waits for the phase of the Pod with the label `app=name`.
    pub(crate) async fn wait_phase(&self, name: &str, phase: &str) -> Value {
        self.wait_pod(name, phase, |pod| pod["status"]["phase"] == phase).await
    }

    /// What a container has written.
    pub(crate) fn log(&self, pod: &Value, container: &str) -> String {
        let name = pod["metadata"]["name"].as_str().unwrap();
        std::fs::read_to_string(log_file(&self.work_folder, &self.namespace, name, container)).unwrap_or_default()
    }
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().unwrap() {
        into[key] = value.clone();
    }
}

/// A container of the shell image that runs a script.
pub(crate) fn shell(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "lab.example/shell:1", "command": ["sh", "-c", script],
           "env": [{"name": "PATH", "value": "/bin:/host-tools"}]})
}
