//! What has to hold while an upgrade runs and after it.

use super::*;

/// Done, and nothing left to do: the last write of a run clears the step.
pub(crate) fn at_rest(status: &Status) -> bool {
    status.phase.as_deref() == Some("Done") && status.step.is_none()
}

pub(crate) async fn lease_holder(bed: &Bed) -> anyhow::Result<Option<String>> {
    let leases = Api::<Lease>::namespaced(bed.client.clone(), NAMESPACE);
    let lease = leases.get_opt("kkp-upgrade-active").await?;
    Ok(lease
        .and_then(|lease| lease.spec?.holder_identity)
        .filter(|holder| !holder.is_empty()))
}

/// Our Jobs of any upgrade.
pub(crate) async fn jobs(bed: &Bed) -> anyhow::Result<Vec<String>> {
    let api = Api::<Job>::namespaced(bed.client.clone(), NAMESPACE);
    let ours = ListParams::default().labels("upgrade.k8c.io/upgrade-uid");
    Ok(api.list(&ours).await?.items.iter().map(ResourceExt::name_any).collect())
}

/// The fences that were taken for the Jobs of an upgrade.
pub(crate) async fn fences(bed: &Bed, uid: &str) -> anyhow::Result<Vec<ConfigMap>> {
    let api = Api::<ConfigMap>::namespaced(bed.client.clone(), NAMESPACE);
    let ours = ListParams::default().labels(&format!("upgrade.k8c.io/upgrade-uid={uid}"));
    let mut found = api.list(&ours).await?.items;
    found.retain(|map| map.annotations().contains_key("upgrade.k8c.io/fence-owner"));
    Ok(found)
}

pub(crate) async fn uid(bed: &Bed, name: &str) -> anyhow::Result<String> {
    bed.upgrades().get(name).await?.uid().context("an object has a UID")
}

/// What every finished upgrade leaves, and what it does not. Lease and finalizer go after the write that says Done.
pub(crate) async fn ensure_tidy(bed: &Bed, name: &str) -> anyhow::Result<()> {
    bed.wait("an upgrade without lease, finalizer and Jobs", SOON, || async {
        let free = lease_holder(bed).await.ok()?.is_none() && jobs(bed).await.ok()?.is_empty();
        let object = bed.upgrades().get(name).await.ok()?;
        (free && object.finalizers().is_empty()).then_some(())
    })
    .await?;
    ensure!(
        bed.limit_note().await?.is_none(),
        "the note of the limit is still there"
    );
    let fences = fences(bed, &uid(bed, name).await?).await?;
    ensure!(!fences.is_empty(), "the installer's fence has to outlive its Job");
    ensure!(
        fences.iter().all(|fence| fence.immutable == Some(true)),
        "a fence can be changed"
    );
    Ok(())
}

/// The installer of the target ran exactly once, successfully.
pub(crate) fn ensure_one_installer_run(bed: &Bed) -> anyhow::Result<()> {
    let starts = bed.installer_starts(TO)?;
    let [pod] = starts.as_slice() else {
        bail!("installer runs of {TO}: {starts:?}");
    };
    let ledger = bed.running.platform.ledger()?;
    let text = |line: &Value, key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let of =
        |line: &&Value, event: &str, key: &str, value: &str| text(line, "event") == event && text(line, key) == value;
    let start = ledger.iter().find(|line| of(line, "start", "hostname", pod));
    let run = text(start.context("no start")?, "runId");
    let ends: Vec<_> = ledger.iter().filter(|line| of(line, "end", "runId", &run)).collect();
    let codes: Vec<_> = ends.iter().filter_map(|end| end.get("exitCode")?.as_i64()).collect();
    ensure!(codes == [0], "the run did not end well: {ends:?}");
    Ok(())
}

/// `currentVersion` is the old version until the very write that says Done.
pub(crate) fn ensure_version_moved_last(observer: &Observer, name: &str) -> anyhow::Result<()> {
    let seen = observer.seen.of(name);
    let early: Vec<_> = seen
        .iter()
        .filter(|status| status.phase.as_deref() != Some("Done"))
        .filter(|status| status.current_version.as_deref().is_some_and(|version| version != FROM))
        .collect();
    ensure!(early.is_empty(), "currentVersion moved before the end: {early:?}");
    ensure!(
        seen.iter()
            .any(|status| status.current_version.as_deref() == Some(FROM)),
        "never seen at {FROM}"
    );
    ensure!(
        seen.last()
            .is_some_and(|status| status.current_version.as_deref() == Some(TO)),
        "not at {TO} at the end"
    );
    Ok(())
}

