//! The way back: the shipped program restores the archive into an empty control plane, and every object is compared.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use tokio::process::Command;

use super::comparison::{Picture, SERVER_FIELDS};
use super::contender::{self, Taken};
use super::platform::Seed;
use super::{Figure, Store, TARGET, Teller, load};

/// The fastest that the program can be asked for; a Job writes 20 times a second.
const RATE: u32 = 1000;
const RATE_OF_A_JOB: u32 = 20;
/// Differences that are said.
const SHOWN: usize = 10;

/// The last word of a restore.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sum {
    plan_digest: String,
    counts: Counts,
    written: Option<u64>,
    findings: u64,
}

#[derive(Debug, Deserialize)]
struct Counts {
    create: u64,
    foreign: u64,
    refused: u64,
}

/// Restores the first backup, and compares with what there was, on the cluster of this UID.
pub(super) async fn measure(
    operator: &Path,
    store: &Store,
    (before, uid): (&Picture, &str),
    tell: &Teller,
    figures: &mut Vec<Figure>,
) -> anyhow::Result<()> {
    let empty = Seed::start().await?;
    let (planning, plan) = restore(operator, &empty, store, uid, &["--plan-only".to_owned()]).await?;
    tell.say(&format!("backup: the plan creates {} objects", plan.counts.create));
    let confirm = format!("--confirm={}", plan.plan_digest);
    let (carrying, done) = restore(operator, &empty, store, uid, &[confirm]).await?;
    let after = Picture::take(&empty.client).await?;
    let differences = before.differences(&after);
    for difference in differences.iter().take(SHOWN) {
        tell.say(&format!("backup: {difference}"));
    }
    let written = done.written.unwrap_or_default();
    let speed = format!(
        "{written} writes at up to {RATE} a second, {}; a Job writes {RATE_OF_A_JOB} a second: {} min",
        load(),
        written / u64::from(RATE_OF_A_JOB) / 60
    );
    let plan_of = format!(
        "{} to create, {} refused, {} left to others",
        plan.counts.create, plan.counts.refused, plan.counts.foreign
    );
    #[expect(clippy::cast_precision_loss, reason = "a count of objects")]
    let count = differences.len() as f64;
    figures.extend([
        Figure::new("plan of a restore into an empty cluster", planning.elapsed.as_secs_f64(), "s", plan_of),
        Figure::new("restore, with its plan made again", carrying.elapsed.as_secs_f64(), "s", speed),
        Figure::new("highest memory of a restore", planning.memory.max(carrying.memory), "MiB", "plan and restore"),
        Figure::new(
            "differences after the round trip",
            count,
            "",
            format!(
                "{} objects before and {} after, {} notes, by sha256 of canonical JSON; without metadata's {}, the status of CRDs, and UIDs of owners, which have to live instead",
                before.len(),
                after.len(),
                done.findings,
                SERVER_FIELDS.join(", ")
            ),
        )
        .at_most(0.0),
    ]);
    empty.lab.stop()?;
    Ok(())
}

async fn restore(
    operator: &Path,
    empty: &Seed,
    store: &Store,
    uid: &str,
    more: &[String],
) -> anyhow::Result<(Taken, Sum)> {
    let result = store.path().join("restore.json");
    let mut command = Command::new(operator);
    command
        .arg("restore")
        .arg("--kubeconfig")
        .arg(&empty.kubeconfig)
        .args(["--target", TARGET, "--name", "run-0", "--other-cluster", uid])
        .args(["--rate", &RATE.to_string()])
        .arg("--destination")
        .arg(store.path())
        .arg("--identity")
        .arg(&store.identity)
        .arg("--result-file")
        .arg(&result)
        .args(more);
    let said = || std::fs::read_to_string(&result).unwrap_or_default();
    let taken = contender::run(command, &store.path().join("restore.log")).await;
    let taken = taken.with_context(said)?;
    let sum = serde_json::from_str(&said()).context("the result of the restore")?;
    Ok((taken, sum))
}
