//! The way to one of two seeds is cut in every phase, each time in another manner: the run says which seed it waits for and
//! why, the other seed goes on, nothing is done twice, and an abort waits for nobody.

use std::time::{Duration, Instant};

use anyhow::ensure;
use kkp_lab::platform::Topology;
use kkp_lab::relay::{Relay, RelayMode};
use kkp_upgrade_core::status::Status;
use kkp_upgrade_tests::bed::{Bed, upgrade};
use kkp_upgrade_tests::faults::message_of;
use kkp_upgrade_tests::observer::Observer;

const DEADLINE: Duration = Duration::from_mins(2);
/// An abort is answered within this time, whatever seeds do.
const ANSWERED: Duration = Duration::from_secs(5);

/// The soak is long against the time that the test needs to cut the seed off once it sees Verifying, on a busy machine too.
const SOAK: u32 = 20;

/// A platform whose seed `eu` is reached through a relay, and whose seed `kubermatic` is the master's own cluster.
async fn bed() -> anyhow::Result<(Bed, Observer, Relay)> {
    let topology = Topology::master("2.30.6")
        .shared_seed("kubermatic", 1)
        .seed("eu", 1)
        .enterprise();
    // The grace of a minute and the pause of ten seconds before a second backup would be most of the test.
    let bed = Bed::with_operator(
        env!("CARGO_BIN_EXE_kkp-upgrade-testbed"),
        &topology,
        &["2.31.0"],
        &[
            "--poll=500",
            "--resync=1000",
            "--unknown-grace=2000",
            "--retry-pause=500",
        ],
    )
    .await?;
    let relay = bed.relay("eu").await?;
    let observer = Observer::start(bed.upgrades(), |_, _| ());
    Ok((bed, observer, relay))
}

/// Whether the status names the seed and says that it cannot be read.
fn says(status: &Status, words: &[&str]) -> bool {
    let told = serde_json::to_string(&(&status.findings, &status.insights, &status.targets)).unwrap_or_default()
        + &message_of(status, "Ready");
    words.iter().all(|word| told.contains(word))
}

fn is_step(status: &Status, name: &str) -> bool {
    status.step.as_ref().is_some_and(|step| step.name == name)
}

fn state<'a>(status: &'a Status, target: &str) -> &'a str {
    status.target(target).map_or("", |target| target.state.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_out_every_kind_of_partition_in_every_phase() -> anyhow::Result<()> {
    let (bed, observer, relay) = bed().await?;

    // Preflight: packets are dropped.
    relay.set(RelayMode::Drop);
    bed.apply(&upgrade(SOAK)).await?;
    let silent = |status: &Status| says(status, &["seed eu", "no answer within 5 s"]);
    let status = bed.until("u", DEADLINE, silent).await?;
    ensure!(status.phase.as_deref() == Some("Preflight"), "{:?}", status.phase);
    ensure!(bed.installer_starts("2.31.0")?.is_empty(), "the installer was started");
    relay.set(RelayMode::Pass);

    // Backup: connections are reset.
    bed.until("u", DEADLINE, |status| is_step(status, "Backup")).await?;
    relay.set(RelayMode::Reset);
    let cut =
        |status: &Status| status.phase.as_deref() == Some("Backup") && says(status, &["eu", "cannot be backed up"]);
    let status = bed.until("u", DEADLINE, cut).await?;
    ensure!(
        status.target("eu").is_none_or(|target| target.backup.is_none()),
        "a backup of a seed that cannot be reached"
    );
    relay.set(RelayMode::Pass);

    // Deploying: requests arrive and no answer comes back; the other seed goes on.
    bed.until("u", DEADLINE, |status| {
        is_step(status, "MasterEvidence") || is_step(status, "Seeds")
    })
    .await?;
    relay.set(RelayMode::OneWay);
    let other_goes_on = |status: &Status| {
        is_step(status, "Seeds") && state(status, "eu") == "Unreachable" && state(status, "kubermatic") == "Upgraded"
    };
    let status = bed.until("u", DEADLINE, other_goes_on).await?;
    ensure!(says(&status, &["seed eu", "no answer"]), "{status:?}");
    ensure!(
        bed.limit().await? == Some(2),
        "the limit went back while a seed was away"
    );
    // Still rolling out: good and bad by turns, each longer than a look at the seed takes.
    relay.set(RelayMode::Flapping(Duration::from_secs(3)));
    bed.until("u", DEADLINE, |status| state(status, "eu") != "Unreachable")
        .await?;
    bed.until("u", DEADLINE, |status| state(status, "eu") == "Unreachable")
        .await?;
    relay.set(RelayMode::Pass);
    bed.until("u", DEADLINE, |status| status.phase.as_deref() == Some("Verifying"))
        .await?;

    // Verifying: dropped again; the evidence of a silent seed does not hold.
    relay.set(RelayMode::Drop);
    let silent = |status: &Status| {
        status.phase.as_deref() == Some("Verifying") && status.evidence_since.is_none() && says(status, &["seed eu"])
    };
    bed.until("u", DEADLINE, silent).await?;
    relay.set(RelayMode::Pass);
    let done = |status: &Status| status.phase.as_deref() == Some("Done") && status.step.is_none();
    bed.until("u", DEADLINE, done).await?;
    ensure!(
        bed.limit().await?.is_none() && bed.limit_note().await?.is_none(),
        "the limit did not go back"
    );
    let starts = bed.installer_starts("2.31.0")?;
    ensure!(starts.len() == 1, "{starts:?}");
    bed.finish(&observer)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_is_answered_while_a_seed_drops_everything() -> anyhow::Result<()> {
    let (bed, observer, relay) = bed().await?;
    bed.running
        .platform
        .script("operator: {seeds: {eu: {rollDelayMs: 600000}}}")?;
    bed.apply(&upgrade(SOAK)).await?;
    bed.until("u", DEADLINE, |status| is_step(status, "Seeds")).await?;
    relay.set(RelayMode::Drop);
    // In the middle of the first long wait for the seed: that is when an answer is hardest.
    let began = Instant::now();
    bed.command("u", "abort", "now").await?;
    let answered = |status: &Status| status.last_handled_abort.as_deref() == Some("now");
    bed.until("u", DEADLINE, answered).await?;
    let took = began.elapsed();
    ensure!(took < ANSWERED, "the abort was answered after {took:?}");
    let aborted = |status: &Status| status.phase.as_deref() == Some("Aborted");
    bed.until("u", DEADLINE, aborted).await?;
    ensure!(
        bed.limit().await? == Some(2),
        "the limit went back under unconverged clusters"
    );
    bed.finish(&observer)
}
