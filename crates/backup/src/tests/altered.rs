//! Backups that somebody or something altered between writing and verifying.

use std::fs;
use std::io::Read as _;

use super::fake_api::{FakeApi, KEY};
use super::plaintext;
use crate::key::encrypt;
use crate::{AttemptFolder, BackupError, Recipients, SUMS_ENTRY, Snapshot, read_back, read_manifest};

async fn taken(volume: &std::path::Path) -> (AttemptFolder, Snapshot) {
    let (folder, written) = FakeApi::platform().snapshot(volume).await;
    (folder, written.unwrap())
}

/// Unpacks the archive, lets the test change the list of entries, and packs it again for the same keys.
fn repack(folder: &AttemptFolder, snapshot: &Snapshot, change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) {
    let packed = plaintext(folder);
    let decoder = zstd::Decoder::new(packed.as_slice()).unwrap();
    let mut entries = Vec::new();
    for entry in tar::Archive::new(decoder).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut body = Vec::new();
        entry.read_to_end(&mut body).unwrap();
        entries.push((String::from_utf8(entry.path_bytes().into_owned()).unwrap(), body));
    }
    change(&mut entries);
    let recipients = Recipients::parse(std::slice::from_ref(&KEY.recipient)).unwrap();
    let file = fs::File::create(folder.archive()).unwrap();
    let encoder = zstd::Encoder::new(encrypt(file, &recipients, &snapshot.run_key).unwrap(), 3).unwrap();
    let mut tar = tar::Builder::new(encoder);
    for (path, body) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, body.as_slice()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap().finish().unwrap();
}

async fn fault(folder: &AttemptFolder, written: &Snapshot) -> BackupError {
    read_back(folder, written).await.unwrap_err()
}

#[tokio::test]
async fn every_flipped_bit_is_found() {
    let volume = tempfile::tempdir().unwrap();
    let (folder, written) = taken(volume.path()).await;
    let whole = fs::read(folder.archive()).unwrap();
    for step in 0..50 {
        let mut flipped = whole.clone();
        flipped[step * whole.len() / 50] ^= 1 << (step % 8);
        fs::write(folder.archive(), &flipped).unwrap();
        let error = fault(&folder, &written).await;
        assert!(error.is_bad_backup(), "bit {step}: {error}");
    }
    fs::write(folder.archive(), &whole).unwrap();
    read_back(&folder, &written).await.unwrap();
}

#[tokio::test]
async fn every_truncation_is_found() {
    let volume = tempfile::tempdir().unwrap();
    let (folder, written) = taken(volume.path()).await;
    let whole = fs::read(folder.archive()).unwrap();
    for step in 0..50 {
        fs::write(folder.archive(), &whole[..step * whole.len() / 50]).unwrap();
        let error = fault(&folder, &written).await;
        assert!(error.is_bad_backup(), "{step}: {error}");
    }
    fs::write(folder.archive(), &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(fault(&folder, &written).await, BackupError::Truncated { .. }));
    fs::write(folder.archive(), [whole, b"more".to_vec()].concat()).unwrap();
    assert!(fault(&folder, &written).await.is_bad_backup());
    fs::remove_file(folder.archive()).unwrap();
    assert!(fault(&folder, &written).await.is_bad_backup());
}

