//! What the shell may be told to do: one variant per effect, each idempotent by name or by precondition. Pure data.

use serde::Serialize;

use jiff::Timestamp;

use crate::etcd::EtcdCluster;
use crate::facts::ThrottleMark;
use crate::fix::FixIntent;
use crate::request::{Storage, sha256};

/// One effect on the cluster. At most one is carried out per round, after the fenced write that records the intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Put our finalizer on the KKPUpgrade.
    AddFinalizer,
    /// Take it off.
    RemoveFinalizer,
    /// Write the plan's ConfigMap (owned by the KKPUpgrade).
    WritePlan {
        /// Name of the ConfigMap.
        name: String,
        /// The plan as YAML, findings included.
        plan: String,
        /// The same as a Markdown page.
        page: String,
        /// `sha256:` digest of both texts.
        digest: String,
    },
    /// Take the platform's lease by compare-and-swap.
    AcquireLease {
        /// resourceVersion that was observed; `None` = create.
        resource_version: Option<String>,
    },
    /// Give the platform's lease back.
    ReleaseLease {
        /// resourceVersion that was observed.
        resource_version: String,
    },
    /// Make the key pair that backups are encrypted with and keep it in its Secret; one that is there stays.
    CreateBackupKey,
    /// Create a Job by its deterministic name.
    CreateJob(Box<JobIntent>),
    /// Remove a Job whose outcome is recorded, or which can no longer start.
    DeleteJob {
        /// Name of the Job.
        name: String,
        /// UID precondition.
        uid: String,
    },
    /// Remove the Pod of a Job whose main program waits and has not started. The precondition is lost as soon as the
    /// node reports anything new about it: a running installer is never killed.
    DeleteWaitingPod {
        /// Name of the Pod.
        name: String,
        /// UID precondition.
        uid: String,
        /// resourceVersion of the Pod that was seen waiting.
        resource_version: String,
    },
    /// Take a Job's fence so that its main program can never start.
    TakeFence {
        /// Name of the Job.
        job: String,
    },
    /// Write the limit and our note in one PATCH.
    SetThrottle {
        /// The note; its `applied` is the value.
        mark: ThrottleMark,
        /// resourceVersion of the KubermaticConfiguration that was observed.
        resource_version: String,
    },
    /// Put the limit back and take our note off, in one PATCH.
    RestoreThrottle {
        /// Value to restore; `None` = remove the field.
        original: Option<i64>,
        /// `false` = somebody else's value stands there: take only our note off.
        write_value: bool,
        /// resourceVersion of the KubermaticConfiguration that was observed.
        resource_version: String,
    },
    /// Ask KKP for the etcd backups of a few user clusters of one seed, each under a name of its own; what is there stays.
    CreateEtcdBackups(Box<EtcdIntent>),
    /// Write the values of a fix, or put them back, with the notes about them, in one PATCH to one object.
    WriteFix(Box<FixIntent>),
    /// Leave a note about what stays changed, then take the finalizer off. In this order in one effect: killed between
    /// the two, it is carried out again as a whole.
    Leave {
        /// Name of the ConfigMap.
        name: String,
        /// What stays, for people.
        text: String,
    },
}

/// Etcd backups that KKP is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdIntent {
    /// Name of the Seed.
    pub seed: String,
    /// Destination of the Seed that they go to.
    pub destination: String,
    /// UID of the KKPUpgrade.
    pub uid: String,
    /// Number of the run.
    pub run: i64,
    /// When they are asked for.
    pub requested: Timestamp,
    /// The user clusters, each with the number of the attempt, from 1.
    pub backups: Vec<(EtcdCluster, i32)>,
}

/// What a Job is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobIntent {
    /// Name of the Job, at most 63 characters.
    pub name: String,
    /// UID of the KKPUpgrade.
    pub uid: String,
    /// Number of the run.
    pub run: i64,
    /// Version that the hop goes to, without `v`.
    pub hop: String,
    /// Step of the run.
    pub step: String,
    /// `master` or the name of a Seed.
    pub target: String,
    /// Number of the attempt, from 1.
    pub attempt: i32,
    /// Digest of the plan.
    pub plan: String,
    /// What the Job runs.
    pub work: JobWork,
}

