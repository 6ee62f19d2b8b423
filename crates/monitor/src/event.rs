//! What happened: one write to an API server, or one line of an installer's ledger. Pure data.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it was complete.
    pub time: Timestamp,
    /// What it was.
    pub what: What,
}

impl Event {
    /// Whether it is about a `KKPUpgrade`.
    #[must_use]
    pub fn is_of_upgrade(&self) -> bool {
        let key = match &self.what {
            What::Write(write) => &write.object,
            What::Seen(key, _) | What::Lost(key) => key,
            What::Installer(_) => return false,
        };
        key.is(crate::names::GROUP, "kkpupgrades")
    }
}

/// The kinds of things that happen.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// An object was written; only writes that an API server accepted.
    Write(Box<Write>),
    /// An object as it is at this time, without anybody having written it now: from a first list, or the answer to a dry
    /// run.
    Seen(ObjectKey, Arc<Value>),
    /// An object can be anything from now on: a write to it ended without a known outcome, or a watch has a gap.
    Lost(ObjectKey),
    /// A run of KKP's installer said something, outside of any API.
    Installer(InstallerRecord),
}

/// An accepted write.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Who wrote.
    pub actor: Actor,
    /// How.
    pub verb: Verb,
    /// What was written.
    pub object: ObjectKey,
    /// `status`, `finalize` and the like; `None` = the object itself.
    pub subresource: Option<String>,
    /// UID that the writer demanded.
    pub uid_precondition: Option<String>,
    /// resourceVersion that the writer demanded.
    pub version_precondition: Option<String>,
    /// The object before, where it is known. The fold fills it in.
    pub before: Option<Arc<Value>>,
    /// The object as the server answered; for a deletion at once there may be none.
    pub after: Option<Arc<Value>>,
    /// Whether the object is gone with this write.
    pub gone: bool,
}

/// How an object was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It was created.
    Create,
    /// It was replaced or patched.
    Update,
    /// Its deletion was asked for.
    Delete,
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Name of the cluster: `master` or the name of a seed.
    pub cluster: String,
    /// API group; empty = core.
    pub group: String,
    /// Resource, plural.
    pub resource: String,
    /// Namespace; empty = cluster-wide.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// Whether it is of this kind.
    #[must_use]
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.group == group && self.resource == resource
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cluster,
            resource,
            namespace,
            name,
            ..
        } = self;
        if namespace.is_empty() {
            write!(formatter, "{resource} {name} on {cluster}")
        } else {
            write!(formatter, "{resource} {namespace}/{name} on {cluster}")
        }
    }
}

impl From<&ObjectKey> for String {
    fn from(key: &ObjectKey) -> Self {
        key.to_string()
    }
}

/// Who wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Who it is, as far as the operator's promises are concerned.
    pub identity: Identity,
    /// User name, or field manager where no user is known.
    pub name: String,
    /// UID of the Pod whose token it used.
    pub pod_uid: Option<String>,
    /// Name of that Pod.
    pub pod: Option<String>,
}

/// Kinds of writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The operator.
    Operator,
    /// A Pod of one of our installer Jobs.
    Installer,
    /// A Pod of one of our backup Jobs.
    Backup,
    /// A Pod of a Job that restores.
    Restore,
    /// Kubernetes itself.
    Kubernetes,
    /// Anybody else: KKP, people, pipelines.
    Other,
    /// Not known: the source has no user names.
    Unknown,
}

impl Actor {
    /// Whether it is the operator or one of its Jobs.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        matches!(
            self.identity,
            Identity::Operator | Identity::Installer | Identity::Backup
        )
    }

    /// Whether it is the operator's own process.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.identity == Identity::Operator
    }
}

/// One line of an installer's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallerRecord {
    /// Identity of the run.
    pub run: String,
    /// `start`, `step`, `effect`, `fault` or `end`.
    pub event: String,
    /// Name of the Pod it runs in (`start` only).
    pub pod: String,
    /// Address of the API server it works on (`start` only).
    pub server: String,
    /// Stack that it installs (`start` only).
    pub stack: String,
    /// Version of the installer, without `v` (`start` only).
    pub version: String,
    /// Step that begins (`step` only).
    pub step: String,
    /// Exit code (`end` only).
    pub exit_code: Option<i64>,
}
