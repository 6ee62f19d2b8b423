//! Backup volumes that refuse, are full, or hold something else than what was written: the run fails before anything
//! is changed, and says which volume fault it was.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kkp_lab::platform::Topology;
use kkp_upgrade_core::status::Status;
use kkp_upgrade_tests::bed::Bed;
use kkp_upgrade_tests::faults::{VolumeFault, message_of, reason_of};
use kkp_upgrade_tests::observer::{Observer, Seen};

const DEADLINE: Duration = Duration::from_mins(4);
/// Attempts that a backup has (`Timing::backup_attempts`).
const ATTEMPTS: i32 = 3;

fn upgrade(name: &str, claim: &str) -> String {
    format!(
        "apiVersion: upgrade.k8c.io/v1alpha1
kind: KKPUpgrade
metadata: {{name: {name}, namespace: kubermatic}}
spec:
  targetVersion: \"2.31.0\"
  maximumParallelReconciles: 2
  verification: {{soakSeconds: 0}}
  backup: {{storage: {{persistentVolumeClaim: {{claimName: {claim}}}}}}}
"
    )
}

/// Flips a byte in the middle of every archive that appears below a folder, as often as it is put right, until dropped.
/// It looks without a pause: hitting the moment between writing and reading back is the fault itself.
struct Alterer {
    stop: Arc<AtomicBool>,
    altered: Arc<AtomicUsize>,
}

