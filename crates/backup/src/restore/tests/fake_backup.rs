//! Backups of any objects, and of what no backup would hold.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use age::secrecy::ExposeSecret as _;
use jiff::Timestamp;
use serde_json::Value;
use tar::EntryType;

use crate::archive::SUMS_ENTRY;
use crate::canonical::digest;
use crate::discovery::Resource;
use crate::key::{RunKey, encrypt};
use crate::manifest::seal;
use crate::scope::Scope;
use crate::snapshot::publish_json;
use crate::{
    ARCHIVE_FILE, ArchiveRecord, AttemptFolder, FORMAT_VERSION, KeyPair, KindRecord, MANIFEST_FILE, Manifest,
    Recipients, RestoreArguments, Store, StoreArguments,
};

pub(super) static KEY: LazyLock<KeyPair> = LazyLock::new(KeyPair::generate);
pub(super) const CLUSTER_UID: &str = "cluster-one";

/// Every kind of these tests.
pub(super) fn kinds() -> Vec<Resource> {
    let kkp = "kubermatic.k8c.io";
    vec![
        Resource::namespaces(),
        Resource::new("", "v1", "secrets", "Secret", true),
        Resource::new("", "v1", "configmaps", "ConfigMap", true),
        Resource::crds(),
        Resource::new(kkp, "v1", "users", "User", false),
        Resource::new(kkp, "v1", "projects", "Project", false),
        Resource::new(kkp, "v1", "clusters", "Cluster", false),
        Resource::new(kkp, "v1", "addons", "Addon", true),
        Resource::new(
            "admissionregistration.k8s.io",
            "v1",
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
            false,
        ),
    ]
}

/// The kind of an object.
pub(super) fn kind(object: &Value) -> Resource {
    let found = kinds()
        .into_iter()
        .find(|resource| object["kind"] == resource.kind.as_str());
    found.unwrap()
}

/// An entry of an archive.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) body: Vec<u8>,
    pub(super) kind: EntryType,
}

/// A backup before it is written.
pub(super) struct Backup {
    pub(super) entries: Vec<Entry>,
    /// The list at the end; made of the entries without it.
    pub(super) sums: Option<Vec<u8>>,
    pub(super) manifest: Manifest,
}

impl Backup {
    pub(super) fn of(objects: &[Value]) -> Self {
        let mut counts: BTreeMap<Resource, u64> = kinds().into_iter().map(|resource| (resource, 0)).collect();
        let mut entries = Vec::new();
        for object in objects {
            let resource = kind(object);
            let sealed = seal(&resource, 1, object.clone()).unwrap();
            *counts.get_mut(&resource).unwrap() += 1;
            entries.push(Entry {
                path: sealed.path,
                body: sealed.body,
                kind: EntryType::Regular,
            });
        }
        let kinds = counts
            .iter()
            .map(|(resource, count)| KindRecord::new(resource, "7", *count));
        Self {
            entries,
            sums: None,
            manifest: manifest(objects.len() as u64, kinds.collect()),
        }
    }

    /// Writes it as the backup of run `run-1` and target `master`.
    pub(super) fn write(mut self, store: impl Into<Store>) -> AttemptFolder {
        let folder = AttemptFolder::claim(store, "run-1", "master").unwrap();
        let recipients = Recipients::parse(std::slice::from_ref(&KEY.recipient)).unwrap();
        let encrypted = encrypt(Vec::new(), &recipients, &RunKey::generate()).unwrap();
        let mut tar = tar::Builder::new(zstd::Encoder::new(encrypted, 3).unwrap());
        let lines = self.entries.iter().map(|entry| {
            let digest = digest(&entry.body).replace("sha256:", "");
            format!("{digest}  {}\n", entry.path)
        });
        let sums = self
            .sums
            .take()
            .unwrap_or_else(|| lines.collect::<String>().into_bytes());
        self.entries.push(Entry {
            path: SUMS_ENTRY.to_owned(),
            body: sums,
            kind: EntryType::Regular,
        });
        for entry in self.entries {
            append(&mut tar, &entry);
        }
        let bytes = tar.into_inner().unwrap().finish().unwrap().finish().unwrap();
        let (mut archive, _) = folder.create_archive().unwrap();
        archive.write_all(&bytes).unwrap();
        archive.publish().unwrap();
        self.manifest.archive.bytes = bytes.len() as u64;
        self.manifest.archive.digest = digest(&bytes);
        publish_json(&folder, MANIFEST_FILE, &self.manifest).unwrap();
        folder
    }
}

/// Writes names as they are: the tar library would refuse `..` and absolute ones.
fn append<W: std::io::Write>(tar: &mut tar::Builder<W>, entry: &Entry) {
    let mut header = tar::Header::new_gnu();
    header.set_size(entry.body.len() as u64);
    header.set_mode(0o644);
    header.set_entry_type(entry.kind);
    let name = entry.path.as_bytes();
    if name.len() > 100 {
        let mut long = tar::Header::new_gnu();
        long.set_entry_type(EntryType::GNULongName);
        long.set_size(name.len() as u64 + 1);
        long.set_cksum();
        tar.append(&long, [name, b"\0"].concat().as_slice()).unwrap();
    }
    let field = &mut header.as_old_mut().name;
    let length = name.len().min(100);
    field[..length].copy_from_slice(&name[..length]);
    header.set_cksum();
    tar.append(&header, entry.body.as_slice()).unwrap();
}

fn manifest(objects: u64, kinds: Vec<KindRecord>) -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        name: "run-1".to_owned(),
        target: "master".to_owned(),
        cluster_uid: CLUSTER_UID.to_owned(),
        server_version: "v1.36.0".to_owned(),
        platform_version: "2.30.6".to_owned(),
        started_time: Timestamp::UNIX_EPOCH,
        revision: "7".to_owned(),
        scope: Scope::kkp("kubermatic"),
        archive: ArchiveRecord {
            file: ARCHIVE_FILE.to_owned(),
            compression: "zstd".to_owned(),
            encryption: "age".to_owned(),
            recipients: vec![KEY.recipient.clone()],
            bytes: 0,
            digest: String::new(),
        },
        objects,
        kinds,
        omitted: Vec::new(),
    }
}

/// A file with the private key of `key`.
pub(super) fn identity(volume: &Path, key: &KeyPair) -> PathBuf {
    let file = volume.join("key.txt");
    fs::write(&file, key.identity_file.expose_secret()).unwrap();
    file
}

/// What makes the plan of the backup on this volume.
pub(super) fn arguments(volume: &Path) -> RestoreArguments {
    RestoreArguments {
        kubeconfig: None,
        target: "master".to_owned(),
        store: StoreArguments::volume(volume),
        name: "run-1".to_owned(),
        manifest_digest: None,
        identity: identity(volume, &KEY),
        plan_only: true,
        confirm: None,
        other_cluster: None,
        crds_backward: false,
        rate: 1_000_000,
        report_file: None,
        result_file: volume.join("result"),
    }
}
