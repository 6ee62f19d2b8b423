//! The commands of the documentation, run as they stand there.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
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

/// The release of `age` where the machine has none.
const AGE: &str = "filippo.io/age/cmd/age@v1.3.2";

/// `PATH` with all the programs, those of the machine first. Where `age` is missing, Go makes it in the folder, as for the control
/// planes of the lab. Says what is missing, past the test's captured output.
fn programs(folder: &Path) -> Option<OsString> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).chain([folder.to_owned()]);
    let path = std::env::join_paths(folders).ok()?;
    let there = |program: &str| {
        let found = Command::new(program).arg("--version").env("PATH", &path).output();
        found.is_ok()
    };
    if !there("age") {
        let made = Command::new("go").args(["install", AGE]).env("GOBIN", folder).output();
        drop(made);
    }
    let Some(missing) = ["age", "zstd", "tar", "sha256sum"]
        .into_iter()
        .find(|program| !there(program))
    else {
        return Some(path);
    };
    let note = format!(
        "SKIPPED age_zstd_and_tar_open_it_by_hand: {missing} is not installed (Debian and Fedora: package `{missing}`)\n"
    );
    drop(std::io::stderr().write_all(note.as_bytes()));
    None
}

#[tokio::test]
async fn age_zstd_and_tar_open_it_by_hand() {
    let tools = tempfile::tempdir().unwrap();
    let Some(path) = programs(tools.path()) else {
        return;
    };
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
            .env("PATH", &path)
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
