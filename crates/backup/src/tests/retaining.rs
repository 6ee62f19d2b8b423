//! Removing backups from a volume and from a bucket, with every call lost, refused or interrupted.

use std::collections::BTreeSet;
use std::fs;

use jiff::Timestamp;

use super::bucket_server::Server;
use super::bucket_stub::{Fault, PATIENT, Stub};
use crate::retention::{KnownCluster, REMOVAL_FILE, VerifiedBackup, count, finish, is_still_there, remove, verified};
use crate::store::{AttemptFolder, Bucket, Store};
use crate::verify::on_a_thread;
use crate::{
    ARCHIVE_FILE, ArchiveRecord, BackupError, BucketLimits, FORMAT_VERSION, LiveComparison, MANIFEST_FILE, Manifest,
    RECEIPT_FILE, Scope, Verified, digest,
};

pub(super) fn clusters() -> Vec<KnownCluster> {
    let cluster = |target: &str, uid: &str| (target.to_owned(), uid.to_owned());
    vec![cluster("master", "cluster-one"), cluster("eu", "cluster-two")]
}

fn manifest(run: &str, target: &str, archive: &[u8]) -> Manifest {
    let uid = if target == "master" {
        "cluster-one"
    } else {
        "cluster-two"
    };
    Manifest {
        format_version: FORMAT_VERSION,
        name: run.to_owned(),
        target: target.to_owned(),
        cluster_uid: uid.to_owned(),
        server_version: String::new(),
        platform_version: String::new(),
        started_time: Timestamp::UNIX_EPOCH,
        revision: "42".to_owned(),
        scope: Scope {
            groups: Vec::new(),
            platform_namespace: String::new(),
            namespaces: BTreeSet::new(),
            secrets: BTreeSet::new(),
        },
        archive: ArchiveRecord {
            file: ARCHIVE_FILE.to_owned(),
            compression: "zstd".to_owned(),
            encryption: "age".to_owned(),
            recipients: Vec::new(),
            bytes: archive.len() as u64,
            digest: digest(archive),
        },
        objects: 0,
        kinds: Vec::new(),
        omitted: Vec::new(),
    }
}

/// Puts a backup there, as a run leaves one, after `change` has spoiled its manifest.
fn planted(store: &Store, run: &str, target: &str, change: impl FnOnce(&mut Manifest)) -> AttemptFolder {
    let folder = AttemptFolder::claim(store, run, target).unwrap();
    let archive = vec![7; 100];
    let mut manifest = manifest(run, target, &archive);
    change(&mut manifest);
    let text = serde_json::to_vec(&manifest).unwrap();
    let receipt = Verified {
        manifest_digest: digest(&text),
        objects: 0,
        bytes: manifest.archive.bytes,
        verified_time: Timestamp::UNIX_EPOCH,
        comparison: LiveComparison::SameRevision,
    };
    folder.write(ARCHIVE_FILE, archive).unwrap();
    folder.write(MANIFEST_FILE, text).unwrap();
    folder
        .write(RECEIPT_FILE, serde_json::to_vec(&receipt).unwrap())
        .unwrap();
    folder
}

pub(super) fn plant(store: &Store, run: &str, target: &str) {
    planted(store, run, target, |_| {});
}

pub(super) fn names(backups: &[VerifiedBackup]) -> Vec<String> {
    backups
        .iter()
        .map(|backup| format!("{}/{}", backup.run, backup.folder))
        .collect()
}

/// Everything in a folder, by its path.
pub(super) fn files(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.push(path.display().to_string());
    }
    found
}

/// Runs blocking work on a bucket.
async fn there<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&Store) -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let store = store.clone();
    on_a_thread(move || work(&store)).await
}

