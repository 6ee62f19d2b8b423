//! Orders that must not be carried out, one after the other on one platform: each is refused in words that name the
//! object and the way out, changes nothing, and goes on by itself where its cause is mended.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kkp_lab::platform::Topology;
use kkp_upgrade_api::KKPUpgrade;
use kkp_upgrade_core::status::Status;
use kkp_upgrade_tests::bed::{Bed, BedOptions, NAMESPACE};
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
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let options = BedOptions {
        program: PathBuf::from(env!("CARGO_BIN_EXE_kkp-upgrade-testbed")),
        versions: vec![TO.to_owned()],
        overrides: Vec::new(),
        snapshot: true,
    };
    let bed = Bed::start(&Topology::small(FROM), &options).await?;
    bed.install_operator().await?;
    // Half a minute between two looks is right on a real platform and long in a test; so is a minute of patience with
    // facts that cannot be read.
    bed.operator_arguments(&["--resync=1000", "--unknown-grace=1500"])
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

fn ensure_clean(observer: &Observer) -> anyhow::Result<()> {
    let violations = observer.seen.violations();
    ensure!(violations.is_empty(), "statuses broke the rules: {violations:?}");
    Ok(())
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

async fn a_version_that_is_none(bed: &Bed) -> anyhow::Result<()> {
    for version in ["2.31", "latest", "3.0.0", "v2.31.0-rc.1"] {
        let answer = bed.apply(&manifest("malformed", version, "")).await;
        let error = answer
            .err()
            .with_context(|| format!("{version} was taken"))?
            .to_string();
        ensure!(
            error.contains("spec.targetVersion") && error.contains(r"^v?2\.\d+\.\d+$"),
            "{error}"
        );
    }
    ensure!(bed.upgrades().get_opt("malformed").await?.is_none(), "it was stored");
    Ok(())
}

async fn an_older_version(bed: &Bed) -> anyhow::Result<()> {
    bed.apply(&manifest("older", "2.29.10", "")).await?;
    let status = bed
        .until("older", SOON, |status| {
            reason_of(status, "Ready") == "DowngradeNotSupported"
        })
        .await?;
    ensure_stalled(&status, "Pending", &["2.30.6", "2.29.10", "choose a target version"])?;
    ensure_untouched(bed, "older").await?;
    bed.delete("older").await
}

async fn a_version_that_nobody_knows(bed: &Bed) -> anyhow::Result<()> {
    for (name, version) in [("patch-unknown", "2.30.99"), ("minor-patch-unknown", "2.31.77")] {
        bed.apply(&manifest(name, version, "")).await?;
        let blocker = Blocker {
            rule: "release-unknown",
            target: "",
            message: &[
                version,
                "not in the catalogue",
                "raise newestPatch in catalogue/releases.yaml",
            ],
            remedy: "Correct targetVersion",
        };
        blocker.stops(bed, name).await?;
        bed.delete(name).await?;
    }
    Ok(())
}

async fn two_minors_ahead(bed: &Bed) -> anyhow::Result<()> {
    bed.apply(&manifest("two-minors", "2.32.0", "")).await?;
    let unknown = Blocker {
        rule: "release-unknown",
        target: "",
        message: &["2.32.0", "add minor 2.32 to catalogue/releases.yaml"],
        remedy: "Correct targetVersion",
    };
    let status = bed
        .until("two-minors", SOON, |status| {
            reason_of(status, "Ready") == "PreflightBlocked"
        })
        .await?;
    let first = message_of(&status, "Ready");
    ensure!(
        first.contains("one-minor-at-a-time"),
        "the greater mistake is not told first: {first}"
    );
    ensure!(
        status
            .findings
            .iter()
            .any(|finding| finding.rule == unknown.rule && finding.message.contains(unknown.message[1])),
        "{:?}",
        status.findings
    );
    let far = status
        .findings
        .iter()
        .find(|finding| finding.rule == "one-minor-at-a-time")
        .context("no finding")?;
    ensure!(far.message.contains("2.30.6 to 2.32.0"), "{far:?}");
    ensure!(far.remedy.contains("first version on the way"), "{far:?}");
    ensure_untouched(bed, "two-minors").await?;
    bed.delete("two-minors").await
}

async fn another_namespace(bed: &Bed) -> anyhow::Result<()> {
    let text = manifest("elsewhere", TO, "").replace("namespace: kubermatic", "namespace: default");
    bed.apply(&text).await?;
    let api = Api::<KKPUpgrade>::namespaced(bed.client.clone(), "default");
    let object = bed
        .wait("the answer in another namespace", SOON, || async {
            let object = api.get("elsewhere").await.ok()?;
            let answered = reason_of(object.status.as_ref()?, "Ready") == "WrongNamespace";
            answered.then_some(object)
        })
        .await?;
    ensure!(object.finalizers().is_empty(), "{:?}", object.finalizers());
    let status = object.status.clone().unwrap_or_default();
    ensure_stalled(
        &status,
        "Pending",
        &["`kubermatic`", "`default`", "create the KKPUpgrade in the namespace"],
    )?;
    ensure!(
        Some(status.observed_generation) == object.metadata.generation,
        "not answered for this generation"
    );
    bed.kubectl(&["delete", "kkpu", "elsewhere", "-n", "default", "--timeout=30s"])
        .await
        .map(drop)
}

fn risk(rule: &str, end: &str) -> String {
    format!("acceptedRisks: [{{rule: {rule}, reason: agreed in the test, expirationTime: \"{end}\"}}]")
}

async fn a_risk_that_no_rule_has(bed: &Bed) -> anyhow::Result<()> {
    let cases = [
        ("risk-unknown", "no-such-rule", "there is no rule `no-such-rule`"),
        ("risk-refused", "helm-release-not-deployed", "cannot be accepted"),
    ];
    for (name, rule, words) in cases {
        bed.apply(&manifest(name, TO, &risk(rule, "2099-01-01T00:00:00Z")))
            .await?;
        let status = bed
            .until(name, SOON, |status| reason_of(status, "Ready") == "InvalidSpec")
            .await?;
        ensure_stalled(
            &status,
            "Pending",
            &["spec.acceptedRisks", rule, words, "remove the entry"],
        )?;
        ensure_untouched(bed, name).await?;
        bed.delete(name).await?;
    }
    Ok(())
}

async fn a_risk_that_has_run_out(bed: &Bed) -> anyhow::Result<()> {
    let skip = |end: &str| format!("{PLAN}, backup: {{policy: Skip}}, {}", risk("backup-skipped", end));
    let ended = "2020-01-01T00:00:00Z";
    bed.apply(&manifest("risk-expired", TO, &skip(ended))).await?;
    let blocker = Blocker {
        rule: "backup-skipped",
        target: "",
        message: &["spec.backup.policy is Skip", ended, "which has passed"],
        remedy: "accept the risk backup-skipped",
    };
    blocker.stops(bed, "risk-expired").await?;
    bed.apply(&manifest("risk-expired", TO, &skip("2099-01-01T00:00:00Z")))
        .await?;
    let status = bed
        .until("risk-expired", SOON, |status| reason_of(status, "Ready") == "PlanReady")
        .await?;
    ensure!(
        reason_of(&status, "PreflightPassed") == "PreflightPassed",
        "{:?}",
        status.conditions
    );
    let accepted = status
        .findings
        .iter()
        .any(|finding| finding.rule == "backup-skipped" && finding.severity == "accepted");
    ensure!(accepted, "the accepted risk is not told: {:?}", status.findings);
    ensure!(
        status.plan.is_some_and(|plan| plan.findings.accepted == 1),
        "not counted"
    );
    goes_on(bed, "risk-expired").await
}

async fn a_release_that_was_interrupted(bed: &Bed) -> anyhow::Result<()> {
    let secrets = Api::<Secret>::namespaced(bed.client.clone(), NAMESPACE);
    let releases = ListParams::default().labels("owner=helm,name=kubermatic-operator");
    let revision = |secret: &Secret| secret.labels().get("version").and_then(|text| text.parse::<u32>().ok());
    let newest = secrets
        .list(&releases)
        .await?
        .items
        .into_iter()
        .max_by_key(revision)
        .context("no release")?;
    let label = async |status: &str| -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"status": status}}}));
        secrets
            .patch(&newest.name_any(), &PatchParams::default(), &patch)
            .await?;
        Ok(())
    };
    label("pending-upgrade").await?;
    // Not as a dry run: this is the order that would lose the release.
    bed.apply(&manifest("release-pending-order", TO, "")).await?;
    let blocker = Blocker {
        rule: "helm-release-not-deployed",
        target: "master/kubermatic/kubermatic-operator",
        message: &["pending-upgrade"],
        remedy: "Roll the release back with helm to its last deployed revision",
    };
    blocker.stops(bed, "release-pending-order").await?;
    bed.delete("release-pending-order").await?;
    blocker.stops_until(bed, "release-pending", label("deployed")).await
}

