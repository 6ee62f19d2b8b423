//! Which cluster stands behind each Seed: noted in Preflight, held for the run, checked in every round. What another
//! cluster says is no fact about this platform. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::etcd::EtcdFacts;
use crate::facts::{Evidence, Facts, Known, SeedFacts};
use crate::phase::Phase;
use crate::status::{SeedCluster, Status};

/// Most Seeds that status takes.
const MOST: usize = 100;

/// The facts without what comes from a cluster that is not the Seed's: such a Seed counts as unread, and so do the rules
/// and the notes of fixes, for which it was looked at.
pub(super) fn checked<'a>(status: &Status, facts: &'a Facts) -> Cow<'a, Facts> {
    let Known::Is(platform) = &facts.platform else {
        return Cow::Borrowed(facts);
    };
    let strangers: BTreeMap<usize, String> = (0..)
        .zip(&platform.seeds)
        .filter_map(|(index, seed)| Some((index, stranger(status, seed, &platform.seeds)?)))
        .collect();
    let Some(first) = strangers.values().next().cloned() else {
        return Cow::Borrowed(facts);
    };
    let mut platform = platform.clone();
    for (index, seed) in (0..).zip(&mut platform.seeds) {
        if let Some(why) = strangers.get(&index) {
            forget(seed, why);
        }
    }
    let findings = match &facts.findings {
        Known::Is(_) => Known::Unknown(first.clone()),
        other => other.clone(),
    };
    let marked = match &facts.marked {
        Known::Is(_) => Known::Unknown(first),
        other => other.clone(),
    };
    let etcd = match &facts.etcd {
        Known::Is(etcd) => Known::Is(without(etcd, &platform.seeds, &strangers)),
        other => other.clone(),
    };
    Cow::Owned(Facts {
        etcd,
        platform: Known::Is(platform),
        findings,
        marked,
        ..facts.clone()
    })
}

/// Notes who stands behind the Seeds. Until Preflight is over the latest look counts; after that only a Seed that was
/// never identified is added.
pub(super) fn note(before: &Status, status: &mut Status, facts: &Facts) {
    let Known::Is(platform) = &facts.platform else { return };
    let gone = facts.object.deleting && !facts.object.finalizer;
    if gone || status.phase().is_none_or(|phase| phase == Phase::Pending) {
        return;
    }
    let open = !holds(before);
    if open {
        status
            .seed_clusters
            .retain(|known| platform.seeds.iter().any(|seed| seed.name == known.seed));
    }
    for seed in &platform.seeds {
        let Some(cluster_uid) = seed.cluster_uid.clone() else {
            continue;
        };
        let now = SeedCluster {
            seed: seed.name.clone(),
            seed_uid: seed.uid.clone(),
            cluster_uid,
        };
        let room = status.seed_clusters.len() < MOST;
        let known = status.seed_clusters.iter_mut().find(|known| known.seed == now.seed);
        match known {
            Some(known) if open && *known != now => {
                *known = now;
                // A backup of the cluster that stood there before is none of this one.
                let target = status.targets.iter_mut().find(|target| target.name == seed.name);
                if let Some(target) = target {
                    target.backup = None;
                }
            }
            None if room => status.seed_clusters.push(now),
            Some(_) | None => {}
        }
    }
}

/// UID of the cluster that the run knows behind a Seed.
pub(super) fn cluster_uid<'a>(status: &'a Status, seed: &str) -> Option<&'a str> {
    let known = status.seed_clusters.iter().find(|known| known.seed == seed);
    known.map(|known| known.cluster_uid.as_str())
}

/// Whether what was noted is held: from the end of the first Preflight on, and for what an ended run still has to put back.
fn holds(status: &Status) -> bool {
    let began = |phase| !matches!(phase, Phase::Pending | Phase::Preflight);
    status.is_locked() || status.phase().is_some_and(began)
}

/// Why this Seed's cluster is not the one that it should be; `None` = it is, or nobody knows yet.
fn stranger(status: &Status, seed: &SeedFacts, all: &[SeedFacts]) -> Option<String> {
    let found = seed.cluster_uid.as_deref();
    if holds(status)
        && let Some(known) = status.seed_clusters.iter().find(|known| known.seed == seed.name)
    {
        if known.seed_uid != seed.uid {
            return Some(format!(
                "Seed {} was replaced during the run (UID {}, was {}): abort and retry, so that the new one is checked",
                seed.name, seed.uid, known.seed_uid
            ));
        }
        if let Some(found) = found.filter(|found| *found != known.cluster_uid) {
            return Some(format!(
                "Seed {} leads to another cluster now (kube-system UID {found}, was {}): put its kubeconfig back, or abort and retry",
                seed.name, known.cluster_uid
            ));
        }
    }
    let found = found?;
    let twin = all
        .iter()
        .find(|other| other.name != seed.name && other.cluster_uid.as_deref() == Some(found))?;
    Some(format!(
        "Seeds {} and {} lead to the same cluster (kube-system UID {found}): correct the kubeconfig of one of them",
        seed.name, twin.name
    ))
}

/// What strangers told about etcd backups is not known.
fn without(
    etcd: &BTreeMap<String, Known<EtcdFacts>>,
    seeds: &[SeedFacts],
    strangers: &BTreeMap<usize, String>,
) -> BTreeMap<String, Known<EtcdFacts>> {
    let unknown = strangers
        .iter()
        .filter_map(|(index, why)| Some((seeds.get(*index)?.name.clone(), Known::Unknown(why.clone()))));
    let told = etcd.iter().map(|(seed, told)| (seed.clone(), told.clone()));
    told.chain(unknown).collect()
}

fn forget(seed: &mut SeedFacts, why: &str) {
    *seed = SeedFacts {
        name: std::mem::take(&mut seed.name),
        uid: std::mem::take(&mut seed.uid),
        reachable: Known::Unknown(why.to_owned()),
        cluster_uid: None,
        etcd_destination: seed.etcd_destination.take(),
        evidence: Evidence::Unknown(why.to_owned()),
        limit_in_force: Known::Unknown(why.to_owned()),
        clusters: Known::Unknown(why.to_owned()),
        lagging: Vec::new(),
        unhealthy: Vec::new(),
    };
}