/// What a Job runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum JobWork {
    /// The backup of one target.
    #[serde(rename_all = "camelCase")]
    Backup {
        /// Where it is written.
        #[serde(flatten)]
        storage: Storage,
        /// Folder of this run and attempt below it.
        folder: String,
        /// Version that the platform runs, for the manifest.
        platform_version: String,
        /// Public keys that the archive is encrypted for.
        recipients: Vec<String>,
        /// Seed whose kubeconfig the Job reads with; `None` = its own account, on the master.
        #[serde(skip_serializing_if = "Option::is_none")]
        reader: Option<String>,
        /// UID of the namespace `kube-system` of the cluster that is to be backed up, where the run knows it: another
        /// cluster's backup would be taken for this one's.
        #[serde(skip_serializing_if = "Option::is_none")]
        cluster_uid: Option<String>,
    },
    /// The removal of older backups.
    #[serde(rename_all = "camelCase")]
    Retention {
        /// Where they lie.
        #[serde(flatten)]
        storage: Storage,
        /// How many verified ones of each cluster stay, at least.
        keep: u32,
        /// The platform's clusters: target and UID of the namespace `kube-system`. Backups of others are nobody's here.
        clusters: Vec<(String, String)>,
    },
    /// The installer.
    #[serde(rename_all = "camelCase")]
    Installer {
        /// Stack, for example `kubermatic-master`.
        stack: String,
        /// Image with tag.
        image: String,
        /// Arguments after `deploy STACK`.
        flags: Vec<String>,
        /// KKP's proxies as environment variables (name, value).
        #[serde(skip_serializing_if = "Vec::is_empty")]
        proxies: Vec<(String, String)>,
        /// Digest of the Helm values.
        values_digest: String,
        /// Secret (name, key) with the values; `None` = the live release's own.
        values_secret: Option<(String, String)>,
        /// Time-out of each Helm call, in seconds.
        helm_timeout_seconds: u64,
    },
}

impl JobIntent {
    /// Digest of the intent: a Job that carries another one is not ours to adopt.
    #[must_use]
    pub fn digest(&self) -> String {
        // The type holds nothing that JSON cannot express, so the fallback is never taken; it would only refuse adoption.
        sha256(&serde_json_canonicalizer::to_vec(self).unwrap_or_default())
    }
}

/// Deterministic name of a Job: `kkpu-<step>-<10 hexadecimal digits>` from (UID, run, hop, step, target, attempt).
#[must_use]
pub fn job_name(uid: &str, run: i64, hop: &str, step: &str, target: &str, attempt: i32) -> String {
    let digest = short_digest(&format!("{uid}\n{run}\n{hop}\n{step}\n{target}\n{attempt}"));
    format!("kkpu-{step}-{digest}").to_lowercase()
}

/// Ten hexadecimal digits that stand for a text in a name.
pub(crate) fn short_digest(text: &str) -> String {
    sha256(text.as_bytes()).chars().skip("sha256:".len()).take(10).collect()
}

/// Name of a ConfigMap that belongs to a KKPUpgrade: `<name>-<what>`, with a digest in the middle where that is longer
/// than a name may be (253 characters).
#[must_use]
pub fn dependent_name(upgrade: &str, what: &str) -> String {
    let plain = format!("{upgrade}-{what}");
    if plain.len() <= 253 {
        return plain;
    }
    let digest = short_digest(upgrade);
    let room = 253 - what.len() - digest.len() - 2;
    // Names of objects are ASCII, and a part of one has to end in a letter or a number.
    let start: String = upgrade.chars().take(room).collect();
    format!("{}-{digest}-{what}", start.trim_end_matches(['.', '-']))
}
