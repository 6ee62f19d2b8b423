//! Whole runs: fresh starts, repeated runs, left-overs, the result.

use kkp_upgrade_connection::Connector;
use std::fs;

use age::secrecy::ExposeSecret as _;

use super::fake_api::{CLUSTERS, FakeApi, KEY};
use crate::{AttemptFolder, BackupError, BackupResult, KeyPair, LiveComparison};

#[tokio::test]
async fn a_second_run_verifies_and_writes_nothing() {
    let (api, volume) = (FakeApi::platform(), tempfile::tempdir().unwrap());
    let first = api.run(volume.path()).back_up().await.unwrap();
    assert_eq!((first.path.as_str(), first.objects), ("run-1/master", 10));
    assert_eq!(first.comparison, LiveComparison::SameRevision);
    // Even when the revision is long gone: the receipt says that it was compared in time.
    api.change(|state| {
        state.write(CLUSTERS, Vec::clear);
        state.compacted = state.revision;
    });
    assert_eq!(api.run(volume.path()).back_up().await.unwrap(), first);
    // Only who makes a backup counts those that lie there.
    let uncounted = BackupResult { stored: None, ..first };
    assert_eq!(api.run(volume.path()).verify_newest().await.unwrap(), uncounted);
    assert_eq!(fs::read_dir(volume.path().join("run-1")).unwrap().count(), 1);
}

#[tokio::test]
async fn left_overs_and_damaged_backups_are_passed_over_and_stay() {
    let (api, volume) = (FakeApi::platform(), tempfile::tempdir().unwrap());
    let crashed = AttemptFolder::claim(volume.path(), "run-1", "master").unwrap();
    fs::write(crashed.path().join("objects.tar.zst.age.partial"), b"half").unwrap();
    let second = api.run(volume.path()).back_up().await.unwrap();
    assert_eq!(second.path, "run-1/master_2");
    fs::write(volume.path().join("run-1/master_2/objects.tar.zst.age"), b"rubbish").unwrap();
    assert!(
        api.run(volume.path())
            .verify_newest()
            .await
            .unwrap_err()
            .is_bad_backup()
    );
    let third = api.run(volume.path()).back_up().await.unwrap();
    assert_eq!(third.path, "run-1/master_3");
    assert_eq!(
        fs::read(crashed.path().join("objects.tar.zst.age.partial")).unwrap(),
        b"half"
    );
    assert_eq!(
        fs::read(volume.path().join("run-1/master_2/objects.tar.zst.age")).unwrap(),
        b"rubbish"
    );
}

#[tokio::test]
async fn a_complete_backup_that_was_never_verified_does_not_count() {
    let (api, volume) = (FakeApi::platform(), tempfile::tempdir().unwrap());
    // Its program, and the run key with it, ended before it was read back.
    api.snapshot(volume.path()).await.1.unwrap();
    let error = api.run(volume.path()).verify_newest().await.unwrap_err();
    assert!(matches!(error, BackupError::Unproven { .. }), "{error}");
    let result = api.run(volume.path()).back_up().await.unwrap();
    assert_eq!(result.path, "run-1/master_2");
}

#[tokio::test]
async fn a_recipient_can_verify_everything_later() {
    let (api, volume) = (FakeApi::platform(), tempfile::tempdir().unwrap());
    api.snapshot(volume.path()).await.1.unwrap();
    let with = |key: &KeyPair| {
        let file = volume.path().join("key.txt");
        fs::write(&file, key.identity_file.expose_secret()).unwrap();
        let mut run = api.run(volume.path());
        run.arguments.identity = Some(file);
        run
    };
    let error = with(&KeyPair::generate()).verify_newest().await.unwrap_err();
    assert!(matches!(error, BackupError::WrongKey { .. }), "{error}");
    let result = with(&KEY).verify_newest().await.unwrap();
    assert_eq!(result.comparison, LiveComparison::SameRevision);
    // Now it is proven, and needs no key any more.
    assert_eq!(api.run(volume.path()).verify_newest().await.unwrap(), result);
    fs::write(volume.path().join("key.txt"), "AGE-SECRET-KEY-1QQ\n").unwrap();
    let mut run = api.run(volume.path());
    run.arguments.identity = Some(volume.path().join("key.txt"));
    let error = run.verify_newest().await.unwrap_err();
    assert!(
        matches!(error, BackupError::Identity { .. }) && !error.to_string().contains("1QQ"),
        "{error}"
    );
}

