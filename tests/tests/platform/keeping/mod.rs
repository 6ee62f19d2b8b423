//! Backups that lie for a while: what retention removes and what it leaves, with an operator that is killed meanwhile, and what the plugin
//! reads of the rest (`backup verify`, `backup download`). Real Jobs in Pods of the lab, all on one platform.

mod reading;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kkp_lab::platform::{MASTER, Topology};
use kkp_lab::pod_runner::{StartBehaviour, claim_folder};
use kkp_upgrade_backup::{ARCHIVE_FILE, MANIFEST_FILE, RECEIPT_FILE};
use kkp_upgrade_core::request::sha256;
use kkp_upgrade_core::status::Status;
use kkp_upgrade_tests::bed::{Bed, NAMESPACE, upgrade};
use kkp_upgrade_tests::campaign::evidence::audit_log;
use kkp_upgrade_tests::fault::Plan;
use kkp_upgrade_tests::interruption::Point;
use kkp_upgrade_tests::observer::Observer;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use serde_json::Value;

const SOON: Duration = Duration::from_mins(2);
const DEADLINE: Duration = Duration::from_mins(4);
/// The operator's claim in `deploy/`.
const CLAIM: &str = "kkp-upgrade-backups";
const TARGETS: [&str; 2] = ["eu", "master"];
/// The account of backup Jobs, which those of `verify` and `download` have as well, without its token.
const ACCOUNT: &str = "system:serviceaccount:kubermatic:kkp-upgrade-backup";
/// Bytes that do not compress, in each of so many ConfigMaps: more than one Job sends.
const FILLING: (usize, u32) = (700_000, 8);
/// The Job of retention asks for the KKPUpgrades once, and before each removal: here one backup is gone, and the next one is not.
const IN_BETWEEN: &str = "{record: retention, faults: [{at: {peer: backup, verb: list, resource: kkpupgrades, occurrence: 3}, strike: {kind: hold}}]}";

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_needs_goes_and_the_rest_can_be_verified_and_downloaded() -> anyhow::Result<()> {
    let bed = Bed::with_operator(
        env!("CARGO_BIN_EXE_kkp-upgrade-testbed"),
        &Topology::master("2.30.6").enterprise().seed("eu", 1),
        &["2.31.0"],
        &["--poll=500", "--resync=1000", "--backups-to-keep=2"],
    )
    .await?;
    let observer = Observer::start(bed.upgrades(), |_, _| ());
    let volume = claim_folder(&bed.node_folder(MASTER)?, NAMESPACE, CLAIM);
    let needed = back_up(&bed, "needed").await?;
    let gone = back_up(&bed, "gone").await?;
    let later = back_up(&bed, "later").await?;
    bed.delete("gone").await?;
    bed.delete("later").await?;
    plant(&volume, &gone)?;
    fill(&bed).await?;
    let before = content(&volume)?;

    let status = upgraded_with_a_kill(&bed, &volume, &gone).await?;
    told_once(&bed, &status).await?;
    let run = run_of(&status)?;
    let after = content(&volume)?;
    only_one_run_went(&before, &after, &gone, &run)?;
    for stays in [&needed, &later] {
        ensure!(after.keys().any(|path| path.starts_with(stays)), "{after:#?}");
    }
    ensure!(!volume.join(&gone).exists(), "its folder is still there");

    let asked = asked_by_backups(&bed)?;
    reading::verified(&bed, &volume, &run).await?;
    reading::downloaded(&bed, &volume, &run).await?;
    ensure!(content(&volume)? == after, "something was written to the volume");
    ensure!(
        asked > 0 && asked_by_backups(&bed)? == asked,
        "a Job that reads spoke to the API server"
    );
    bed.finish(&observer)
}

/// The backups of an upgrade that is stopped before it changes anything; the name of their run.
async fn back_up(bed: &Bed, name: &str) -> anyhow::Result<String> {
    bed.job_pods_start("installer", StartBehaviour::Never).await?;
    bed.apply(&Point::BeforeFence.upgrade(name)).await?;
    bed.reached(name, Point::BeforeFence).await?;
    bed.command(name, "abort", "now").await?;
    let aborted = |status: &Status| status.phase.as_deref() == Some("Aborted") && status.step.is_none();
    let status = bed.until(name, SOON, aborted).await?;
    bed.pods_start_normally().await?;
    run_of(&status)
}

/// The run that made the backups of a status; one of each target.
fn run_of(status: &Status) -> anyhow::Result<String> {
    let mut locations: Vec<&str> = status
        .targets
        .iter()
        .filter_map(|target| Some(target.backup.as_ref()?.location.as_str()))
        .collect();
    locations.sort_unstable();
    let run = locations.first().and_then(|location| location.split('/').next());
    let run = run.context("no backup")?;
    ensure!(
        locations == TARGETS.map(|target| format!("{run}/{target}")),
        "{locations:?}"
    );
    Ok(run.to_owned())
}

/// What is no backup, under names that the operator gives: one that was interrupted, and one whose manifest is not the verified one.
fn plant(volume: &Path, whole: &str) -> anyhow::Result<()> {
    let whole = volume.join(whole).join(MASTER);
    let [unfinished, altered] = ["2.30.6-to-2.31.0-00000000-run1-1", "2.30.6-to-2.31.0-00000000-run2-1"];
    let folder = volume.join(unfinished).join(MASTER);
    std::fs::create_dir_all(&folder)?;
    let archive = std::fs::read(whole.join(ARCHIVE_FILE))?;
    let half = archive.get(..archive.len() / 2).unwrap_or_default();
    std::fs::write(folder.join(ARCHIVE_FILE), half)?;
    let folder = volume.join(altered).join(MASTER);
    std::fs::create_dir_all(&folder)?;
    for file in [ARCHIVE_FILE, RECEIPT_FILE] {
        std::fs::copy(whole.join(file), folder.join(file))?;
    }
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(whole.join(MANIFEST_FILE))?)?;
    *manifest.get_mut("name").context("the manifest has no name")? = altered.into();
    Ok(std::fs::write(folder.join(MANIFEST_FILE), manifest.to_string())?)
}

