//! What both scenarios need: a lab with stand-in images, installation, looking and waiting.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kkp_lab::image_folder::{ImageConfig, ImageFolder, ImageSource, LabConfig, LabMount};
use kkp_lab::{Lab, Topology};
use kkp_stand_in::crds;
use kkp_stand_in::release::{Edition, Location, Release};
use kkp_stand_in::script::Script;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_mins(1);
pub(crate) const OLD: &str = "v2.30.6";
pub(crate) const NEW: &str = "v2.31.0";

pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) edition: Edition,
    state: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn start(clusters: &[&str], edition: Edition) -> Self {
        let state = tempfile::tempdir().unwrap();
        std::fs::set_permissions(state.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let lab = Lab::start(Topology::of(clusters)).await.unwrap();
        let images = ImageFolder::new(lab.images());
        for version in [OLD, NEW] {
            let release = Release::of(version, edition).unwrap();
            let source = ImageSource {
                program: std::env::current_exe().unwrap(),
                names: kkp_stand_in::PROGRAMS.map(str::to_owned).to_vec(),
                files: vec![(
                    kkp_stand_in::release::RELEASE_FILE.to_owned(),
                    release.to_yaml().unwrap().into_bytes(),
                )],
                config: ImageConfig {
                    user: "65534".to_owned(),
                    working_dir: "/".to_owned(),
                    ..ImageConfig::default()
                },
                lab: LabConfig {
                    host_libraries: true,
                    mounts: vec![LabMount {
                        source: state.path().to_owned(),
                        target: PathBuf::from("/var/lib/kkp-stand-in"),
                        read_only: false,
                    }],
                },
            };
            images
                .add(&format!("{}:{version}", release.kubermatic_repository()), &source)
                .unwrap();
        }
        Self { lab, edition, state }
    }

    pub(crate) async fn client(&self, cluster: &str) -> Client {
        self.lab.cluster(cluster).unwrap().client().await.unwrap()
    }

    pub(crate) fn kubeconfig(&self, cluster: &str) -> String {
        std::fs::read_to_string(&self.lab.cluster(cluster).unwrap().kubeconfig_path).unwrap()
    }

    pub(crate) fn script(&self, change: impl FnOnce(&mut Script)) {
        let mut script = Script::load_from(self.state.path()).unwrap();
        change(&mut script);
        script.write_to(self.state.path()).unwrap();
    }

    /// What the installer does to a master: CRDs replaced, operator at the version.
    pub(crate) async fn install(&self, client: &Client, version: &str) {
        let release = Release::of(version, self.edition).unwrap();
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        for crd in crds::definitions(&release, Location::Master) {
            apply(&api, &crd.name_any(), serde_json::to_value(&crd).unwrap()).await;
        }
        let kubectl = |kind: &str, name: &str, spec: Value| (kind.to_owned(), name.to_owned(), spec);
        let objects = [
            kubectl("v1/Namespace", "kubermatic", json!({})),
            kubectl("v1/ServiceAccount", "kubermatic-operator", json!({})),
            kubectl(
                "rbac.authorization.k8s.io/v1/ClusterRoleBinding",
                "kubermatic-operator-kubermatic",
                json!({
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                    "subjects": [{"kind": "ServiceAccount", "name": "kubermatic-operator", "namespace": "kubermatic"}],
                }),
            ),
            kubectl("apps/v1/Deployment", "kubermatic-operator", operator(&release)),
        ];
        for (kind, name, fields) in objects {
            let (version, kind) = kind.rsplit_once('/').unwrap();
            let is_namespaced = matches!(kind, "ServiceAccount" | "Deployment");
            let api = dynamic(client, version, kind, is_namespaced.then_some("kubermatic"));
            apply(&api, &name, fields).await;
        }
    }
}

