//! The commands of the documentation, run as they stand there.

use std::fs;
use std::path::Path;
use std::process::Command;

use age::secrecy::ExposeSecret as _;

use super::fake_api::{FakeApi, KEY};
use crate::{SUMS_ENTRY, digest};

/// The first block of commands of a chapter.
fn commands(chapter: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/backup-format.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once(chapter).unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// Whether a program can be started; says so where it cannot.
fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        eprintln!("skipped: {program} is not installed (Debian and Fedora: package `{program}`)");
    }
    there
}

#[tokio::test]
async fn age_zstd_and_tar_open_it_by_hand() {
    if !["age", "zstd", "tar", "sha256sum"].into_iter().all(is_there) {
        return;
    }
    let (volume, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let api = FakeApi::platform();
    api.change(|state| state.add_secret("kubermatic", "credential", "aHVudGVyMg=="));
    let (folder, snapshot) = api.snapshot(volume.path()).await;
    let (snapshot, key) = (snapshot.unwrap(), volume.path().join("key.txt"));
    fs::write(&key, KEY.identity_file.expose_secret()).unwrap();
    let open = |key: &Path, out: &Path| {
        let commands = commands("## Open it by hand");
        assert!(
            ["age ", "zstd ", "tar ", "sha256sum "]
                .iter()
                .all(|one| commands.contains(one)),
            "{commands}"
        );
        Command::new("sh")
            .args(["-euc", &commands])
            .current_dir(folder.path())
            .env("KEY", key)
            .env("OUT", out)
            .output()
            .unwrap()
    };
    let opened = open(&key, out.path());
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    let read = |path: &str| fs::read_to_string(out.path().join(path)).unwrap();
    assert_eq!(digest(read(SUMS_ENTRY).as_bytes()), snapshot.ledger.content_digest());
    assert_eq!(
        read(SUMS_ENTRY).lines().count() as u64,
        snapshot.written.manifest.objects
    );
    let map = read("objects/core/v1/configmaps/kubermatic/extra.json");
    assert!(
        map.starts_with(r#"{"apiVersion":"v1","data":{"key":"value"},"kind":"ConfigMap""#),
        "{map}"
    );
    assert!(read("objects/core/v1/secrets/kubermatic/credential.json").contains("aHVudGVyMg=="));
    let crd = "objects/apiextensions.k8s.io/v1/customresourcedefinitions/_cluster/clusters.kubermatic.k8c.io.json";
    assert!(!read(crd).contains("managedFields"));

    // The commands are no proof by themselves: with another key they have to fail.
    fs::write(&key, crate::KeyPair::generate().identity_file.expose_secret()).unwrap();
    let other = tempfile::tempdir().unwrap();
    assert!(!open(&key, other.path()).status.success());
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
}
