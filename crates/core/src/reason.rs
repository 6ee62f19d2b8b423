//! Every reason that conditions and events carry: one closed list, documented from here. Pure.

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// Why something is as it is; part of the API: one CamelCase word, stable.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Display, EnumString, IntoStaticStr, VariantArray,
)]
pub enum Reason {
    /// The upgrade is accepted and has not begun.
    Pending,
    /// The spec cannot be carried out as it stands.
    InvalidSpec,
    /// The object is not in the namespace of the `KubermaticConfiguration`.
    WrongNamespace,
    /// The platform runs a newer version than the target.
    DowngradeNotSupported,
    /// Status holds a phase or step that this operator does not know, as a newer one may have written it.
    UnknownStatus,
    /// The platform is being read and the rules are being evaluated.
    RunningPreflight,
    /// At least one blocker stands that nobody has accepted.
    PreflightBlocked,
    /// Every rule that blocks has passed or was accepted.
    PreflightPassed,
    /// Event on ConfigMap `kkp-upgrade-catalogue`: from now on its rules and releases count.
    CatalogueInForce,
    /// Event on ConfigMap `kkp-upgrade-catalogue`: nothing of it counts, the compiled-in rules and releases do.
    CatalogueRefused,
    /// `mode: Plan`: the plan is ready and nothing blocks.
    PlanReady,
    /// `approval.mode: Manual`: somebody has to approve this very plan.
    AwaitingApproval,
    /// Somebody has approved this very plan.
    Approved,
    /// `approval.mode: Automatic`: nobody has to approve.
    ApprovalNotRequired,
    /// Another KKPUpgrade holds the platform.
    AnotherUpgradeRunning,
    /// `spec.paused` is set.
    Paused,
    /// Something could not be read or done just now and is tried again.
    Retrying,
    /// The run is being ended; what was borrowed is put back.
    Aborting,
    /// Backups are being written and verified.
    BackingUp,
    /// Every target in scope has a verified backup.
    BackupVerified,
    /// `backup.policy: Skip` with the accepted risk: there is no backup.
    BackupSkipped,
    /// A backup could not be made or did not verify.
    BackupFailed,
    /// Backups that were older than those that are kept, and that no upgrade needs, were removed after the run.
    BackupsRemoved,
    /// Older backups could not be counted or removed. They stay; the run is not affected.
    BackupRetentionFailed,
    /// The etcd of a user cluster could not be backed up.
    EtcdBackupFailed,
    /// The limit is being written and seeds are rolling it out.
    Throttling,
    /// The limit is in force.
    ThrottleInForce,
    /// No limit was asked for; KKP's own stays.
    ThrottleNotRequested,
    /// The limit was put back to what it was.
    ThrottleRestored,
    /// Somebody else changed the limit during the run.
    ThrottleContested,
    /// What `spec.fixes` asks for is being mended.
    Preparing,
    /// The API server or KKP's webhook refused a fix.
    FixRefused,
    /// A fix cannot be written over what stands there.
    FixContested,
    /// The installer runs for the master.
    UpgradingMaster,
    /// The installer ended with an error.
    InstallerFailed,
    /// The installer started, and its Job is gone before its result was read.
    InstallerOutcomeUnknown,
    /// The installer is done; master components are rolling out.
    VerifyingMaster,
    /// The master runs the target version, by evidence.
    MasterUpgraded,
    /// Seeds are rolling out.
    UpgradingSeeds,
    /// Every seed runs the target version, by evidence.
    SeedsUpgraded,
    /// User clusters are being reconciled by the new version.
    ConvergingUserClusters,
    /// Every user cluster in scope was reconciled by the new version, by evidence.
    UserClustersConverged,
    /// All evidence is watched for the soak time.
    Verifying,
    /// Evidence that was there is gone, or clusters became unhealthy.
    VerificationFailed,
    /// Evidence held for the soak time.
    EvidenceHeld,
    /// What was borrowed is being put back.
    PuttingBack,
    /// Nothing moved for `verification.progressDeadlineSeconds`.
    ProgressDeadlineExceeded,
    /// The run ended, and a changed limit stays until it is safe to put it back.
    HeldAfterFailure,
    /// The run was ended by a person, by Git or by deletion.
    Aborted,
    /// The target version runs everywhere, by evidence.
    UpgradeSucceeded,
    /// The platform ran the target version before anything was done.
    AlreadyAtTarget,
    /// A hop is done by evidence, and the next one begins with its own Preflight.
    NextHop,
}