#[tokio::test]
async fn a_backup_for_other_recipients_is_made_anew() {
    let (api, volume) = (FakeApi::platform(), tempfile::tempdir().unwrap());
    api.run(volume.path()).back_up().await.unwrap();
    let mut other = api.run(volume.path());
    other.arguments.recipients = vec![KeyPair::generate().recipient];
    assert_eq!(other.back_up().await.unwrap().path, "run-1/master_2");
    for wrong in [vec![], vec!["age1qqqq".to_owned()], vec![KEY.recipient.clone(); 17]] {
        other.arguments.recipients = wrong;
        let error = other.back_up().await.unwrap_err();
        assert!(
            matches!(error, BackupError::Recipients { .. } | BackupError::Recipient { .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_backup_of_another_cluster_is_refused() {
    let (api, volume) = (FakeApi::platform(), tempfile::tempdir().unwrap());
    api.run(volume.path()).back_up().await.unwrap();
    let mut other = api.run(volume.path());
    other.cluster.uid = "cluster-two".to_owned();
    assert!(matches!(
        other.back_up().await.unwrap_err(),
        BackupError::OtherCluster { .. }
    ));
    assert!(matches!(
        other.verify_newest().await.unwrap_err(),
        BackupError::OtherCluster { .. }
    ));
}

#[tokio::test]
async fn compaction_leads_to_a_fresh_snapshot() {
    let (api, volume) = (FakeApi::platform(), tempfile::tempdir().unwrap());
    let mut once = true;
    api.on_request(move |address, state| {
        if address.contains("continue=") && std::mem::take(&mut once) {
            state.write(CLUSTERS, |_| {});
            state.compacted = state.revision;
        }
        None
    });
    let result = api.run(volume.path()).back_up().await.unwrap();
    assert_eq!(result.path, "run-1/master_2");
    assert_eq!(result.comparison, LiveComparison::SameRevision);
}

#[tokio::test]
async fn when_the_revision_never_lives_long_enough_the_rest_is_reported() {
    let (api, volume) = (FakeApi::platform(), tempfile::tempdir().unwrap());
    let folder = volume.path().to_owned();
    // As soon as a manifest is there, its revision is compacted away, and one cluster changes.
    let mut seen = 0;
    api.on_request(move |_, state| {
        let complete = |number: u32| {
            let suffix = if number == 1 {
                String::new()
            } else {
                format!("_{number}")
            };
            folder.join(format!("run-1/master{suffix}/manifest.json")).exists()
        };
        if complete(seen + 1) {
            seen += 1;
            let next = (state.revision + 1).to_string();
            state.write(CLUSTERS, |clusters| {
                clusters[0]["metadata"]["resourceVersion"] = next.clone().into();
                clusters[0]["spec"]["note"] = next.into();
            });
            state.compacted = state.revision;
        }
        None
    });
    let result = api.run(volume.path()).back_up().await.unwrap();
    assert_eq!(result.path, "run-1/master_3");
    let LiveComparison::Unchanged(drift) = result.comparison else {
        panic!("{:?}", result.comparison)
    };
    assert_eq!(
        (drift.compared, drift.changed, drift.created, drift.deleted),
        (9, 1, 0, 0)
    );
}

#[tokio::test]
async fn the_result_is_one_small_line_of_json() {
    let volume = tempfile::tempdir().unwrap();
    let mut arguments = FakeApi::platform().run(volume.path()).arguments;
    arguments.kubeconfig = Some(volume.path().join(format!("{}\"absent", "x/".repeat(3000))));
    let error = crate::run(arguments.clone(), &Connector::default()).await.unwrap_err();
    assert!(matches!(error, BackupError::Kubeconfig { .. }));
    let text = fs::read_to_string(&arguments.result_file).unwrap();
    assert!(text.len() <= 4096 && text.lines().count() == 1, "{} bytes", text.len());
    let result: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(
        result["error"]
            .as_str()
            .unwrap()
            .starts_with("cannot use the kubeconfig")
    );
}

#[tokio::test]
async fn nothing_to_verify_is_said() {
    let (api, volume) = (FakeApi::platform(), tempfile::tempdir().unwrap());
    let error = api.run(volume.path()).verify_newest().await.unwrap_err();
    assert!(matches!(error, BackupError::NoBackup { .. }), "{error}");
}
