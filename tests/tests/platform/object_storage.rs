//! Backups in a bucket of an object storage (s3s-fs): with wrong credentials the run fails before anything is changed and says so;
//! mended, it is backed up there and upgraded.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use kkp_lab::platform::Topology;
use kkp_upgrade_tests::bed::Bed;
use kkp_upgrade_tests::faults::reason_of;
use kkp_upgrade_tests::observer::Observer;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

const DEADLINE: Duration = Duration::from_mins(4);

/// An object storage with the bucket `backups`, which keeps objects as files below this folder.
async fn storage(folder: &std::path::Path) -> anyhow::Result<std::net::SocketAddr> {
    std::fs::create_dir(folder.join("backups"))?;
    let files = s3s_fs::FileSystem::new(folder).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single("access", "right-key"));
    let service = builder.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let http = Builder::new(TokioExecutor::new());
                drop(http.serve_connection(TokioIo::new(socket), service).await);
            });
        }
    });
    Ok(address)
}

fn credentials(key: &str) -> String {
    format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: bucket, namespace: kubermatic}}
stringData: {{accessKeyID: access, secretAccessKey: {key}}}
"
    )
}

fn upgrade(address: std::net::SocketAddr) -> String {
    format!(
        "apiVersion: upgrade.k8c.io/v1alpha1
kind: KKPUpgrade
metadata: {{name: u, namespace: kubermatic}}
spec:
  targetVersion: \"2.31.0\"
  verification: {{soakSeconds: 0}}
  backup:
    storage:
      s3:
        endpoint: http://{address}
        bucket: backups
        prefix: platform/prod
        credentialsSecretRef: {{name: bucket}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_backed_up_in_a_bucket() -> anyhow::Result<()> {
    let bed = Bed::with_operator(
        env!("CARGO_BIN_EXE_kkp-upgrade-testbed"),
        &Topology::small("2.30.6"),
        &["2.31.0"],
        &["--retry-pause=200", "--poll=500"],
    )
    .await?;
    let observer = Observer::start(bed.upgrades(), |_, _| ());
    let folder = tempfile::tempdir()?;
    let address = storage(folder.path()).await?;

    bed.apply(&credentials("wrong-key")).await?;
    bed.apply(&upgrade(address)).await?;
    let failed = bed
        .until("u", DEADLINE, |status| {
            status.phase.as_deref() == Some("Failed") && status.step.is_none()
        })
        .await?;
    ensure!(reason_of(&failed, "Ready") == "BackupFailed", "{:?}", failed.conditions);
    let message = failed.failed_in.unwrap_or_default().message;
    ensure!(
        message.contains("s3://backups/platform/prod/") && message.contains("403") && !message.contains("wrong-key"),
        "{message}"
    );
    ensure!(bed.installer_starts("2.31.0")?.is_empty(), "an installer was started");

    bed.apply(&credentials("right-key")).await?;
    bed.command("u", "retry", "mended").await?;
    let done = bed
        .until("u", DEADLINE, |status| status.phase.as_deref() == Some("Done"))
        .await?;
    let backup = done.targets.iter().find_map(|target| target.backup.clone());
    let backup = backup.context("no backup is recorded")?;
    let place = backup.location.strip_prefix("s3://").context("no bucket")?;
    let archive = std::fs::read(folder.path().join(place).join("objects.tar.zst.age"))?;
    ensure!(archive.starts_with(b"age-encryption.org/v1\n"), "{place}");
    ensure!(
        u64::try_from(archive.len())? == u64::try_from(backup.bytes)?,
        "{backup:?}"
    );
    ensure!(folder.path().join(place).join("verified.json").exists(), "{place}");
    bed.finish(&observer)
}