async fn a_kubeconfig_that_is_none(bed: &Bed) -> anyhow::Result<()> {
    let secrets = Api::<Secret>::namespaced(bed.client.clone(), NAMESPACE);
    let name = "kubeconfig-kubermatic";
    let before = secrets.get(name).await?.data.context("no kubeconfig")?;
    patch(
        bed,
        &["secret", name, "-n", NAMESPACE],
        &json!({"stringData": {"kubeconfig": "token: secret-word"}}),
    )
    .await?;
    let blocker = Blocker {
        rule: "seed-unreachable",
        target: "seed kubermatic",
        message: &["Secret kubermatic/kubeconfig-kubermatic", "cannot be used"],
        remedy: "the Secret that spec.kubeconfig of the Seed names",
    };
    bed.apply(&manifest("kubeconfig-broken", TO, PLAN)).await?;
    blocker.stops(bed, "kubeconfig-broken").await?;
    let status = bed.status("kubeconfig-broken").await?;
    let all = serde_json::to_string(&status)?;
    ensure!(!all.contains("secret-word"), "the Secret's content is in status: {all}");
    patch(bed, &["secret", name, "-n", NAMESPACE], &json!({"data": before})).await?;
    goes_on(bed, "kubeconfig-broken").await
}

async fn a_seed_that_kkp_cannot_reconcile(bed: &Bed) -> anyhow::Result<()> {
    bed.running
        .platform
        .script("operator: {seeds: {kubermatic: {error: no space left}}}")?;
    // KKP's operator looks at a Seed when it changes.
    let nudge = async |value: &str| {
        let change = json!({"metadata": {"annotations": {"test.kkp/nudge": value}}});
        patch(bed, &["seed", "kubermatic", "-n", NAMESPACE], &change).await
    };
    nudge("broken").await?;
    let blocker = Blocker {
        rule: "seed-not-healthy",
        target: "seed kubermatic",
        message: &["ResourcesReconciled False"],
        remedy: "Read the conditions and events of the Seed",
    };
    let mend = async {
        bed.running.platform.script("")?;
        nudge("mended").await
    };
    blocker.stops_until(bed, "seed-unhealthy", mend).await
}

