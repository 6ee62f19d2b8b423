//! From the commit of the last change that was needed to the edge in status that it causes.
//!
//! Causes are stamped where they are committed (light seeds), just before they are sent (writes of this program to the
//! master: the figure is then too high by one call), or when a watch of this program shows them (what KKP's programs and the
//! Job controller write). Edges are stamped when a watch of this program shows the status.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use kkp_upgrade_core::conditions::ConditionType;
use kkp_upgrade_core::status::Status;

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::figures::{Figure, load, percentile};
use super::fleet::{DEPLOYMENTS, FROM, LIMIT, Shape, upgrade};
use super::objects;
use super::record::Seen;
use super::scenario::{SOAK, Scenario, is_terminal, seconds, step};
use crate::bed::NAMESPACE;

const PAUSE: Duration = Duration::from_secs(4);

/// When the changes of an upgrade were committed.
pub struct Moments {
    /// Just before the KKPUpgrade was sent.
    pub began: Timestamp,
    /// The limit was in force on the last seed.
    pub in_force: Timestamp,
    /// The last seed ran the new version.
    pub seeds: Timestamp,
    /// The last user cluster was converged.
    pub clusters: Timestamp,
    /// The old limit was in force again on the last seed.
    pub back: Timestamp,
}

/// The edges of one upgrade.
///
/// # Errors
/// When an edge was not seen at all.
pub fn edges(seen: &Seen, name: &str, moments: &Moments) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let at = |what: &'static str, wanted: &dyn Fn(&Status) -> bool| {
        seen.first(name, wanted)
            .with_context(|| format!("edge `{what}` was not seen"))
    };
    let installer = seen
        .jobs
        .iter()
        .filter(|(job, _)| job.contains("installer"))
        .filter_map(|(_, (_, end))| *end)
        .max();
    let seeds_step = at("master ready", &|status| step(status) == Some("Seeds"))?;
    let clusters_step = at("seeds ready", &|status| step(status) == Some("UserClusters"))?;
    let holds = at("evidence holds", &|status| status.evidence_since.is_some())?;
    let soaked = holds.checked_add(SOAK)?;
    let since = |cause: Timestamp, edge: Timestamp| seconds(cause, edge).as_secs_f64();
    Ok(vec![
        (
            "KKPUpgrade created → first status",
            since(moments.began, at("first status", &|status| status.phase.is_some())?),
        ),
        (
            "limit in force → installer ordered",
            since(
                moments.in_force,
                at("installer ordered", &|status| step(status) == Some("Master"))?,
            ),
        ),
        (
            "installer Job complete → noted",
            since(
                installer.context("the installer's Job was not seen")?,
                at("installer noted", &|status| {
                    status
                        .target("master")
                        .is_some_and(|target| target.state == "Installed")
                })?,
            ),
        ),
        // The master may be ready before its Job has been tidied up: then the operator's own work is what counts.
        (
            "master ready → seeds",
            since(
                seen.master
                    .context("the master was never proven")?
                    .max(installer.unwrap_or_default()),
                seeds_step,
            ),
        ),
        (
            "last seed ready → user clusters",
            since(moments.seeds.max(seeds_step), clusters_step),
        ),
        (
            "last user cluster converged → Verifying",
            since(
                moments.clusters.max(clusters_step),
                at("Verifying", &|status| status.phase.as_deref() == Some("Verifying"))?,
            ),
        ),
        (
            "soak over → limit put back",
            since(soaked, at("put back", &|status| step(status) == Some("PutBack"))?),
        ),
        (
            "limit back in force → Done",
            since(moments.back, at("Done", &is_terminal)?),
        ),
    ])
}

