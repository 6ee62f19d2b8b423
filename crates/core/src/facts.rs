//! What was observed in one round. Pure data; time is a fact too.
//!
//! Every value that comes from a call that can fail is [`Known`]: what was not read, or could not be read, is never
//! mistaken for absence or success.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::etcd::EtcdFacts;
use crate::fix::MarkedObject;
use crate::request::{Edition, Storage};
use crate::rules::{Finding, RouteError};
use crate::status::{CatalogueStatus, ClusterCounts};
use crate::version::KkpVersion;

/// Something observed, or why it could not be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Known<T> {
    /// It was read.
    Is(T),
    /// It could not be read: what was tried and what came back.
    Unknown(String),
    /// Nobody asked for it in this round.
    #[default]
    NotRead,
}

impl<T> Known<T> {
    /// The value, where it was read.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Unknown(_) | Self::NotRead => None,
        }
    }

    /// Why there is no value; empty where there is one.
    pub fn why_not(&self) -> &str {
        match self {
            Self::Is(_) => "",
            Self::Unknown(why) => why,
            Self::NotRead => "not read in this round",
        }
    }
}

/// Everything that was observed in one round.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The time of this round.
    pub now: Timestamp,
    /// Identity of this operator process and effect: written into `status.step.holder` with every intent.
    pub holder: String,
    /// The KKPUpgrade's own metadata.
    pub object: ObjectFacts,
    /// Namespace of the KubermaticConfiguration.
    pub platform_namespace: Known<String>,
    /// The master and its seeds.
    pub platform: Known<PlatformFacts>,
    /// Findings of all rules; read in Preflight and before the first change.
    pub findings: Known<Vec<Finding>>,
    /// The catalogue that the findings come from; `None` = none was read.
    pub catalogue: Option<CatalogueStatus>,
    /// Objects with notes of fixes on them, of whatever run; read while fixes are made or put back.
    pub marked: Known<Vec<MarkedObject>>,
    /// What the seeds tell about the etcd backups of the run, by name of the Seed; read while they are made.
    pub etcd: Known<BTreeMap<String, Known<EtcdFacts>>>,
    /// Other `KKPUpgrade`s in the namespace that want or hold the platform, in the order in which they are served.
    pub others: Known<Vec<OtherUpgrade>>,
    /// The platform's lease.
    pub lease: Known<LeaseFacts>,
    /// The Job named by `status.step.job`.
    pub job: Known<JobFacts>,
    /// Digest of the text in the plan's ConfigMap; `None` = it is not there or not ours.
    pub plan: Known<Option<String>>,
    /// Why the last effect of this KKPUpgrade was refused, where this process tried one; lost races are none.
    pub refused: Option<String>,
    /// Whether that refusal was meant (invalid or forbidden), so that another try is no use before somebody has acted.
    pub refusal_stands: bool,
}

/// The KKPUpgrade's own metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFacts {
    /// UID.
    pub uid: String,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Generation of the spec.
    pub generation: i64,
    /// When it was created.
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether our finalizer is on it.
    pub finalizer: bool,
    /// Value of the annotation `upgrade.k8c.io/retry`.
    pub retry: Option<String>,
    /// Value of the annotation `upgrade.k8c.io/abort`.
    pub abort: Option<String>,
    /// Value of the annotation `upgrade.k8c.io/release`.
    pub release: Option<String>,
    /// Value of the annotation `upgrade.k8c.io/approve`: the digest of a plan.
    pub approve: Option<String>,
    /// Field manager that wrote it: a claim, not a proof.
    pub approve_manager: Option<String>,
}

/// Another KKPUpgrade of this platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherUpgrade {
    /// UID.
    pub uid: String,
    /// Name.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// `mode: Upgrade`, in Preflight, and nothing but the queue in front of it.
    pub waits_for_queue: bool,
    /// Whether it has ended.
    pub terminal: bool,
    /// How long the hops of its runs took that ended well, in seconds.
    pub hop_seconds: Vec<i64>,
}

/// The Lease `kkp-upgrade-active`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseFacts {
    /// resourceVersion; `None` = the Lease does not exist.
    pub resource_version: Option<String>,
    /// UID of the KKPUpgrade that holds the platform.
    pub holder: Option<String>,
}

/// The master cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct PlatformFacts {
    /// The KubermaticConfiguration.
    pub configuration: ConfigurationFacts,
    /// Version that the platform says it runs (`status.kubermaticVersion`); written early, so never evidence.
    pub version: Option<KkpVersion>,
    /// The way from that version to the target, or why there is none.
    pub route: Known<Result<Vec<Stop>, RouteError>>,
    /// Edition that the platform says it is.
    pub edition: Option<Edition>,
    /// UID of the master's `kube-system` namespace.
    pub cluster_uid: String,
    /// Version that the master's CRDs are annotated with.
    pub crd_version: Known<Option<String>>,
    /// Evidence that the master runs the target version.
    pub evidence: Evidence,
    /// Seeds, by name.
    pub seeds: Vec<SeedFacts>,
    /// Backup storage that was found usable; `None` = none is configured.
    pub backup_storage: Option<Storage>,
    /// The key in the cluster that backups are encrypted with where the spec names no recipients; `None` = there is no Secret
    /// with it yet.
    pub backup_key: Known<Option<BackupKey>>,
    /// How the installer would be run for the target.
    pub installer: Known<InstallerFacts>,
}

