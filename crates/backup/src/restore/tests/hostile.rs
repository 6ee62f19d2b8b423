//! Archives that somebody made up: each is refused before anything is written, in words that name it.

use std::fs;

use tar::EntryType;

use super::fake_backup::{Backup, Entry};
use super::fake_cluster::FakeCluster;
use super::restoring::platform;

/// The message about an archive that was changed, before it was written or after.
async fn refused(change: impl FnOnce(&mut Backup), damage: impl FnOnce(&mut Vec<u8>)) -> String {
    let volume = tempfile::tempdir().unwrap();
    let mut backup = Backup::of(&platform());
    change(&mut backup);
    let folder = backup.write(volume.path());
    let mut bytes = fs::read(folder.archive()).unwrap();
    damage(&mut bytes);
    fs::write(folder.archive(), bytes).unwrap();
    let cluster = FakeCluster::default();
    let error = cluster.restore(volume.path(), |_| {}).await.unwrap_err().to_string();
    assert_eq!(cluster.writes(), Vec::<String>::new());
    error
}

fn extra(path: &str, kind: EntryType) -> impl FnOnce(&mut Backup) {
    let path = path.to_owned();
    move |backup| {
        backup.entries.insert(
            1,
            Entry {
                path,
                body: Vec::new(),
                kind,
            },
        );
    }
}

#[tokio::test]
async fn paths_out_of_the_format_links_and_devices_are_refused() {
    for path in [
        "../evil",
        "/etc/passwd",
        "objects/core/v1/secrets/../x.json",
        "objects/core/v1/pods/a/b.json",
        &"a/".repeat(400),
    ] {
        let error = refused(extra(path, EntryType::Regular), |_| {}).await;
        assert!(error.contains("somebody changed the archive"), "{path}: {error}");
    }
    let inside = "objects/core/v1/secrets/kubermatic/x.json";
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Directory,
        EntryType::Char,
        EntryType::XHeader,
        EntryType::GNUSparse,
    ] {
        let error = refused(extra(inside, kind), |_| {}).await;
        assert!(error.contains(inside), "{kind:?}: {error}");
    }
}

#[tokio::test]
async fn duplicates_and_objects_under_another_name_are_refused() {
    let twice = refused(|backup| backup.entries.insert(1, backup.entries[1].clone()), |_| {}).await;
    assert!(twice.contains("there twice") || twice.contains("entries in"), "{twice}");
    let renamed = refused(
        |backup| backup.entries[7].path = backup.entries[7].path.replace("jane", "joe"),
        |_| {},
    )
    .await;
    assert!(renamed.contains("joe.json"), "{renamed}");
    let leading = |backup: &mut Backup| {
        let body = String::from_utf8(backup.entries[6].body.clone()).unwrap();
        backup.entries[6].body = body.replace("\"dex\"", "\"../../../api/v1/nodes/x\"").into_bytes();
    };
    assert!(refused(leading, |_| {}).await.contains("dex.json"));
}

#[tokio::test]
async fn bombs_are_refused_before_they_are_unpacked() {
    let large = |backup: &mut Backup| backup.entries[6].body = vec![b' '; 20 << 20];
    let error = refused(large, |_| {}).await;
    assert!(error.contains("more than the"), "{error}");
    let long_name = |backup: &mut Backup| {
        backup.entries.insert(
            1,
            Entry {
                path: "@LongLink".to_owned(),
                body: vec![b'a'; 20 << 20],
                kind: EntryType::GNULongName,
            },
        );
    };
    let error = refused(long_name, |_| {}).await;
    assert!(error.contains("more than the"), "{error}");
    let many = |backup: &mut Backup| {
        let one = backup.entries[6].clone();
        backup.entries.extend(std::iter::repeat_n(one, 1000));
    };
    assert!(refused(many, |_| {}).await.contains("there twice"));
    let list = |backup: &mut Backup| backup.sums = Some(vec![b'a'; 20 << 20]);
    assert!(refused(list, |_| {}).await.contains("more than the"));
}

#[tokio::test]
async fn a_list_that_does_not_fit_and_a_missing_object_are_refused() {
    let error = refused(|backup| backup.sums = Some(Vec::new()), |_| {}).await;
    assert!(error.contains("was not read from the API server"), "{error}");
    let error = refused(|backup| drop(backup.entries.remove(6)), |_| {}).await;
    assert!(error.contains("entries in objects/core/v1/secrets"), "{error}");
}

#[tokio::test]
async fn a_truncated_a_changed_and_a_newer_backup_are_refused() {
    let error = refused(|_| {}, |bytes| bytes.truncate(bytes.len() / 2)).await;
    assert!(error.contains("ends too early"), "{error}");
    let error = refused(|_| {}, |bytes| bytes.push(0)).await;
    assert!(error.contains("backup cannot be restored"), "{error}");
    let error = refused(|backup| backup.manifest.format_version += 1, |_| {}).await;
    assert!(error.contains("has format 3") && error.contains("newer"), "{error}");
}
