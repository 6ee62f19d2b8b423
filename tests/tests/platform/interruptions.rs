//! Runs that people stop: by annotation, by Git and by deletion, in every phase. Whatever is running is never killed, what
//! can go back goes back, and the next KKPUpgrade ends the work.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use kkp_lab::platform::Topology;
use kkp_lab::pod_runner::StartBehaviour;
use kkp_upgrade_core::status::Status;
use kkp_upgrade_tests::bed::Bed;
use kkp_upgrade_tests::faults::{message_of, reason_of};
use kkp_upgrade_tests::interruption::{Point, Way};
use kkp_upgrade_tests::observer::Observer;

const DEADLINE: Duration = Duration::from_secs(90);
/// Within this an abort is answered (design of the state machine).
const ANSWER: Duration = Duration::from_secs(5);
/// Within this a finalizer goes away once nothing of its run works any more.
const LEAVE: Duration = Duration::from_secs(20);
/// The platform's own limit.
const ORIGINAL: i64 = 7;
/// The limit of the runs.
const LIMIT: i64 = 2;

async fn bed() -> anyhow::Result<(Bed, Observer)> {
    let bed = Bed::with_operator(
        env!("CARGO_BIN_EXE_kkp-upgrade-testbed"),
        &Topology::small("2.30.6"),
        &["2.31.0"],
        &["--poll=500", "--resync=1000"],
    )
    .await?;
    bed.set_limit(ORIGINAL).await?;
    let observer = Observer::start(bed.upgrades(), |_, _| ());
    Ok((bed, observer))
}

/// The limit is the platform's own, with no note beside it.
async fn is_put_back(bed: &Bed) -> anyhow::Result<()> {
    let (limit, note) = (bed.limit().await?, bed.limit_note().await?);
    ensure!(
        limit == Some(ORIGINAL) && note.is_none(),
        "limit {limit:?}, note {note:?}"
    );
    Ok(())
}

/// The limit is the run's, with its note.
async fn is_held(bed: &Bed) -> anyhow::Result<()> {
    let (limit, note) = (bed.limit().await?, bed.limit_note().await?);
    ensure!(limit == Some(LIMIT) && note.is_some(), "limit {limit:?}, note {note:?}");
    Ok(())
}

async fn is_gone(bed: &Bed, name: &str) -> bool {
    matches!(bed.upgrades().get_opt(name).await, Ok(None))
}

/// Interrupts a run and looks at the answer: soon, and from then on no new Job.
async fn interrupted(bed: &Bed, observer: &Observer, name: &str, way: Way) -> anyhow::Result<()> {
    let before = bed.status(name).await?;
    bed.interrupt(name, way).await?;
    let answered = |status: &Status| {
        let token = way != Way::Annotation || status.last_handled_abort.as_deref() == Some("now");
        token && (reason_of(status, "Ready") == "Aborting" || status.phase.as_deref() == Some("Aborted"))
    };
    match way {
        Way::Deletion => {
            let seen = || async {
                let answered = bed.status(name).await.is_ok_and(|status| answered(&status));
                (answered || is_gone(bed, name).await).then_some(())
            };
            bed.wait("the answer to the deletion", ANSWER, seen).await?;
        }
        Way::Annotation => drop(bed.until(name, ANSWER, answered).await?),
        // On an unchanged platform the reverted spec may have become a run of its own already.
        Way::Git => {
            let seen = || async { observer.seen.of(name).iter().any(answered).then_some(()) };
            bed.wait("the answer to the revert", ANSWER, seen).await?;
        }
    }
    let job = |status: &Status| status.step.as_ref().and_then(|step| step.job.clone());
    for status in observer.seen.of(name).iter().filter(|status| answered(status)) {
        let new = job(status).filter(|found| job(&before).as_ref() != Some(found));
        ensure!(new.is_none(), "{name}: Job {new:?} after the abort");
    }
    Ok(())
}

/// A new KKPUpgrade ends the work: Done, and the limit of the platform is its own again.
async fn next_ends_done(bed: &Bed) -> anyhow::Result<Status> {
    let done = |status: &Status| status.phase.as_deref() == Some("Done") && status.step.is_none();
    let status = bed.until("next", DEADLINE, done).await?;
    ensure!(
        status.changes.is_empty() && status.current_version.as_deref() == Some("2.31.0"),
        "{status:?}"
    );
    is_put_back(bed).await?;
    let missing = bed.running.platform.missing("2.31.0").await?;
    ensure!(missing.is_empty(), "{missing:?}");
    Ok(status)
}

