//! Checking a backup that lies there: with its key, with another one, and without any.

use std::path::Path;

use super::fake_api::{FakeApi, KEY};
use crate::{BackupError, CheckArguments, CheckResult, KeyPair, Store, StoreArguments, check};

/// A verified backup, the key that opens it in `key`, and another one in `other`.
async fn backed_up() -> tempfile::TempDir {
    let volume = tempfile::tempdir().unwrap();
    let store = Store::from(volume.path());
    FakeApi::platform()
        .run_on(store, volume.path())
        .back_up()
        .await
        .unwrap();
    let write = |file: &str, pair: &KeyPair| {
        let text = age::secrecy::ExposeSecret::expose_secret(&pair.identity_file);
        std::fs::write(volume.path().join(file), text).unwrap();
    };
    write("key", &KEY);
    write("other", &KeyPair::generate());
    volume
}

async fn checked(volume: &Path, key: Option<&str>, optional: bool) -> Result<CheckResult, BackupError> {
    check(CheckArguments {
        store: StoreArguments::volume(volume),
        name: "run-1".to_owned(),
        folder: "master".to_owned(),
        manifest_digest: None,
        identity: key.map(|key| volume.join(key)),
        identity_optional: optional,
        result_file: volume.join("result"),
    })
    .await
}

#[tokio::test]
async fn with_the_key_every_object_is_compared_and_without_it_that_is_said() {
    let volume = backed_up().await;
    let whole = checked(volume.path(), Some("key"), false).await.unwrap();
    assert!(whole.content_checked && whole.was_verified && whole.note.is_none() && whole.objects == 10);
    let word = std::fs::read_to_string(volume.path().join("result")).unwrap();
    assert!(word.contains("\"contentChecked\":true"), "{word}");
    for (key, note) in [
        (None, "no private key"),
        (Some("absent"), "no private key"),
        (Some("other"), "does not open"),
    ] {
        let outside = checked(volume.path(), key, key.is_some()).await.unwrap();
        assert!(!outside.content_checked, "{key:?}");
        assert!(outside.note.is_some_and(|text| text.contains(note)), "{key:?}");
    }
    let error = checked(volume.path(), Some("other"), false).await.unwrap_err();
    assert!(matches!(error, BackupError::WrongKey { .. }), "{error}");
    assert!(checked(volume.path(), Some("absent"), false).await.is_err());
}

#[tokio::test]
async fn what_is_damaged_is_named_with_and_without_the_key() {
    let volume = backed_up().await;
    let archive = volume.path().join("run-1/master/objects.tar.zst.age");
    let mut bytes = std::fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    for key in [None, Some("key")] {
        let error = checked(volume.path(), key, false).await.unwrap_err();
        assert!(error.is_bad_backup(), "{error}");
        let word = std::fs::read_to_string(volume.path().join("result")).unwrap();
        assert!(
            word.contains("\"error\"") && word.contains("objects.tar.zst.age"),
            "{word}"
        );
    }
}

#[tokio::test]
async fn a_folder_stays_in_its_store() {
    let volume = backed_up().await;
    for (name, folder) in [("..", "master"), ("run-1", ".."), ("run-1", "a/b"), ("run-1", "a_../b")] {
        let arguments = CheckArguments {
            store: StoreArguments::volume(volume.path()),
            name: name.to_owned(),
            folder: folder.to_owned(),
            manifest_digest: None,
            identity: None,
            identity_optional: false,
            result_file: volume.path().join("result"),
        };
        let error = check(arguments).await.unwrap_err();
        assert!(matches!(error, BackupError::InvalidName { .. }), "{error}");
    }
}
