//! Etcd backups: KKP is asked for one of each user cluster before anything is changed; one fails at first, a paused cluster gets
//! none, and the orders stay when the run is over.

use kkp_lab::platform::COMMUNITY_SEED;

use super::*;

const DESTINATION: &str = r#"{"spec":{"etcdBackupRestore":{"defaultDestination":"s3","destinations":{"s3":{
    "endpoint":"s3.example.test","bucketName":"etcd","credentials":{"name":"etcd-credentials","namespace":"kube-system"}}}}}}"#;

/// A platform with a destination and three user clusters: the first fails once, the second is paused.
async fn bed_with_destination() -> anyhow::Result<(Bed, Observer, [String; 3])> {
    let topology = Topology::small(FROM);
    let seed = topology.seeds.first().context("the platform has no seed")?;
    let names: Vec<String> = seed.cluster_names().collect();
    let names: [String; 3] = names
        .try_into()
        .map_err(|names| anyhow::anyhow!("user clusters: {names:?}"))?;
    let (bed, observer) = bed().await?;
    let [fails, paused, _] = &names;
    bed.running.platform.script(&format!(
        "seed: {{clusters: {{{fails}: {{etcdBackup: {{failed: ['-1']}}}}}}}}"
    ))?;
    bed.kubectl(&[
        "patch",
        "seed",
        COMMUNITY_SEED,
        "-n",
        NAMESPACE,
        "--type=merge",
        "-p",
        DESTINATION,
    ])
    .await?;
    bed.kubectl(&[
        "patch",
        "cluster",
        paused,
        "--type=merge",
        "-p",
        r#"{"spec":{"pause":true}}"#,
    ])
    .await?;
    Ok((bed, observer, names))
}

/// `cluster attempt phase` of every order of the run, in order.
async fn orders(bed: &Bed, uid: &str) -> anyhow::Result<Vec<String>> {
    let label = format!("upgrade.k8c.io/upgrade-uid={uid}");
    let list = bed
        .kubectl(&["get", "etcdbackupconfigs", "-A", "-l", &label, "-o", "json"])
        .await?;
    let list: Value = serde_json::from_str(&list)?;
    let text = |item: &Value, path: &str| {
        item.pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let items = list.get("items").and_then(Value::as_array).context("no list")?.iter();
    let mut orders: Vec<String> = items
        .map(|item| {
            let name = text(item, "/metadata/name");
            let attempt = name.rsplit('-').next().unwrap_or_default();
            let phase = text(item, "/status/currentBackups/0/backupPhase");
            format!("{} {attempt} {phase}", text(item, "/spec/cluster/name"))
        })
        .collect();
    orders.sort();
    Ok(orders)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_user_cluster_has_one_etcd_backup_and_a_failed_one_is_made_again() -> anyhow::Result<()> {
    let (bed, observer, [fails, _, good]) = bed_with_destination().await?;
    bed.apply(&upgrade("etcd", "")).await?;
    let done = bed.until("etcd", DEADLINE, at_rest).await?;
    ensure!(
        reason_of(&done, "Ready") == "UpgradeSucceeded",
        "{}",
        reason_of(&done, "Ready")
    );
    let mut wanted = vec![
        format!("{fails} 1 Failed"),
        format!("{fails} 2 Completed"),
        format!("{good} 1 Completed"),
    ];
    wanted.sort();
    let made = orders(&bed, &uid(&bed, "etcd").await?).await?;
    ensure!(made == wanted, "{made:?}, not {wanted:?}");
    let target = done.target(COMMUNITY_SEED).context("status has no seed")?;
    let counts = target.etcd_backups.context("status does not count etcd backups")?;
    ensure!(
        (counts.total, counts.completed, counts.failed, counts.left_out) == (2, 2, 0, 1),
        "{counts:?}"
    );
    let seen = observer.seen.of("etcd");
    let early = |status: &&Status| status.throttle.is_some() || status.phase.as_deref() == Some("Deploying");
    let first = seen.iter().find(early).context("never deployed")?;
    let before = first.etcd_backups.as_ref().and_then(|run| run.finished_time);
    ensure!(
        before.is_some(),
        "something was changed before the etcds were backed up"
    );
    ensure_one_installer_run(&bed)?;
    ensure_tidy(&bed, "etcd").await?;
    bed.finish(&observer)
}