pub(crate) async fn ensure_good_path(observer: &Observer, name: &str, status: &Status) -> anyhow::Result<()> {
    observer.catch_up(name, status).await?;
    let phases = observer.seen.phases(name);
    ensure!(phases == GOOD_PATH, "phases were {phases:?}");
    ensure!(
        reason_of(status, "Ready") == "UpgradeSucceeded",
        "{}",
        reason_of(status, "Ready")
    );
    ensure!(
        status.locked != Some(true) && status.changes.is_empty(),
        "still locked or changed: {:?}",
        status.changes
    );
    let [entry] = status.history.as_slice() else {
        bail!("history: {:?}", status.history);
    };
    let told = (
        entry.from.as_deref(),
        entry.to.as_str(),
        entry.result.as_str(),
        entry.reason.as_str(),
    );
    ensure!(
        told == (Some(FROM), TO, "Done", "UpgradeSucceeded"),
        "history: {told:?}"
    );
    ensure!(
        entry.start_time.is_some() && entry.completion_time.is_some(),
        "history without times"
    );
    ensure_version_moved_last(observer, name)
}

/// What `spec` the API server refuses while the upgrade runs.
pub(crate) async fn ensure_refused(bed: &Bed, name: &str, field: &str, patch: &str) -> anyhow::Result<()> {
    let answer = bed
        .kubectl(&["patch", "kkpu", name, "-n", NAMESPACE, "--type=merge", "-p", patch])
        .await;
    let error = answer
        .err()
        .with_context(|| format!("{patch} was let through while the upgrade runs"))?
        .to_string();
    ensure!(error.contains(&format!("`spec.{field}` must not change")), "{error}");
    ensure!(error.contains("to abort, set"), "no way out in: {error}");
    Ok(())
}

pub(crate) async fn ensure_columns(bed: &Bed, name: &str) -> anyhow::Result<()> {
    let table = bed
        .kubectl(&["get", "kkpu", name, "-n", NAMESPACE, "-o", "wide"])
        .await?;
    let (head, row) = table.trim().split_once('\n').context("no table")?;
    let columns: Vec<&str> = head.split_whitespace().collect();
    ensure!(columns == kkp_upgrade_tests::bed::COLUMNS, "columns: {columns:?}");
    for value in [
        TO,
        "Done",
        "1/1 seeds, 3/3",
        "True",
        "UpgradeSucceeded",
        FROM,
        "the platform runs 2.31.0",
    ] {
        ensure!(row.contains(value), "`{value}` is not in: {row}");
    }
    Ok(())
}

pub(crate) async fn ensure_events(bed: &Bed, uid: &str) -> anyhow::Result<()> {
    let events = Api::<Event>::namespaced(bed.client.clone(), NAMESPACE)
        .list(&ListParams::default())
        .await?;
    let about = |event: &Event| {
        event
            .regarding
            .as_ref()
            .and_then(|object| object.uid.clone())
            .as_deref()
            == Some(uid)
    };
    let reasons: Vec<String> = events
        .items
        .into_iter()
        .filter(about)
        .filter_map(|event| event.reason)
        .collect();
    for reason in ["Pending", "PreflightPassed", "BackupVerified", "UpgradeSucceeded"] {
        ensure!(
            reasons.iter().any(|seen| seen == reason),
            "no Event {reason} in {reasons:?}"
        );
    }
    Ok(())
}

/// Nothing of this upgrade is on the platform but its plan.
pub(crate) async fn ensure_untouched(bed: &Bed, name: &str) -> anyhow::Result<()> {
    let object = bed.upgrades().get(name).await?;
    ensure!(
        object.finalizers().is_empty(),
        "{name} took a finalizer: {:?}",
        object.finalizers()
    );
    ensure!(lease_holder(bed).await?.is_none(), "{name} took the platform");
    ensure!(jobs(bed).await?.is_empty(), "{name} started {:?}", jobs(bed).await?);
    ensure!(
        bed.limit().await?.is_none() && bed.limit_note().await?.is_none(),
        "{name} changed the limit"
    );
    ensure!(bed.installer_starts(TO)?.is_empty(), "{name} ran the installer");
    Ok(())
}