#[tokio::test]
async fn changed_entries_are_named() {
    let volume = tempfile::tempdir().unwrap();
    let (folder, written) = taken(volume.path()).await;
    let whole = fs::read(folder.archive()).unwrap();
    let path = "objects/kubermatic.k8c.io/v1/clusters/_cluster/c3.json";
    let at = |entries: &mut Vec<(String, Vec<u8>)>| entries.iter().position(|(name, _)| name == path).unwrap();
    let restore = || fs::write(folder.archive(), &whole).unwrap();

    repack(&folder, &written, |entries| {
        let at = at(entries);
        let body = &mut entries[at].1;
        *body = String::from_utf8(body.clone())
            .unwrap()
            .replace("first", "forge")
            .into_bytes();
    });
    assert!(matches!(fault(&folder, &written).await, BackupError::DigestMismatch { path: named } if named == path));
    restore();
    repack(&folder, &written, |entries| {
        let at = at(entries);
        entries[at].1 = vec![b'0'; 3_000_000];
    });
    let error = fault(&folder, &written).await.to_string();
    assert!(error.contains(path) && error.contains("another digest"), "{error}");
    restore();
    repack(&folder, &written, |entries| {
        let at = at(entries);
        entries.remove(at);
    });
    assert!(matches!(fault(&folder, &written).await, BackupError::MissingEntry { path: named } if named == path));
    restore();
    repack(&folder, &written, |entries| {
        let at = at(entries);
        let twice = entries[at].clone();
        entries.insert(at, twice);
    });
    assert!(matches!(fault(&folder, &written).await, BackupError::ExtraEntry { path: named } if named == path));
    restore();
    for foreign in [
        "objects/kubermatic.k8c.io/v1/clusters/_cluster/c3-renamed.json",
        "elsewhere",
    ] {
        repack(&folder, &written, |entries| {
            let at = at(entries);
            entries[at].0 = foreign.to_owned();
        });
        assert!(matches!(fault(&folder, &written).await, BackupError::ExtraEntry { path: named } if named == foreign));
        restore();
    }
    // Also with a list that fits what is there: what counts is what was read from the API server.
    repack(&folder, &written, |entries| {
        let at = at(entries);
        entries.remove(at);
        let list = entries.last_mut().unwrap();
        assert_eq!(list.0, SUMS_ENTRY);
        let lines = String::from_utf8(list.1.clone()).unwrap();
        let others = lines.lines().filter(|line| !line.ends_with(path));
        list.1 = others.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes();
    });
    assert!(matches!(fault(&folder, &written).await, BackupError::MissingEntry { path: named } if named == path));
    restore();
    repack(&folder, &written, |entries| entries.last_mut().unwrap().1.truncate(0));
    assert!(matches!(
        fault(&folder, &written).await,
        BackupError::ArchiveMismatch { .. }
    ));
    restore();
    repack(&folder, &written, |entries| drop(entries.pop()));
    assert!(matches!(fault(&folder, &written).await, BackupError::MissingEntry { path: named } if named == SUMS_ENTRY));
    restore();
    repack(&folder, &written, |entries| {
        entries.push(("elsewhere".to_owned(), Vec::new()));
    });
    assert!(matches!(fault(&folder, &written).await, BackupError::ExtraEntry { path: named } if named == "elsewhere"));
    restore();
    // The same entries, packed by somebody else: not the file that was written.
    repack(&folder, &written, |_| {});
    assert!(matches!(
        fault(&folder, &written).await,
        BackupError::ArchiveMismatch { .. }
    ));
}

#[tokio::test]
async fn a_changed_manifest_is_found() {
    let volume = tempfile::tempdir().unwrap();
    let (folder, written) = taken(volume.path()).await;
    let text = fs::read_to_string(folder.manifest()).unwrap();
    fs::write(folder.manifest(), text.replace("2.30.6", "2.30.7")).unwrap();
    assert!(matches!(
        fault(&folder, &written).await,
        BackupError::ManifestInvalid { .. }
    ));
    // Without a known digest, contradictions are found all the same.
    fs::write(folder.manifest(), text.replace("\"count\": 7", "\"count\": 6")).unwrap();
    assert!(matches!(
        read_manifest(&folder, None).unwrap_err(),
        BackupError::ManifestInvalid { .. }
    ));
    for other in ["\"formatVersion\": 1", "\"formatVersion\": 3"] {
        fs::write(folder.manifest(), text.replace("\"formatVersion\": 2", other)).unwrap();
        assert!(matches!(
            read_manifest(&folder, None).unwrap_err(),
            BackupError::UnsupportedFormat { .. }
        ));
    }
    for file in ["../x", "/etc/passwd"] {
        fs::write(folder.manifest(), text.replace("objects.tar.zst.age", file)).unwrap();
        assert!(matches!(
            read_manifest(&folder, None).unwrap_err(),
            BackupError::UnsupportedFormat { .. }
        ));
    }
    fs::write(folder.manifest(), &text[..text.len() / 2]).unwrap();
    assert!(matches!(
        read_manifest(&folder, None).unwrap_err(),
        BackupError::ManifestInvalid { .. }
    ));
}