impl Reason {
    /// What a person does about it; empty where nothing has to be done.
    #[must_use]
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::InvalidSpec => "correct the field that the message names",
            Self::UnknownStatus => {
                "run the version of the operator that wrote it, or annotate upgrade.k8c.io/abort to end the run"
            }
            Self::WrongNamespace => "create the KKPUpgrade in the namespace of the KubermaticConfiguration",
            Self::DowngradeNotSupported => "choose a target version that is not older than the running one",
            Self::PreflightBlocked => {
                "mend what status.findings names, or accept the risk in spec.acceptedRisks where the rule allows it"
            }
            Self::CatalogueRefused => "mend the key and line that the message names",
            Self::Paused => "set spec.paused to false",
            Self::AwaitingApproval => {
                "read it, then annotate upgrade.k8c.io/approve with its digest, or list that in spec.approval.digests"
            }
            Self::BackupFailed => "mend the backup storage, then annotate upgrade.k8c.io/retry",
            Self::BackupRetentionFailed => {
                "mend what the message names: the end of the next run tries again; in a bucket the key needs s3:ListBucket and s3:DeleteObject"
            }
            Self::EtcdBackupFailed => {
                "mend it, accept rule etcd-backup-failed or set backup.userClusterEtcd: Disabled; then annotate upgrade.k8c.io/retry"
            }
            Self::ThrottleContested => {
                "put spec.seedController.maximumParallelReconciles back to the value the message names, or abort"
            }
            Self::FixRefused => "mend what the server names, or take the rule out of spec.fixes",
            Self::FixContested => {
                "set the value by hand so that the rule passes, or take the rule out of spec.fixes and the annotation off"
            }
            Self::InstallerFailed | Self::InstallerOutcomeUnknown => {
                "read status.failedIn, repair the Helm releases it names, then annotate upgrade.k8c.io/retry"
            }
            Self::VerificationFailed | Self::ProgressDeadlineExceeded => {
                "look at what status.insights names; the run goes on watching"
            }
            Self::HeldAfterFailure => {
                "annotate upgrade.k8c.io/retry to go on, or upgrade.k8c.io/release to put the limit back now"
            }
            Self::Aborted => "annotate upgrade.k8c.io/retry to start again",
            Self::AnotherUpgradeRunning => "wait for the other KKPUpgrade, or abort it",
            Self::Pending
            | Self::RunningPreflight
            | Self::PreflightPassed
            | Self::CatalogueInForce
            | Self::PlanReady
            | Self::Approved
            | Self::ApprovalNotRequired
            | Self::Retrying
            | Self::Aborting
            | Self::BackingUp
            | Self::BackupVerified
            | Self::BackupSkipped
            | Self::BackupsRemoved
            | Self::Throttling
            | Self::ThrottleInForce
            | Self::ThrottleNotRequested
            | Self::ThrottleRestored
            | Self::Preparing
            | Self::UpgradingMaster
            | Self::VerifyingMaster
            | Self::MasterUpgraded
            | Self::UpgradingSeeds
            | Self::SeedsUpgraded
            | Self::ConvergingUserClusters
            | Self::UserClustersConverged
            | Self::Verifying
            | Self::EvidenceHeld
            | Self::PuttingBack
            | Self::UpgradeSucceeded
            | Self::AlreadyAtTarget
            | Self::NextHop => "",
        }
    }
}
