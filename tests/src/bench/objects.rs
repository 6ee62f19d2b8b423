//! What KKP keeps on a seed, in the size and form of the real thing: managed fields, every condition, the whole health map.
//! Pure. Fields as in KKP 2.31 `pkg/apis/kubermatic/v1`; Deployments as measured on a KKP 2.31.0.

use serde_json::{Map, Value, json};

use super::seed_api::{CLUSTER, Template};

/// Addons that KKP installs into a user cluster by default (KKP 2.31, `pkg/defaulting`), without those of clouds.
const ADDONS: [&str; 8] = [
    "canal",
    "csi",
    "kube-proxy",
    "rbac",
    "kubeadm-configmap",
    "kubelet-configmap",
    "default-storage-class",
    "pod-security-policy",
];
/// When everything was made.
const CREATED: &str = "2026-01-15T08:30:00Z";
const CONDITIONS: [&str; 16] = [
    "AddonControllerReconciledSuccessfully",
    "BackupControllerReconciledSuccessfully",
    "CSIKubeletMigrationCompleted",
    "CloudControllerReconciledSuccessfully",
    "ClusterControllerReconciledSuccessfully",
    "ClusterInitialized",
    "EtcdClusterInitialized",
    "IPAMControllerReconciledSuccessfully",
    "KubeLBControllerReconciledSuccessfully",
    "MachineDeploymentReconciledSuccessfully",
    "MonitoringControllerReconciledSuccessfully",
    "OperatingSystemManagerReconciledSuccessfully",
    "SeedResourcesUpToDate",
    "UpdateControllerReconciledSuccessfully",
    "UserClusterControllerReconciledSuccessfully",
    "ResourceUsageControllerReconciledSuccessfully",
];
const HEALTH: [&str; 12] = [
    "apiserver",
    "applicationController",
    "cloudProviderInfrastructure",
    "controller",
    "etcd",
    "konnectivity",
    "machineController",
    "monitoring",
    "logging",
    "operatingSystemManager",
    "scheduler",
    "userClusterControllerManager",
];

