//! Everything that can go wrong with a backup, typed, with the object and the way out in each message.
//!
//! Talks to nothing. Must never carry the content of an object: only kinds, names, pages and digests.

use std::io;
use std::path::{Path, PathBuf};

use crate::BucketFault;

/// Why a backup could not be taken, or could not be trusted.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The API server refused or failed a request.
    #[error("cannot read {resource} (page {page}) from the API server: {message}; {remedy}")]
    Api {
        /// What was being read, for example `clusters.kubermatic.k8c.io`.
        resource: String,
        /// Page of the list, from 1.
        page: u32,
        /// HTTP status, when the server answered.
        code: Option<u16>,
        /// The server's or the transport's words.
        message: String,
        /// What the administrator can do.
        remedy: &'static str,
    },
    /// The API server did not answer in time.
    #[error(
        "no answer for {resource} (page {page}) from the API server within {seconds} s; see that it is reachable and not overloaded, then run the backup again"
    )]
    Deadline {
        /// What was being read.
        resource: String,
        /// Page of the list, from 1.
        page: u32,
        /// The deadline.
        seconds: u64,
    },
    /// The pinned revision was compacted away while it was being read.
    #[error(
        "revision {revision} of {resource} is gone (410, page {page}): etcd was compacted while it was being read; take a fresh snapshot"
    )]
    Expired {
        /// What was being read.
        resource: String,
        /// Page of the list, from 1.
        page: u32,
        /// The revision that was asked for.
        revision: String,
    },
    /// A list was answered at another moment than the one asked for.
    #[error(
        "{resource} (page {page}) was answered at revision {answered} instead of {asked}: the backup would not be of one moment; see that no proxy in front of the API server drops query parameters"
    )]
    RevisionMismatch {
        /// What was being read.
        resource: String,
        /// Page of the list, from 1.
        page: u32,
        /// The pinned revision.
        asked: String,
        /// What the answer says.
        answered: String,
    },
    /// An answer that is not what the Kubernetes API promises.
    #[error(
        "the answer for {resource} (page {page}) cannot be used: {reason}; see that the address is a Kubernetes API server"
    )]
    Malformed {
        /// What was being read.
        resource: String,
        /// Page of the list, from 1.
        page: u32,
        /// What is wrong with it; never the content.
        reason: String,
    },
    /// A namespace that the backup needs is not there.
    #[error("namespace {namespace} does not exist in this cluster; name KKP's namespace with --namespace")]
    NamespaceMissing {
        /// The namespace.
        namespace: String,
    },
    /// A CRD whose objects the API server does not (yet) offer.
    #[error(
        "CRD {name} is established, but its kind is not in the API discovery: its objects would be missing; run the backup again in a few seconds"
    )]
    NotDiscovered {
        /// Name of the CRD.
        name: String,
    },
    /// The same object came twice.
    #[error("{path} was listed twice at one revision; run the backup again")]
    Duplicate {
        /// Path in the archive.
        path: String,
    },
    /// The volume refused something.
    #[error("cannot {action} {}: {source}; {}", path.display(), fault.remedy())]
    Volume {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Kind of trouble.
        fault: VolumeFault,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The object storage refused, failed, or was too slow.
    #[error("cannot {action} {}: {message}; {}", path.display(), fault.remedy())]
    Bucket {
        /// What was tried.
        action: &'static str,
        /// On which object, as `s3://<bucket>/…`.
        path: PathBuf,
        /// Kind of trouble.
        fault: BucketFault,
        /// The storage's or the transport's words.
        message: String,
    },
    /// The archive ends too early.
    #[error("{} ends too early, after {after}: it was cut off; take a new backup", path.display())]
    Truncated {
        /// The archive.
        path: PathBuf,
        /// The last entry that was read whole.
        after: String,
    },
    /// The archive cannot be decompressed or is no tar.
    #[error("{} is damaged after {after}: {reason}; take a new backup", path.display())]
    Corrupt {
        /// The archive.
        path: PathBuf,
        /// The last entry that was read whole.
        after: String,
        /// What the decoder says.
        reason: String,
    },
    /// An object in the archive is not the one that was read from the API.
    #[error("{path} in the archive is not what was read from the API server (another digest); take a new backup")]
    DigestMismatch {
        /// Path in the archive.
        path: String,
    },
    /// An object that was read is not in the archive.
    #[error("{path} is missing in the archive; take a new backup")]
    MissingEntry {
        /// The first one.
        path: String,
    },
    /// The archive has an entry that was not read, or one twice.
    #[error(
        "{path} in the archive was not read from the API server, or is there twice; somebody changed the archive: take a new backup"
    )]
    ExtraEntry {
        /// Path in the archive.
        path: String,
    },
    /// The archive is not there.
    #[error("{} is not there, although the backup was finished; take a new backup", path.display())]
    ArchiveMissing {
        /// The archive.
        path: PathBuf,
    },
    /// The archive as a file is not the one that was written.
    #[error("{} is not the file that was written ({reason}); take a new backup", path.display())]
    ArchiveMismatch {
        /// The archive.
        path: PathBuf,
        /// Digest or size.
        reason: String,
    },
    /// A manifest or a receipt of a length that no backup needs.
    #[error("{} has more than {most} bytes, more than any backup needs: somebody changed it; take a new backup", path.display())]
    DocumentTooLong {
        /// The file.
        path: PathBuf,
        /// Most that are read.
        most: u64,
    },
    /// The manifest is not the one that was written, or contradicts itself.
    #[error("{} cannot be trusted: {reason}; take a new backup", path.display())]
    ManifestInvalid {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Written by another program.
    #[error("{} has format {found}, this program reads {supported}; use the release that wrote it, or a newer one", path.display())]
    UnsupportedFormat {
        /// The manifest.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What this program knows.
        supported: String,
    },
    /// The API server, asked again at the same revision, says something else than the manifest.
    #[error(
        "{path}: the API server, asked again at the same revision, differs from the backup ({difference}); take a new backup"
    )]
    LiveMismatch {
        /// Path in the archive.
        path: String,
        /// In what way.
        difference: &'static str,
    },
    /// The kubeconfig leads somewhere else than the run saw.
    #[error(
        "the kubeconfig of {target} leads to the cluster {found} (kube-system UID), expected {expected}; put the right kubeconfig back"
    )]
    WrongCluster {
        /// The target.
        target: String,
        /// UID of the cluster that answered.
        found: String,
        /// UID of the cluster that was meant.
        expected: String,
    },
    /// The folder holds the backup of another cluster.
    #[error("{} holds a backup of the cluster {found}, this one is {expected}; use another --name or --destination", path.display())]
    OtherCluster {
        /// The folder.
        path: PathBuf,
        /// UID in the manifest.
        found: String,
        /// UID of this cluster.
        expected: String,
    },
    /// A key that does not open the archive.
    #[error("no key opens {}: use the private key of one of the recipients that manifest.json lists", path.display())]
    WrongKey {
        /// The archive.
        path: PathBuf,
    },
    /// Never verified, and nobody can do it any more without a recipient's key.
    #[error(
        "{} was never verified, and the key to read it back ended with the program that wrote it; take a new backup, or give a recipient's key with --identity", path.display()
    )]
    Unproven {
        /// The folder.
        path: PathBuf,
    },
    /// No recipients, or too many.
    #[error("{found} recipients are given; name 1 to 16 with --recipient")]
    Recipients {
        /// How many.
        found: usize,
    },
    /// A recipient that is none.
    #[error("recipient {index} (from 0) is no public key of age: {reason}; give one as `age-keygen` prints it (age1…)")]
    Recipient {
        /// Which one.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A file without a usable private key.
    #[error("cannot use {} as a private key: {reason}; give a file as `age-keygen` writes it", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never a line of it.
        reason: String,
    },
    /// A user cluster or a chart came between the look at namespaces and the snapshot.
    #[error("namespace {namespace} became part of the platform while the backup began; take a fresh snapshot")]
    Unsettled {
        /// The namespace.
        namespace: String,
    },
    /// There is nothing complete to verify.
    #[error("there is no complete backup in {} (no manifest.json); take one first", path.display())]
    NoBackup {
        /// The folder of the run.
        path: PathBuf,
    },
    /// A name that cannot be used as a folder.
    #[error("{what} {value:?} cannot be used as the name of a folder: {reason}")]
    InvalidName {
        /// Which argument.
        what: &'static str,
        /// What was given.
        value: String,
        /// Why not.
        reason: &'static str,
    },
    /// No client could be made.
    #[error("cannot use the kubeconfig {origin}: {message}; see that it is mounted and names an existing context")]
    Kubeconfig {
        /// File, or `in-cluster`.
        origin: String,
        /// Why not.
        message: String,
    },
    /// A part of this program died.
    #[error("a worker of the backup ended without a result ({0}); this is a bug, report it with the log")]
    Worker(String),
}