#[test]
fn only_whole_verified_backups_of_the_platforms_clusters_are_seen() {
    let volume = tempfile::tempdir().unwrap();
    let store = Store::from(volume.path());
    plant(&store, "good", "master");
    planted(&store, "another-cluster", "master", |manifest| {
        "else".clone_into(&mut manifest.cluster_uid);
    });
    planted(&store, "another-run", "master", |manifest| {
        "run".clone_into(&mut manifest.name);
    });
    planted(&store, "longer", "master", |manifest| manifest.archive.bytes += 1);
    planted(&store, "newer-format", "master", |manifest| {
        manifest.format_version += 1;
    });
    planted(&store, "no-number", "master", |manifest| {
        "x".clone_into(&mut manifest.revision);
    });
    planted(&store, "unknown-target", "asia", |_| {});
    let unproven = planted(&store, "unproven", "master", |_| {});
    fs::remove_file(unproven.receipt()).unwrap();
    let altered = planted(&store, "altered", "master", |_| {});
    let text = fs::read_to_string(altered.manifest()).unwrap();
    fs::write(altered.manifest(), text + "\n").unwrap();
    let damaged = planted(&store, "damaged", "master", |_| {});
    fs::write(damaged.manifest(), "{").unwrap();
    for foreign in ["lost+found/master", "notes/a/b", "_x/master", "good/master_x"] {
        fs::create_dir_all(volume.path().join(foreign)).unwrap();
    }
    fs::write(volume.path().join("file"), "x").unwrap();
    let before = files(volume.path());
    assert_eq!(names(&verified(&store, &clusters()).unwrap()), ["good/master"]);
    // By the names alone: no more than a reason to look closer.
    assert_eq!(count(&store, "master").unwrap(), 8);
    assert_eq!(finish(&store, &clusters()).unwrap(), 0);
    assert_eq!(files(volume.path()), before);
}