/// Everything of one user cluster at one version.
pub struct ClusterTemplates {
    /// The Cluster and its controller while they are rolled.
    pub updating: [(&'static str, Template); 2],
    /// Controller, Addons and Cluster afterwards; the Cluster comes last, as KKP's last condition does.
    pub done: Vec<(&'static str, Template)>,
}

impl ClusterTemplates {
    /// For this tag.
    #[must_use]
    pub fn of(tag: &str) -> Self {
        let namespace = format!("cluster-{CLUSTER}");
        let controller = |rolled| {
            (
                "deployments",
                Template::of(&deployment("usercluster-controller", &namespace, tag, 10, rolled)),
            )
        };
        let whole = |updating| ("clusters", Template::of(&cluster(CLUSTER, tag, updating)));
        let addons = ADDONS
            .iter()
            .map(|name| ("addons", Template::of(&addon(name, CLUSTER, tag))));
        Self {
            updating: [controller(false), whole(true)],
            done: std::iter::once(controller(true))
                .chain(addons)
                .chain([whole(false)])
                .collect(),
        }
    }
}

/// A user cluster; `updating` = its resources are being rolled.
pub(super) fn cluster(name: &str, tag: &str, updating: bool) -> Value {
    let conditions: Map<String, Value> = CONDITIONS
        .iter()
        .map(|kind| {
            let status = if updating && *kind == "SeedResourcesUpToDate" {
                "False"
            } else {
                "True"
            };
            let condition = json!({
                "kubermaticVersion": tag, "lastHeartbeatTime": "2026-11-20T22:14:09Z", "lastTransitionTime": CREATED,
                "message": "", "reason": "ReconciledSuccessfully", "status": status,
            });
            ((*kind).to_owned(), condition)
        })
        .collect();
    let health: Map<String, Value> = HEALTH
        .iter()
        .map(|part| ((*part).to_owned(), json!("HealthStatusUp")))
        .collect();
    let object = json!({
        "apiVersion": "kubermatic.k8c.io/v1", "kind": "Cluster",
        "metadata": metadata(name, None, &json!({"project-id": "qd6k2mz9wl", "is-credential-preset": "true"}), &json!(["kubermatic.k8c.io/cleanup-etcdbackupconfigs", "kubermatic.k8c.io/cleanup-kubermatic-cluster-role-bindings",
                "kubermatic.k8c.io/cleanup-usersshkeys", "kubermatic.k8c.io/cleanup-in-cluster-pv", "kubermatic.k8c.io/delete-nodes"])),
        "spec": cluster_spec(name),
        "status": {
            "address": {"adminToken": "b7xk2l.9wq4m8t1z5c3v6n0", "apiServerExternalAddress": "",
                "externalName": format!("{name}.eu.kkp.example.test"), "internalURL": format!("apiserver-external.cluster-{name}.svc.cluster.local."),
                "ip": "203.0.113.17", "port": 31443, "url": format!("https://{name}.eu.kkp.example.test:31443")},
            "conditions": conditions, "extendedHealth": health, "encryption": {"activeKey": "", "phase": ""},
            "lastUpdated": "2026-11-20T22:14:09Z", "lastProviderReconciliation": "2026-11-20T22:14:09Z",
            "namespaceName": format!("cluster-{name}"), "phase": "Running", "userEmail": "platform@example.test",
            "resourceUsage": {"cpu": "24", "memory": "98304Mi", "storage": "600Gi"},
            "versions": {"apiserver": "1.34.10", "controlPlane": "1.34.10", "controllerManager": "1.34.10",
                "oldestNodeVersion": "1.34.9", "scheduler": "1.34.10"},
        },
    });
    with_managed_fields(object, "seed-controller-manager")
}

fn cluster_spec(name: &str) -> Value {
    let overrides = |replicas: i32| json!({"replicas": replicas, "resources": {"limits": {"cpu": "2", "memory": "4Gi"}, "requests": {"cpu": "250m", "memory": "512Mi"}}});
    json!({
        "humanReadableName": format!("team {name} production"), "version": "1.34.10", "pause": false,
        "cloud": {"dc": "eu-central-1a", "providerName": "openstack", "openstack": {
            "credentialsReference": {"name": format!("credential-openstack-{name}"), "namespace": "kubermatic"},
            "floatingIPPool": "ext-net", "network": format!("kubernetes-{name}"), "nodePortsAllowedIPRange": "0.0.0.0/0",
            "routerID": "4b9b1a40-6d7f-4dbf-a2ad-3f0b4a0e7f0c", "securityGroups": format!("kubernetes-{name}"),
            "subnetID": "c1f5b0de-9d57-4f9b-93c2-0f0b5f0b2b11", "useOctavia": true, "useToken": false}},
        "cniPlugin": {"type": "canal", "version": "v3.30"}, "containerRuntime": "containerd",
        "clusterNetwork": {"coreDNSReplicas": 2, "dnsDomain": "cluster.local", "ipFamily": "IPv4", "ipvs": {"strictArp": true},
            "konnectivityEnabled": true, "nodeCidrMaskSizeIPv4": 24, "nodeLocalDNSCacheEnabled": true,
            "pods": {"cidrBlocks": ["172.25.0.0/16"]}, "proxyMode": "ipvs", "services": {"cidrBlocks": ["10.240.16.0/20"]},
            "tunnelingAgentIP": "100.64.30.10"},
        "componentsOverride": {"apiserver": overrides(2), "controllerManager": overrides(1), "scheduler": overrides(1),
            "etcd": {"clusterSize": 3, "diskSize": "5Gi", "storageClass": "kubermatic-fast"},
            "konnectivityProxy": {"keepaliveTime": "1m"}, "nodePortProxyEnvoy": {"resources": {}}, "prometheus": {"replicas": 1}},
        "enableOperatingSystemManager": true, "enableUserSSHKeyAgent": true, "exposeStrategy": "Tunneling",
        "features": {"apiserverNetworkPolicy": true, "ccmClusterName": true, "etcdLauncher": true, "externalCloudProvider": true},
        "kubernetesDashboard": {"enabled": true}, "mla": {"loggingEnabled": true, "monitoringEnabled": true},
        "oidc": {"clientID": "kubermatic", "issuerURL": "https://kkp.example.test/dex", "usernameClaim": "email"},
        "opaIntegration": {"enabled": true, "webhookTimeoutSeconds": 10},
        "auditLogging": {"enabled": true, "policyPreset": "recommended"}, "usePodNodeSelectorAdmissionPlugin": false,
    })
}

/// An Addon of a user cluster.
pub(super) fn addon(name: &str, cluster: &str, tag: &str) -> Value {
    let condition = |reason: &str| {
        json!({"kubermaticVersion": tag, "lastHeartbeatTime": "2026-11-20T22:14:09Z", "lastTransitionTime": CREATED,
            "reason": reason, "status": "True"})
    };
    let namespace = format!("cluster-{cluster}");
    let mut metadata = metadata(
        name,
        Some(&namespace),
        &json!({"addons.kubermatic.io/ensure": "true"}),
        &json!(["kubermatic.k8c.io/cleanup-manifests"]),
    );
    own(&mut metadata, "kubermatic.k8c.io/v1", "Cluster", cluster);
    let object = json!({
        "apiVersion": "kubermatic.k8c.io/v1", "kind": "Addon", "metadata": metadata,
        "spec": {"name": name, "isDefault": true, "requiredResourceTypes": [],
            "cluster": {"apiVersion": "kubermatic.k8c.io/v1", "kind": "Cluster", "name": cluster, "uid": uid(cluster)}},
        "status": {"phase": "Healthy", "conditions": {
            "AddonReconciledSuccessfully": condition("AddonReconciledSuccessfully"),
            "AddonResourcesCreatedSuccessfully": condition("AddonResourcesCreated"),
        }},
    });
    with_managed_fields(object, "seed-controller-manager")
}

/// A Deployment of KKP; `rolled` = all of it is available.
#[must_use]
pub fn deployment(name: &str, namespace: &str, tag: &str, limit: i64, rolled: bool) -> Value {
    let labels = json!({"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "kubermatic-operator",
        "app.kubernetes.io/version": tag});
    let mut metadata = metadata(name, Some(namespace), &labels, &json!([]));
    own(&mut metadata, "kubermatic.k8c.io/v1", "Seed", namespace);
    set(&mut metadata, "generation", json!(2));
    let ready = i32::from(rolled);
    let time = |kind: &str, status: &str, reason: &str| {
        json!({"type": kind, "status": status, "reason": reason, "lastTransitionTime": CREATED, "lastUpdateTime": CREATED,
            "message": format!("ReplicaSet \"{name}-568777d9b9\" has successfully progressed.")})
    };
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": {"progressDeadlineSeconds": 600, "replicas": 1, "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec(name, tag, limit)}},
        "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "readyReplicas": ready,
            "availableReplicas": ready, "unavailableReplicas": 1 - ready,
            "conditions": [time("Progressing", "True", "NewReplicaSetAvailable"),
                time("Available", if rolled { "True" } else { "False" }, "MinimumReplicasAvailable")]},
    });
    with_managed_fields(object, "kubermatic-operator")
}

