//! A whole upgrade on real API servers with the stand-ins of KKP, against what the stand-ins alone need for it.
//!
//! The critical path is what would take as long under the hands of somebody who never loses a moment: each Job from its
//! creation to its end, the limit from its change until it is in force, and from the installer's end until everything is
//! converged. The rest of the time, less the soak, is the operator's.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kkp_lab::platform::Topology;
use kkp_upgrade_core::phase::Phase;
use kkp_upgrade_kkp::evidence;
use kube::Api;

use super::Teller;
use super::figures::{Figure, load};
use super::fleet::{FROM, TO, start_bed, upgrade};
use super::record::Record;
use super::scenario::{DEADLINE, SOAK, is_terminal, seconds};
use crate::bed::{Bed, NAMESPACE};

const NAME: &str = "measured";
/// How often the platform is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Roughly a tenth of what a real platform takes (installer minutes, roll-outs tens of seconds, a user cluster a minute).
const SCRIPT: &str = "\
installer: {stepMs: 1000, crdMs: 50}
operator: {startMs: 2000, masterDeploymentMs: 1000, seedDeploymentMs: 1000, crdsMs: 2000}
master: {startMs: 1000}
seed: {startMs: 1000, reconcileMs: 4000, throttleRequeueMs: 1000, addonMs: 1000}
webhook: {startMs: 1000}
";

/// Measures one upgrade.
///
/// # Errors
/// When it does not come to its end.
pub async fn measure(operator: &Path, tell: &Teller) -> anyhow::Result<Vec<Figure>> {
    tell.say("overhead: starting a master and two seeds, 12 user clusters each");
    let mut topology = Topology::master(FROM).enterprise().seed("eu", 12).seed("us", 12);
    topology.maximum_parallel_reconciles = Some(10);
    let bed = start_bed(&topology, operator).await?;
    bed.install_operator().await?;
    bed.running.platform.script(SCRIPT)?;
    let record = Record::start(&bed, &format!("v{TO}"));
    tell.say("overhead: upgrade with backups");
    let result = Box::pin(upgrade_once(&bed, &record)).await;
    drop(record);
    bed.running.lab.stop()?;
    result
}

async fn upgrade_once(bed: &Bed, record: &Record) -> anyhow::Result<Vec<Figure>> {
    let began = Timestamp::now();
    bed.apply(&upgrade(NAME, "Upgrade", SOAK, true).to_string()).await?;
    let lowered = in_force(bed, 3).await?;
    let installed = bed
        .wait("the end of the installer's Job", DEADLINE, || async {
            let seen = record.seen();
            seen.jobs
                .iter()
                .filter(|(job, _)| job.contains("installer"))
                .find_map(|(_, (_, end))| *end)
        })
        .await?;
    let converged = converged(bed).await?;
    let back = in_force(bed, 10).await?;
    let last = bed.until(NAME, DEADLINE, is_terminal).await?;
    ensure!(
        last.phase() == Some(Phase::Done),
        "the upgrade ended as {:?}",
        last.phase
    );
    let seen = record.seen();
    let done = seen.first(NAME, is_terminal).context("Done was not seen")?;
    let limit = |value| {
        seen.limits
            .iter()
            .rev()
            .find(|(_, limit)| *limit == Some(value))
            .map(|(time, _)| *time)
    };
    let jobs: Vec<(&String, Duration)> = seen
        .jobs
        .iter()
        .filter(|(name, _)| name.contains("backup") || name.contains("installer"))
        .filter(|(name, (created, _))| !name.starts_with("install-") && *created >= began)
        .filter_map(|(name, (created, end))| Some((name, seconds(*created, (*end)?))))
        .collect();
    let parts = [
        (
            "Jobs (backups and installer)",
            jobs.iter().map(|(_, length)| *length).sum::<Duration>(),
        ),
        (
            "limit until in force",
            seconds(limit(3).context("the limit was not seen")?, lowered),
        ),
        (
            "installer's end until everything converged",
            seconds(installed, converged),
        ),
        (
            "old limit until in force",
            seconds(limit(10).context("the old limit was not seen")?, back),
        ),
    ];
    let path: Duration = parts.iter().map(|(_, length)| *length).sum();
    let total = seconds(began, done);
    let own = total.saturating_sub(SOAK).saturating_sub(path);
    let text: Vec<String> = parts
        .iter()
        .map(|(name, length)| format!("{name} {:.1} s", length.as_secs_f64()))
        .collect();
    let conditions = format!(
        "real API servers, 2 seeds × 12, stand-ins at a tenth of real times, default timings, {} Jobs, {}; total {:.1} s less soak {} s; {}",
        jobs.len(),
        load(),
        total.as_secs_f64(),
        SOAK.as_secs(),
        text.join(", ")
    );
    let share = 100.0 * own.as_secs_f64() / path.as_secs_f64().max(0.001);
    Ok(vec![
        Figure::new("overhead over the critical path", share, "%", conditions).at_most(10.0),
        Figure::new("critical path of the platform", path.as_secs_f64(), "s", "the same run"),
        Figure::new("time of the operator beside it", own.as_secs_f64(), "s", "the same run"),
    ])
}

/// Waits until a limit is in force on every seed.
async fn in_force(bed: &Bed, limit: u32) -> anyhow::Result<Timestamp> {
    let seeds = &bed.running.platform.planes();
    let managers: Vec<Api<Deployment>> = seeds
        .iter()
        .skip(1)
        .map(|plane| Api::namespaced(plane.client.clone(), NAMESPACE))
        .collect();
    look("the limit in force", || async {
        for manager in &managers {
            let found = manager.get("kubermatic-seed-controller-manager").await.ok();
            if found.as_ref().and_then(evidence::seed_throttle) != Some(limit) {
                return false;
            }
        }
        true
    })
    .await
}

async fn converged(bed: &Bed) -> anyhow::Result<Timestamp> {
    look("everything converged", || async {
        bed.running
            .platform
            .missing(TO)
            .await
            .is_ok_and(|missing| missing.is_empty())
    })
    .await
}

async fn look<F, Fut>(what: &str, mut holds: F) -> anyhow::Result<Timestamp>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let end = tokio::time::Instant::now() + DEADLINE;
    loop {
        // The moment before a look that finds it: what the look takes is not the platform's time.
        let before = Timestamp::now();
        if holds().await {
            return Ok(before);
        }
        ensure!(
            tokio::time::Instant::now() < end,
            "{what}: not within {} s",
            DEADLINE.as_secs()
        );
        tokio::time::sleep(LOOK).await;
    }
}
