//! Operators that die: by SIGKILL in every phase, at every edge of status, and as leader beside a second one. The run ends
//! as if nothing had happened, with the same number of effects.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kkp_lab::platform::Topology;
use kkp_lab::pod_runner::StartBehaviour;
use kkp_upgrade_core::status::Status;
use kkp_upgrade_tests::bed::{Bed, NAMESPACE, upgrade};
use kkp_upgrade_tests::interruption::Point;
use kkp_upgrade_tests::observer::Observer;
use kkp_upgrade_tests::once;
use kube::{Api, ResourceExt};
use tokio::sync::mpsc;

const DEADLINE: Duration = Duration::from_mins(2);
/// The platform's own limit.
const ORIGINAL: i64 = 7;
/// How long a Pod is late that has to be there while the operator is killed.
const LATE: StartBehaviour = StartBehaviour::Slowly { milliseconds: 3_000 };

async fn bed() -> anyhow::Result<Bed> {
    let bed = Bed::with_operator(
        env!("CARGO_BIN_EXE_kkp-upgrade-testbed"),
        &Topology::small("2.30.6"),
        &["2.31.0"],
        &["--poll=500", "--resync=1000"],
    )
    .await?;
    bed.set_limit(ORIGINAL).await?;
    Ok(bed)
}

/// Kills the only operator.
async fn kill(bed: &Bed) -> anyhow::Result<()> {
    let pods = bed.operator_pods().await?;
    ensure!(pods.len() == 1, "{} operators", pods.len());
    bed.kill_operator(pods.first().context("no operator")?).await
}

/// The run is Done with one of everything, and went through each phase once.
async fn ends_done(bed: &Bed, observer: &Observer) -> anyhow::Result<Status> {
    let status = once::of_everything(bed, ORIGINAL, DEADLINE).await?;
    observer.catch_up("u", &status).await?;
    let mut phases = observer.seen.phases("u");
    // The first status may be written with the second phase already.
    phases.retain(|phase| phase != "Pending");
    ensure!(
        phases == ["Preflight", "Backup", "Deploying", "Verifying", "Done"],
        "{phases:?}"
    );
    Ok(status)
}

/// Which phase and step a status shows.
fn place(status: &Status) -> Option<String> {
    let phase = status.phase.clone()?;
    let step = status.step.as_ref();
    let name = step.map(|step| step.name.clone()).unwrap_or_default();
    let job = step.and_then(|step| step.job.clone()).map_or("", |_| " with its Job");
    Some(format!("{phase}/{name}{job}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_killed_in_every_phase_ends_the_run_with_one_of_everything() -> anyhow::Result<()> {
    let bed = bed().await?;
    let observer = Observer::start(bed.upgrades(), |_, _| ());
    bed.job_pods_start("backup", LATE).await?;
    bed.job_pods_start("installer", LATE).await?;
    let platform = &bed.running.platform;
    platform.script("installer: {stepMs: 250}\nseed: {clusters: {'*': {neverConverges: true}}}")?;
    bed.apply(&upgrade(5)).await?;
    bed.until("u", DEADLINE, |status| status.phase.as_deref() == Some("Preflight"))
        .await?;
    kill(&bed).await?;
    for point in [Point::Backup, Point::BeforeFence, Point::Installer, Point::Converging] {
        bed.reached("u", point).await?;
        if point == Point::BeforeFence {
            ensure!(
                bed.installer_starts("2.31.0")?.is_empty(),
                "the installer was faster than the kill"
            );
        }
        kill(&bed).await.with_context(|| format!("{point:?}"))?;
    }
    platform.script("{}")?;
    bed.reached("u", Point::Soak).await?;
    kill(&bed).await?;
    ends_done(&bed, &observer).await?;
    ensure!(
        bed.operator_restarts().await? == 6,
        "{} restarts",
        bed.operator_restarts().await?
    );
    kill(&bed).await?;
    bed.wait("the operator's seventh restart", DEADLINE, || async {
        (bed.operator_restarts().await.ok()? == 7).then_some(())
    })
    .await?;
    // An operator that starts beside a run that has ended leaves it alone.
    ends_done(&bed, &observer).await?;
    bed.finish(&observer)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_killed_at_every_edge_of_status_ends_the_run_with_one_of_everything() -> anyhow::Result<()> {
    let bed = bed().await?;
    let (tell, mut told) = mpsc::unbounded_channel();
    let observer = Observer::start(bed.upgrades(), move |_, status| {
        if let Some(place) = place(status) {
            let _ = tell.send(place);
        }
    });
    bed.apply(&upgrade(5)).await?;
    // The status that names an effect is written just before it: a kill on sight of it strikes before, in or after.
    let mut struck = BTreeSet::new();
    loop {
        let place = tokio::time::timeout(DEADLINE, told.recv())
            .await
            .context("no status any more")?
            .context("the observer ended")?;
        if place == "Done/" {
            break;
        }
        if struck.insert(place.clone()) {
            kill(&bed).await.with_context(|| place.clone())?;
        }
    }
    ensure!(struck.len() >= 8, "too few edges: {struck:?}");
    ends_done(&bed, &observer).await?;
    let restarts = usize::try_from(bed.operator_restarts().await?)?;
    ensure!(restarts + 1 >= struck.len(), "{restarts} restarts");
    bed.finish(&observer)
}

async fn leader(bed: &Bed) -> Option<String> {
    let leases = Api::<Lease>::namespaced(bed.client.clone(), NAMESPACE);
    let lease = leases.get("kkp-upgrade-operator-leader").await.ok()?;
    lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
}

async fn two_operators(bed: &Bed) -> anyhow::Result<()> {
    bed.kubectl(&[
        "scale",
        "deployment",
        "kkp-upgrade-operator",
        "-n",
        NAMESPACE,
        "--replicas=2",
    ])
    .await?;
    bed.wait("two operators", DEADLINE, || async {
        let pods = bed.operator_pods().await.ok()?;
        let ready = pods.iter().filter(|pod| {
            let statuses = pod
                .status
                .as_ref()
                .and_then(|status| status.container_statuses.as_ref());
            statuses.is_some_and(|statuses| statuses.iter().all(|status| status.ready))
        });
        (ready.count() == 2).then_some(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_operator_takes_over_from_a_leader_that_dies_in_the_middle() -> anyhow::Result<()> {
    let bed = bed().await?;
    let observer = Observer::start(bed.upgrades(), |_, _| ());
    two_operators(&bed).await?;
    bed.running.platform.script("installer: {stepMs: 300}")?;
    bed.apply(&upgrade(5)).await?;
    bed.reached("u", Point::Installer).await?;
    let first = leader(&bed).await.context("nobody leads")?;
    let pods = bed.operator_pods().await?;
    let pod = pods
        .iter()
        .find(|pod| pod.uid().as_deref() == Some(&*first))
        .context("the leader is no Pod")?;
    bed.kill_operator(pod).await?;
    // Gone with its Pod: the one that is made in its place has another identity, so the other one's turn comes.
    let name = pod.name_any();
    bed.kubectl(&["delete", "pod", &name, "-n", NAMESPACE, "--grace-period=0", "--force"])
        .await?;
    ends_done(&bed, &observer).await?;
    let second = leader(&bed).await.context("nobody leads at the end")?;
    ensure!(second != first, "{first} led all the time");
    bed.finish(&observer)
}