fn pod_spec(name: &str, tag: &str, limit: i64) -> Value {
    let args = [
        "-logtostderr",
        "-internal-address=0.0.0.0:8085",
        "-worker-count=4",
        "-ca-bundle=/opt/ca-bundle/ca-bundle.pem",
        "-namespace=kubermatic",
        "-external-url=kkp.example.test",
        "-etcd-disk-size=5Gi",
        "-feature-gates=EtcdLauncher=true,HeadlessInstallation=true",
        "-worker-name=",
        "-kubermatic-image=quay.io/kubermatic/kubermatic-ee",
        "-dnatcontroller-image=quay.io/kubermatic/kubeletdnat-controller",
        "-etcd-launcher-image=quay.io/kubermatic/etcd-launcher",
        "-overwrite-registry=",
        "-pprof-listen-address=:6600",
        "-v=2",
    ];
    let mut args: Vec<String> = args.map(str::to_owned).into();
    args.push(format!("-max-parallel-reconcile={limit}"));
    let mounts = json!([{"name": "temp", "mountPath": "/tmp/"}, {"name": "ca-bundle", "mountPath": "/opt/ca-bundle/", "readOnly": true}]);
    json!({
        "containers": [{
            "name": name, "image": format!("quay.io/kubermatic/kubermatic-ee:{tag}"), "args": args,
            "command": [name], "imagePullPolicy": "IfNotPresent", "ports": [{"containerPort": 8085, "name": "metrics", "protocol": "TCP"}],
            "env": [{"name": "KUBERMATIC_NAMESPACE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "200m", "memory": "100Mi"}},
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "volumeMounts": mounts,
        }],
        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
        "securityContext": {"fsGroup": 65534, "runAsGroup": 65534, "runAsNonRoot": true, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "serviceAccount": "kubermatic-seed", "serviceAccountName": "kubermatic-seed", "terminationGracePeriodSeconds": 30,
        "volumes": [{"name": "temp", "emptyDir": {}}, {"name": "ca-bundle", "configMap": {"defaultMode": 420, "name": "ca-bundle"}}],
    })
}

/// A running Pod of a Deployment.
#[must_use]
pub fn pod(deployment: &str, tag: &str) -> Value {
    let name = format!("{deployment}-568777d9b9-x7k2p");
    let mut metadata = metadata(
        &name,
        Some("kubermatic"),
        &json!({"app.kubernetes.io/name": deployment}),
        &json!([]),
    );
    own(
        &mut metadata,
        "apps/v1",
        "ReplicaSet",
        &format!("{deployment}-568777d9b9"),
    );
    let object = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": pod_spec(deployment, tag, 10),
        "status": {"phase": "Running", "podIP": "10.244.3.17", "hostIP": "192.0.2.11", "startTime": CREATED,
            "containerStatuses": [{"name": deployment, "ready": true, "restartCount": 0, "image": "", "imageID": "",
                "started": true, "state": {"running": {"startedAt": CREATED}}}]},
    });
    with_managed_fields(object, "kubelet")
}

/// A namespace.
#[must_use]
pub fn namespace(name: &str, seed: &str) -> Value {
    let mut metadata = metadata(name, None, &json!({}), &json!([]));
    set(&mut metadata, "uid", json!(uid(&format!("{seed}/{name}"))));
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "spec": {}, "status": {"phase": "Active"}})
}

