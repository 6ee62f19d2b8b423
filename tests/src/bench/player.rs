//! Plays KKP's part on the light seeds: carries the limit into Deployments, rolls seeds, converges user clusters, and notes
//! when the last change that an upgrade waits for was committed. Writes to light seeds only.

use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use jiff::Timestamp;
use kkp_lab::platform::MASTER;
use kkp_upgrade_kkp::types::KubermaticConfiguration;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::fleet::{DEPLOYMENTS, Fleet, FleetSeed, LIMIT, TO};
use super::objects::{self, ClusterTemplates};
use crate::bed::NAMESPACE;

/// From a changed limit to the new arguments of the Deployment, and from there to its new Pod.
const ROLL: Duration = Duration::from_millis(300);

/// Follows the limit until it is dropped.
pub struct LimitFollower {
    /// While true, a changed limit does not reach the seeds.
    pub hold: watch::Sender<bool>,
    /// The limit in force everywhere, and since when.
    pub in_force: watch::Receiver<(i64, Timestamp)>,
    /// KKP's version on the seeds, as a tag.
    pub tag: watch::Sender<String>,
    configurations: Api<KubermaticConfiguration>,
    /// resourceVersion of the configuration that the seeds follow.
    followed: watch::Receiver<String>,
    _task: AbortOnDropHandle<()>,
}

impl LimitFollower {
    /// Starts to follow.
    ///
    /// # Errors
    /// When the fleet has no master.
    pub fn start(fleet: &Fleet) -> anyhow::Result<Self> {
        let master = fleet.bed.running.platform.plane(MASTER).context("no master")?;
        let configurations = Api::<KubermaticConfiguration>::namespaced(master.client.clone(), NAMESPACE);
        let (hold, mut released) = watch::channel(false);
        let (tag, current_tag) = watch::channel(format!("v{}", super::fleet::FROM));
        let (sender, in_force) = watch::channel((LIMIT, Timestamp::now()));
        let (follows, followed) = watch::channel(String::new());
        let seeds = fleet.seeds.clone();
        let watched = configurations.clone();
        let task = tokio::spawn(async move {
            let stream = watcher(watched, watcher::Config::default())
                .default_backoff()
                .applied_objects();
            let mut stream = std::pin::pin!(stream);
            let mut current = LIMIT;
            while let Some(event) = stream.next().await {
                let Ok(configuration) = event else { continue };
                let version = configuration.resource_version().unwrap_or_default();
                let wanted = configuration
                    .spec
                    .seed_controller
                    .maximum_parallel_reconciles
                    .get()
                    .copied();
                let wanted = wanted.map_or(LIMIT, i64::from);
                if wanted != current {
                    let _ = released.wait_for(|holds| !holds).await;
                    let tag = current_tag.borrow().clone();
                    let time = carry(&seeds, &tag, wanted).await;
                    current = wanted;
                    sender.send_replace((wanted, time));
                }
                follows.send_replace(version);
            }
        });
        Ok(Self {
            hold,
            in_force,
            tag,
            configurations,
            followed,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Waits until the seeds follow the configuration as it is now.
    ///
    /// # Errors
    /// When it cannot be read, or the follower ended.
    pub async fn follows(&self) -> anyhow::Result<()> {
        let list = self.configurations.list(&ListParams::default()).await?;
        let configuration = list.items.first().context("no KubermaticConfiguration")?;
        let version = configuration.resource_version().unwrap_or_default();
        self.followed.clone().wait_for(|followed| *followed == version).await?;
        Ok(())
    }

    /// When this limit came into force everywhere.
    ///
    /// # Errors
    /// When the follower ended.
    pub async fn since(&self, limit: i64) -> anyhow::Result<Timestamp> {
        let mut in_force = self.in_force.clone();
        Ok(in_force.wait_for(|(value, _)| *value == limit).await?.1)
    }
}

async fn carry(seeds: &[FleetSeed], tag: &str, limit: i64) -> Timestamp {
    for rolled in [false, true] {
        tokio::time::sleep(ROLL).await;
        for seed in seeds {
            let name = "kubermatic-seed-controller-manager";
            seed.api
                .store
                .put("deployments", &objects::deployment(name, NAMESPACE, tag, limit, rolled));
        }
    }
    Timestamp::now()
}

/// Rolls every seed to the new version, one after the other; the moment of the last change.
///
/// # Errors
/// When a Seed's status is refused.
pub async fn roll_seeds(fleet: &Fleet, limit: i64) -> anyhow::Result<Timestamp> {
    let tag = format!("v{TO}");
    for seed in fleet.seeds.iter() {
        fleet.report(seed, TO, true).await?;
        let store = &seed.api.store;
        store.put("customresourcedefinitions", &objects::cluster_crd(&tag));
        for name in DEPLOYMENTS {
            store.put("deployments", &objects::deployment(name, NAMESPACE, &tag, limit, false));
        }
    }
    tokio::time::sleep(ROLL).await;
    let mut last = Timestamp::now();
    for seed in fleet.seeds.iter() {
        for name in DEPLOYMENTS {
            last = seed
                .api
                .store
                .put("deployments", &objects::deployment(name, NAMESPACE, &tag, limit, true));
        }
    }
    Ok(last)
}

/// Converges all user clusters, `limit` at a time on each seed, all of it in `length` at most; the moment of the last change.
pub async fn converge(fleet: &Fleet, limit: usize, length: Duration) -> Timestamp {
    let new = &ClusterTemplates::of(&format!("v{TO}"));
    let batches = fleet.shape.clusters.div_ceil(limit).max(1);
    let pause = length / u32::try_from(batches).unwrap_or(u32::MAX);
    let seeds_in_all = u32::try_from(fleet.seeds.len().max(1)).unwrap_or(u32::MAX);
    let seeds = fleet.seeds.iter().enumerate().map(|(index, seed)| async move {
        // No seed is as fast as another: the last one takes the whole time, the first one a little over half of it.
        let share = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let pause = pause / 2 + pause * share / seeds_in_all / 2;
        let mut last = Timestamp::now();
        for batch in seed.clusters.chunks(limit) {
            for cluster in batch {
                seed.put_cluster(cluster, &new.updating);
            }
            tokio::time::sleep(pause).await;
            for cluster in batch {
                seed.put_cluster(cluster, &new.done);
                last = Timestamp::now();
                tokio::task::yield_now().await;
            }
        }
        last
    });
    futures::future::join_all(seeds)
        .await
        .into_iter()
        .max()
        .unwrap_or_else(Timestamp::now)
}
