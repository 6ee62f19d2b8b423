//! User clusters as they are inside, and the Pods of their control planes: only where `spec.checks.insideUserClusters` asks
//! for it, with the kubeconfig that KKP keeps for each, a few at a time, for a bounded time. Reading only.
//!
//! A user cluster belongs to its users: one that does not answer is one undecided finding, and delays nobody by more than
//! its own deadlines.

mod cluster;
mod contents;
#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use kkp_upgrade_core::request::{Inside, sha256};
use kkp_upgrade_core::rules::{Evaluation, ItemKind, MASTER};
use kkp_upgrade_kkp::evidence;
use kkp_upgrade_kkp::types::Cluster;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::observer::Observer;
use super::rules::SeedReading;
use super::survey::each;
use crate::call::CallError;
use crate::lock;
use crate::seeds::{SeedConnection, SeedConnections};

/// User clusters of one seed that are looked into at the same time.
const PARALLEL: usize = 4;
/// How many of a seed are a sample.
const SAMPLE: usize = 10;
/// Most of a seed that are looked into.
const MOST: usize = 500;
/// Longest that the user clusters of one seed may take together.
const TIME: Duration = Duration::from_secs(40);
/// Clusters per page.
const PAGE: u32 = 100;

/// One user cluster to look into.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chosen {
    name: String,
    /// Its namespace on the seed.
    namespace: String,
}

/// Looks into the user clusters that are asked for, and shows each to the rules.
pub(super) async fn read(
    observer: &Observer<'_>,
    inside: Inside,
    seeds: &[SeedReading],
    kinds: &[ItemKind],
    sink: &Mutex<Evaluation>,
    now: Timestamp,
) {
    if !kinds.contains(&ItemKind::UserCluster) {
        return;
    }
    // Where nothing is asked for there is nothing to look at, which is no finding.
    lock(sink).visited(ItemKind::UserCluster, MASTER);
    let known = observer.seeds.known().await;
    for (seed, why) in seeds
        .iter()
        .filter_map(|seed| Some((seed, seed.clusters.given_up.as_ref()?)))
    {
        if inside != Inside::None {
            lock(sink).unreadable(ItemKind::UserCluster, &seed.seed.name_any(), why);
        }
    }
    let reached = seeds.iter().filter(|seed| seed.more().is_ok());
    let readings: Vec<BoxFuture<'_, ()>> = reached
        .filter_map(|seed| {
            let name = seed.seed.name_any();
            let connection = known.get(&name)?;
            Some(async move { read_seed(observer.seeds, (&name, connection), inside, sink, now).await }.boxed())
        })
        .collect();
    join_all(readings).await;
}

async fn read_seed(
    seeds: &SeedConnections,
    (seed, connection): (&str, &SeedConnection),
    inside: Inside,
    sink: &Mutex<Evaluation>,
    now: Timestamp,
) {
    if inside == Inside::None {
        return;
    }
    let until = tokio::time::Instant::now() + TIME;
    let all = tokio::time::timeout_at(until, clusters(seed, connection)).await;
    let late = |_| CallError::Deadline {
        what: format!("Clusters of seed {seed}"),
        deadline: TIME,
    };
    let (chosen, beyond) = match all.map_err(late).flatten() {
        Ok(all) => choose(all, inside),
        Err(error) => return lock(sink).unreadable(ItemKind::UserCluster, seed, &error.to_string()),
    };
    let (count, done) = (chosen.len(), AtomicUsize::new(0));
    let looks: Vec<BoxFuture<'_, ()>> = chosen
        .into_iter()
        .map(|chosen| {
            let done = &done;
            async move {
                let facts = cluster::look(seeds, (seed, connection), &chosen, now).await;
                lock(sink).facts(&format!("{seed}/{}", chosen.name), &facts);
                done.fetch_add(1, Ordering::Relaxed);
            }
            .boxed()
        })
        .collect();
    let all = stream::iter(looks).buffer_unordered(PARALLEL).collect::<()>();
    let late = match tokio::time::timeout_at(until, all).await {
        Ok(()) => 0,
        Err(_) => count.saturating_sub(done.load(Ordering::Relaxed)),
    };
    if let Some(why) = left_out(count, late, beyond) {
        lock(sink).unreadable(ItemKind::UserCluster, seed, &why);
    }
}

/// Those that KKP works on: not deleted, not paused, not somebody else's.
async fn clusters(seed: &str, connection: &SeedConnection) -> Result<Vec<Chosen>, CallError> {
    let mut found = Vec::new();
    let api = Api::<Cluster>::all(connection.client.clone());
    let parameters = ListParams::default().limit(PAGE);
    each(api, format!("Clusters of seed {seed}"), parameters, |cluster| {
        let namespace = cluster.status.namespace_name.text();
        if evidence::set_apart(&cluster, "").is_none() && !namespace.is_empty() {
            found.push(Chosen {
                name: cluster.name_any(),
                namespace: namespace.to_owned(),
            });
        }
    })
    .await?;
    Ok(found)
}

/// Which ones are looked into, and how many more there would have been: always the same ones, whatever else comes and goes.
fn choose(mut all: Vec<Chosen>, inside: Inside) -> (Vec<Chosen>, usize) {
    let most = match inside {
        Inside::None => 0,
        Inside::Sample => SAMPLE,
        Inside::All => MOST,
    };
    all.sort_by_cached_key(|chosen| sha256(chosen.name.as_bytes()));
    let beyond = if inside == Inside::All {
        all.len().saturating_sub(most)
    } else {
        0
    };
    all.truncate(most);
    (all, beyond)
}

/// Why not all of those that were asked for are known.
fn left_out(count: usize, late: usize, beyond: usize) -> Option<String> {
    match (late, beyond) {
        (0, 0) => None,
        (0, _) => Some(format!(
            "{beyond} user clusters are left out: at most {MOST} of a seed are looked into"
        )),
        _ => Some(format!(
            "{late} of {count} user clusters were not looked into within {} s, and {beyond} are left out",
            TIME.as_secs()
        )),
    }
}