/// Objects that make the archive of the master longer than what one Job sends.
async fn fill(bed: &Bed) -> anyhow::Result<()> {
    let maps = Api::<ConfigMap>::namespaced(bed.client.clone(), NAMESPACE);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..FILLING.1 {
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let bytes: Vec<u8> = noise.flatten().take(FILLING.0).collect();
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(format!("filling-{number}")),
                ..ObjectMeta::default()
            },
            binary_data: Some(BTreeMap::from([("noise".to_owned(), ByteString(bytes))])),
            ..ConfigMap::default()
        };
        maps.create(&PostParams::default(), &map).await?;
    }
    Ok(())
}

/// Every file on the volume, or in a folder like it: its path in there, and its digest.
fn content(volume: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let root = std::fs::canonicalize(volume)?;
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&root)?.to_string_lossy().into_owned();
            found.insert(name, sha256(&std::fs::read(&path)?));
        }
    }
    Ok(found)
}

/// All that lay there before lies there as it was, this one run aside, and with it what a new one made.
fn only_one_run_went(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
    gone: &str,
    new: &str,
) -> anyhow::Result<()> {
    let (mut expected, mut others) = (before.clone(), after.clone());
    expected.retain(|path, _| !path.starts_with(gone));
    others.retain(|path, _| !path.starts_with(new));
    ensure!(others == expected, "{others:#?}\nexpected {expected:#?}");
    ensure!(
        before.len() == expected.len() + 6 && after.len() == others.len() + 6,
        "{after:#?}"
    );
    Ok(())
}

/// An upgrade to its end. The operator is killed when one of two backups is gone, before the Job says what it did.
async fn upgraded_with_a_kill(bed: &Bed, volume: &Path, gone: &str) -> anyhow::Result<Status> {
    bed.apply(&upgrade(10)).await?;
    bed.reached("u", Point::Soak).await?;
    bed.faults.set(&Plan::from_yaml(IN_BETWEEN)?)?;
    let held = bed
        .wait("the look before the second removal", DEADLINE, || async {
            bed.faults.held("retention").ok()?.pop()
        })
        .await?;
    let status = bed.status("u").await?;
    let step = status.step.unwrap_or_default();
    ensure!(
        status.phase.as_deref() == Some("Done") && step.name == "Retention" && step.job.is_some(),
        "{step:?}"
    );
    ensure!(status.retention.is_none(), "{:?}", status.retention);
    let manifests = TARGETS.map(|target| volume.join(gone).join(target).join(MANIFEST_FILE).exists());
    ensure!(manifests.iter().filter(|there| **there).count() == 1, "{manifests:?}");
    let pods = bed.operator_pods().await?;
    bed.kill_operator(pods.first().context("no operator")?).await?;
    bed.faults.let_go("retention", held)?;
    let ended = |status: &Status| status.retention.is_some() && status.step.is_none();
    let status = bed.until("u", DEADLINE, ended).await?;
    bed.faults.clear()?;
    ensure!(status.phase.as_deref() == Some("Done"), "{:?}", status.phase);
    ensure!(bed.operator_restarts().await? == 1, "the operator was not killed");
    Ok(status)
}

/// What was removed is in the status and in one event, and one Job did it, which is gone.
async fn told_once(bed: &Bed, status: &Status) -> anyhow::Result<()> {
    let record = status.retention.as_ref().context("no record")?;
    ensure!(
        (record.removed, record.kept, &record.problem) == (2, 6, &None),
        "{record:?}"
    );
    let notes = "jsonpath={range .items[?(@.reason==\"BackupsRemoved\")]}{.note}{end}";
    let told = bed
        .wait("the event", SOON, || async {
            let events = ["get", "events.events.k8s.io", "-n", NAMESPACE, "-o", notes];
            let said = bed.kubectl(&events).await.ok()?;
            (!said.is_empty()).then_some(said)
        })
        .await?;
    ensure!(told == "2 older backups removed; 6 verified ones stay", "{told}");
    let step = "/responseObject/metadata/labels/upgrade.k8c.io~1step";
    let created = audit(
        bed,
        &[
            ("/verb", "create"),
            ("/objectRef/resource", "jobs"),
            (step, "retention"),
        ],
    )?;
    ensure!(created == 1, "{created} Jobs of retention");
    let jobs = bed.kubectl(&["get", "jobs", "-n", NAMESPACE, "-o", "name"]).await?;
    ensure!(!jobs.contains("upgrade"), "{jobs}");
    Ok(())
}

/// How many recorded requests have these texts at these places.
fn audit(bed: &Bed, texts: &[(&str, &str)]) -> anyhow::Result<usize> {
    let log = audit_log(bed, MASTER)?;
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let fits = |event: &Value| {
        let has = |(place, text): &(&str, &str)| event.pointer(place).and_then(Value::as_str) == Some(*text);
        texts.iter().all(has)
    };
    Ok(events.filter(fits).count())
}

fn asked_by_backups(bed: &Bed) -> anyhow::Result<usize> {
    audit(bed, &[("/user/username", ACCOUNT)])
}