impl Alterer {
    fn start(folder: PathBuf) -> Self {
        let (stop, altered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (ended, counted) = (stop.clone(), altered.clone());
        std::thread::spawn(move || {
            let mut done: Vec<PathBuf> = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                for archive in archives(&folder) {
                    // The manifest is last: once it is there, the archive is complete.
                    let complete = archive.with_file_name("manifest.json").exists();
                    if complete && !done.contains(&archive) && flip(&archive).is_ok() {
                        counted.fetch_add(1, Ordering::Relaxed);
                        done.push(archive);
                    }
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Self { stop, altered }
    }
}

impl Drop for Alterer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn flip(file: &Path) -> std::io::Result<()> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file)?;
    let middle = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle)?;
    file.write_all_at(&[byte[0] ^ 0xff], middle)
}

/// `<claim>/<run>/<target>/objects.tar.zst.age`.
fn archives(claim: &Path) -> Vec<PathBuf> {
    let children = |folder: &Path| {
        std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let folders = children(claim).flat_map(|run| children(&run).collect::<Vec<_>>());
    folders
        .map(|folder| folder.join("objects.tar.zst.age"))
        .filter(|file| file.exists())
        .collect()
}

/// Three attempts, then Failed in Backup; nothing of the platform was touched.
async fn fails_in_backup(bed: &Bed, seen: &Seen, name: &str) -> anyhow::Result<Status> {
    let status = bed
        .until(name, DEADLINE, |status| {
            status.phase.as_deref() == Some("Failed") && status.step.is_none()
        })
        .await?;
    let failed = status.failed_in.clone().context("failedIn is missing")?;
    ensure!(failed.phase == "Backup" && failed.step == "Backup", "{failed:?}");
    ensure!(
        failed.reason == "BackupFailed" && failed.attempt == Some(ATTEMPTS),
        "{failed:?}"
    );
    ensure!(failed.target.as_deref() == Some("master"), "{failed:?}");
    ensure!(reason_of(&status, "Ready") == "BackupFailed", "{:?}", status.conditions);
    ensure!(
        message_of(&status, "Ready").contains("mend the backup storage"),
        "{}",
        message_of(&status, "Ready")
    );
    ensure!(
        status.targets.iter().all(|target| target.backup.is_none()),
        "{:?}",
        status.targets
    );
    ensure!(
        status.changes.is_empty() && status.throttle.is_none(),
        "{:?}",
        status.throttle
    );
    ensure!(
        status
            .point_of_no_return
            .as_ref()
            .is_some_and(|point| point.state == "Ahead"),
        "{:?}",
        status.point_of_no_return
    );
    for earlier in seen.of(name) {
        let verified = earlier
            .conditions
            .iter()
            .any(|found| found.r#type == "BackupVerified" && found.status == "True");
        ensure!(
            !verified && earlier.throttle.is_none(),
            "{name}: verified or throttled in {:?}",
            earlier.phase
        );
    }
    ensure!(
        bed.limit().await?.is_none() && bed.limit_note().await?.is_none(),
        "the limit was touched"
    );
    ensure!(bed.installer_starts("2.31.0")?.is_empty(), "an installer was started");
    Ok(status)
}

/// A run with a volume at fault fails and says so in the system's words.
async fn refuses(bed: &Bed, seen: &Seen, name: &str, fault: VolumeFault, words: &str) -> anyhow::Result<()> {
    let folder = bed.claim(name).await?;
    bed.break_volume(&folder, fault).await?;
    bed.apply(&upgrade(name, name)).await?;
    let status = fails_in_backup(bed, seen, name).await?;
    let message = status.failed_in.unwrap_or_default().message;
    ensure!(
        message.contains(words) && message.contains("the backup volume is"),
        "{message}"
    );
    bed.delete(name).await?;
    bed.mend_volume(&folder).await
}

/// The backup holds Secrets, and nothing but age can be seen of them.
fn encrypted_with_secrets(folder: &Path) -> anyhow::Result<()> {
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json"))?)?;
    let kinds = manifest.get("kinds").and_then(serde_json::Value::as_array);
    let kinds = kinds.context("no kinds")?;
    let field = |kind: &serde_json::Value, name: &str| kind.get(name).cloned().unwrap_or_default();
    let secrets = kinds.iter().filter(|kind| field(kind, "plural") == "secrets");
    let count: u64 = secrets.filter_map(|kind| field(kind, "count").as_u64()).sum();
    ensure!(count > 0, "no Secrets in {kinds:?}");
    let archive = std::fs::read(folder.join("objects.tar.zst.age"))?;
    ensure!(archive.starts_with(b"age-encryption.org/v1\n"), "{}", folder.display());
    ensure!(
        !manifest.to_string().contains("sh.helm.release"),
        "the manifest names objects"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_volume_at_fault_fails_the_run_before_anything_is_changed() -> anyhow::Result<()> {
    // Three attempts with the pauses of a real platform (10 s and 20 s) would be most of the test.
    let bed = Bed::with_operator(
        env!("CARGO_BIN_EXE_kkp-upgrade-testbed"),
        &Topology::small("2.30.6"),
        &["2.31.0"],
        &["--retry-pause=200", "--poll=500"],
    )
    .await?;
    let observer = Observer::start(bed.upgrades(), |_, _| ());

    refuses(
        &bed,
        &observer.seen,
        "read-only",
        VolumeFault::ReadOnly,
        "Read-only file system",
    )
    .await?;
    refuses(
        &bed,
        &observer.seen,
        "full",
        VolumeFault::Kibibytes(32),
        "No space left on device",
    )
    .await?;

    let folder = bed.claim("altered").await?;
    let alterer = Alterer::start(folder.clone());
    bed.apply(&upgrade("altered", "altered")).await?;
    let status = fails_in_backup(&bed, &observer.seen, "altered").await?;
    let message = status.failed_in.unwrap_or_default().message;
    ensure!(
        [
            "objects.tar.zst.age",
            "digest",
            "is not what was read from the API server"
        ]
        .iter()
        .any(|words| message.contains(words)),
        "{message}"
    );
    let flipped = alterer.altered.load(Ordering::Relaxed);
    ensure!(
        flipped == archives(&folder).len() && flipped >= 3,
        "{flipped} of {:?}",
        archives(&folder)
    );
    drop(alterer);

    // Mended, the same run goes on by retry: new folders, and the altered ones stay as they are.
    bed.command("altered", "retry", "mended").await?;
    let done = bed
        .until("altered", DEADLINE, |status| status.phase.as_deref() == Some("Done"))
        .await?;
    let backup = done
        .targets
        .iter()
        .find_map(|target| target.backup.clone())
        .context("no backup is recorded")?;
    ensure!(
        !backup.location.is_empty() && archives(&folder).len() > flipped,
        "{backup:?}"
    );
    encrypted_with_secrets(&folder.join(&backup.location))?;
    ensure!(bed.installer_starts("2.31.0")?.len() == 1, "one installer run");
    bed.finish(&observer)
}
