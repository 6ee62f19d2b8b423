//! Secrets: which ones are taken, and that nothing of them can be seen from outside.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use super::fake_api::{CLUSTERS, FakeApi, State};
use super::plaintext;
use crate::{BackupError, KEY_SECRET, Manifest, Reach, compare_at_revision, digest};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const SEEDS: &str = "/apis/kubermatic.k8c.io/v1/seeds";

/// A seed with a user cluster, a chart, and things of others.
fn seed() -> FakeApi {
    let api = FakeApi::platform();
    api.change(|state| {
        for namespace in ["cert-manager", "cluster-c1", "shop"] {
            state.add_namespace(namespace);
        }
        state.write(CLUSTERS, |clusters| {
            clusters[0]["status"] = json!({"namespaceName": "cluster-c1"});
        });
        state.add_kind("kubermatic.k8c.io", "v1", "seeds", "Seed");
        let destination = json!({"credentials": {"name": "s3-of-ours", "namespace": "kube-system"}});
        state.add(
            SEEDS,
            json!({"metadata": {"name": "eu"}, "spec": {"etcdBackupRestore": {"destinations": {"a": destination}}}}),
        );
        for (namespace, name) in [
            ("cert-manager", "account"),
            ("cluster-c1", "ca"),
            ("kube-system", "foreign"),
            ("kube-system", "kubermatic-s3-credentials"),
            ("kube-system", "s3-of-ours"),
            ("kubermatic", "credential"),
            ("kubermatic", KEY_SECRET),
            ("shop", "foreign"),
        ] {
            state.add_secret(namespace, name, "aHVudGVyMg==");
        }
        state.add(ROLES, json!({"metadata": {"name": "kubermatic-x"}}));
        state.add(ROLES, json!({"metadata": {"name": "cluster-admin"}}));
    });
    api
}

fn count(manifest: &Manifest, plural: &str) -> u64 {
    manifest
        .kinds
        .iter()
        .filter(|kind| kind.plural == plural)
        .map(|kind| kind.count)
        .sum()
}

fn omitted<'a>(manifest: &'a Manifest, word: &str) -> &'a str {
    let all = &manifest.omitted;
    all.iter()
        .map(|one| one.what.as_str())
        .find(|what| what.contains(word))
        .unwrap_or_default()
}

/// Paths of the entries.
fn entries(folder: &crate::AttemptFolder) -> Vec<String> {
    let packed = plaintext(folder);
    let mut tar = tar::Archive::new(zstd::Decoder::new(packed.as_slice()).unwrap());
    let entries = tar.entries().unwrap();
    entries
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect()
}

#[tokio::test]
async fn a_seed_gives_what_is_the_platforms_in_one_list_of_all_namespaces() {
    let (api, volume) = (seed(), tempfile::tempdir().unwrap());
    let (folder, snapshot) = api.snapshot_with(volume.path(), Reach::Everywhere).await;
    let manifest = snapshot.unwrap().written.manifest;
    let secrets: Vec<String> = entries(&folder)
        .iter()
        .filter_map(|path| path.strip_prefix("objects/core/v1/secrets/").map(str::to_owned))
        .collect();
    assert_eq!(
        secrets,
        [
            "cert-manager/account.json",
            "cluster-c1/ca.json",
            "kube-system/kubermatic-s3-credentials.json",
            "kube-system/s3-of-ours.json",
            "kubermatic/credential.json",
        ]
    );
    assert_eq!((count(&manifest, "secrets"), count(&manifest, "namespaces")), (5, 3));
    assert_eq!(count(&manifest, "clusterroles"), 1);
    let namespaces: Vec<&str> = manifest.scope.namespaces.iter().map(String::as_str).collect();
    assert_eq!(namespaces, ["cert-manager", "cluster-c1", "kubermatic"]);
    assert!(
        omitted(&manifest, "RBAC in the namespaces").ends_with("default, kube-system, shop"),
        "{manifest:?}"
    );
    assert!(omitted(&manifest, KEY_SECRET).contains("kubermatic/"), "{manifest:?}");
    let log = api.change(|state| state.log.clone());
    assert!(!log.iter().any(|line| line.contains("cluster-c1/secrets")), "{log:?}");
}

#[tokio::test]
async fn the_master_is_read_namespace_by_namespace() {
    let (api, volume) = (seed(), tempfile::tempdir().unwrap());
    let (_, snapshot) = api.snapshot(volume.path()).await;
    let manifest = snapshot.unwrap().written.manifest;
    assert_eq!(count(&manifest, "secrets"), 3);
    assert!(
        omitted(&manifest, "kube-system/s3-of-ours").starts_with("Secrets "),
        "{manifest:?}"
    );
    let log = api.change(|state| state.log.clone());
    for refused in [
        "/api/v1/secrets",
        "/api/v1/configmaps",
        "/api/v1/namespaces/shop/",
        "kube-system/secrets",
    ] {
        assert!(
            !log.iter()
                .any(|line| line.starts_with(refused) || line.contains(refused)),
            "{refused}"
        );
    }
}

type Change = fn(&mut State);

/// Called once, when namespaces that are looked up have been, and before the revision is chosen.
fn before_the_pin(api: &FakeApi, change: impl Fn(&mut State) + Send + 'static) {
    let mut once = true;
    api.on_request(move |address, state| {
        if address.contains("limit=1") && std::mem::take(&mut once) {
            change(state);
        }
        None
    });
}