/// One release on the route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The release.
    pub version: KkpVersion,
    /// What it changes for good.
    pub one_way: Vec<String>,
}

/// The KubermaticConfiguration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationFacts {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// resourceVersion that the throttle may be written against.
    pub resource_version: String,
    /// `spec.seedController.maximumParallelReconciles`; `None` = not set.
    pub maximum_parallel_reconciles: Option<i64>,
    /// Our mark, if it is there.
    pub throttle_mark: Known<Option<ThrottleMark>>,
}

/// Our note on the KubermaticConfiguration: who changed the limit, from what, to what. One PATCH writes value and note.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThrottleMark {
    /// UID of the KKPUpgrade.
    pub owner: String,
    /// Value before; `None` = the field was not set.
    pub original: Option<i64>,
    /// Value written.
    pub applied: i64,
}

/// The key in the cluster that backups are encrypted with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupKey {
    /// Public half.
    pub recipient: String,
    /// Whether the private half lies beside it.
    pub private: bool,
}

/// How the installer would be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallerFacts {
    /// Image with tag.
    pub image: String,
    /// Digest of the Helm values, never the values.
    pub values_digest: String,
    /// Secret (name, key) that holds the values; `None` = the live release's own.
    pub values_secret: Option<(String, String)>,
    /// Arguments after `deploy kubermatic-master`.
    pub flags: Vec<String>,
    /// KKP's proxies as environment variables (name, value); empty where KKP has none.
    pub proxies: Vec<(String, String)>,
}

/// One seed.
#[derive(Debug, Clone, PartialEq)]
pub struct SeedFacts {
    /// Name of the Seed.
    pub name: String,
    /// UID of the Seed.
    pub uid: String,
    /// Whether its cluster answered; otherwise why not.
    pub reachable: Known<()>,
    /// UID of its `kube-system` namespace; equal to the master's for a cluster that is both.
    pub cluster_uid: Option<String>,
    /// Destination that KKP writes etcd backups of its user clusters to: the default one, or the only one.
    pub etcd_destination: Option<String>,
    /// Evidence that it runs the target version.
    pub evidence: Evidence,
    /// Limit that its seed-controller-manager runs with, once rolled out.
    pub limit_in_force: Known<Option<i64>>,
    /// User clusters, counted.
    pub clusters: Known<ClusterCounts>,
    /// The first few user clusters that are not there yet, with what they miss.
    pub lagging: Vec<String>,
    /// Names ("seed/cluster") of user clusters that are unhealthy now.
    pub unhealthy: Vec<String>,
}

/// What evidence says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// It cannot be true unless the work is done.
    Proven,
    /// This is still missing.
    Missing(Vec<String>),
    /// It could not be read.
    Unknown(String),
}

impl Evidence {
    /// Whether the work is proven done.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        matches!(self, Self::Proven)
    }

    /// What is missing, for people; empty when proven.
    #[must_use]
    pub fn missing(&self) -> String {
        match self {
            Self::Proven => String::new(),
            Self::Missing(what) => what.join("; "),
            Self::Unknown(why) => format!("cannot be read: {why}"),
        }
    }
}

/// A Job of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobFacts {
    /// There is no such Job.
    Absent {
        /// Its fence: where a Pod has taken it, the main program was let through once.
        fence: Fence,
    },
    /// A Job of this name exists that is not the one that was intended.
    Foreign,
    /// It has not ended.
    Running {
        /// UID of the Job; empty where the Job is gone and its Pod still lives.
        uid: String,
        /// Its fence.
        fence: Fence,
        /// The Pod that cannot start, and why; `None` as soon as a main program has started.
        waiting: Option<WaitingPod>,
    },
    /// It ended well.
    Succeeded {
        /// UID of the Job.
        uid: String,
        /// Termination message of the main container.
        message: String,
    },
    /// It ended badly, and its Pod is gone or terminal.
    Failed {
        /// UID of the Job.
        uid: String,
        /// Last error lines.
        message: String,
    },
}

/// A Pod whose main program has not started and cannot start now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingPod {
    /// What it waits for.
    pub why: String,
    /// Name of the Pod.
    pub name: String,
    /// UID of the Pod.
    pub uid: String,
    /// resourceVersion that was seen.
    pub resource_version: String,
}

/// Who took a Job's fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// Nobody: the main program has not started.
    Absent,
    /// The Job's own Pod: the main program may have started.
    Pod,
    /// The operator: the main program can never start.
    Operator,
}
