//! A seed that lies: what it says costs little memory, is named and never repeated, delays nobody, and is not believed when
//! it comes from another cluster than the run has begun with.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use kkp_lab::platform::Topology;
use kkp_upgrade_core::status::Status;
use kkp_upgrade_tests::bed::{Bed, upgrade};
use kkp_upgrade_tests::faults::message_of;
use kkp_upgrade_tests::hostile_seed::{CANARY, CLAIMED_UID, HostileSeed, Lie};
use kkp_upgrade_tests::observer::Observer;
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_mins(2);
/// What the operator may have at most, built without optimisation.
const MEMORY_KIBIBYTES: u64 = 200 * 1024;

async fn bed() -> anyhow::Result<(Bed, Observer)> {
    let topology = Topology::master("2.30.6")
        .shared_seed("kubermatic", 1)
        .seed("eu", 1)
        .enterprise();
    let bed = Bed::with_operator(
        env!("CARGO_BIN_EXE_kkp-upgrade-testbed"),
        &topology,
        &["2.31.0"],
        &["--poll=500", "--resync=1000", "--unknown-grace=2000"],
    )
    .await?;
    let observer = Observer::start(bed.upgrades(), |_, _| ());
    Ok((bed, observer))
}

fn told(status: &Status) -> String {
    serde_json::to_string(&(&status.findings, &status.insights, &status.targets)).unwrap_or_default()
        + &message_of(status, "Ready")
}

/// A kubeconfig of the seed with a token that it does not know.
fn with_expired_token(kubeconfig: &str) -> anyhow::Result<String> {
    let mut kubeconfig: Value = serde_saphyr::from_str(kubeconfig)?;
    let user = kubeconfig.pointer_mut("/users/0/user");
    *user.context("the kubeconfig has no user")? = json!({"token": "expired"});
    Ok(kubeconfig.to_string())
}

/// Every lie before the run, each with the words that tell it.
async fn lies_are_named(bed: &Bed, hostile: &HostileSeed) -> anyhow::Result<()> {
    let master = bed.running.lab.cluster("master")?.server.clone();
    let lies = [
        (Lie::Endless, "longer than 16 MiB"),
        (Lie::GibibyteLists, "of seed eu: the answer is longer than 16 MiB"),
        // Whatever comes first: the last page that is believed, or the end of the time that a seed may take.
        (Lie::NeverLastPage, "seed eu: "),
        (Lie::Deep, "nested too deeply"),
        (Lie::Page, "not JSON"),
        (Lie::BreaksOff, "breaks off"),
        (Lie::Redirect(format!("{master}/api/v1/secrets")), "a redirect"),
        (Lie::Slow, "no answer within 5 s"),
    ];
    for (number, (lie, words)) in lies.into_iter().enumerate() {
        let before = hostile.requests();
        hostile.lie(lie.clone());
        // A kubeconfig that changed is tried at once, whatever the last one cost.
        let text = format!("{}\n{}", hostile.kubeconfig(), " ".repeat(number));
        bed.set_kubeconfig("eu", &text).await?;
        let endless = lie == Lie::NeverLastPage;
        let named = |status: &Status| {
            let told = told(status);
            let ended = told.contains("has no end") || told.contains("not read within 20 s");
            told.contains(words) && (ended || !endless) && hostile.requests() > before
        };
        let status = bed
            .until("u", DEADLINE, named)
            .await
            .with_context(|| format!("{lie:?}"))?;
        ensure!(
            status.phase.as_deref() == Some("Preflight"),
            "{lie:?}: {:?}",
            status.phase
        );
        ensure!(told(&status).contains("eu"), "{lie:?}: the seed is not named");
    }
    Ok(())
}

fn nothing_is_repeated(bed: &Bed, observer: &Observer) -> anyhow::Result<()> {
    for status in observer.seen.of("u") {
        ensure!(
            !serde_json::to_string(&status)?.contains(CANARY),
            "status repeats an answer"
        );
    }
    let folder = bed.node_folder("master")?.join("logs");
    let mut logs = 0;
    for entry in std::fs::read_dir(&folder)?.flatten() {
        if entry.file_name().to_string_lossy().contains("kkp-upgrade-operator") {
            let text = std::fs::read(entry.path())?;
            ensure!(
                !String::from_utf8_lossy(&text).contains(CANARY),
                "the log repeats an answer"
            );
            logs += usize::from(!text.is_empty());
        }
    }
    ensure!(logs > 0, "the operator has no log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_seed_costs_little_is_named_and_not_believed() -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    let good = bed.kubeconfig("eu")?;
    let hostile = HostileSeed::start(Lie::Endless).await?;
    bed.set_kubeconfig("eu", &hostile.kubeconfig()).await?;
    bed.apply(&upgrade(0)).await?;
    lies_are_named(&bed, &hostile).await?;
    let memory = bed.operator_memory()?;
    ensure!(memory < MEMORY_KIBIBYTES, "the operator took {memory} KiB");
    nothing_is_repeated(&bed, &observer)?;
    ensure!(bed.installer_starts("2.31.0")?.is_empty(), "the installer was started");

    // Before the run another cluster is simply the seed's cluster; in the run the first one stays.
    bed.running
        .platform
        .script("operator: {seeds: {eu: {rollDelayMs: 4000}}}")?;
    bed.set_kubeconfig("eu", &good).await?;
    bed.until("u", DEADLINE, |status| {
        status.step.as_ref().is_some_and(|step| step.name == "Seeds")
    })
    .await?;
    hostile.lie(Lie::OtherCluster);
    bed.set_kubeconfig("eu", &hostile.kubeconfig()).await?;
    let stranger = |status: &Status| {
        let eu = status.target("eu");
        let upgraded = status
            .target("kubermatic")
            .is_some_and(|target| target.state == "Upgraded");
        upgraded && eu.is_some_and(|target| target.state == "Unreachable" && target.message.contains(CLAIMED_UID))
    };
    let status = bed.until("u", DEADLINE, stranger).await?;
    let pinned = status.seed_clusters.iter().find(|known| known.seed == "eu");
    let pinned = pinned.context("the seed's cluster is not noted")?;
    ensure!(pinned.cluster_uid != CLAIMED_UID, "the stranger was taken for the seed");
    for words in [
        "Seed eu leads to another cluster",
        &pinned.cluster_uid,
        "put its kubeconfig back",
    ] {
        ensure!(told(&status).contains(words), "{words}: {}", told(&status));
    }

    // An expired token, and a renewed one that is taken without a restart.
    bed.set_kubeconfig("eu", &with_expired_token(&good)?).await?;
    let expired =
        |status: &Status| told(status).contains("401 Unauthorized") && told(status).contains("put a new one into");
    bed.until("u", DEADLINE, expired).await?;
    bed.set_kubeconfig("eu", &good).await?;
    let done = |status: &Status| status.phase.as_deref() == Some("Done") && status.step.is_none();
    bed.until("u", DEADLINE, done).await?;
    let starts = bed.installer_starts("2.31.0")?;
    ensure!(starts.len() == 1, "{starts:?}");
    bed.finish(&observer)
}