#[test]
fn a_removal_takes_the_whole_folder_and_nothing_else() {
    let volume = tempfile::tempdir().unwrap();
    let store = Store::from(volume.path());
    plant(&store, "one", "master");
    plant(&store, "one", "eu");
    plant(&store, "two", "master");
    fs::write(volume.path().join("two/master/mine"), "x").unwrap();
    for backup in verified(&store, &clusters()).unwrap() {
        if backup.target == "master" {
            remove(&store, &backup).unwrap();
        }
    }
    finish(&store, &clusters()).unwrap();
    assert!(!volume.path().join("one/master").exists() && volume.path().join("one/eu").is_dir());
    let left: Vec<String> = fs::read_dir(volume.path().join("two/master"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(left.len() == 2 && left.contains(&"mine".to_owned()), "{left:?}");
    assert_eq!(names(&verified(&store, &clusters()).unwrap()), ["one/eu"]);
}

#[test]
fn a_later_attempt_is_found_when_an_earlier_one_is_gone() {
    let volume = tempfile::tempdir().unwrap();
    let store = Store::from(volume.path());
    plant(&store, "one", "eu");
    plant(&store, "one", "eu");
    let both = verified(&store, &clusters()).unwrap();
    assert_eq!(names(&both), ["one/eu", "one/eu_2"]);
    remove(&store, &both[0]).unwrap();
    finish(&store, &clusters()).unwrap();
    let complete = |folder: &AttemptFolder| folder.is_complete().unwrap();
    let existing = AttemptFolder::existing(&store, "one", "eu").unwrap();
    assert_eq!(existing.iter().map(complete).collect::<Vec<_>>(), [false, true]);
    remove(&store, &both[1]).unwrap();
    finish(&store, &clusters()).unwrap();
    assert_eq!(files(volume.path()), [""; 0]);
}

type Change = fn(&AttemptFolder);

#[test]
fn a_backup_that_changed_is_not_the_one_that_was_seen() {
    let volume = tempfile::tempdir().unwrap();
    let store = Store::from(volume.path());
    let changes: [Change; 5] = [
        |folder| fs::remove_file(folder.receipt()).unwrap(),
        |folder| fs::remove_file(folder.archive()).unwrap(),
        |folder| fs::write(folder.archive(), "shorter").unwrap(),
        |folder| fs::write(folder.manifest(), "{}").unwrap(),
        |folder| folder.write(REMOVAL_FILE, b"{}".to_vec()).unwrap(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let run = format!("run-{number}");
        let folder = planted(&store, &run, "master", |_| {});
        let all = verified(&store, &clusters()).unwrap();
        let seen = all.iter().find(|backup| backup.run == run).unwrap();
        assert!(is_still_there(&store, seen).unwrap());
        change(&folder);
        assert!(!is_still_there(&store, seen).unwrap(), "change {number}");
    }
}

/// What a bucket holds is a backup only where it is a whole one.
fn never_half_whole(stub: &Stub, what: &str) {
    let whole = stub.look(|stored| {
        let has = |file: &str| stored.objects.keys().any(|path| path.ends_with(file));
        !has(MANIFEST_FILE) || (has(ARCHIVE_FILE) && has(RECEIPT_FILE))
    });
    assert!(whole, "{what}");
}

/// Removes the only backup of a bucket with `fault` at request `at`, and at all that follow where it lasts.
async fn interrupted(fault: &Fault, at: usize, lasting: bool) -> (Stub, Result<(), BackupError>) {
    let stub = Stub::start().await;
    there(&stub.store(PATIENT), |store| {
        plant(store, "one", "master");
        Ok(())
    })
    .await
    .unwrap();
    let start = stub.look(|stored| stored.log.len());
    let scripted = fault.clone();
    stub.script(move |number, _| {
        let hit = number == start + at || (lasting && number > start + at);
        hit.then(|| scripted.clone())
    });
    let outcome = there(&stub.store(PATIENT), |store| {
        for backup in verified(store, &clusters())? {
            remove(store, &backup)?;
        }
        finish(store, &clusters()).map(drop)
    })
    .await;
    (stub, outcome)
}

async fn goes_on_after(fault: Fault, lasting: bool) {
    let mut failed = 0;
    for at in 0..40 {
        let (stub, outcome) = interrupted(&fault, at, lasting).await;
        never_half_whole(&stub, &format!("{fault:?} at {at}"));
        failed += usize::from(outcome.is_err());
        stub.heal();
        let store = stub.store(PATIENT);
        there(&store, |store| {
            for backup in verified(store, &clusters())? {
                remove(store, &backup)?;
            }
            finish(store, &clusters()).map(drop)
        })
        .await
        .unwrap();
        let left = stub.look(|stored| stored.objects.keys().cloned().collect::<Vec<_>>());
        assert_eq!(left, [""; 0], "{fault:?} at {at}");
    }
    assert_eq!(failed > 0, lasting, "{fault:?}");
}

#[tokio::test]
async fn a_removal_that_is_refused_or_killed_anywhere_goes_on_the_next_time() {
    goes_on_after(Fault::Status(403, "AccessDenied"), true).await;
}

#[tokio::test]
async fn a_removal_survives_a_storage_that_fails_once() {
    goes_on_after(Fault::Status(503, "SlowDown"), false).await;
    goes_on_after(Fault::LostAnswer, false).await;
}

#[tokio::test]
async fn a_removal_that_may_not_delete_says_so_and_leaves_a_whole_backup() {
    let stub = Stub::start().await;
    let store = stub.store(PATIENT);
    there(&store, |store| {
        plant(store, "one", "master");
        Ok(())
    })
    .await
    .unwrap();
    stub.script(|_, line| line.starts_with("DELETE").then_some(Fault::Status(403, "AccessDenied")));
    let error = there(&store, |store| {
        let all = verified(store, &clusters())?;
        remove(store, &all[0])
    })
    .await
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("remove s3://backups/platform/prod/one/master/manifest.json") && error.contains("delete"),
        "{error}"
    );
    let again = there(&store, |store| verified(store, &clusters())).await.unwrap();
    assert!(again.len() == 1 && again[0].condemned);
}

#[tokio::test]
async fn a_real_storage_lists_and_removes() {
    let server = Server::start().await;
    let limits = BucketLimits {
        part_bytes: 8 << 20,
        ..PATIENT
    };
    let store = Store::Bucket(Bucket::open(&server.arguments(), limits).unwrap());
    let left = there(&store, |store| {
        plant(store, "run-1", "master");
        plant(store, "run-2", "master");
        assert_eq!(count(store, "master")?, 2);
        let all = verified(store, &clusters())?;
        assert_eq!(names(&all), ["run-1/master", "run-2/master"]);
        assert!(is_still_there(store, &all[1])?);
        remove(store, &all[0])?;
        finish(store, &clusters())?;
        verified(store, &clusters())
    })
    .await
    .unwrap();
    assert_eq!(names(&left), ["run-2/master"]);
    assert!(!server.file("master/claim").exists());
}
