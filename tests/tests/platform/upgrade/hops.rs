//! Two hops in one request: the newest patch release of the running minor first, then the next minor; each is agreed to.

use super::*;

const OLD: &str = "2.30.5";

fn awaits(hop: &'static str) -> impl Fn(&Status) -> bool {
    move |status| {
        let awaiting = status.plan.as_ref().and_then(|plan| plan.awaiting.as_ref());
        reason_of(status, "Ready") == "AwaitingApproval" && awaiting.is_some_and(|awaiting| awaiting.hop == hop)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hop_is_agreed_to_backed_up_installed_and_proven() -> anyhow::Result<()> {
    let bed = Bed::with_operator(
        env!("CARGO_BIN_EXE_kkp-upgrade-testbed"),
        &Topology::small(OLD),
        &[FROM, TO],
        &["--poll=500", "--resync=1000"],
    )
    .await?;
    let observer = Observer::start(bed.upgrades(), |_, _| ());
    let more = "  approval: {mode: Manual}\n  maximumParallelReconciles: 2\n";
    bed.apply(&upgrade("hops", more)).await?;

    let status = bed.until("hops", SOON, awaits("2.30.5 → 2.30.6")).await?;
    ensure!(status.path == [OLD, FROM, TO], "{:?}", status.path);
    let first = approve(&bed, &status).await?;

    let status = bed.until("hops", DEADLINE, awaits("2.30.6 → 2.31.0")).await?;
    ensure!(
        status.current_version.as_deref() == Some(FROM),
        "{:?}",
        status.current_version
    );
    ensure!(
        status.is_locked(),
        "another upgrade could be written over a run that has begun"
    );
    ensure!(
        lease_holder(&bed).await?.is_some(),
        "the platform was given away between two hops"
    );
    ensure!(bed.limit().await?.is_none(), "the limit was not put back after the hop");
    ensure!(
        (bed.installer_starts(FROM)?.len(), bed.installer_starts(TO)?.len()) == (1, 0),
        "installers ran before their hop was agreed to"
    );
    let second = approve(&bed, &status).await?;
    ensure!(first != second, "consent to one hop would be consent to the next");

    let status = bed.until("hops", DEADLINE, at_rest).await?;
    observer.catch_up("hops", &status).await?;
    let phases = observer.seen.phases("hops");
    let (again, whole) = (&GOOD_PATH[1..], GOOD_PATH.iter().take(5));
    let expected: Vec<&str> = whole.chain(again).copied().collect();
    ensure!(phases == expected, "phases were {phases:?}");
    ensure!(
        reason_of(&status, "Ready") == "UpgradeSucceeded",
        "{:?}",
        status.conditions
    );
    ensure!(
        status.current_version.as_deref() == Some(TO),
        "{:?}",
        status.current_version
    );
    ensure!(
        (bed.installer_starts(FROM)?.len(), bed.installer_starts(TO)?.len()) == (1, 1),
        "each hop has one installer run"
    );
    ensure_one_installer_run(&bed)?;
    ensure_tidy(&bed, "hops").await?;
    bed.finish(&observer)
}

/// Approves the plan that waits; its digest.
async fn approve(bed: &Bed, status: &Status) -> anyhow::Result<String> {
    let digest = status.plan.as_ref().context("there is no plan")?.digest.clone();
    let annotation = format!("upgrade.k8c.io/approve={digest}");
    bed.kubectl(&["annotate", "--overwrite", "kkpu", "hops", "-n", NAMESPACE, &annotation])
        .await?;
    Ok(digest)
}