async fn a_pinned_image(bed: &Bed) -> anyhow::Result<()> {
    let secret = |tag: &str| {
        let values = json!({"kubermaticOperator": {"image": {"tag": tag}}}).to_string();
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pinned", "namespace": NAMESPACE},
               "stringData": {"values.yaml": values}})
        .to_string()
    };
    bed.apply(&secret("v2.30.6")).await?;
    let spec = format!("{PLAN}, installer: {{helmValuesRef: {{name: pinned}}}}");
    bed.apply(&manifest("image-pinned", TO, &spec)).await?;
    let blocker = Blocker {
        rule: "image-tag-pinned",
        target: "",
        message: &["kubermaticOperator.image.tag is v2.30.6"],
        remedy: "Remove kubermaticOperator.image.tag from the values",
    };
    blocker.stops(bed, "image-pinned").await?;
    bed.apply(&secret("")).await?;
    goes_on(bed, "image-pinned").await
}

async fn no_storage_class(bed: &Bed) -> anyhow::Result<()> {
    bed.kubectl(&["delete", "storageclass", "kubermatic-fast"]).await?;
    let blocker = Blocker {
        rule: "storage-class-missing",
        target: "",
        message: &["kubermatic-fast"],
        remedy: "Create StorageClass kubermatic-fast",
    };
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "kubermatic-fast"},
                       "provisioner": "lab.kkp-upgrade/none"});
    let mend = async { bed.apply(&class.to_string()).await.map(drop) };
    blocker.stops_until(bed, "storage-class", mend).await
}

