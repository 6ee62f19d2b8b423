//! A seed of any size on a real control plane: KKP's CRDs as the lab has them, and user clusters with what KKP keeps for each. Writes
//! to that control plane.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::{StreamExt as _, TryStreamExt as _};
use kkp_lab::{Lab, Topology};
use kkp_stand_in::crds;
use kkp_stand_in::release::{Edition, Location, Release};
use kube::Client;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::super::fleet::FROM;
use super::super::objects;
use crate::bed::NAMESPACE;

const KKP: &str = "kubermatic.k8c.io/v1";
const PLANE: &str = "master";
/// Creations at once.
const AT_ONCE: usize = 32;
/// Tries of a creation that the API server was too busy for.
const TRIES: u32 = 4;
/// How long the control plane may take for what its controllers make.
const SETTLED: Duration = Duration::from_mins(15);
const LOOK: Duration = Duration::from_secs(2);
/// Helm releases, and their size in bytes: the operator's, with KKP's CRDs in its chart.
const RELEASES: usize = 20;
const RELEASE: usize = 300 << 10;
/// A kubeconfig with certificates, in bytes.
const KUBECONFIG: usize = 5 << 10;
/// What a control plane keeps in a ConfigMap, in bytes.
const SETTINGS: usize = 2 << 10;
/// User clusters of a Project.
const CLUSTERS_OF_A_PROJECT: usize = 20;

/// A control plane of its own, without Pods.
pub(super) struct Seed {
    pub(super) lab: Lab,
    pub(super) client: Client,
    pub(super) kubeconfig: PathBuf,
}