/// The `StorageClass` that etcd of user clusters asks for.
#[must_use]
pub fn storage_class() -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": metadata("kubermatic-fast", None, &json!({}), &json!([])),
        "provisioner": "csi.example.com", "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true})
}

/// A node that can take Pods.
#[must_use]
pub fn node(name: &str) -> Value {
    let object = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": metadata(name, None, &json!({"kubernetes.io/os": "linux"}), &json!([])),
        "spec": {"podCIDR": "10.244.3.0/24", "providerID": format!("example://{name}")},
        "status": {
            "capacity": {"cpu": "16", "memory": "64Gi", "pods": "110"}, "allocatable": {"cpu": "15", "memory": "60Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": CREATED}],
            "nodeInfo": {"kubeletVersion": "v1.36.3", "containerRuntimeVersion": "containerd://2.1.4", "osImage": "Ubuntu 24.04 LTS",
                "kernelVersion": "6.8.0-60-generic", "architecture": "amd64"},
        },
    });
    with_managed_fields(object, "kubelet")
}

/// The CRD whose annotation says which version of KKP brought it.
#[must_use]
pub fn cluster_crd(tag: &str) -> Value {
    let mut metadata = metadata("clusters.kubermatic.k8c.io", None, &json!({}), &json!([]));
    set(&mut metadata, "annotations", json!({"app.kubernetes.io/version": tag}));
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata,
        "spec": {"group": "kubermatic.k8c.io", "scope": "Cluster", "names": {"plural": "clusters", "kind": "Cluster"}, "versions": []}})
}