/// Brings a new run to a point before the installer and interrupts it there: the platform stays as it was.
async fn stopped_before_the_installer(bed: &Bed, observer: &Observer, point: Point, way: Way) -> anyhow::Result<()> {
    let name = format!("{point:?}-{way:?}").to_lowercase();
    let step = if point == Point::Backup { "backup" } else { "installer" };
    bed.job_pods_start(step, StartBehaviour::Never).await?;
    bed.apply(&point.upgrade(&name)).await?;
    bed.reached(&name, point).await?;
    interrupted(bed, observer, &name, way).await?;
    match way {
        Way::Deletion => {}
        Way::Annotation => {
            let ended = |status: &Status| status.phase.as_deref() == Some("Aborted") && status.step.is_none();
            let status = bed.until(&name, DEADLINE, ended).await?;
            ensure!(reason_of(&status, "Ready") == "Aborted", "{:?}", status.conditions);
            ensure!(status.changes.is_empty() && !status.is_locked(), "{:?}", status.changes);
            let point = status.point_of_no_return.as_ref().map(|point| point.state.as_str());
            ensure!(point == Some("Ahead"), "{point:?}");
        }
        Way::Git => {
            // The reverted spec asks for what is there.
            let done = |status: &Status| status.phase.as_deref() == Some("Done") && status.step.is_none();
            let status = bed.until(&name, DEADLINE, done).await?;
            ensure!(
                reason_of(&status, "Ready") == "AlreadyAtTarget",
                "{:?}",
                status.conditions
            );
            ensure!(status.current_version.as_deref() == Some("2.30.6"), "{status:?}");
            let results: Vec<&str> = status.history.iter().map(|entry| entry.result.as_str()).collect();
            ensure!(results == ["Done", "Aborted"], "{results:?}");
        }
    }
    if way != Way::Deletion {
        is_put_back(bed).await?;
        bed.interrupt(&name, Way::Deletion).await?;
    }
    bed.wait("the end of the KKPUpgrade", LEAVE, || async {
        is_gone(bed, &name).await.then_some(())
    })
    .await?;
    is_put_back(bed).await?;
    let leftovers = bed
        .kubectl(&["get", "configmap", "-n", "kubermatic", "-o", "name"])
        .await?;
    ensure!(!leftovers.contains("leftovers"), "{leftovers}");
    let jobs = bed.kubectl(&["get", "jobs", "-n", "kubermatic", "-o", "name"]).await?;
    ensure!(!jobs.contains("upgrade"), "{jobs}");
    bed.installers_ended_well(0)?;
    bed.pods_start_normally().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_before_the_installer_leaves_the_platform_as_it_was() -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    for point in [Point::Blocked, Point::Backup, Point::BeforeFence] {
        for way in [Way::Annotation, Way::Deletion] {
            stopped_before_the_installer(&bed, &observer, point, way)
                .await
                .with_context(|| format!("{way:?} in {point:?}"))?;
        }
    }
    stopped_before_the_installer(&bed, &observer, Point::BeforeFence, Way::Git)
        .await
        .context("revert before the installer")?;
    bed.apply(&Point::Installer.upgrade("next")).await?;
    next_ends_done(&bed).await?;
    bed.installers_ended_well(1)?;
    bed.finish(&observer)
}

/// What holds a run at a point behind the installer's start. User clusters that do not converge keep the limit in
/// place after the installer.
fn hold(bed: &Bed, point: Point) -> anyhow::Result<()> {
    let frozen = "seed: {clusters: {'*': {neverConverges: true}}}";
    match point {
        Point::Installer => bed
            .running
            .platform
            .script(&format!("installer: {{stepMs: 300}}\n{frozen}")),
        Point::Converging => bed.running.platform.script(frozen),
        _ => Ok(()),
    }?;
    Ok(())
}