fn operator(release: &Release) -> Value {
    let labels = json!({"app.kubernetes.io/name": "kubermatic-operator"});
    json!({"spec": {
        "replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {
            "serviceAccountName": "kubermatic-operator",
            "containers": [{
                "name": "operator",
                "image": format!("{}:{}", release.kubermatic_repository(), release.version),
                "command": ["kubermatic-operator"],
                "args": ["-internal-address=0.0.0.0:8085", "-namespace=$(POD_NAMESPACE)", "-log-format=json", "-enable-leader-election"],
                "env": [{"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
            }],
        }},
    }})
}

pub(crate) fn dynamic(client: &Client, version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

pub(crate) fn kkp(client: &Client, kind: &str) -> Api<DynamicObject> {
    let namespace = matches!(kind, "Seed" | "KubermaticConfiguration").then_some("kubermatic");
    dynamic(client, "kubermatic.k8c.io/v1", kind, namespace)
}

/// Applies and insists; webhooks and CRDs need a moment.
pub(crate) async fn apply<K>(api: &Api<K>, name: &str, object: Value)
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let url = api.resource_url().to_owned();
    let (version, kind) = type_of(&url);
    let mut object = object;
    let fields = object.as_object_mut().unwrap();
    fields.insert("apiVersion".to_owned(), json!(version));
    fields.insert("kind".to_owned(), json!(kind));
    fields.entry("metadata").or_insert_with(|| json!({ "name": name }));
    let parameters = PatchParams::apply("test").force();
    let mut last = String::new();
    eventually(&format!("{name} can be applied"), async || {
        match api.patch(name, &parameters, &Patch::Apply(&object)).await {
            Ok(_) => true,
            Err(error) => {
                let text = error.to_string();
                if text != last {
                    eprintln!("apply {name}: {text}");
                    last = text;
                }
                false
            }
        }
    })
    .await;
}

fn type_of(url: &str) -> (String, &'static str) {
    let parts: Vec<&str> = url.trim_matches('/').split('/').collect();
    let version = if parts[0] == "api" {
        parts[1].to_owned()
    } else {
        format!("{}/{}", parts[1], parts[2])
    };
    let kind = match *parts.last().unwrap() {
        "namespaces" => "Namespace",
        "secrets" => "Secret",
        "serviceaccounts" => "ServiceAccount",
        "clusterrolebindings" => "ClusterRoleBinding",
        "deployments" => "Deployment",
        "customresourcedefinitions" => "CustomResourceDefinition",
        "seeds" => "Seed",
        "kubermaticconfigurations" => "KubermaticConfiguration",
        "clusters" => "Cluster",
        "addons" => "Addon",
        other => panic!("no kind for {other}"),
    };
    (version, kind)
}

/// Polls until the condition holds; names it when it never does.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    if start.elapsed().as_millis() < 60 {
        return;
    }
    eprintln!("{:>6} ms: {what}", start.elapsed().as_millis());
}

pub(crate) async fn get(api: &Api<DynamicObject>, name: &str) -> Value {
    api.get_opt(name)
        .await
        .ok()
        .flatten()
        .map_or(Value::Null, |object| serde_json::to_value(object).unwrap())
}

pub(crate) fn at<'value>(object: &'value Value, pointer: &str) -> &'value str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Image tag and `true` if rolled out.
pub(crate) async fn rolled(client: &Client, namespace: &str, name: &str) -> (String, bool) {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let Ok(Some(deployment)) = api.get_opt(name).await else {
        return (String::new(), false);
    };
    let spec = deployment.spec.unwrap();
    let image = spec.template.spec.unwrap().containers[0].image.clone().unwrap();
    let status = deployment.status.unwrap_or_default();
    let is_rolled = status.observed_generation == deployment.metadata.generation
        && [status.updated_replicas, status.available_replicas, status.replicas]
            .iter()
            .all(|number| *number == spec.replicas);
    (image.rsplit_once(':').unwrap().1.to_owned(), is_rolled)
}

pub(crate) async fn is_rolled_at(client: &Client, namespace: &str, name: &str, tag: &str) -> bool {
    rolled(client, namespace, name).await == (tag.to_owned(), true)
}