async fn a_webhook_that_refuses(bed: &Bed) -> anyhow::Result<()> {
    bed.running
        .platform
        .script("webhook: {refuse: {kubermaticconfigurations: certificate has expired}}")?;
    let blocker = Blocker {
        rule: "webhook-not-answering",
        target: "master/KubermaticConfiguration",
        message: &["certificate has expired"],
        remedy: "Repair Deployment kubermatic-webhook",
    };
    let mend = async { bed.running.platform.script("").map_err(Into::into) };
    blocker.stops_until(bed, "webhook", mend).await
}

async fn a_cluster_that_the_target_refuses(bed: &Bed) -> anyhow::Result<()> {
    let version = async |version: &str| {
        let change = json!({"spec": {"version": version}});
        patch(bed, &["clusters.kubermatic.k8c.io", "kubermatic-002"], &change).await
    };
    version("1.32.13").await?;
    let blocker = Blocker {
        rule: "cluster-version-unsupported",
        target: "kubermatic/kubermatic-002",
        message: &["runs Kubernetes 1.32.13", "2.31.0"],
        remedy: "Upgrade the cluster to a version that both releases list",
    };
    blocker.stops_until(bed, "cluster-version", version("1.34.10")).await
}

/// Last: it takes the operator's own default away.
async fn no_storage_for_the_backup(bed: &Bed) -> anyhow::Result<()> {
    let path = "/spec/template/spec/containers/0/args/2";
    let remove = json!([
        {"op": "test", "path": path, "value": "--default-backup-claim=kkp-upgrade-backups"},
        {"op": "remove", "path": path},
    ])
    .to_string();
    let deployment = [
        "patch",
        "deployment",
        "kkp-upgrade-operator",
        "-n",
        NAMESPACE,
        "--type=json",
        "-p",
        &remove,
    ];
    bed.kubectl(&deployment).await?;
    // Says what is the default, and waits for the new Pod.
    bed.operator_arguments(&["--backup-max-age=3600000"]).await?;
    bed.apply(&manifest("no-storage", TO, PLAN)).await?;
    let blocker = Blocker {
        rule: "backup-storage-missing",
        target: "",
        message: &["neither spec.backup.storage nor the operator"],
        remedy: "Name a PersistentVolumeClaim in spec.backup.storage",
    };
    blocker.stops(bed, "no-storage").await?;
    let storage = format!("{PLAN}, backup: {{storage: {{persistentVolumeClaim: {{claimName: kkp-upgrade-backups}}}}}}");
    bed.apply(&manifest("no-storage", TO, &storage)).await?;
    goes_on(bed, "no-storage").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_makes_no_sense_is_refused_in_words() -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    a_version_that_is_none(&bed).await.context("malformed version")?;
    an_older_version(&bed).await.context("older version")?;
    a_version_that_nobody_knows(&bed).await.context("unknown version")?;
    two_minors_ahead(&bed).await.context("two minors ahead")?;
    another_namespace(&bed).await.context("another namespace")?;
    a_risk_that_no_rule_has(&bed).await.context("unknown risk")?;
    a_risk_that_has_run_out(&bed).await.context("expired risk")?;
    a_pinned_image(&bed).await.context("pinned image")?;
    no_storage_for_the_backup(&bed).await.context("no backup storage")?;
    ensure_clean(&observer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_not_in_order_stops_the_order_until_it_is_mended() -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    a_release_that_was_interrupted(&bed)
        .await
        .context("interrupted release")?;
    a_kubeconfig_that_is_none(&bed).await.context("broken kubeconfig")?;
    a_seed_that_kkp_cannot_reconcile(&bed).await.context("unhealthy Seed")?;
    no_storage_class(&bed).await.context("missing StorageClass")?;
    a_webhook_that_refuses(&bed).await.context("refusing webhook")?;
    a_cluster_that_the_target_refuses(&bed)
        .await
        .context("unsupported cluster")?;
    ensure_clean(&observer)
}