/// What a full volume is called where only words are left of an error.
const FULL: [&str; 2] = ["StorageFull", "QuotaExceeded"];

/// Kinds of trouble with a volume, each with its own way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeFault {
    /// Mounted read-only.
    ReadOnly,
    /// Full, or quota reached.
    NoSpace,
    /// Not allowed for this user.
    Permission,
    /// Not there.
    Missing,
    /// There already; backups are never written over.
    Exists,
    /// Anything else.
    Other,
}

impl VolumeFault {
    /// What the administrator can do.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::ReadOnly => "the backup volume is mounted read-only: use a claim that can be written to",
            Self::NoSpace => "the backup volume is full: enlarge the claim or move older backups away",
            Self::Permission => "the backup volume cannot be written by this user: set fsGroup or the volume's owner",
            Self::Missing => "see that the backup volume is mounted there",
            Self::Exists => "a backup is never written over: use another --name",
            Self::Other => "see the node's and the storage's log",
        }
    }

    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::PermissionDenied => Self::Permission,
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::AlreadyExists => Self::Exists,
            // age tells why it could not write its header in words alone.
            io::ErrorKind::Other if FULL.iter().any(|kind| error.to_string().contains(kind)) => Self::NoSpace,
            _ => Self::Other,
        }
    }
}

impl BackupError {
    /// An error of the operating system, with what was tried and on what.
    pub(crate) fn volume(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Volume {
            action,
            path: path.to_owned(),
            fault: VolumeFault::of(&source),
            source,
        }
    }

    /// Whether a fresh snapshot, with a fresh revision, is the answer.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Expired { .. } | Self::Unsettled { .. })
    }

    /// Whether the backup on the volume is bad (and not the way to it or the API server).
    #[must_use]
    pub fn is_bad_backup(&self) -> bool {
        matches!(
            self,
            Self::Truncated { .. }
                | Self::Corrupt { .. }
                | Self::DigestMismatch { .. }
                | Self::MissingEntry { .. }
                | Self::ExtraEntry { .. }
                | Self::ArchiveMismatch { .. }
                | Self::DocumentTooLong { .. }
                | Self::ManifestInvalid { .. }
                | Self::LiveMismatch { .. }
                | Self::WrongKey { .. }
                | Self::ArchiveMissing { .. }
                | Self::Unproven { .. }
        )
    }
}