impl Seed {
    /// An empty one.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let topology = Topology {
            pod_runner: false,
            program: Some(std::env::current_exe()?),
            ..Topology::of(&[PLANE])
        };
        let lab = Lab::start(topology).await.context("the control plane")?;
        let cluster = lab.cluster(PLANE)?;
        let (client, kubeconfig) = (cluster.client().await?, cluster.kubeconfig_path.clone());
        Ok(Self {
            lab,
            client,
            kubeconfig,
        })
    }

    /// UID of the cluster.
    pub(super) async fn uid(&self) -> anyhow::Result<String> {
        let request = http::Request::get("/api/v1/namespaces/kube-system").body(Vec::new())?;
        let namespace: Value = self.client.request(request).await?;
        let uid = namespace.pointer("/metadata/uid").and_then(Value::as_str);
        Ok(uid.context("kube-system has no UID")?.to_owned())
    }

    /// Fills it with so many user clusters and what belongs to them; says how long that took.
    pub(super) async fn fill(&self, clusters: usize) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        self.definitions().await?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        self.create("/api/v1/namespaces", &namespace).await?;
        for object in settings() {
            self.create(&path_of(&object), &object).await?;
        }
        let releases = 1..=RELEASES;
        for number in releases {
            self.create(&secrets(NAMESPACE), &release(number)).await?;
        }
        let projects = clusters.div_ceil(CLUSTERS_OF_A_PROJECT);
        let made = futures::stream::iter((0..projects).map(|number| self.project(number)));
        made.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let made = futures::stream::iter((0..clusters).map(|number| self.user_cluster(number)));
        made.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        self.settled(clusters).await?;
        Ok(begin.elapsed())
    }

    /// Writes to one object of each of the large kinds, as KKP does all the time. With each compaction of etcd, every five minutes, an API
    /// server forgets how a kind looked to which nobody has written since, and takes each page of it from etcd again: ten times the
    /// work (Kubernetes 1.36, `watchCache.snapshots`). Whoever comes behind the compaction would look slow.
    pub(super) async fn stir(&self) -> anyhow::Result<()> {
        let change = json!({"metadata": {"annotations": {"stirred": jiff::Timestamp::now().to_string()}}});
        for path in [
            format!("/apis/{KKP}/clusters/c000000"),
            format!("/apis/{KKP}/namespaces/cluster-c000000/addons/canal"),
            "/api/v1/namespaces/cluster-c000000".to_owned(),
            "/api/v1/namespaces/cluster-c000000/secrets/admin-kubeconfig".to_owned(),
            "/api/v1/namespaces/cluster-c000000/configmaps/kube-root-ca.crt".to_owned(),
        ] {
            self.merge(&path, &change).await?;
        }
        Ok(())
    }

    async fn definitions(&self) -> anyhow::Result<()> {
        let release = Release::of(FROM, Edition::Enterprise)?;
        let mut names = std::collections::BTreeSet::new();
        for location in [Location::Master, Location::Seed] {
            for definition in crds::definitions(&release, location) {
                let name = definition.metadata.name.clone().unwrap_or_default();
                if names.insert(name) {
                    let object = serde_json::to_value(definition)?;
                    self.create(&path_of(&object), &object).await?;
                }
            }
        }
        let end = Instant::now() + SETTLED;
        loop {
            let request = http::Request::get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions");
            let list: Value = self.client.request(request.body(Vec::new())?).await?;
            let all = list.get("items").and_then(Value::as_array).context("no list of CRDs")?;
            // A group that is just coming cannot be asked about yet.
            let groups = self.served().await.unwrap_or_default();
            let served = |definition: &&Value| {
                let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
                let (group, version) = (text("/spec/group"), text("/spec/versions/0/name"));
                groups.contains(&format!("{group}/{version}/{}", text("/spec/names/plural")))
            };
            if all.len() >= names.len() && all.iter().all(|definition| served(&definition)) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the CRDs are not served");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Resources of KKP's groups, as `group/version/plural`.
    async fn served(&self) -> anyhow::Result<std::collections::BTreeSet<String>> {
        let mut found = std::collections::BTreeSet::new();
        for kind in super::comparison::kinds(&self.client).await? {
            found.insert(format!("{}/{}/{}", kind.group, kind.version, kind.plural));
        }
        Ok(found)
    }

    async fn project(&self, number: usize) -> anyhow::Result<()> {
        let user = json!({"apiVersion": KKP, "kind": "User", "metadata": {"name": format!("user-{number:05}")},
            "spec": {"name": format!("User {number}"), "email": format!("user-{number}@example.test")}});
        let user = self.create(&path_of(&user), &user).await?;
        let project = json!({"apiVersion": KKP, "kind": "Project",
            "metadata": {"name": format!("project-{number:05}"), "ownerReferences": [owner(&user)]},
            "spec": {"name": format!("Project {number}")}});
        self.create(&path_of(&project), &project).await.map(drop)
    }

    /// A Cluster with its status, its namespace with the kubeconfig, and one more object: an Addon, settings or a certificate.
    async fn user_cluster(&self, number: usize) -> anyhow::Result<()> {
        let name = format!("c{number:06}");
        let namespace = format!("cluster-{name}");
        let mut cluster = objects::cluster(&name, &format!("v{FROM}"), false);
        let status = json!({"status": cluster.get("status")});
        as_a_person_writes_it(&mut cluster);
        let cluster = self.create(&path_of(&cluster), &cluster).await?;
        self.merge(&format!("/apis/{KKP}/clusters/{name}/status"), &status)
            .await?;
        let of_the_cluster = |kind: &str, name: &str| {
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace,
                "labels": {"app.kubernetes.io/managed-by": "kubermatic"}, "ownerReferences": [owner(&cluster)]}})
        };
        let mut own = of_the_cluster("Namespace", &namespace);
        if let Some(metadata) = own.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("namespace");
        }
        self.create("/api/v1/namespaces", &own).await?;
        let filled = |mut object: Value, key: &str, value: Value| {
            if let Some(members) = object.as_object_mut() {
                members.insert("data".to_owned(), json!({key: value}));
            }
            object
        };
        let kubeconfig = BASE64_STANDARD.encode(noise(number, KUBECONFIG));
        let kubeconfig = filled(
            of_the_cluster("Secret", "admin-kubeconfig"),
            "kubeconfig",
            kubeconfig.into(),
        );
        let more = match number % 4 {
            0 | 2 => {
                let mut addon = objects::addon("canal", &name, &format!("v{FROM}"));
                as_a_person_writes_it(&mut addon);
                if let Some(metadata) = addon.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.insert("ownerReferences".to_owned(), json!([owner(&cluster)]));
                }
                addon
            }
            1 => filled(
                of_the_cluster("ConfigMap", "settings"),
                "settings.yaml",
                noise(number, SETTINGS).into(),
            ),
            _ => filled(
                of_the_cluster("Secret", "ca"),
                "ca.crt",
                BASE64_STANDARD.encode(noise(number, SETTINGS)).into(),
            ),
        };
        for object in [kubeconfig, more] {
            self.create(&path_of(&object), &object).await?;
        }
        Ok(())
    }

    async fn merge(&self, path: &str, change: &Value) -> anyhow::Result<()> {
        let request = http::Request::patch(path)
            .header(http::header::CONTENT_TYPE, "application/merge-patch+json")
            .body(serde_json::to_vec(change)?)?;
        self.client
            .request_text(request)
            .await
            .with_context(|| path.to_owned())?;
        Ok(())
    }

    async fn create(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        let body = serde_json::to_vec(object)?;
        let mut tries = 1;
        loop {
            let request = http::Request::post(path)
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(body.clone())?;
            match self.client.request(request).await {
                Err(kube::Error::Api(status)) if (status.code == 429 || status.code >= 500) && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(LOOK).await;
                }
                answer => return answer.with_context(|| format!("create in {path}")),
            }
        }
    }

    /// Waits until the controllers have put their ConfigMap into every namespace: nothing of a backup's scope changes from then on.
    async fn settled(&self, clusters: usize) -> anyhow::Result<()> {
        #[derive(Deserialize)]
        struct Found {
            items: Vec<IgnoredAny>,
        }
        let end = Instant::now() + SETTLED;
        loop {
            let request = http::Request::get("/api/v1/configmaps?fieldSelector=metadata.name%3Dkube-root-ca.crt")
                .body(Vec::new())?;
            let found: Found = self.client.request(request).await?;
            if found.items.len() > clusters {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "{} of {clusters} namespaces are ready",
                found.items.len()
            );
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What the platform has of itself.
fn settings() -> Vec<Value> {
    let mut all = vec![
        json!({"apiVersion": KKP, "kind": "KubermaticConfiguration", "metadata": {"name": "kubermatic", "namespace": NAMESPACE},
            "spec": {"ingress": {"domain": "kkp.example.test"}, "seedController": {"maximumParallelReconciles": 10}}}),
        json!({"apiVersion": KKP, "kind": "Seed", "metadata": {"name": "seed-1", "namespace": NAMESPACE},
            "spec": {"country": "DE", "location": "lab", "kubeconfig": {"name": "kubeconfig-seed-1", "namespace": NAMESPACE},
                "datacenters": {"dc": {"country": "DE", "location": "lab", "spec": {"fake": {}}}}}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "kubermatic-seed"},
            "rules": [{"apiGroups": ["kubermatic.k8c.io"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "kubermatic-seed"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kubermatic-seed"},
            "subjects": [{"kind": "ServiceAccount", "name": "kubermatic-seed", "namespace": NAMESPACE}]}),
    ];
    let credentials = BASE64_STANDARD.encode(noise(7, SETTINGS));
    for name in ["kubeconfig-seed-1", "dockercfg", "credential-openstack-1"] {
        all.push(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE},
            "data": {"content": credentials}}),
        );
    }
    all
}

fn release(number: usize) -> Value {
    let name = format!("sh.helm.release.v1.kubermatic-operator.v{number}");
    let status = if number == RELEASES { "deployed" } else { "superseded" };
    json!({"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"owner": "helm", "name": "kubermatic-operator",
            "status": status, "version": number.to_string()}},
        "data": {"release": BASE64_STANDARD.encode(noise(number, RELEASE))}})
}

