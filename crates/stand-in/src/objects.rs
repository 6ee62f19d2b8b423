//! KKP's kinds as untyped objects, so that fields the stand-ins do not know survive. Pure.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use serde_json::Value;

/// Annotation on a Seed that makes operator and phase logic leave it alone, with any value
/// (KKP source, pkg/controller/operator: `SkipReconcilingAnnotation`; 2.23 to 2.31).
pub(crate) const SKIP_ANNOTATION: &str = "kubermatic.k8c.io/skip-reconciling";
/// Label of Deployments and Pods with the KKP version (KKP 2.27 and newer).
pub(crate) const VERSION_LABEL: &str = "app.kubernetes.io/version";
/// Label with the name of the Deployment: the selector.
pub(crate) const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Label with the program that looks after an object.
pub(crate) const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("kubermatic.k8c.io", "v1", kind), plural)
}

/// Kind Seed.
pub(crate) fn seed_resource() -> ApiResource {
    resource("Seed", "seeds")
}

/// Kind `KubermaticConfiguration`.
pub(crate) fn configuration_resource() -> ApiResource {
    resource("KubermaticConfiguration", "kubermaticconfigurations")
}

/// Kind Cluster: a user cluster, cluster-scoped, on seeds.
pub(crate) fn cluster_resource() -> ApiResource {
    resource("Cluster", "clusters")
}

/// Kind Addon, in the namespace of its user cluster.
pub(crate) fn addon_resource() -> ApiResource {
    resource("Addon", "addons")
}

/// Kind `EtcdBackupConfig`, in the namespace of its user cluster.
pub(crate) fn etcd_backup_resource() -> ApiResource {
    resource("EtcdBackupConfig", "etcdbackupconfigs")
}

/// The Seeds of a namespace.
pub(crate) fn seeds(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &seed_resource())
}

/// The `KubermaticConfigurations` of a namespace.
pub(crate) fn configurations(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &configuration_resource())
}

/// Kinds as they are watched: metadata only.
pub(crate) type Metadata = PartialObjectMeta<DynamicObject>;

/// The `KubermaticConfigurations` of a namespace, for watches.
pub(crate) fn configurations_to_watch(client: &Client, namespace: &str) -> Api<Metadata> {
    Api::namespaced_with(client.clone(), namespace, &configuration_resource())
}

/// The Seeds of a namespace, for watches.
pub(crate) fn seeds_to_watch(client: &Client, namespace: &str) -> Api<Metadata> {
    Api::namespaced_with(client.clone(), namespace, &seed_resource())
}

/// All user clusters of a seed.
pub(crate) fn clusters(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &cluster_resource())
}

/// A field by JSON pointer.
pub(crate) fn field<'object>(object: &'object DynamicObject, pointer: &str) -> Option<&'object Value> {
    object.data.pointer(pointer)
}

/// A text field by JSON pointer, if it is there and not empty.
pub(crate) fn text<'object>(object: &'object DynamicObject, pointer: &str) -> Option<&'object str> {
    field(object, pointer)
        .and_then(Value::as_str)
        .filter(|value| !value.is_empty())
}

/// A switch by JSON pointer; absent is false.
pub(crate) fn is_on(object: &DynamicObject, pointer: &str) -> bool {
    field(object, pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// True if the Seed carries the skip annotation, whatever its value.
pub(crate) fn is_skipped(seed: &DynamicObject) -> bool {
    seed.metadata
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key(SKIP_ANNOTATION))
}
