//! Which resources there are, from the API discovery, and which cluster this is.
//!
//! Talks to the cluster, reading only. Must never know a kind of KKP by name.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIGroupList, APIResourceList};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::BackupError;
use crate::api::{Source, Subject};
use crate::namespaces::Boundary;
use crate::scope::{Omission, Reach, Scope};

/// Turn of the lists that need a known scope.
const OTHERS: u8 = 2;

/// One kind of object that can be listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Version it is read at.
    pub version: String,
    /// Plural name.
    pub plural: String,
    /// Kind.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Only objects of this namespace.
    pub within: Option<String>,
}

impl Resource {
    /// All objects of a kind.
    #[must_use]
    pub fn new(group: &str, version: &str, plural: &str, kind: &str, namespaced: bool) -> Self {
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            namespaced,
            within: None,
        }
    }

    /// The same, of one namespace only.
    #[must_use]
    pub fn of_namespace(&self, namespace: &str) -> Self {
        Self {
            within: Some(namespace.to_owned()),
            ..self.clone()
        }
    }

    /// The namespaces.
    #[must_use]
    pub fn namespaces() -> Self {
        Self::new("", "v1", "namespaces", "Namespace", false)
    }

    /// The CRDs.
    #[must_use]
    pub fn crds() -> Self {
        Self::new(
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            "CustomResourceDefinition",
            false,
        )
    }

    /// Whether this is the list of CRDs, of which only those of the scope's groups are taken.
    #[must_use]
    pub fn is_crds(&self) -> bool {
        self.group == "apiextensions.k8s.io"
    }

    /// Whether these are namespaces, which say what of KKP's charts is there.
    #[must_use]
    pub fn is_namespaces(&self) -> bool {
        self.group.is_empty() && self.plural == "namespaces"
    }

    /// Whether the scope depends on these.
    #[must_use]
    pub fn tells_scope(&self) -> bool {
        self.turn() < OTHERS
    }

    /// When its list is read: whether an object is in scope has to be known when it comes.
    fn turn(&self) -> u8 {
        if self.is_clusters() || self.is_seeds() {
            0
        } else if self.is_namespaces() {
            1
        } else {
            OTHERS
        }
    }

    /// Whether these are KKP's Clusters, which say the namespaces of user clusters.
    #[must_use]
    pub fn is_clusters(&self) -> bool {
        self.group == "kubermatic.k8c.io" && self.kind == "Cluster"
    }

    /// Whether these are KKP's Seeds, which name credentials in other namespaces.
    #[must_use]
    pub fn is_seeds(&self) -> bool {
        self.group == "kubermatic.k8c.io" && self.kind == "Seed"
    }

    /// As in an object's `apiVersion`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// For messages.
    #[must_use]
    pub fn label(&self) -> String {
        match (&self.within, self.group.as_str()) {
            (Some(namespace), "") => format!("{} of namespace {namespace}", self.plural),
            (Some(namespace), group) => format!("{}.{group} of namespace {namespace}", self.plural),
            (None, "") => self.plural.clone(),
            (None, group) => format!("{}.{group}", self.plural),
        }
    }

    /// Where its objects are listed.
    #[must_use]
    pub fn collection_path(&self) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let api_version = self.api_version();
        let plural = &self.plural;
        match &self.within {
            Some(namespace) => format!("{root}/{api_version}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{api_version}/{plural}"),
        }
    }
}

/// Which cluster, and what runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// UID of the namespace `kube-system`: the usual identity of a cluster.
    pub uid: String,
    /// Version of the API server.
    pub server_version: String,
}

/// Reads which cluster this is.
///
/// # Errors
/// When the API server cannot be read.
pub async fn identify(source: &Source) -> Result<ClusterIdentity, BackupError> {
    let namespace = read_namespace(source, "kube-system").await?;
    let uid = namespace
        .pointer("/metadata/uid")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if uid.is_empty() {
        return Err(Subject::of("namespace kube-system").malformed("it has no UID"));
    }
    let version = source.get("/version", &Subject::of("the server's version")).await?;
    let server_version = version.get("gitVersion").and_then(Value::as_str).unwrap_or_default();
    Ok(ClusterIdentity {
        uid: uid.to_owned(),
        server_version: server_version.to_owned(),
    })
}

pub(crate) async fn read_namespace(source: &Source, name: &str) -> Result<Value, BackupError> {
    let label = format!("namespace {name}");
    match source
        .get(&format!("/api/v1/namespaces/{name}"), &Subject::of(&label))
        .await
    {
        Err(BackupError::Api { code: Some(404), .. }) => Err(BackupError::NamespaceMissing {
            namespace: name.to_owned(),
        }),
        other => other,
    }
}

/// What there is to be read.
pub(crate) struct Inventory {
    /// Every resource in scope: those that tell the scope first, both sorted.
    pub(crate) resources: Vec<Resource>,
    /// Fixed where lists are chosen by namespace; elsewhere it is learned while everything is read.
    pub(crate) boundary: Boundary,
    /// What is left out, and why.
    pub(crate) omitted: Vec<Omission>,
}

