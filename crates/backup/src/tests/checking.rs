//! Checking a backup that lies there: with its key, with another one, and without any.

use std::io::Read as _;
use std::path::Path;

use tar::EntryType;

use super::fake_api::{FakeApi, KEY};
use super::plaintext;
use crate::key::{RunKey, encrypt};
use crate::{
    AttemptFolder, BackupError, CheckArguments, CheckResult, KeyPair, Manifest, Recipients, SUMS_ENTRY, Store,
    StoreArguments, check, digest,
};

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

/// An entry of an archive that somebody made up.
#[derive(Clone)]
struct Entry {
    path: String,
    kind: EntryType,
    body: Vec<u8>,
}

impl Entry {
    fn new(path: &str, kind: EntryType, body: Vec<u8>) -> Self {
        let path = path.to_owned();
        Self { path, kind, body }
    }
}

/// The objects of a backup.
fn objects(folder: &AttemptFolder) -> Vec<Entry> {
    let packed = plaintext(folder);
    let decoder = zstd::Decoder::new(packed.as_slice()).unwrap();
    let mut objects = Vec::new();
    for entry in tar::Archive::new(decoder).entries().unwrap() {
        let mut entry = entry.unwrap();
        let (path, mut body) = (entry.path().unwrap().display().to_string(), Vec::new());
        entry.read_to_end(&mut body).unwrap();
        objects.push(Entry::new(&path, EntryType::Regular, body));
    }
    assert_eq!(objects.pop().unwrap().path, SUMS_ENTRY);
    objects
}

/// Puts an archive of these entries in the place of the backup's, with a manifest that is right about the file.
fn forge(folder: &AttemptFolder, entries: &[Entry]) {
    let recipients = Recipients::parse(std::slice::from_ref(&KEY.recipient)).unwrap();
    let encrypted = encrypt(Vec::new(), &recipients, &RunKey::generate()).unwrap();
    let mut tar = tar::Builder::new(zstd::Encoder::new(encrypted, 3).unwrap());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(entry.body.len() as u64);
        header.set_entry_type(entry.kind);
        // The tar library would refuse `..`.
        header.as_old_mut().name[..entry.path.len()].copy_from_slice(entry.path.as_bytes());
        header.set_cksum();
        tar.append(&header, entry.body.as_slice()).unwrap();
    }
    let bytes = tar.into_inner().unwrap().finish().unwrap().finish().unwrap();
    let text = std::fs::read(folder.manifest()).unwrap();
    let mut manifest: Manifest = serde_json::from_slice(&text).unwrap();
    manifest.archive.bytes = bytes.len() as u64;
    manifest.archive.digest = digest(&bytes);
    std::fs::write(folder.archive(), bytes).unwrap();
    std::fs::write(folder.manifest(), serde_json::to_vec(&manifest).unwrap()).unwrap();
}

/// The list that fits these entries.
fn list(entries: &[Entry]) -> Entry {
    let line = |entry: &Entry| format!("{}  {}\n", digest(&entry.body).replace("sha256:", ""), entry.path);
    let lines = entries.iter().map(line).collect::<String>();
    Entry::new(SUMS_ENTRY, EntryType::Regular, lines.into_bytes())
}

/// Changes the objects; the list at the end fits, and the manifest knows of the kinds and the number that were there before.
async fn with_objects(volume: &Path, objects: &[Entry], change: impl FnOnce(&mut Vec<Entry>)) -> Result<(), String> {
    let mut changed = objects.to_vec();
    change(&mut changed);
    changed.push(list(&changed));
    with_entries(volume, &changed).await
}

async fn with_entries(volume: &Path, entries: &[Entry]) -> Result<(), String> {
    forge(&placed(volume), entries);
    let result = checked(volume, Some("key"), false).await.map_err(|error| {
        assert!(error.is_bad_backup(), "{error}");
        error.to_string()
    })?;
    assert!(result.content_checked);
    Ok(())
}

fn placed(volume: &Path) -> AttemptFolder {
    let mut folders = AttemptFolder::existing(volume, "run-1", "master").unwrap();
    folders.remove(0)
}