fn secrets(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets")
}

/// Where an object is created. Every kind here has the plural of its name in small letters with an `s`.
fn path_of(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let version = text("/apiVersion");
    let root = if version.contains('/') { "apis" } else { "api" };
    let plural = format!("{}s", text("/kind").to_lowercase());
    match text("/metadata/namespace") {
        "" => format!("/{root}/{version}/{plural}"),
        namespace => format!("/{root}/{version}/namespaces/{namespace}/{plural}"),
    }
}

/// Without what the API server writes.
fn as_a_person_writes_it(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["uid", "generation", "creationTimestamp", "managedFields"] {
            metadata.remove(field);
        }
    }
}

fn owner(object: &Value) -> Value {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    json!({"apiVersion": text("/apiVersion"), "kind": text("/kind"), "name": text("/metadata/name"),
        "uid": text("/metadata/uid"), "blockOwnerDeletion": true})
}

/// Text that compresses as little as keys and certificates do.
fn noise(seed: usize, bytes: usize) -> String {
    let blocks = (0..=bytes / 64).map(|step| kkp_upgrade_backup::digest(format!("{seed}-{step}").as_bytes()));
    let mut text: String = blocks
        .map(|block| block.trim_start_matches("sha256:").to_owned())
        .collect();
    text.truncate(bytes);
    text
}
