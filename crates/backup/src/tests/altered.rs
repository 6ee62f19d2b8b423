//! Backups that somebody or something altered between writing and verifying.

use std::fs;
use std::io::Read as _;
use std::process::Command;

use super::fake_api::FakeApi;
use crate::{AttemptFolder, BackupError, Written, digest, read_back};

async fn taken(volume: &std::path::Path) -> (AttemptFolder, Written) {
    let (folder, written) = FakeApi::platform().snapshot(volume).await;
    (folder, written.unwrap())
}

/// Unpacks the archive, lets the test change the list of entries, and packs it again.
fn repack(folder: &AttemptFolder, change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) {
    let decoder = zstd::Decoder::new(fs::File::open(folder.archive()).unwrap()).unwrap();
    let mut entries = Vec::new();
    for entry in tar::Archive::new(decoder).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut body = Vec::new();
        entry.read_to_end(&mut body).unwrap();
        entries.push((String::from_utf8(entry.path_bytes().into_owned()).unwrap(), body));
    }
    change(&mut entries);
    let encoder = zstd::Encoder::new(fs::File::create(folder.archive()).unwrap(), 3).unwrap();
    let mut tar = tar::Builder::new(encoder);
    for (path, body) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, body.as_slice()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
}

async fn fault(folder: &AttemptFolder, written: &Written) -> BackupError {
    read_back(folder, Some(&written.manifest_digest)).await.unwrap_err()
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
    read_back(&folder, Some(&written.manifest_digest)).await.unwrap();
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

    repack(&folder, |entries| {
        let at = at(entries);
        let body = &mut entries[at].1;
        *body = String::from_utf8(body.clone())
            .unwrap()
            .replace("first", "forge")
            .into_bytes();
    });
    assert!(matches!(fault(&folder, &written).await, BackupError::DigestMismatch { path: named, .. } if named == path));
    restore();
    repack(&folder, |entries| {
        let at = at(entries);
        entries[at].1 = vec![b'0'; 3_000_000];
    });
    let error = fault(&folder, &written).await.to_string();
    assert!(error.contains(path) && error.contains("more than"), "{error}");
    restore();
    repack(&folder, |entries| {
        let at = at(entries);
        entries.remove(at);
    });
    assert!(
        matches!(fault(&folder, &written).await, BackupError::MissingEntry { path: named, missing: 1 } if named == path)
    );
    restore();
    repack(&folder, |entries| {
        let at = at(entries);
        let twice = entries[at].clone();
        entries.push(twice);
    });
    assert!(matches!(fault(&folder, &written).await, BackupError::ExtraEntry { path: named } if named == path));
    restore();
    for foreign in [
        "objects/kubermatic.k8c.io/v1/clusters/_cluster/c3-renamed.json",
        "elsewhere",
    ] {
        repack(&folder, |entries| {
            let at = at(entries);
            entries[at].0 = foreign.to_owned();
        });
        assert!(matches!(fault(&folder, &written).await, BackupError::ExtraEntry { path: named } if named == foreign));
        restore();
    }
    // The same entries, packed by somebody else: not the file that was written.
    repack(&folder, |_| {});
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
        read_back(&folder, None).await.unwrap_err(),
        BackupError::ManifestInvalid { .. }
    ));
    fs::write(
        folder.manifest(),
        text.replace("\"formatVersion\": 1", "\"formatVersion\": 2"),
    )
    .unwrap();
    assert!(matches!(
        read_back(&folder, None).await.unwrap_err(),
        BackupError::UnsupportedFormat { .. }
    ));
    for file in ["../x", "/etc/passwd"] {
        fs::write(folder.manifest(), text.replace("objects.tar.zst", file)).unwrap();
        assert!(matches!(
            read_back(&folder, None).await.unwrap_err(),
            BackupError::UnsupportedFormat { .. }
        ));
    }
    fs::write(folder.manifest(), &text[..text.len() / 2]).unwrap();
    assert!(matches!(
        read_back(&folder, None).await.unwrap_err(),
        BackupError::ManifestInvalid { .. }
    ));
}

#[tokio::test]
async fn zstd_and_tar_open_it_by_hand() {
    let volume = tempfile::tempdir().unwrap();
    let (folder, written) = taken(volume.path()).await;
    let out = tempfile::tempdir().unwrap();
    let status = Command::new("sh")
        .args(["-c", "zstd -q -d < \"$0\" | tar -x -C \"$1\""])
        .args([folder.archive().as_os_str(), out.path().as_os_str()])
        .status()
        .unwrap();
    assert!(status.success(), "zstd and tar must be installed for this test");
    for object in written.manifest.kinds.iter().flat_map(|kind| &kind.objects) {
        assert_eq!(
            digest(&fs::read(out.path().join(&object.path)).unwrap()),
            object.digest,
            "{}",
            object.path
        );
    }
    let map = fs::read_to_string(out.path().join("objects/core/v1/configmaps/kubermatic/extra.json")).unwrap();
    assert!(
        map.starts_with(r#"{"apiVersion":"v1","data":{"key":"value"},"kind":"ConfigMap""#),
        "{map}"
    );
    let crd = "objects/apiextensions.k8s.io/v1/customresourcedefinitions/_cluster/clusters.kubermatic.k8c.io.json";
    assert!(
        !fs::read_to_string(out.path().join(crd))
            .unwrap()
            .contains("managedFields")
    );
}
