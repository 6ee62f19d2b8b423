//! What every part of the operator shares. Built once, at start.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kkp_upgrade_core::facts::Known;
use kkp_upgrade_core::timing::Timing;
use kube::Client;
use kube::runtime::events::Recorder;

use crate::catalogue::{Catalogues, Snapshot};
use crate::http::Health;
use crate::metrics::Metrics;
use crate::observe::{Observer, RecentLook, WriteChecks};
use crate::outside::Outside;
use crate::record::WriteClock;
use crate::refusals::Refusals;
use crate::seeds::SeedConnections;
use crate::watches::Trigger;

/// Field manager of every write.
pub const FIELD_MANAGER: &str = "kkp-upgrade-operator";
/// Finalizer on a KKPUpgrade from before its first effect until everything that can be put back is put back.
pub const FINALIZER: &str = "upgrade.k8c.io/put-back";
/// Annotation on the `KubermaticConfiguration`: our note about the limit.
pub const THROTTLE_ANNOTATION: &str = "upgrade.k8c.io/throttle";
/// Annotation on a KKPUpgrade: a new value means "look again", and after the end "go back to Preflight".
pub const RETRY_ANNOTATION: &str = "upgrade.k8c.io/retry";
/// Annotation on a KKPUpgrade: a new value ends the run.
pub const ABORT_ANNOTATION: &str = "upgrade.k8c.io/abort";
/// Annotation on a KKPUpgrade that has ended: a new value puts back at once what was held.
pub const RELEASE_ANNOTATION: &str = "upgrade.k8c.io/release";
/// Approves the plan with this digest, where `spec.approval.mode` is `Manual`.
pub const APPROVE_ANNOTATION: &str = "upgrade.k8c.io/approve";
/// Label on everything we create: UID of the KKPUpgrade.
pub const UPGRADE_LABEL: &str = "upgrade.k8c.io/upgrade-uid";
/// Annotation on a Job: digest of its intent.
pub const INTENT_ANNOTATION: &str = "upgrade.k8c.io/intent";
/// Annotation on the ConfigMap of a plan: digest of its text.
pub const CONTENT_ANNOTATION: &str = "upgrade.k8c.io/content-digest";
/// Annotation on a fence: `pod` or `operator`, whoever took it.
pub const FENCE_OWNER_ANNOTATION: &str = "upgrade.k8c.io/fence-owner";
/// The platform's lease: one upgrade at a time.
pub const ACTIVE_LEASE: &str = "kkp-upgrade-active";
/// Longest that one API call may take: kube has no read time-out of its own.
pub const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// What every part of the operator shares.
pub struct Context {
    /// Client of the master.
    pub client: Client,
    /// Namespace of the operator, which is KKP's.
    pub namespace: String,
    /// UID of this Pod: identity of the process in leases and intents.
    pub pod_uid: String,
    /// Name of this Pod.
    pub pod_name: String,
    /// Image of this operator, for the Jobs that run it.
    pub image: String,
    /// Claim for backups where the KKPUpgrade names none.
    pub default_backup_claim: Option<String>,
    /// Rules and releases; a round takes one snapshot of them, see [`crate::catalogue::read`].
    pub catalogues: Catalogues,
    /// Durations.
    pub timing: Timing,
    /// Clients of the seeds.
    pub seeds: SeedConnections,
    /// What the platform shows to the world, as it was last seen.
    pub outside: Outside,
    /// Events; one recorder, whose aggregation lives in it.
    pub recorder: Recorder,
    /// Counters and gauges.
    pub metrics: Metrics,
    /// Whether the process is alive and ready.
    pub health: Health,
    /// The last look at the platform with all its rules.
    pub(crate) recent: RecentLook,
    /// Makes every KKPUpgrade look again.
    pub trigger: Trigger,
    /// When each status was last written.
    pub writes: WriteClock,
    /// What the API server refused of each KKPUpgrade's effects.
    pub refusals: Refusals,
    /// Numbers the effects of this process.
    pub effects: AtomicU64,
}

impl Context {
    /// What reading needs of all this.
    #[must_use]
    pub fn observer<'a>(&'a self, catalogue: &'a Known<Snapshot>) -> Observer<'a> {
        Observer {
            client: &self.client,
            namespace: &self.namespace,
            default_backup_claim: self.default_backup_claim.as_deref(),
            catalogue,
            seeds: &self.seeds,
            outside: &self.outside,
            views: Some(self.trigger.views()),
            recent: Some(&self.recent),
            write_checks: WriteChecks::Asked,
        }
    }

    /// A holder that no other process and no earlier effect has.
    pub fn next_holder(&self) -> String {
        format!("{}.{}", self.pod_uid, self.effects.fetch_add(1, Ordering::Relaxed))
    }
}
