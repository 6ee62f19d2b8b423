//! The manifest: what a backup holds, at which revision, with a digest for everything.
//!
//! Talks to nothing. Must never hold the content of an object. The format is described in `docs/backup-format.md`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::BackupError;
use crate::canonical::{canonical_json, digest, render_digest};
use crate::discovery::Resource;
use crate::path::object_path;
use crate::scope::{Omission, Scope};

/// Version of the format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Name of the run.
    pub name: String,
    /// The master or the seed.
    pub target: String,
    /// UID of the namespace `kube-system`.
    pub cluster_uid: String,
    /// Version of the API server.
    pub server_version: String,
    /// Version of KKP, as the caller says.
    pub platform_version: String,
    /// When the run started.
    pub started_time: Timestamp,
    /// The pinned revision.
    pub revision: String,
    /// What was asked for.
    pub scope: Scope,
    /// The archive.
    pub archive: ArchiveRecord,
    /// Number of objects.
    pub objects: u64,
    /// Every kind, sorted.
    pub kinds: Vec<KindRecord>,
    /// What was left out, and why.
    pub omitted: Vec<Omission>,
}

/// The archive file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveRecord {
    /// Name in the same folder.
    pub file: String,
    /// Always `zstd` so far.
    pub compression: String,
    /// `none`: this version does not encrypt, and so takes no Secrets.
    pub encryption: String,
    /// Size of the file.
    pub bytes: u64,
    /// Digest of the file.
    pub digest: String,
}

/// One kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KindRecord {
    /// API group; empty for the core group.
    pub group: String,
    /// Version it was read at.
    pub version: String,
    /// Plural name.
    pub plural: String,
    /// Kind.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Only objects of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// Revision it was read at: the pinned one, or an own one when another etcd keeps it.
    pub revision: String,
    /// Number of objects.
    pub count: u64,
    /// Digest over path and digest of every object.
    pub digest: String,
    /// Every object.
    pub objects: Vec<ObjectRecord>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRecord {
    /// Path in the archive.
    pub path: String,
    /// Digest of the canonical JSON.
    pub digest: String,
    /// Size of the canonical JSON.
    pub bytes: u64,
    /// The object's own resourceVersion.
    pub resource_version: String,
}

/// An object as it goes into the archive.
pub(crate) struct SealedObject {
    pub(crate) record: ObjectRecord,
    pub(crate) body: Vec<u8>,
}

/// Makes the canonical JSON of an object: `apiVersion` and `kind` always there (lists of built-in kinds omit them),
/// `managedFields` never.
pub(crate) fn seal(resource: &Resource, page: u32, mut object: Value) -> Result<SealedObject, BackupError> {
    let malformed = |reason: &str| BackupError::Malformed {
        resource: resource.label(),
        page,
        reason: reason.to_owned(),
    };
    let members = object
        .as_object_mut()
        .ok_or_else(|| malformed("an item is no object"))?;
    members.insert("apiVersion".to_owned(), resource.api_version().into());
    members.insert("kind".to_owned(), resource.kind.as_str().into());
    let metadata = members
        .get_mut("metadata")
        .and_then(Value::as_object_mut)
        .ok_or_else(|| malformed("an item has no metadata"))?;
    metadata.remove("managedFields");
    let text = |name: &str| {
        metadata
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let name = text("name").ok_or_else(|| malformed("an item has no name"))?;
    let namespace = text("namespace");
    if namespace.is_some() != resource.namespaced {
        return Err(malformed("an item's namespace does not agree with the API discovery"));
    }
    let path = object_path(resource, namespace, name);
    let resource_version = text("resourceVersion").unwrap_or_default().to_owned();
    let body = canonical_json(&object).map_err(|_| malformed("an item has a number that is not finite"))?;
    let record = ObjectRecord {
        path,
        digest: digest(&body),
        bytes: body.len() as u64,
        resource_version,
    };
    Ok(SealedObject { record, body })
}

impl KindRecord {
    /// A kind with its objects, counted and digested.
    #[must_use]
    pub fn new(resource: &Resource, revision: &str, objects: Vec<ObjectRecord>) -> Self {
        Self {
            group: resource.group.clone(),
            version: resource.version.clone(),
            plural: resource.plural.clone(),
            kind: resource.kind.clone(),
            namespaced: resource.namespaced,
            within: resource.within.clone(),
            revision: revision.to_owned(),
            count: objects.len() as u64,
            digest: digest_of(&objects),
            objects,
        }
    }

    /// The resource, to list it again.
    #[must_use]
    pub fn resource(&self) -> Resource {
        let all = Resource::new(&self.group, &self.version, &self.plural, &self.kind, self.namespaced);
        Resource {
            within: self.within.clone(),
            ..all
        }
    }
}

fn digest_of(objects: &[ObjectRecord]) -> String {
    let mut state = Sha256::new();
    for object in objects {
        state.update(object.path.as_bytes());
        state.update(b" ");
        state.update(object.digest.as_bytes());
        state.update(b"\n");
    }
    render_digest(state)
}

impl Manifest {
    /// What contradicts itself; `None` when all is well.
    pub(crate) fn contradiction(&self) -> Option<String> {
        for kind in &self.kinds {
            if kind.count != kind.objects.len() as u64 || kind.digest != digest_of(&kind.objects) {
                return Some(format!(
                    "the count or digest of {} is not that of its objects",
                    kind.resource().label()
                ));
            }
        }
        let counted: u64 = self.kinds.iter().map(|kind| kind.count).sum();
        (counted != self.objects).then(|| format!("it says {} objects and lists {counted}", self.objects))
    }
}
