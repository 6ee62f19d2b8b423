//! Orders that must not be carried out, one after the other on one platform: each is refused in words that name the
//! object and the way out, changes nothing, and goes on by itself where its cause is mended.

mod orders;
mod platform;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kkp_lab::platform::Topology;
use kkp_upgrade_api::KKPUpgrade;
use kkp_upgrade_core::status::Status;
use kkp_upgrade_tests::bed::{Bed, NAMESPACE};
use kkp_upgrade_tests::faults::{message_of, reason_of};
use kkp_upgrade_tests::observer::Observer;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

const FROM: &str = "2.30.6";

const TO: &str = "2.31.0";

/// A dry run: what blocks it blocks an upgrade, and once nothing does it says so.
const PLAN: &str = "mode: Plan";

async fn bed() -> anyhow::Result<(Bed, Observer)> {
    // Half a minute between two looks is right on a real platform and long in a test; so is a minute of patience with
    // facts that cannot be read.
    let bed = Bed::with_operator(
        env!("CARGO_BIN_EXE_kkp-upgrade-testbed"),
        &Topology::small(FROM),
        &[TO],
        &["--resync=1000", "--unknown-grace=1500"],
    )
    .await?;
    let observer = Observer::start(Api::<KKPUpgrade>::all(bed.client.clone()), |_, _| ());
    Ok((bed, observer))
}

fn manifest(name: &str, version: &str, more: &str) -> String {
    let more = if more.is_empty() {
        String::new()
    } else {
        format!(", {more}")
    };
    format!(
        "{{apiVersion: upgrade.k8c.io/v1alpha1, kind: KKPUpgrade, metadata: {{name: {name}, namespace: {NAMESPACE}}}, \
         spec: {{targetVersion: \"{version}\"{more}}}}}"
    )
}

/// Nothing of a refused order is on the platform.
async fn ensure_untouched(bed: &Bed, name: &str) -> anyhow::Result<()> {
    let object = bed.upgrades().get(name).await?;
    ensure!(object.finalizers().is_empty(), "{name} has {:?}", object.finalizers());
    let locked = object.status.and_then(|status| status.locked);
    ensure!(locked != Some(true), "{name} is locked");
    let lease = Api::<Lease>::namespaced(bed.client.clone(), NAMESPACE)
        .get_opt("kkp-upgrade-active")
        .await?;
    let holder = lease
        .and_then(|lease| lease.spec?.holder_identity)
        .filter(|holder| !holder.is_empty());
    ensure!(holder.is_none(), "{name}: {holder:?} holds the platform");
    let ledger = bed.running.platform.ledger()?;
    let other = ledger
        .iter()
        .any(|line| line["event"] == "start" && line["version"] != format!("v{FROM}") && line["version"] != FROM);
    ensure!(!other, "{name}: the installer of another version was started");
    ensure!(bed.limit().await?.is_none(), "{name}: limit {:?}", bed.limit().await?);
    ensure!(bed.limit_note().await?.is_none(), "{name} left a note of the limit");
    Ok(())
}

/// A stalled order: reason and message of Ready, which is False.
fn ensure_stalled(status: &Status, phase: &str, words: &[&str]) -> anyhow::Result<()> {
    ensure!(status.phase.as_deref() == Some(phase), "phase {:?}", status.phase);
    let stalled = status
        .conditions
        .iter()
        .any(|found| found.r#type == "Stalled" && found.status == "True");
    ensure!(stalled, "not Stalled: {:?}", status.conditions);
    let message = message_of(status, "Ready");
    for word in words {
        ensure!(message.contains(word), "`{word}` is not in: {message}");
    }
    Ok(())
}

/// What a blocker has to say.
struct Blocker<'a> {
    rule: &'a str,
    target: &'a str,
    message: &'a [&'a str],
    remedy: &'a str,
}

