//! Restores from a bucket: the same as from a volume, and a storage that fails is told apart from a backup that is not there.

use std::path::Path;

use super::fake_backup::Backup;
use super::fake_cluster::FakeCluster;
use super::restoring::platform;
use crate::restore::{RestoreError, RestoreReport};
use crate::tests::bucket_server::Server;
use crate::verify::on_a_thread;
use crate::{BackupError, BucketFault, StoreArguments};

fn store(server: &Server) -> StoreArguments {
    StoreArguments {
        destination: None,
        bucket: server.arguments(),
    }
}

/// A storage with one backup.
async fn filled() -> Server {
    let server = Server::start().await;
    let store = store(&server).open().unwrap();
    on_a_thread(move || Ok(Backup::of(&platform()).write(store)))
        .await
        .unwrap();
    server
}

async fn planned(
    cluster: &FakeCluster,
    server: &Server,
    keys: &Path,
    digest: Option<&str>,
) -> Result<RestoreReport, RestoreError> {
    let change = |arguments: &mut crate::RestoreArguments| {
        arguments.store = store(server);
        arguments.manifest_digest = digest.map(str::to_owned);
    };
    cluster.restore(keys, change).await
}

#[tokio::test]
async fn a_bucket_gives_what_a_volume_gives() {
    let volume = tempfile::tempdir().unwrap();
    Backup::of(&platform()).write(volume.path());
    let expected = FakeCluster::default();
    expected.carry_out(volume.path()).await.unwrap();

    let (server, keys, cluster) = (filled().await, tempfile::tempdir().unwrap(), FakeCluster::default());
    let manifest = std::fs::read(server.file("master/manifest.json")).unwrap();
    let digest = crate::digest(&manifest);
    let plan = planned(&cluster, &server, keys.path(), Some(&digest)).await.unwrap();
    assert_eq!(cluster.writes(), Vec::<String>::new());
    let confirm = |arguments: &mut crate::RestoreArguments| {
        arguments.store = store(&server);
        arguments.confirm = Some(plan.plan_digest);
    };
    let report = cluster.restore(keys.path(), confirm).await.unwrap();
    assert!(!cluster.writes().is_empty());
    assert_eq!(cluster.writes(), expected.writes());
    assert_eq!(report.counts.create, platform().len() as u64);
}

#[tokio::test]
async fn an_archive_that_was_cut_off_in_the_bucket_is_refused() {
    let (server, keys, cluster) = (filled().await, tempfile::tempdir().unwrap(), FakeCluster::default());
    let archive = server.file("master/objects.tar.zst.age");
    let whole = std::fs::read(&archive).unwrap();
    std::fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
    let error = planned(&cluster, &server, keys.path(), None).await.unwrap_err();
    assert!(error.to_string().contains("ends too early"), "{error}");
    assert!(error.to_string().contains("s3://backups/prod/run-1/master"), "{error}");
    std::fs::write(&archive, [whole.as_slice(), b"more"].concat()).unwrap();
    let error = planned(&cluster, &server, keys.path(), None).await.unwrap_err();
    assert!(matches!(error, RestoreError::Backup(_)), "{error}");
    std::fs::remove_file(&archive).unwrap();
    let error = planned(&cluster, &server, keys.path(), None).await.unwrap_err();
    assert!(
        matches!(error, RestoreError::Backup(BackupError::ArchiveMissing { .. })),
        "{error}"
    );
    assert_eq!(cluster.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_backup_that_is_not_there_is_not_a_storage_that_refuses() {
    let (server, keys, cluster) = (filled().await, tempfile::tempdir().unwrap(), FakeCluster::default());
    let missing = planned(&cluster, &server, keys.path(), Some("sha256:0")).await;
    assert!(
        matches!(missing, Err(RestoreError::NoSuchManifest { .. })),
        "{missing:?}"
    );
    server.change_secret("another");
    for digest in [None, Some("sha256:0")] {
        let refused = planned(&cluster, &server, keys.path(), digest).await.unwrap_err();
        assert!(
            matches!(
                &refused,
                RestoreError::Backup(BackupError::Bucket {
                    fault: BucketFault::Denied,
                    ..
                })
            ),
            "{refused}"
        );
    }
}
