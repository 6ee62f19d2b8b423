//! What reading the platform needs, and nothing that could write: the operator's rounds and `kubectl kkp-upgrade plan` look
//! with the same eyes.

use kkp_upgrade_core::facts::Known;
use kube::Client;

use super::recent::RecentLook;
use crate::catalogue::Snapshot;
use crate::cluster_views::ClusterViews;
use crate::outside::Outside;
use crate::seeds::SeedConnections;

/// Whether it is tried what could be written: KKP's webhooks are asked by an update with `dryRun=All`, and the API server by
/// reviews of rights. Both change nothing and still are writes to the API server, with a write's permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteChecks {
    /// They are asked, as the operator must before it changes anything.
    Asked,
    /// They are not: who only reads says so instead.
    NotAsked,
}

/// Looks at a platform.
#[derive(Clone, Copy)]
pub struct Observer<'a> {
    /// Client of the master.
    pub client: &'a Client,
    /// Namespace of the operator, which is KKP's.
    pub namespace: &'a str,
    /// Claim for backups where the KKPUpgrade names none.
    pub default_backup_claim: Option<&'a str>,
    /// Rules and releases of this look.
    pub catalogue: &'a Known<Snapshot>,
    /// Clients of the seeds.
    pub seeds: &'a SeedConnections,
    /// Asks the login issuer and DNS.
    pub outside: &'a Outside,
    /// Watches inside seeds; `None` = every look reads live.
    pub(crate) views: Option<&'a ClusterViews>,
    /// The last look, where rounds follow each other; `None` = every look reads.
    pub(crate) recent: Option<&'a RecentLook>,
    /// Whether it is tried what could be written.
    pub write_checks: WriteChecks,
}

impl<'a> Observer<'a> {
    /// An observer for one look by somebody who may not write: reads live, starts no watch and tries no write.
    #[must_use]
    pub const fn of_a_reader(
        client: &'a Client,
        namespace: &'a str,
        default_backup_claim: Option<&'a str>,
        catalogue: &'a Known<Snapshot>,
        seeds: &'a SeedConnections,
        outside: &'a Outside,
    ) -> Self {
        Self {
            client,
            namespace,
            default_backup_claim,
            catalogue,
            seeds,
            outside,
            views: None,
            recent: None,
            write_checks: WriteChecks::NotAsked,
        }
    }
}
