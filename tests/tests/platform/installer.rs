//! Installers that fail before and after their CRDs, that cannot start, and a limit that a person changes under a run:
//! what is said, what stays, what goes back.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use kkp_lab::platform::Topology;
use kkp_upgrade_core::status::Status;
use kkp_upgrade_tests::bed::{Bed, upgrade};
use kkp_upgrade_tests::faults::{message_of, reason_of};
use kkp_upgrade_tests::observer::Observer;

const DEADLINE: Duration = Duration::from_secs(90);
const LIMIT: i64 = 2;

async fn bed(versions: &[&str]) -> anyhow::Result<(Bed, Observer)> {
    let bed = Bed::with_operator(
        env!("CARGO_BIN_EXE_kkp-upgrade-testbed"),
        &Topology::small("2.30.6"),
        versions,
        &["--poll=500", "--resync=1000"],
    )
    .await?;
    let observer = Observer::start(bed.upgrades(), |_, _| ());
    Ok((bed, observer))
}

/// The run has ended as Failed because of the installer, in this attempt, with the installer's own words.
async fn failed(bed: &Bed, attempt: i32, words: &str, reason: &str) -> anyhow::Result<Status> {
    let ended = |status: &Status| {
        let failed = status.failed_in.as_ref();
        status.phase.as_deref() == Some("Failed")
            && status.step.is_none()
            && failed.is_some_and(|failed| failed.attempt == Some(attempt))
    };
    let status = bed.until("u", DEADLINE, ended).await?;
    let failed = status.failed_in.clone().context("failedIn is missing")?;
    ensure!(failed.phase == "Deploying" && failed.step == "Master", "{failed:?}");
    ensure!(
        failed.target.as_deref() == Some("master") && failed.reason == "InstallerFailed",
        "{failed:?}"
    );
    ensure!(failed.message.contains(words), "{}", failed.message);
    ensure!(reason_of(&status, "Ready") == reason, "{:?}", status.conditions);
    ensure!(
        message_of(&status, "Ready").contains("upgrade.k8c.io/retry"),
        "{}",
        message_of(&status, "Ready")
    );
    let starts = bed.installer_starts("2.31.0")?;
    ensure!(
        starts.len() == usize::try_from(attempt)?,
        "attempt {attempt} and starts {starts:?}"
    );
    ensure!(!status.is_locked(), "an ended run locks nothing");
    Ok(status)
}

fn point(status: &Status) -> String {
    status
        .point_of_no_return
        .as_ref()
        .map_or_else(String::new, |point| point.state.clone())
}

/// The limit of the run stands with its note, and status shows it.
async fn is_held(bed: &Bed, status: &Status) -> anyhow::Result<()> {
    ensure!(
        bed.limit().await? == Some(LIMIT) && bed.limit_note().await?.is_some(),
        "the limit went back too early"
    );
    let change = status.changes.first().context("changes[] does not show the limit")?;
    ensure!(change.field.contains("maximumParallelReconciles"), "{change:?}");
    ensure!(change.original == "unset" && change.applied == "2", "{change:?}");
    ensure!(
        message_of(status, "Ready").contains("upgrade.k8c.io/release"),
        "{}",
        message_of(status, "Ready")
    );
    Ok(())
}

