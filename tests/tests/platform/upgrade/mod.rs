//! The main job on one control plane: a whole upgrade with and without a limit, what is left afterwards, two upgrades at
//! once, a plan alone, and a pause.

mod catalogue;
mod checks;
mod consent;
mod etcd;
mod fixes;
mod hops;
mod plugin;

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use kkp_lab::platform::Topology;
use kkp_upgrade_core::conditions::ConditionType;
use kkp_upgrade_core::status::Status;
use kkp_upgrade_tests::bed::{Bed, NAMESPACE};
use kkp_upgrade_tests::faults::{message_of, reason_of};
use kkp_upgrade_tests::observer::Observer;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::Value;

use self::checks::*;

const DEADLINE: Duration = Duration::from_mins(2);

const SOON: Duration = Duration::from_secs(30);

const FROM: &str = "2.30.6";

const TO: &str = "2.31.0";

const GOOD_PATH: [&str; 6] = ["Pending", "Preflight", "Backup", "Deploying", "Verifying", "Done"];

async fn bed() -> anyhow::Result<(Bed, Observer)> {
    let bed = Bed::with_operator(
        env!("CARGO_BIN_EXE_kkp-upgrade-testbed"),
        &Topology::small(FROM),
        &[TO],
        &["--poll=500", "--resync=1000"],
    )
    .await?;
    let observer = Observer::start(bed.upgrades(), |_, _| ());
    Ok((bed, observer))
}