fn metadata(name: &str, namespace: Option<&str>, labels: &Value, finalizers: &Value) -> Value {
    let mut metadata = json!({"name": name, "uid": uid(&format!("{}/{name}", namespace.unwrap_or_default())), "generation": 1,
        "creationTimestamp": CREATED, "labels": labels, "finalizers": finalizers});
    if let Some(namespace) = namespace {
        set(&mut metadata, "namespace", json!(namespace));
    }
    metadata
}

fn own(metadata: &mut Value, version: &str, kind: &str, name: &str) {
    let owner = json!([{"apiVersion": version, "kind": kind, "name": name, "uid": uid(name), "controller": true, "blockOwnerDeletion": true}]);
    set(metadata, "ownerReferences", owner);
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// Looks like a UID and is the same for the same text. That of a user cluster's objects holds the cluster's name, also where
/// that is still to be set.
fn uid(of: &str) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    let hash = hasher.finish();
    let tail = if of.contains(CLUSTER) { CLUSTER } else { "0000000" };
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{tail}",
        hash >> 32,
        hash & 0xffff,
        (hash >> 16) & 0xfff,
        (hash >> 28) & 0xfff
    )
}

/// What the API server notes about who wrote which field: often as big as the object.
fn with_managed_fields(mut object: Value, manager: &str) -> Value {
    let part = |key: &str| {
        object
            .get(key)
            .map(|value| json!({format!("f:{key}"): field_set(value)}))
    };
    let entry = |fields: Option<Value>, subresource: &str| {
        json!({"apiVersion": object.get("apiVersion"), "fieldsType": "FieldsV1", "fieldsV1": fields, "manager": manager,
            "operation": "Update", "subresource": subresource, "time": CREATED})
    };
    let entries = json!([entry(part("spec"), ""), entry(part("status"), "status")]);
    if let Some(metadata) = object.get_mut("metadata") {
        set(metadata, "managedFields", entries);
    }
    object
}

fn field_set(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let inner = fields.iter().map(|(key, value)| (format!("f:{key}"), field_set(value)));
            Value::Object(std::iter::once((".".to_owned(), json!({}))).chain(inner).collect())
        }
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_as_big_as_real_ones() {
        let bytes = |object: Value| object.to_string().len();
        let cluster = bytes(cluster("c010001", "v2.31.0", false));
        assert!((8_000..16_000).contains(&cluster), "Cluster: {cluster}");
        let addon = bytes(addon("canal", "c010001", "v2.31.0"));
        assert!((1_500..3_500).contains(&addon), "Addon: {addon}");
        let deployment = bytes(deployment(
            "usercluster-controller",
            "cluster-c010001",
            "v2.31.0",
            10,
            true,
        ));
        assert!((4_000..9_000).contains(&deployment), "Deployment: {deployment}");
    }

    #[test]
    fn a_template_holds_the_name_wherever_it_belongs() {
        let templates = ClusterTemplates::of("v2.31.0");
        assert_eq!(templates.done.len(), ADDONS.len() + 2);
        assert_eq!(templates.done.last().map(|(resource, _)| *resource), Some("clusters"));
    }
}