/// The limit stays after the installer as long as user clusters are on their way, and is shown.
async fn is_held_and_shown(bed: &Bed, way: Way) -> anyhow::Result<()> {
    is_held(bed).await?;
    if way == Way::Deletion {
        let note = bed
            .kubectl(&["get", "configmap", "u-leftovers", "-n", "kubermatic", "-o", "yaml"])
            .await?;
        for part in ["KKPUpgrade u", "maximumParallelReconciles: 2 (was 7)"] {
            ensure!(note.contains(part), "{part:?} is not in {note}");
        }
        return Ok(());
    }
    let status = bed.status("u").await?;
    ensure!(
        reason_of(&status, "Ready") == "HeldAfterFailure",
        "{:?}",
        status.conditions
    );
    ensure!(
        message_of(&status, "Ready").contains("upgrade.k8c.io/release"),
        "{:?}",
        status.conditions
    );
    let change = status.changes.first().context("changes[] does not show the limit")?;
    ensure!(change.original == "7" && change.applied == "2", "{change:?}");
    Ok(())
}

/// Interrupts a run behind the installer's start; then lets the platform settle and a new KKPUpgrade end the work.
async fn stopped_behind_the_installer(point: Point, way: Way) -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    hold(&bed, point)?;
    bed.apply(&point.upgrade("u")).await?;
    bed.reached("u", point).await?;
    interrupted(&bed, &observer, "u", way).await?;
    if point == Point::Installer {
        ensure!(
            bed.installer_ends()?.is_empty(),
            "the installer had ended before the abort was answered"
        );
        ensure!(
            !is_gone(&bed, "u").await,
            "the KKPUpgrade is gone and its installer runs"
        );
        let ended = || async { bed.installer_ends().ok().filter(|ends| !ends.is_empty()) };
        bed.wait("the installer's end", DEADLINE, ended).await?;
    }
    if way == Way::Deletion {
        bed.wait("the end of the KKPUpgrade", LEAVE, || async {
            is_gone(&bed, "u").await.then_some(())
        })
        .await?;
    } else {
        let ended = |status: &Status| status.phase.as_deref() == Some("Aborted") && status.step.is_none();
        bed.until("u", DEADLINE, ended).await?;
    }
    bed.installers_ended_well(1)?;
    if point == Point::Soak {
        is_put_back(&bed).await?;
    } else {
        is_held_and_shown(&bed, way).await?;
    }
    finished_by_the_next(&bed, point, way).await?;
    bed.finish(&observer)
}

/// The platform settles; the aborted run gives its limit back by itself, a deleted one's is taken over by the next.
async fn finished_by_the_next(bed: &Bed, point: Point, way: Way) -> anyhow::Result<()> {
    bed.running.platform.script("{}")?;
    if way != Way::Deletion {
        let back = |status: &Status| status.changes.is_empty() && reason_of(status, "Ready") == "Aborted";
        let status = bed.until("u", DEADLINE, back).await?;
        ensure!(status.phase.as_deref() == Some("Aborted"), "{:?}", status.phase);
        let passed = status.point_of_no_return.as_ref().map(|point| point.state.as_str());
        ensure!(passed == Some("Passed"), "{passed:?}");
        is_put_back(bed).await?;
        bed.delete("u").await?;
    }
    bed.running.platform.wait_for("2.31.0", DEADLINE).await?;
    if way == Way::Deletion && point != Point::Soak {
        is_held(bed).await.context("nobody has taken the limit over yet")?;
    }
    bed.apply(&Point::Installer.upgrade("next")).await?;
    let status = next_ends_done(bed).await?;
    ensure!(
        reason_of(&status, "Ready") == "AlreadyAtTarget",
        "{:?}",
        status.conditions
    );
    // What is proven done is not done again.
    bed.installers_ended_well(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_while_the_installer_runs() -> anyhow::Result<()> {
    stopped_behind_the_installer(Point::Installer, Way::Annotation).await
}

#[tokio::test(flavor = "multi_thread")]
async fn revert_while_the_installer_runs() -> anyhow::Result<()> {
    stopped_behind_the_installer(Point::Installer, Way::Git).await
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_while_the_installer_runs() -> anyhow::Result<()> {
    stopped_behind_the_installer(Point::Installer, Way::Deletion).await
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_while_user_clusters_converge() -> anyhow::Result<()> {
    stopped_behind_the_installer(Point::Converging, Way::Annotation).await
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_while_user_clusters_converge() -> anyhow::Result<()> {
    stopped_behind_the_installer(Point::Converging, Way::Deletion).await
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_during_the_soak() -> anyhow::Result<()> {
    stopped_behind_the_installer(Point::Soak, Way::Annotation).await
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_during_the_soak() -> anyhow::Result<()> {
    stopped_behind_the_installer(Point::Soak, Way::Deletion).await
}