fn upgrade(name: &str, more: &str) -> String {
    format!(
        "apiVersion: upgrade.k8c.io/v1alpha1\nkind: KKPUpgrade\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
         spec:\n  targetVersion: \"{TO}\"\n  verification: {{soakSeconds: 1}}\n{more}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_limit_the_limit_stays_unset_and_a_second_order_finds_the_platform_there() -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    ensure!(bed.limit().await?.is_none(), "the platform of this test has no limit");
    bed.apply(&upgrade("plain", "")).await?;
    bed.until("plain", DEADLINE, |status| status.phase.as_deref() == Some("Deploying"))
        .await?;
    let running = uid(&bed, "plain").await?;
    ensure!(
        lease_holder(&bed).await? == Some(running.clone()),
        "the running upgrade does not hold the platform"
    );
    ensure!(
        bed.limit().await?.is_none(),
        "a limit was written that nobody asked for"
    );
    ensure_refused(&bed, "plain", "backup", r#"{"spec":{"backup":{"policy":"Skip"}}}"#).await?;
    ensure_refused(&bed, "plain", "mode", r#"{"spec":{"mode":"Plan"}}"#).await?;
    ensure_refused(&bed, "plain", "targetVersion", r#"{"spec":{"targetVersion":"2.31.1"}}"#).await?;
    bed.kubectl(&[
        "wait",
        "--for=condition=Ready",
        "kkpu/plain",
        "-n",
        NAMESPACE,
        "--timeout=120s",
    ])
    .await?;
    let status = bed.until("plain", DEADLINE, at_rest).await?;
    ensure_good_path(&observer, "plain", &status).await?;
    ensure_tidy(&bed, "plain").await?;
    ensure_one_installer_run(&bed)?;
    ensure!(bed.limit().await?.is_none(), "the limit has to stay unset");
    ensure!(
        bed.running.platform.missing(TO).await?.is_empty(),
        "{:?}",
        bed.running.platform.missing(TO).await?
    );
    ensure_columns(&bed, "plain").await?;
    ensure_events(&bed, &running).await?;

    // As `kubectl replace --force`, a restored backup or Argo CD would do it.
    bed.delete("plain").await?;
    bed.apply(&upgrade("plain", "")).await?;
    let again = bed.until("plain", SOON, at_rest).await?;
    ensure!(uid(&bed, "plain").await? != running, "it is another object");
    ensure!(
        reason_of(&again, "Ready") == "AlreadyAtTarget",
        "{}",
        reason_of(&again, "Ready")
    );
    ensure!(
        again.current_version.as_deref() == Some(TO),
        "{:?}",
        again.current_version
    );
    ensure_one_installer_run(&bed)?;
    ensure!(
        jobs(&bed).await?.is_empty() && lease_holder(&bed).await?.is_none(),
        "an order that had nothing to do left marks"
    );
    bed.finish(&observer)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_limit_it_is_in_force_while_it_runs_and_gone_afterwards() -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    bed.apply(&upgrade("limited", "  maximumParallelReconciles: 2\n"))
        .await?;
    bed.until("limited", DEADLINE, |status| {
        reason_of(status, "Throttled") == "ThrottleInForce"
    })
    .await?;
    ensure!(bed.limit().await? == Some(2), "limit is {:?}", bed.limit().await?);
    // The value alone slows nobody down: the seed's controllers know it only once their Deployment has rolled out.
    let controllers = Api::<Deployment>::namespaced(bed.client.clone(), NAMESPACE)
        .get("kubermatic-seed-controller-manager")
        .await?;
    let flags = serde_json::to_string(&controllers.spec)?;
    ensure!(flags.contains("-max-parallel-reconcile=2"), "not rolled out: {flags}");
    ensure!(
        bed.installer_starts(TO)?.is_empty(),
        "the installer did not wait for the limit"
    );
    let status = bed.until("limited", DEADLINE, at_rest).await?;
    ensure_good_path(&observer, "limited", &status).await?;
    ensure_tidy(&bed, "limited").await?;
    ensure_one_installer_run(&bed)?;
    ensure!(
        bed.limit().await?.is_none(),
        "it was unset before and has to be unset again"
    );
    let applied = observer
        .seen
        .of("limited")
        .into_iter()
        .filter_map(|status| status.throttle)
        .next_back();
    ensure!(applied.is_some(), "status never told of the limit");
    bed.finish(&observer)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_orders_the_second_waits_and_names_the_first() -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    bed.apply(&upgrade("first", "")).await?;
    bed.until("first", DEADLINE, |status| status.phase.as_deref() == Some("Backup"))
        .await?;
    bed.apply(&upgrade("second", "")).await?;
    let waits = |status: &Status| reason_of(status, "Ready") == "AnotherUpgradeRunning";
    let waiting = bed.until("second", SOON, waits).await?;
    ensure!(
        message_of(&waiting, "Ready").contains("`first`"),
        "{}",
        message_of(&waiting, "Ready")
    );
    ensure!(waiting.phase.as_deref() == Some("Preflight"), "{:?}", waiting.phase);
    ensure!(waiting.locked != Some(true), "who waits is not locked");
    bed.until("first", DEADLINE, at_rest).await?;
    let second = bed.until("second", DEADLINE, at_rest).await?;
    ensure!(
        reason_of(&second, "Ready") == "AlreadyAtTarget",
        "{}",
        reason_of(&second, "Ready")
    );
    ensure_one_installer_run(&bed)?;
    ensure_tidy(&bed, "first").await?;
    bed.wait("the second one without finalizer", SOON, || async {
        let object = bed.upgrades().get("second").await.ok()?;
        object.finalizers().is_empty().then_some(())
    })
    .await?;
    observer.catch_up("second", &second).await?;
    ensure!(
        observer.seen.phases("first") == GOOD_PATH,
        "{:?}",
        observer.seen.phases("first")
    );
    let phases = observer.seen.phases("second");
    ensure!(phases == ["Pending", "Preflight", "Done"], "{phases:?}");
    bed.finish(&observer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_and_a_pause_change_nothing() -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    bed.apply(&upgrade("plan", "  mode: Plan\n")).await?;
    let planned = bed
        .until("plan", SOON, |status| reason_of(status, "Ready") == "PlanReady")
        .await?;
    ensure!(planned.phase.as_deref() == Some("Preflight"), "{:?}", planned.phase);
    let name = planned
        .plan
        .and_then(|plan| plan.config_map_ref)
        .context("no reference to the plan")?
        .name;
    let plan = Api::<ConfigMap>::namespaced(bed.client.clone(), NAMESPACE)
        .get(&name)
        .await?;
    let text = plan.data.unwrap_or_default().into_values().collect::<String>();
    for part in [FROM, TO, "kubermatic-master", "quay.io/kubermatic/kubermatic:v2.31.0"] {
        ensure!(text.contains(part), "`{part}` is not in the plan:\n{text}");
    }
    ensure_untouched(&bed, "plan").await?;

    bed.apply(&upgrade("paused", "  paused: true\n")).await?;
    let paused = bed
        .until("paused", SOON, |status| reason_of(status, "Ready") == "Paused")
        .await?;
    ensure!(paused.phase.as_deref() == Some("Preflight"), "{:?}", paused.phase);
    ensure_untouched(&bed, "paused").await?;
    bed.kubectl(&[
        "patch",
        "kkpu",
        "paused",
        "-n",
        NAMESPACE,
        "--type=merge",
        "-p",
        r#"{"spec":{"paused":false}}"#,
    ])
    .await?;
    let done = bed.until("paused", DEADLINE, at_rest).await?;
    ensure_good_path(&observer, "paused", &done).await?;
    ensure_tidy(&bed, "paused").await?;
    ensure_one_installer_run(&bed)?;
    bed.finish(&observer)
}