fn second_cluster(state: &mut State) {
    state.write(CLUSTERS, |clusters| {
        clusters[1]["status"] = json!({"namespaceName": "cluster-c2"});
    });
}

#[tokio::test]
async fn what_joins_the_platform_in_between_asks_for_a_fresh_snapshot() {
    let joins: [(Change, &str); 2] = [
        (second_cluster, "cluster-c2"),
        (|state| state.add_namespace("minio"), "minio"),
    ];
    for (join, expected) in joins {
        let (api, volume) = (seed(), tempfile::tempdir().unwrap());
        before_the_pin(&api, join);
        let error = api.snapshot(volume.path()).await.1.err().unwrap();
        assert!(
            matches!(&error, BackupError::Unsettled { namespace } if namespace == expected),
            "{error}"
        );
        assert!(error.is_expired());
    }
}

#[tokio::test]
async fn on_a_seed_the_scope_is_that_of_the_revision_and_clusters_are_read_once() {
    let (api, volume) = (seed(), tempfile::tempdir().unwrap());
    before_the_pin(&api, |state| {
        second_cluster(state);
        state.add_namespace("minio");
        state.add_secret("cluster-c2", "ca", "x");
    });
    let snapshot = api.snapshot_with(volume.path(), Reach::Everywhere).await.1.unwrap();
    let manifest = &snapshot.written.manifest;
    let namespaces: Vec<&str> = manifest.scope.namespaces.iter().map(String::as_str).collect();
    assert_eq!(
        namespaces,
        ["cert-manager", "cluster-c1", "cluster-c2", "kubermatic", "minio"]
    );
    assert_eq!(count(manifest, "secrets"), 6);
    let log = api.change(|state| state.log.clone());
    let lists = log
        .iter()
        .filter(|line| line.starts_with(CLUSTERS) && !line.contains("limit=1"));
    // Seven Clusters in pages of three.
    assert_eq!(lists.count(), 3, "{log:?}");
    // The second list of the verification has the same scope.
    compare_at_revision(&api.source(3), manifest, &snapshot.ledger)
        .await
        .unwrap();
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Names of files below a folder that contain a text.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if contains(&std::fs::read(&path).unwrap(), text) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// With it, this program is the backup of [`a_backup_needs_no_temporary_folder`]: the volume.
const VOLUME: &str = "TEST_BACKUP_VOLUME";

/// Plaintext cannot touch a disk there. A program of its own, because the temporary folder is the whole process's.
#[tokio::test]
async fn a_backup_needs_no_temporary_folder() {
    if let Some(volume) = std::env::var_os(VOLUME) {
        assert!(tempfile::tempfile().is_err());
        let backed_up = seed().run(Path::new(&volume)).back_up().await.unwrap();
        assert_eq!(backed_up.path, "run-1/master");
        return;
    }
    let volume = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::secrets::a_backup_needs_no_temporary_folder"])
        .env(VOLUME, volume.path())
        .env("TMPDIR", volume.path().join("absent"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(volume.path().join("run-1/master/verified.json").is_file());
}

/// Looks at the volume and the log alone: a backup has no other place to write to, see the test above.
#[tokio::test]
async fn nothing_of_a_secret_is_seen_from_outside() {
    let (api, volume) = (seed(), tempfile::tempdir().unwrap());
    api.change(|state| state.add_secret("kubermatic", "unguessable-name", "bGV0bWVpbg=="));
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    // A damaged earlier attempt makes it talk.
    api.run(volume.path()).back_up().await.unwrap();
    std::fs::write(volume.path().join("run-1/master/objects.tar.zst.age"), b"rubbish").unwrap();
    let mut told = String::new();
    let result = api.run(volume.path()).back_up().await.unwrap();
    write!(told, "{}", serde_json::to_string(&result).unwrap()).unwrap();
    drop(guard);
    assert_eq!(result.path, "run-1/master_2");
    told.push_str(&String::from_utf8(log.0.lock().unwrap().clone()).unwrap());
    assert!(told.contains("an earlier attempt is not used"), "{told}");

    let folder = crate::AttemptFolder::existing(volume.path(), "run-1", "master")
        .unwrap()
        .pop()
        .unwrap();
    let packed = plaintext(&folder);
    let plain = zstd::decode_all(packed.as_slice()).unwrap();
    let path = "objects/core/v1/secrets/kubermatic/unguessable-name.json";
    let mut tar = tar::Archive::new(plain.as_slice());
    let object = tar
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.path().unwrap().as_os_str() == path);
    let mut body = Vec::new();
    std::io::Read::read_to_end(&mut object.unwrap(), &mut body).unwrap();
    let sum = digest(&body).replace("sha256:", "");
    for hidden in [
        "bGV0bWVpbg==",
        "letmein",
        "unguessable-name",
        sum.as_str(),
        "AGE-SECRET-KEY",
    ] {
        assert_eq!(files_with(volume.path(), hidden), [""; 0], "{hidden}");
        assert!(!told.contains(hidden), "{hidden} in {told}");
    }
    // What is looked for is really there, where it belongs.
    for inside in ["bGV0bWVpbg==", "unguessable-name", sum.as_str()] {
        assert!(contains(&plain, inside), "{inside}");
    }
    assert!(!contains(&plain, "AGE-SECRET-KEY"));
}