/// Finds every resource in scope, and the namespaces where lists are chosen by them.
///
/// # Errors
/// When the API server cannot be read, or KKP's namespace is missing.
pub(crate) async fn discover(source: &Source, namespace: &str, reach: Reach) -> Result<Inventory, BackupError> {
    let mut boundary = Boundary::new(namespace, reach);
    let mut omitted = Scope::omissions();
    let groups: APIGroupList = typed(source, "/apis", "the API groups").await?;
    let (owned, foreign): (Vec<_>, Vec<_>) = groups
        .groups
        .iter()
        .partition(|group| boundary.scope().owns_group(&group.name));
    let mut resources = vec![Resource::crds(), Resource::namespaces()];
    for group in owned {
        let (found, left_out) = resources_of(source, group).await?;
        resources.extend(found);
        omitted.extend(left_out);
    }
    read_namespace(source, namespace).await?;
    if reach == Reach::Named {
        boundary.look_up(source, &resources).await?;
    }
    resources
        .extend(SHARED.map(|(group, plural, kind, namespaced)| Resource::new(group, "v1", plural, kind, namespaced)));
    for (plural, kind) in CONFIDENTIAL {
        let all = Resource::new("", "v1", plural, kind, true);
        match reach {
            Reach::Everywhere => resources.push(all),
            Reach::Named => {
                let namespaces = boundary.scope().namespaces.iter();
                resources.extend(namespaces.map(|namespace| all.of_namespace(namespace)));
            }
        }
    }
    resources.sort_by_cached_key(|resource| (resource.turn(), resource.clone()));
    let foreign: Vec<&str> = foreign.iter().map(|group| group.name.as_str()).collect();
    omitted.push(Omission::new(
        format!("API groups {}", foreign.join(", ")),
        "not of KKP or of its charts, except Ingresses, CRDs, RBAC and webhook configurations as listed here",
    ));
    Ok(Inventory {
        resources,
        boundary,
        omitted,
    })
}

/// Kinds of which everybody has objects: group, plural, kind, namespaced. Every API server serves them at `v1`.
const SHARED: [(&str, &str, &str, bool); 7] = [
    (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        false,
    ),
    ("networking.k8s.io", "ingresses", "Ingress", true),
    (
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        "ClusterRoleBinding",
        false,
    ),
    ("rbac.authorization.k8s.io", "clusterroles", "ClusterRole", false),
    ("rbac.authorization.k8s.io", "rolebindings", "RoleBinding", true),
    ("rbac.authorization.k8s.io", "roles", "Role", true),
];

/// Kinds that nobody may list in all namespaces without need.
const CONFIDENTIAL: [(&str, &str); 2] = [("configmaps", "ConfigMap"), ("secrets", "Secret")];

/// Every kind of a group once: at the preferred version, or at the first other one that has it.
async fn resources_of(source: &Source, group: &APIGroup) -> Result<(Vec<Resource>, Vec<Omission>), BackupError> {
    let mut found: BTreeMap<String, (Resource, bool)> = BTreeMap::new();
    for version in group.preferred_version.iter().chain(&group.versions) {
        let path = format!("/apis/{}/{}", group.name, version.version);
        let list: APIResourceList = typed(source, &path, &format!("the resources of {}", group.name)).await?;
        for offer in list.resources.iter().filter(|offer| !offer.name.contains('/')) {
            let listable = offer.verbs.iter().any(|verb| verb == "list");
            if found.get(&offer.name).is_some_and(|(_, known)| *known || !listable) {
                continue;
            }
            let resource = Resource::new(
                &group.name,
                &version.version,
                &offer.name,
                &offer.kind,
                offer.namespaced,
            );
            found.insert(offer.name.clone(), (resource, listable));
        }
    }
    let (listable, others): (Vec<_>, Vec<_>) = found.into_values().partition(|(_, listable)| *listable);
    let omissions = others.into_iter().map(|(resource, _)| Omission {
        what: format!("{} ({})", resource.label(), resource.version),
        reason: "the API server cannot list it".to_owned(),
    });
    Ok((
        listable.into_iter().map(|(resource, _)| resource).collect(),
        omissions.collect(),
    ))
}

async fn typed<T: DeserializeOwned>(source: &Source, path: &str, label: &str) -> Result<T, BackupError> {
    let subject = Subject::of(label);
    let value = source.get(path, &subject).await?;
    serde_json::from_value(value).map_err(|_| subject.malformed("it is not a discovery document"))
}

/// A CRD of the scope, as far as it says whether its objects can be read.
pub(crate) struct CrdOffer {
    pub(crate) name: String,
    group: String,
    plural: String,
    offered: bool,
}

impl CrdOffer {
    /// Reads the few fields that matter.
    pub(crate) fn of(crd: &Value) -> Self {
        let text = |pointer: &str| {
            crd.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let list = |pointer: &str| {
            crd.pointer(pointer)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let served = list("/spec/versions")
            .iter()
            .any(|version| version.get("served").and_then(Value::as_bool) == Some(true));
        let established = list("/status/conditions").iter().any(|condition| {
            condition.get("type").and_then(Value::as_str) == Some("Established")
                && condition.get("status").and_then(Value::as_str) == Some("True")
        });
        Self {
            name: text("/metadata/name"),
            group: text("/spec/group"),
            plural: text("/spec/names/plural"),
            offered: served && established,
        }
    }

    /// Nothing when its objects are read; why not, when they cannot be; an error when they should be.
    pub(crate) fn check(&self, resources: &[Resource]) -> Result<Option<Omission>, BackupError> {
        let read = |resource: &Resource| resource.group == self.group && resource.plural == self.plural;
        if resources.iter().any(read) {
            return Ok(None);
        }
        if self.offered {
            return Err(BackupError::NotDiscovered {
                name: self.name.clone(),
            });
        }
        Ok(Some(Omission {
            what: format!("objects of CRD {}", self.name),
            reason: "the CRD is not established or serves no version".to_owned(),
        }))
    }
}