/// Blockers that come and go under a plan: one on the master, one inside a seed.
///
/// # Errors
/// When the plan does not follow them at all.
pub async fn plans(scenario: &mut Scenario, repeat: usize) -> anyhow::Result<()> {
    let name = "plan";
    scenario.create(upgrade(name, "Plan", SOAK, false)).await?;
    let ready = |status: &Status| status.is_true(ConditionType::Ready);
    scenario.until(name, ready).await?;
    let seeds = scenario.fleet.seeds.clone();
    let Some(seed) = seeds.last() else { return Ok(()) };
    for _ in 0..repeat {
        scenario.fleet.report(seed, FROM, false).await?;
        scenario.until(name, |status| !ready(status)).await?;
        pause().await;
        let cause = Timestamp::now();
        scenario.fleet.report(seed, FROM, true).await?;
        scenario.until(name, ready).await?;
        note(scenario, "blocker on the master repaired → goes on", name, cause, ready)?;
    }
    let [.., deployment] = DEPLOYMENTS;
    let tag = format!("v{FROM}");
    let put = |rolled| {
        seed.api.store.put(
            "deployments",
            &objects::deployment(deployment, NAMESPACE, &tag, LIMIT, rolled),
        )
    };
    for _ in 0..repeat.min(3) {
        put(false);
        scenario.until(name, |status| !ready(status)).await?;
        pause().await;
        let cause = put(true);
        scenario.until(name, ready).await?;
        note(scenario, "blocker inside a seed repaired → goes on", name, cause, ready)?;
    }
    scenario.bed().delete(name).await
}

/// People and programs do not act at the very moment at which status changes: without a pause the operator would still be
/// looking at the platform anyway.
async fn pause() {
    tokio::time::sleep(PAUSE).await;
}

fn note(
    scenario: &mut Scenario,
    edge: &'static str,
    name: &str,
    cause: Timestamp,
    wanted: impl Fn(&Status) -> bool,
) -> anyhow::Result<()> {
    let seen = scenario.record.seen().first_since(name, cause, wanted);
    let seen = seen.with_context(|| format!("edge `{edge}` was not seen"))?;
    scenario.edges.push((edge, seconds(cause, seen).as_secs_f64()));
    Ok(())
}

/// Aborts of runs that wait for the limit to be in force on the seeds.
///
/// # Errors
/// When a run does not come to its end.
pub async fn aborts(scenario: &mut Scenario, repeat: usize) -> anyhow::Result<()> {
    for number in 0..repeat {
        let name = format!("aborted-{number}");
        scenario.follower.hold.send_replace(true);
        scenario.create(upgrade(&name, "Upgrade", SOAK, false)).await?;
        scenario.until(&name, |status| step(status) == Some("Throttle")).await?;
        pause().await;
        let token = Patch::Merge(json!({"metadata": {"annotations": {"upgrade.k8c.io/abort": "now"}}}));
        let cause = Timestamp::now();
        scenario
            .bed()
            .upgrades()
            .patch(&name, &PatchParams::default(), &token)
            .await?;
        let handled = |status: &Status| status.last_handled_abort.as_deref() == Some("now");
        scenario.until(&name, handled).await?;
        note(scenario, "abort → lastHandledAbort", &name, cause, handled)?;
        scenario.follower.hold.send_replace(false);
        scenario.until(&name, is_terminal).await?;
        // The seeds are held back once more in the next turn: by then they must have the old limit again, or the next run
        // finds its limit in force and goes on.
        scenario.follower.follows().await?;
        scenario.bed().delete(&name).await?;
    }
    Ok(())
}

/// Percentiles of all edges, and each kind of edge by itself.
pub fn figures(edges: &[(&'static str, f64)], shape: Shape, figures: &mut Vec<Figure>) {
    let all: Vec<f64> = edges.iter().map(|(_, value)| *value).collect();
    if all.is_empty() {
        return;
    }
    let mut kinds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (kind, value) in edges {
        kinds.entry(kind).or_default().push(*value);
    }
    let conditions = format!("{shape} light seeds, default timings, {} edges, {}", all.len(), load());
    for (name, share) in [("reaction p50", 0.5), ("reaction p99", 0.99)] {
        let value = percentile(&all, share).unwrap_or_default();
        let figure = Figure::new(name, value * 1000.0, "ms", conditions.clone());
        figures.push(if share > 0.9 { figure.at_most(1000.0) } else { figure });
    }
    for (kind, values) in kinds {
        let middle = percentile(&values, 0.5).unwrap_or_default();
        let highest = percentile(&values, 1.0).unwrap_or_default();
        let conditions = format!(
            "{shape} light seeds, median {:.0} ms of {}",
            middle * 1000.0,
            values.len()
        );
        figures
            .push(Figure::new(format!("reaction, worst: {kind}"), highest * 1000.0, "ms", conditions).at_most(1000.0));
    }
}
