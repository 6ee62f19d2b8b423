//! Orders that make no sense as they stand.

use super::*;

pub(crate) async fn a_version_that_is_none(bed: &Bed) -> anyhow::Result<()> {
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

pub(crate) async fn an_older_version(bed: &Bed) -> anyhow::Result<()> {
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

pub(crate) async fn a_version_that_nobody_knows(bed: &Bed) -> anyhow::Result<()> {
    for (name, version) in [("patch-unknown", "2.30.99"), ("minor-patch-unknown", "2.31.77")] {
        bed.apply(&manifest(name, version, "")).await?;
        let blocker = Blocker {
            rule: "release-unknown",
            target: "",
            message: &[
                version,
                "not in the catalogue",
                "raise newestPatch in releases.yaml of ConfigMap kkp-upgrade-catalogue",
            ],
            remedy: "Correct targetVersion",
        };
        blocker.stops(bed, name).await?;
        bed.delete(name).await?;
    }
    Ok(())
}

pub(crate) async fn two_minors_ahead(bed: &Bed) -> anyhow::Result<()> {
    bed.apply(&manifest("two-minors", "2.32.0", "")).await?;
    let hint = "add minor 2.32 to releases.yaml of ConfigMap kkp-upgrade-catalogue";
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
            .any(|finding| finding.rule == "release-unknown" && finding.message.contains(hint)),
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

pub(crate) async fn another_namespace(bed: &Bed) -> anyhow::Result<()> {
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

pub(crate) async fn a_risk_that_no_rule_has(bed: &Bed) -> anyhow::Result<()> {
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

pub(crate) async fn a_risk_that_has_run_out(bed: &Bed) -> anyhow::Result<()> {
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

pub(crate) async fn a_pinned_image(bed: &Bed) -> anyhow::Result<()> {
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

/// Last: it takes the operator's own default away.
pub(crate) async fn no_storage_for_the_backup(bed: &Bed) -> anyhow::Result<()> {
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