impl Blocker<'_> {
    /// Waits until the order stands still because of it, and looks at every text that a person reads.
    async fn stops(&self, bed: &Bed, name: &str) -> anyhow::Result<()> {
        let there = |status: &Status| {
            reason_of(status, "Ready") == "PreflightBlocked"
                && status.findings.iter().any(|finding| finding.rule == self.rule)
        };
        let status = bed.until(name, SOON, there).await?;
        // Ready shows one blocker and counts the others; a broken seed has several, of one cause.
        let worst = status.findings.first().context("no finding")?;
        ensure_stalled(&status, "Preflight", &[&worst.rule, "mend what status.findings names"])?;
        ensure!(
            reason_of(&status, "PreflightPassed") == "PreflightBlocked",
            "{:?}",
            status.conditions
        );
        let finding = status
            .findings
            .iter()
            .find(|finding| finding.rule == self.rule)
            .context("no finding")?;
        ensure!(finding.severity == "blocker", "{finding:?}");
        ensure!(
            finding.target.contains(self.target),
            "target `{}` is not in: {finding:?}",
            self.target
        );
        for word in self.message {
            ensure!(finding.message.contains(word), "`{word}` is not in: {finding:?}");
        }
        ensure!(
            finding.remedy.contains(self.remedy),
            "`{}` is not in: {finding:?}",
            self.remedy
        );
        ensure_untouched(bed, name).await
    }

    /// Applied, stopped, mended, gone on by itself.
    async fn stops_until<F>(&self, bed: &Bed, name: &str, mend: F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        bed.apply(&manifest(name, TO, PLAN)).await?;
        self.stops(bed, name).await?;
        mend.await?;
        goes_on(bed, name).await
    }
}

/// The dry run finds nothing that blocks any more; the order is taken away.
async fn goes_on(bed: &Bed, name: &str) -> anyhow::Result<()> {
    bed.until(name, SOON, |status| reason_of(status, "Ready") == "PlanReady")
        .await?;
    ensure_untouched(bed, name).await?;
    bed.delete(name).await
}

async fn patch(bed: &Bed, what: &[&str], patch: &Value) -> anyhow::Result<()> {
    let patch = patch.to_string();
    let arguments = [&["patch"], what, &["--type=merge", "-p", &patch]].concat();
    bed.kubectl(&arguments).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_makes_no_sense_is_refused_in_words() -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    orders::a_version_that_is_none(&bed)
        .await
        .context("malformed version")?;
    orders::an_older_version(&bed).await.context("older version")?;
    orders::a_version_that_nobody_knows(&bed)
        .await
        .context("unknown version")?;
    orders::two_minors_ahead(&bed).await.context("two minors ahead")?;
    orders::another_namespace(&bed).await.context("another namespace")?;
    orders::a_risk_that_no_rule_has(&bed).await.context("unknown risk")?;
    orders::a_risk_that_has_run_out(&bed).await.context("expired risk")?;
    orders::a_pinned_image(&bed).await.context("pinned image")?;
    orders::no_storage_for_the_backup(&bed)
        .await
        .context("no backup storage")?;
    bed.finish(&observer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_not_in_order_stops_the_order_until_it_is_mended() -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    platform::a_release_that_was_interrupted(&bed)
        .await
        .context("interrupted release")?;
    platform::a_kubeconfig_that_is_none(&bed)
        .await
        .context("broken kubeconfig")?;
    platform::a_seed_that_kkp_cannot_reconcile(&bed)
        .await
        .context("unhealthy Seed")?;
    platform::no_storage_class(&bed).await.context("missing StorageClass")?;
    platform::a_webhook_that_refuses(&bed)
        .await
        .context("refusing webhook")?;
    platform::a_cluster_that_the_target_refuses(&bed)
        .await
        .context("unsupported cluster")?;
    platform::accounts_that_may_not_act(&bed)
        .await
        .context("missing right")?;
    bed.finish(&observer)
}
