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

/// Set by `.ci/run`, and by most services that run such programs.
const IN_CI: &str = "CI";

/// `PATH` with all the programs, those of the machine first. Where `age` is missing, Go makes it in the folder, as for the control
/// planes of the lab. Otherwise what is missing.
fn programs(folder: &Path) -> Result<OsString, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([folder.to_owned()]);
    let path = std::env::join_paths(folders).map_err(|error| format!("a usable PATH ({error})"))?;
    let there = |program: &str| {
        let found = Command::new(program).arg("--version").env("PATH", &path).output();
        found.is_ok()
    };
    let mut problem = String::new();
    if !there("age") {
        let made = Command::new("go").args(["install", AGE]).env("GOBIN", folder).output();
        problem = match made {
            Ok(made) => format!("; go install {AGE}: {}", String::from_utf8_lossy(&made.stderr).trim()),
            Err(error) => format!("; go, which would make it: {error}"),
        };
    }
    let missing = ["age", "zstd", "tar", "sha256sum"]
        .into_iter()
        .find(|program| !there(program));
    match missing {
        None => Ok(path),
        Some("age") => Err(format!("age (Debian and Fedora: package `age`{problem})")),
        Some("sha256sum") => Err("sha256sum (Debian and Fedora: package `coreutils`)".to_owned()),
        Some(program) => Err(format!("{program} (Debian and Fedora: package `{program}`)")),
    }
}

/// The same, where the test has to run; else `None`, and says past the test's captured output what is missing.
fn programs_or_skip(folder: &Path) -> Option<OsString> {
    let missing = match programs(folder) {
        Ok(path) => return Some(path),
        Err(missing) => missing,
    };
    // Where everything is checked nothing may be left out in silence.
    let in_ci = std::env::var_os(IN_CI).is_some_and(|value| !value.is_empty() && value != "false");
    assert!(!in_ci, "{IN_CI} is set, and there is no {missing}");
    let note = format!("SKIPPED age_zstd_and_tar_open_it_by_hand: there is no {missing}\n");
    drop(std::io::stderr().write_all(note.as_bytes()));
    None
}

#[tokio::test]
async fn age_zstd_and_tar_open_it_by_hand() {
    let tools = tempfile::tempdir().unwrap();
    let Some(path) = programs_or_skip(tools.path()) else {
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
