//! Several operators at once: only one acts, another takes over, and one that comes too late changes nothing.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kkp_lab::control_plane::{Action, Component};
use kkp_lab::platform::MASTER;
use kkp_upgrade_tests::bed::{Bed, NAMESPACE, upgrade};
use kkp_upgrade_tests::handovers::gate::Gate;
use kkp_upgrade_tests::handovers::outcome::one_of_everything;
use kkp_upgrade_tests::handovers::program::{series_on, stopped_run};
use kkp_upgrade_tests::handovers::replicas::{DEADLINE, LEADER_LEASE, LEASE, SOAK};
use kkp_upgrade_tests::handovers::series::Loss;
use kkp_upgrade_tests::handovers::stops::{Stops, Writes};
use kkp_upgrade_tests::interruption::Point;
use kube::Api;

/// The platform's lease: one upgrade at a time.
const ACTIVE_LEASE: &str = "kkp-upgrade-active";

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_kkp-upgrade-testbed"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_stopped_at_each_effect_changes_nothing_when_it_goes_on() -> anyhow::Result<()> {
    let mut gate = Gate::new().await?;
    let bed = Bed::with_operators(program(), 1, Some(&gate)).await?;
    let mut stops = Stops::default();
    let judgement = Box::pin(stopped_run(&bed, &mut gate, Writes::Effects, &mut stops)).await?;
    let overtaken = stops.stops.iter().filter(|stop| stop.others > 0).count();
    ensure!(stops.stops.len() >= 10 && overtaken >= 7, "too few: {stops:#?}");
    // Proof that requests of old leaders did arrive after those of new ones.
    ensure!(judgement.refused.len() >= 3, "{judgement:#?}; {stops:#?}");
    ensure!(judgement.reigns.len() >= overtaken, "{:#?}", judgement.reigns);
    bed.finish_unobserved()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_created_after_its_run_runs_nothing_and_is_removed() -> anyhow::Result<()> {
    let mut gate = Gate::new().await?;
    let bed = Bed::with_operators(program(), 1, Some(&gate)).await?;
    let mut stops = Stops::default();
    let judgement = Box::pin(stopped_run(
        &bed,
        &mut gate,
        Writes::JobUntilDone("installer"),
        &mut stops,
    ))
    .await?;
    ensure!(stops.stops.iter().map(|stop| stop.answer).eq([201]), "{stops:#?}");
    ensure!(judgement.late_jobs.len() == 1, "{judgement:#?}");
    let expectations = bed.expectations().excuse(
        "L7",
        "created a second time",
        "the creation of a stopped leader arrives after the run; that its Job runs nothing and is removed is judged above",
    );
    bed.finish_unobserved_as(&expectations)
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_are_asked_to_stop_killed_or_frozen_hand_over_in_time() -> anyhow::Result<()> {
    let bed = Bed::with_operators(program(), 3, None).await?;
    let (times, judgement) = Box::pin(series_on(&bed, 6)).await?;
    ensure!(judgement.reigns.len() > 6, "{:#?}", judgement.reigns);
    for took in times {
        // Lease and retry are 1.1 s; a given back lease is taken at the next look. The rest is for two busy cores.
        let bound = if took.loss == Loss::Asked {
            Duration::from_secs(2)
        } else {
            LEASE * 4
        };
        ensure!(took.lease < bound, "{took:?}");
    }
    bed.finish_unobserved()
}

/// Writes over the spec of a Lease as somebody would who has no business there.
async fn forge(bed: &Bed, lease: &str, spec: &str) -> anyhow::Result<()> {
    let patch = format!("{{\"spec\":{spec}}}");
    let command = ["patch", "lease", lease, "-n", NAMESPACE, "--type=merge", "-p", &patch];
    bed.kubectl(&command).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaders_lease_that_is_deleted_or_forged_stops_no_run_and_doubles_nothing() -> anyhow::Result<()> {
    let bed = Bed::with_operators(program(), 2, None).await?;
    bed.running
        .platform
        .script("seed: {clusters: {'*': {neverConverges: true}}}")?;
    bed.apply(&upgrade(SOAK)).await?;
    for refused in [
        r#"{"leaseDurationSeconds":0}"#,
        r#"{"leaseDurationSeconds":-5}"#,
        r#"{"leaseTransitions":-1}"#,
    ] {
        let answer = forge(&bed, LEADER_LEASE, refused).await;
        ensure!(
            answer.is_err(),
            "the API server takes {refused}: then this needs a case of its own"
        );
    }
    let forgeries = [
        r#"{"holderIdentity":"somebody-else"}"#,
        r#"{"holderIdentity":"\u0000\ud83d\ude00 \"; DROP"}"#,
        r#"{"holderIdentity":"","leaseDurationSeconds":null,"acquireTime":null,"renewTime":null}"#,
        r#"{"holderIdentity":"of-the-future","renewTime":"2999-01-01T00:00:00.000000Z"}"#,
        r#"{"holderIdentity":"transitions","leaseTransitions":2147483647}"#,
    ];
    for (number, forgery) in forgeries.iter().enumerate() {
        forge(&bed, LEADER_LEASE, forgery)
            .await
            .with_context(|| (*forgery).to_owned())?;
        acts(&bed, &format!("forged-{number}"))
            .await
            .with_context(|| (*forgery).to_owned())?;
    }
    bed.kubectl(&["delete", "lease", LEADER_LEASE, "-n", NAMESPACE]).await?;
    acts(&bed, "deleted").await?;
    // The only one that needs a person, who finds the way out in the log.
    forge(
        &bed,
        LEADER_LEASE,
        r#"{"holderIdentity":"for-ever","leaseDurationSeconds":2147483647}"#,
    )
    .await?;
    bed.wait("the log that says what to do", DEADLINE, || async {
        let logs = bed.operator_logs().ok()?;
        (logs.contains("for-ever") && logs.contains("delete the Lease")).then_some(())
    })
    .await?;
    bed.kubectl(&["delete", "lease", LEADER_LEASE, "-n", NAMESPACE]).await?;
    acts(&bed, "deleted-again").await?;
    bed.running.platform.script("{}")?;
    one_of_everything(&bed).await?;
    bed.finish_unobserved()
}

/// Some operator answers a command.
async fn acts(bed: &Bed, token: &str) -> anyhow::Result<()> {
    bed.command("u", "retry", token).await?;
    bed.until("u", DEADLINE, |status| {
        status.last_handled_retry.as_deref() == Some(token)
    })
    .await
    .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_restarts_under_two_operators_ends_the_run_with_one_of_everything() -> anyhow::Result<()> {
    let bed = Bed::with_operators(program(), 2, None).await?;
    bed.running
        .platform
        .script("seed: {clusters: {'*': {neverConverges: true}}}")?;
    bed.apply(&upgrade(SOAK)).await?;
    // Not while a Job works: an installer that cannot reach the API server fails, with any number of operators.
    for _ in 0..2 {
        bed.reached("u", Point::Converging).await?;
        bed.running
            .lab
            .apply(MASTER, Component::ApiServer, Action::Restart)
            .await?;
    }
    bed.running.platform.script("{}")?;
    one_of_everything(&bed).await?;
    bed.finish_unobserved()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platforms_lease_that_is_removed_or_forged_lets_no_second_run_in() -> anyhow::Result<()> {
    let bed = Bed::with_operators(program(), 2, None).await?;
    bed.running
        .platform
        .script("seed: {clusters: {'*': {neverConverges: true}}}")?;
    bed.apply(&upgrade(SOAK)).await?;
    bed.until("u", DEADLINE, |status| Point::Converging.is_shown(status))
        .await?;
    bed.apply(&upgrade(SOAK).replace("name: u", "name: second")).await?;
    let second = bed.upgrades().get("second").await?.metadata.uid.context("no UID")?;
    bed.kubectl(&["delete", "lease", ACTIVE_LEASE, "-n", NAMESPACE]).await?;
    retaken(&bed).await?;
    for holder in ["somebody-else", "", &second] {
        forge(&bed, ACTIVE_LEASE, &format!("{{\"holderIdentity\":\"{holder}\"}}")).await?;
        retaken(&bed).await.with_context(|| holder.to_owned())?;
    }
    let events = bed.kubectl(&["get", "events", "-n", NAMESPACE]).await?;
    ensure!(events.contains(ACTIVE_LEASE), "nobody is told: {events}");
    let waiting = bed.status("second").await?;
    ensure!(
        waiting.locked.is_none() && waiting.phase.as_deref() == Some("Preflight"),
        "{waiting:?}"
    );
    bed.kubectl(&["delete", "kkpupgrade", "second", "-n", NAMESPACE])
        .await?;
    bed.running.platform.script("{}")?;
    one_of_everything(&bed).await?;
    bed.finish_unobserved()
}

/// The run has the platform's lease again.
async fn retaken(bed: &Bed) -> anyhow::Result<()> {
    let uid = bed.upgrades().get("u").await?.metadata.uid;
    let leases = Api::<Lease>::namespaced(bed.client.clone(), NAMESPACE);
    bed.wait("the platform's lease taken again", DEADLINE, || async {
        let lease = leases.get_opt(ACTIVE_LEASE).await.ok()??;
        (lease.spec?.holder_identity == uid).then_some(())
    })
    .await
}