#[tokio::test]
async fn bombs_are_refused_before_they_are_unpacked() {
    let volume = backed_up().await;
    let (volume, objects) = (volume.path(), objects(&placed(volume.path())));
    let first = objects[0].path.clone();
    with_objects(volume, &objects, |_| {}).await.unwrap();
    let bomb = || vec![b'a'; 20 << 20];

    let large = with_objects(volume, &objects, |entries| entries[0].body = bomb()).await;
    let expected = format!("{first} has 20971520 bytes, more than the 16777216 that it can have");
    assert!(large.unwrap_err().contains(&expected), "{expected}");

    let long = Entry::new("././@LongLink", EntryType::GNULongName, bomb());
    let long = with_objects(volume, &objects, |entries| entries.insert(0, long)).await;
    let expected = "@LongLink has 20971520 bytes, more than the 2048";
    assert!(long.unwrap_err().contains(expected), "{expected}");

    for kind in [EntryType::XHeader, EntryType::XGlobalHeader, EntryType::GNULongLink] {
        let extension = Entry::new("extension", kind, bomb());
        let error = with_objects(volume, &objects, |entries| entries.insert(0, extension)).await;
        let expected = format!("extension is no file, but of the type {kind:?}");
        assert!(error.unwrap_err().contains(&expected), "{expected}");
    }

    let folder = first.rsplit_once('/').unwrap().0;
    let extra = |number| Entry::new(&format!("{folder}/{number}.json"), EntryType::Regular, Vec::new());
    let many = with_objects(volume, &objects, |entries| entries.extend((0..1000).map(extra))).await;
    let expected = format!("{folder}/0.json in the archive was not read from the API server");
    assert!(many.unwrap_err().contains(&expected), "{expected}");

    let mut lines = objects.clone();
    lines.push(Entry::new(SUMS_ENTRY, EntryType::Regular, bomb()));
    let expected = "SHA256SUMS has 20971520 bytes, more than the 40960";
    let error = with_entries(volume, &lines).await.unwrap_err();
    assert!(error.contains(expected), "{error}");
}

#[tokio::test]
async fn links_and_paths_out_of_the_format_are_refused() {
    let volume = backed_up().await;
    let (volume, objects) = (volume.path(), objects(&placed(volume.path())));
    let kind = objects[0].path.split('/').take(4).collect::<Vec<_>>().join("/");
    for (path, shown) in [
        (format!("{kind}/../x.json"), "/../x.json in the archive was not read"),
        (format!("{kind}/.hidden/x.json"), "/.hidden/x.json in the archive"),
        (format!("{kind}//x.json"), "//x.json in the archive"),
        (format!("{kind}/x/y/z.json"), "/x/y/z.json in the archive"),
        (
            format!("{kind}/x/y\u{1b}[2J.json"),
            "/x/y\\u{1b}[2J.json in the archive",
        ),
        (
            "/etc/cron.d/a/b/c.json".to_owned(),
            "/etc/cron.d/a/b/c.json in the archive",
        ),
        (
            "objects/core/v1/pods/a/b.json".to_owned(),
            "objects/core/v1/pods/a/b.json in",
        ),
    ] {
        let error = with_objects(volume, &objects, |entries| entries[0].path = path).await;
        let error = error.expect_err(shown);
        assert!(error.contains(shown), "{error}");
    }
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Directory,
        EntryType::Char,
        EntryType::GNUSparse,
    ] {
        let error = with_objects(volume, &objects, |entries| entries[1].kind = kind).await;
        let expected = format!("{} is no file, but of the type {kind:?}", objects[1].path);
        let error = error.expect_err(&expected);
        assert!(error.contains(&expected), "{error}");
    }
}

#[tokio::test]
async fn a_manifest_or_a_receipt_that_is_too_long_is_not_read() {
    for file in ["manifest.json", "verified.json"] {
        let volume = backed_up().await;
        let path = volume.path().join("run-1/master").join(file);
        let document = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        document.set_len((64 << 20) + 1).unwrap();
        for key in [None, Some("key")] {
            let error = checked(volume.path(), key, false).await.unwrap_err();
            let expected = format!("{file} has more than 67108864 bytes");
            assert!(
                error.is_bad_backup() && error.to_string().contains(&expected),
                "{error}"
            );
        }
    }
}
