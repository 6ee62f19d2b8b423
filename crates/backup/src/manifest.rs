//! The manifest: what a backup holds and at which revision, with the digest of the encrypted archive.
//!
//! Talks to nothing. It is not encrypted, so it must never hold the content, the name or the digest of an object: a short
//! Secret can be guessed from its digest. Those are in the archive. The format is described in `docs/backup-format.md`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::BackupError;
use crate::canonical::{canonical_json, hexadecimal};
use crate::discovery::Resource;
use crate::path::{kind_path, object_path};
use crate::scope::{Omission, Scope};

/// Version of the format that this program writes, and the only one that it reads: 1 was not encrypted.
pub const FORMAT_VERSION: u32 = 2;

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
    /// Always `age` so far.
    pub encryption: String,
    /// Public keys of those who can open it. The run key, with which it was read back, is not among them.
    pub recipients: Vec<String>,
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
}

/// An object as it goes into the archive.
pub(crate) struct SealedObject {
    /// Path in the archive.
    pub(crate) path: String,
    /// sha256 of the canonical JSON, in hexadecimal.
    pub(crate) digest: String,
    /// The object's own resourceVersion.
    pub(crate) resource_version: String,
    /// The canonical JSON.
    pub(crate) body: Vec<u8>,
}

/// Makes the canonical JSON of an object: `apiVersion` and `kind` always there (lists of built-in kinds omit them).
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
    Ok(SealedObject {
        path,
        digest: hexadecimal(&body),
        resource_version,
        body,
    })
}

impl KindRecord {
    /// A kind of which so many objects were read.
    #[must_use]
    pub fn new(resource: &Resource, revision: &str, count: u64) -> Self {
        Self {
            group: resource.group.clone(),
            version: resource.version.clone(),
            plural: resource.plural.clone(),
            kind: resource.kind.clone(),
            namespaced: resource.namespaced,
            within: resource.within.clone(),
            revision: revision.to_owned(),
            count,
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

impl Manifest {
    /// What contradicts itself; `None` when all is well.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let counted = self
            .kinds
            .iter()
            .fold(0_u64, |sum, kind| sum.saturating_add(kind.count));
        (counted != self.objects).then(|| format!("it says {} objects and lists {counted}", self.objects))
    }

    /// The first kind of which an archive has another number of objects, given by the folders of its entries.
    pub(crate) fn miscounted(&self, found: &BTreeMap<String, u64>) -> Option<String> {
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        for kind in self.kinds.iter().filter(|kind| kind.count > 0) {
            *expected.entry(kind_path(&kind.resource())).or_default() += kind.count;
        }
        let folders = expected.keys().chain(found.keys());
        let wrong = folders
            .into_iter()
            .find(|folder| expected.get(*folder) != found.get(*folder))?;
        let count = |counts: &BTreeMap<String, u64>| counts.get(wrong).copied().unwrap_or_default();
        Some(format!(
            "{} entries in {wrong} instead of {}",
            count(found),
            count(&expected)
        ))
    }
}
