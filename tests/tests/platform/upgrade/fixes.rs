//! Fixes by consent: a user cluster on a Kubernetes version that the target refuses blocks, with the version to go to; named in
//! `spec.fixes`, its rule lets the operator raise it before the installer runs. Another cluster is unpaused for that time.

use super::*;

const RULE: &str = "cluster-version-unsupported";
/// Dropped by the target, listed by the running release.
const OLD: &str = "1.32.13";
/// The lowest version that both list.
const NEW: &str = "1.33.0";
/// Listed by both.
const GOOD: &str = "1.34.10";

/// A platform with three user clusters: the first on the old version, the second paused.
async fn bed_with_findings() -> anyhow::Result<(Bed, Observer, [String; 2])> {
    let mut topology = Topology::small(FROM);
    let seed = topology.seeds.first_mut().context("the platform has no seed")?;
    seed.kubernetes_versions = [OLD, GOOD, GOOD].map(ToOwned::to_owned).to_vec();
    let names: Vec<String> = seed.cluster_names().collect();
    let [old, paused, _] = names.as_slice() else {
        bail!("user clusters: {names:?}");
    };
    let names = [old.clone(), paused.clone()];
    let bed = Bed::with_operator(
        env!("CARGO_BIN_EXE_kkp-upgrade-testbed"),
        &topology,
        &[TO],
        &["--poll=500", "--resync=1000"],
    )
    .await?;
    let [_, paused] = &names;
    let pause = r#"{"spec":{"pause":true,"pauseReason":"maintenance"}}"#;
    bed.kubectl(&["patch", "cluster", paused, "--type=merge", "-p", pause])
        .await?;
    let observer = Observer::start(bed.upgrades(), |_, _| ());
    Ok((bed, observer, names))
}

async fn field(bed: &Bed, cluster: &str, path: &str) -> anyhow::Result<String> {
    let path = format!("jsonpath={{{path}}}");
    bed.kubectl(&["get", "cluster", cluster, "-o", &path]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_the_target_refuses_blocks_and_is_raised_by_consent() -> anyhow::Result<()> {
    let (bed, observer, [old, paused]) = bed_with_findings().await?;
    bed.apply(&upgrade("fixed", "")).await?;
    let blocks = |status: &Status| reason_of(status, "Ready") == "PreflightBlocked" && !status.findings.is_empty();
    let blocked = bed.until("fixed", SOON, blocks).await?;
    let finding = blocked.findings.iter().find(|finding| finding.rule == RULE);
    let finding = finding.context("the rule found nothing")?;
    ensure!(
        finding.message.contains(&format!("raise it to {NEW}")) && finding.target.ends_with(&old),
        "{finding:?}"
    );
    ensure!(finding.fix.as_deref() == Some("available"), "{finding:?}");
    ensure!(
        field(&bed, &old, ".spec.version").await? == OLD,
        "changed without consent"
    );

    let wrong = r#"{"spec":{"fixes":["no-downgrade"]}}"#;
    bed.kubectl(&["patch", "kkpu", "fixed", "-n", NAMESPACE, "--type=merge", "-p", wrong])
        .await?;
    let invalid = |status: &Status| reason_of(status, "Ready") == "InvalidSpec";
    let refused = bed.until("fixed", SOON, invalid).await?;
    ensure!(
        message_of(&refused, "Ready").contains("has no fix"),
        "{:?}",
        message_of(&refused, "Ready")
    );

    let fixes = format!(r#"{{"spec":{{"fixes":["{RULE}","cluster-paused"]}}}}"#);
    bed.kubectl(&["patch", "kkpu", "fixed", "-n", NAMESPACE, "--type=merge", "-p", &fixes])
        .await?;
    let done = bed.until("fixed", DEADLINE, at_rest).await?;
    ensure!(
        reason_of(&done, "Ready") == "UpgradeSucceeded",
        "{}",
        reason_of(&done, "Ready")
    );
    ensure_fixed(&bed, &done, [&old, &paused]).await?;
    ensure_told(&observer, &done, [&old, &paused])?;
    ensure_one_installer_run(&bed)?;
    ensure_tidy(&bed, "fixed").await?;
    bed.finish(&observer)
}

/// The platform: the cluster was moved for good, the pause is back, and only the permanent note is left.
async fn ensure_fixed(bed: &Bed, done: &Status, [old, paused]: [&str; 2]) -> anyhow::Result<()> {
    for path in [".spec.version", ".status.versions.controlPlane"] {
        let version = field(bed, old, path).await?;
        ensure!(version == NEW, "{path} of {old} is {version}");
    }
    let note = field(bed, old, r".metadata.annotations.upgrade\.k8c\.io/fix").await?;
    ensure!(
        note.contains(OLD) && note.contains(NEW) && note.contains(RULE),
        "note: {note}"
    );
    ensure!(
        field(bed, paused, ".spec.pause").await? == "true",
        "the pause was not put back"
    );
    let note = field(bed, paused, r".metadata.annotations.upgrade\.k8c\.io/fix").await?;
    ensure!(note.is_empty(), "a note of a temporary fix was left: {note}");
    let missing = bed.running.platform.missing(TO).await?;
    ensure!(missing.is_empty(), "{missing:?}");
    ensure!(!done.owes(), "something is still owed: {:?}", done.changes);
    Ok(())
}

/// Status: what was changed stands in it at the end, and what was waited for stood in it on the way.
fn ensure_told(observer: &Observer, done: &Status, [old, paused]: [&str; 2]) -> anyhow::Result<()> {
    let [change] = done.changes.as_slice() else {
        bail!("changes: {:?}", done.changes);
    };
    ensure!(
        change.object.ends_with(old) && change.original == OLD && change.applied == NEW && change.permanent,
        "{change:?}"
    );
    let entry = done.history.first().context("there is no history")?;
    ensure!(
        entry.fixes.contains(&format!("{RULE}: 1")) && entry.fixes.contains(&"cluster-paused: 1".to_owned()),
        "{:?}",
        entry.fixes
    );
    let seen = observer.seen.of("fixed");
    let waited = seen
        .iter()
        .any(|status| status.fixing.iter().any(|object| object.ends_with(old)));
    ensure!(waited, "status never told which cluster was on its way");
    let borrowed = |status: &&Status| {
        let of_paused = |change: &&kkp_upgrade_core::status::Change| change.object.ends_with(paused);
        status.changes.iter().filter(of_paused).any(|change| !change.permanent)
    };
    ensure!(
        seen.iter().any(|status| borrowed(&status)),
        "status never told of the pause"
    );
    let started = |status: &&Status| {
        status
            .step
            .as_ref()
            .is_some_and(|step| step.job.is_some() && step.name == "Master")
    };
    let early = seen.iter().filter(started).any(|status| !status.fixing.is_empty());
    ensure!(!early, "the installer did not wait for the cluster");
    Ok(())
}