async fn is_put_back(bed: &Bed) -> anyhow::Result<()> {
    let (limit, note) = (bed.limit().await?, bed.limit_note().await?);
    ensure!(limit.is_none() && note.is_none(), "limit {limit:?}, note {note:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installer_that_fails_holds_the_limit_only_after_its_crds_and_retries_end_well() -> anyhow::Result<()> {
    let (bed, observer) = bed(&["2.31.0"]).await?;
    let platform = &bed.running.platform;

    platform.script("installer: {faults: [{step: storage-class, action: fail, message: no such provider}]}")?;
    bed.apply(&upgrade(0)).await?;
    let status = failed(&bed, 1, "no such provider", "InstallerFailed").await?;
    ensure!(
        point(&status) == "Ahead" && status.changes.is_empty(),
        "{} {:?}",
        point(&status),
        status.changes
    );
    is_put_back(&bed).await?;

    platform.script("installer: {faults: [{step: crds, when: after, action: fail, message: lost the connection}]}")?;
    bed.command("u", "retry", "1").await?;
    let status = failed(&bed, 2, "lost the connection", "HeldAfterFailure").await?;
    ensure!(
        status.last_handled_retry.as_deref() == Some("1") && point(&status) == "Passed",
        "{}",
        point(&status)
    );
    is_held(&bed, &status).await?;

    bed.command("u", "release", "1").await?;
    let status = bed
        .until("u", DEADLINE, |status| {
            status.changes.is_empty() && status.step.is_none()
        })
        .await?;
    ensure!(
        status.last_handled_release.as_deref() == Some("1"),
        "{:?}",
        status.last_handled_release
    );
    ensure!(
        reason_of(&status, "Ready") == "InstallerFailed" && status.phase.as_deref() == Some("Failed"),
        "{status:?}"
    );
    is_put_back(&bed).await?;

    bed.command("u", "retry", "2").await?;
    let status = failed(&bed, 3, "lost the connection", "HeldAfterFailure").await?;
    is_held(&bed, &status).await?;

    platform.script("{}")?;
    bed.command("u", "retry", "3").await?;
    let done = |status: &Status| status.phase.as_deref() == Some("Done") && status.step.is_none();
    let status = bed.until("u", DEADLINE, done).await?;
    ensure!(
        bed.installer_starts("2.31.0")?.len() == 4,
        "{:?}",
        bed.installer_starts("2.31.0")?
    );
    ensure!(
        status.changes.is_empty() && status.failed_in.is_none(),
        "{:?} {:?}",
        status.changes,
        status.failed_in
    );
    ensure!(
        status.current_version.as_deref() == Some("2.31.0"),
        "{:?}",
        status.current_version
    );
    let results: Vec<&str> = status.history.iter().map(|entry| entry.result.as_str()).collect();
    ensure!(results.first() == Some(&"Done"), "{results:?}");
    is_put_back(&bed).await?;
    ensure!(
        platform.missing("2.31.0").await?.is_empty(),
        "{:?}",
        platform.missing("2.31.0").await?
    );
    bed.finish(&observer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_a_person_changes_is_never_written_over_and_stops_the_run_after_the_wave() -> anyhow::Result<()> {
    let (bed, observer) = bed(&["2.31.0"]).await?;
    bed.running.platform.script("installer: {stepMs: 300}")?;
    bed.apply(&upgrade(0)).await?;
    bed.wait("the installer's start", DEADLINE, || async {
        bed.installer_starts("2.31.0").ok().filter(|starts| !starts.is_empty())
    })
    .await?;
    ensure!(
        bed.limit().await? == Some(LIMIT),
        "the limit is not in force before the installer"
    );
    bed.set_limit(5).await?;

    let contested = |status: &Status| reason_of(status, "Stalled") == "ThrottleContested";
    let status = bed.until("u", DEADLINE, contested).await?;
    ensure!(status.phase.as_deref() == Some("Deploying"), "{:?}", status.phase);
    ensure!(
        bed.running.platform.missing("2.31.0").await?.is_empty(),
        "the wave did not finish first"
    );
    let message = message_of(&status, "Ready");
    for part in [
        "KubermaticConfiguration kubermatic/",
        "maximumParallelReconciles 5",
        "set 2",
        "put spec.seedController",
    ] {
        ensure!(message.contains(part), "{part:?} is not in {message:?}");
    }
    ensure!(bed.limit().await? == Some(5), "the person's value was written over");

    bed.set_limit(LIMIT).await?;
    let done = |status: &Status| status.phase.as_deref() == Some("Done") && status.step.is_none();
    bed.until("u", DEADLINE, done).await?;
    is_put_back(&bed).await?;
    ensure!(
        bed.installer_starts("2.31.0")?.len() == 1,
        "{:?}",
        bed.installer_starts("2.31.0")?
    );
    bed.finish(&observer)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installer_image_that_cannot_be_pulled_is_named_and_the_run_can_be_aborted() -> anyhow::Result<()> {
    let (bed, observer) = bed(&[]).await?;
    bed.apply(&upgrade(0)).await?;
    let pulled = |status: &Status| message_of(status, "Ready").contains("ErrImagePull");
    let status = bed.until("u", DEADLINE, pulled).await?;
    let message = message_of(&status, "Ready");
    ensure!(
        message.contains("cannot start") && message.contains("kubermatic:v2.31.0"),
        "{message}"
    );
    ensure!(
        status.phase.as_deref() == Some("Deploying") && bed.limit().await? == Some(LIMIT),
        "{:?}",
        status.phase
    );
    let job = status.step.and_then(|step| step.job).context("the step names no Job")?;

    bed.command("u", "abort", "1").await?;
    let ended = |status: &Status| status.phase.as_deref() == Some("Aborted") && status.step.is_none();
    let status = bed.until("u", DEADLINE, ended).await?;
    ensure!(
        status.last_handled_abort.as_deref() == Some("1"),
        "{:?}",
        status.last_handled_abort
    );
    ensure!(
        reason_of(&status, "Ready") == "Aborted" && status.changes.is_empty(),
        "{:?}",
        status.conditions
    );
    ensure!(point(&status) == "Ahead", "{}", point(&status));
    is_put_back(&bed).await?;
    let jobs = bed.kubectl(&["get", "jobs", "-n", "kubermatic", "-o", "name"]).await?;
    ensure!(!jobs.contains(&job), "{jobs}");
    bed.kubectl(&["get", "configmap", "-n", "kubermatic", &job])
        .await
        .context("the fence outlives the Job")?;
    ensure!(
        bed.installer_starts("2.31.0")?.is_empty(),
        "{:?}",
        bed.installer_starts("2.31.0")?
    );
    bed.finish(&observer)
}
