//! Why a restore stopped, with the object and the way out in each message. Must never carry the content of an object.

use crate::BackupError;

/// Why a restore did not begin, or stopped. Whatever was written until then stays, and the same command goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup or the way to it.
    #[error("the backup cannot be restored: {0}; then plan again, or choose another backup")]
    Backup(#[from] BackupError),
    /// The backup is of another cluster than the one that answers.
    #[error(
        "the backup is of the cluster {found} (UID of the namespace kube-system), this one is {expected}; see that the kubeconfig is the right one. Into a new cluster, on purpose: --other-cluster {found}"
    )]
    OtherCluster {
        /// UID in the manifest.
        found: String,
        /// UID of the cluster that answers.
        expected: String,
    },
    /// No complete backup with that manifest.
    #[error(
        "no complete backup of run {name} and target {target} has a manifest with the digest {digest}; see status.targets of the KKPUpgrade"
    )]
    NoSuchManifest {
        /// The run.
        name: String,
        /// The target.
        target: String,
        /// What was asked for.
        digest: String,
    },
    /// A webhook that has to answer does not.
    #[error(
        "{object}: a webhook of the platform does not answer ({message}); bring its Deployment back, then run the same command again: what is done stays done"
    )]
    Admission {
        /// The object that was asked about.
        object: String,
        /// The API server's words.
        message: String,
    },
    /// The API server does not answer, or not usefully.
    #[error(
        "{object}: the API server gives no answer that can be used ({message}); see that it is reachable, then run the same command again: what is done stays done"
    )]
    Unavailable {
        /// The object.
        object: String,
        /// What happened.
        message: String,
    },
    /// Not permitted.
    #[error(
        "{object}: not permitted ({message}); apply deploy/restore, or let the kubeconfig's user do it, and run the same command again"
    )]
    Forbidden {
        /// The object.
        object: String,
        /// The API server's words.
        message: String,
    },
    /// A CRD does not become ready for objects.
    #[error(
        "CRD {name} is not established after {seconds} s; see its status.conditions, then run the same command again: what is done stays done"
    )]
    NotEstablished {
        /// Name of the CRD.
        name: String,
        /// How long was waited.
        seconds: u64,
    },
    /// What was confirmed is not what would be done.
    #[error(
        "the plan that was confirmed is {confirmed}, what is to be done now is {found}: the cluster changed since. Read the new plan and confirm that"
    )]
    PlanChanged {
        /// Given with `--confirm`.
        confirmed: String,
        /// What it is now.
        found: String,
    },
    /// The report could not be written.
    #[error("the restore has ended, but its result cannot be written: {0}")]
    Result(BackupError),
}
