//! `backup download`: pieces from Jobs become the files that were stored, or nothing that looks like them.

use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use http::Method;
use kkp_upgrade_core::request::sha256;
use kube::Client;
use serde_json::{Value, json};

use super::backups::{upgrade, upgrade_on_s3};
use super::fake_api::answering;
use super::{Outcome, backup, command};
use crate::exit::Exit;

/// A cluster with a stored backup, whose Jobs send ten bytes each.
#[derive(Clone)]
struct Depot {
    archive: Vec<u8>,
    manifest: Vec<u8>,
    receipt: Vec<u8>,
    upgrade: Value,
    /// Command lines of the Jobs, and names of those that were removed.
    seen: Arc<Mutex<(Vec<String>, Vec<String>)>>,
    /// What spoils the log of a Job, by its number.
    spoil: fn(usize, String) -> String,
}

impl Depot {
    fn new() -> Self {
        let archive: Vec<u8> = (0..95).collect();
        let manifest = json!({"archive": {"bytes": archive.len(), "digest": sha256(&archive)}}).to_string();
        let receipt = json!({"manifestDigest": sha256(manifest.as_bytes())}).to_string();
        let mut upgrade = upgrade();
        upgrade["status"]["targets"][0]["backup"]["digest"] = sha256(manifest.as_bytes()).into();
        Self {
            archive,
            manifest: manifest.into_bytes(),
            receipt: receipt.into_bytes(),
            upgrade,
            seen: Arc::default(),
            spoil: |_, log| log,
        }
    }

    fn client(&self) -> Client {
        let depot = self.clone();
        answering(move |method, path, body| depot.answer(method, path, body))
    }

    /// The file of the last Job, the number of the Job, and where its piece begins.
    fn last(&self) -> (Vec<u8>, usize, usize) {
        let seen = self.seen.lock().unwrap();
        let line: Vec<String> = serde_json::from_str(seen.0.last().unwrap()).unwrap();
        let flag = |name: &str| line.iter().find_map(|word| word.strip_prefix(name)).unwrap();
        let file = match flag("--file=") {
            "archive" => &self.archive,
            "manifest" => &self.manifest,
            "receipt" => &self.receipt,
            other => panic!("{other}"),
        };
        (file.clone(), seen.0.len(), flag("--offset=").parse().unwrap())
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let meta = |name: &str| json!({"name": name, "namespace": "kubermatic", "uid": "u", "resourceVersion": "1"});
        let name = path.rsplit('/').next().unwrap();
        let value = match (method, name) {
            (_, "log") => {
                let (file, number, offset) = self.last();
                let piece = &file[offset..file.len().min(offset + 10)];
                let lines = piece.chunks(4).map(|bytes| {
                    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
                    format!("data: {text}\n")
                });
                let log = format!("{{\"level\":\"INFO\"}}\n{}", lines.collect::<String>());
                return (200, (self.spoil)(number, log).into_bytes());
            }
            (&Method::POST, "jobs") => {
                let job: Value = serde_json::from_slice(body).unwrap();
                let line = job["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
                self.seen.lock().unwrap().0.push(line);
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta("job-1")})
            }
            (&Method::DELETE, name) => {
                self.seen.lock().unwrap().1.push(name.to_owned());
                json!({"metadata": meta(name)})
            }
            (&Method::GET, "job-1") => json!({"metadata": meta("job-1"),
                "status": {"conditions": [{"type": "Complete", "status": "True"}]}}),
            (&Method::GET, "pods") => {
                let (file, _, offset) = self.last();
                let piece = &file[offset..file.len().min(offset + 10)];
                let words = json!({"length": file.len(), "sent": piece.len(), "digest": sha256(piece)});
                json!({"metadata": {}, "items": [{"metadata": meta("job-1-x"), "status": {"containerStatuses": [{
                    "name": "send", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"terminated": {"exitCode": 0, "message": words.to_string()}}}]}}]})
            }
            (&Method::GET, "to-2-31") => self.upgrade.clone(),
            (&Method::GET, "kkp-upgrade-operator") => json!({"metadata": meta("kkp-upgrade-operator"), "spec": {
                "selector": {}, "template": {"spec": {"containers": [{"name": "operator", "image": "registry/operator:1"}]}}}}),
            _ => {
                let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                    "reason": "NotFound", "message": "not there"});
                return (404, missing.to_string().into_bytes());
            }
        };
        (200, value.to_string().into_bytes())
    }

    async fn download(&self, to: &Path) -> Outcome {
        self.download_of(&["to-2-31"], to).await
    }

    async fn download_of(&self, which: &[&str], to: &Path) -> Outcome {
        let to = format!("--to={}", to.display());
        backup(self.client(), &[&["download"], which, &[&to]].concat(), "").await
    }
}

/// Names in a folder, where it is there.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .map(|entries| {
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

#[tokio::test]
async fn the_files_are_those_that_were_stored() {
    let to = tempfile::tempdir().unwrap();
    let depot = Depot::new();
    let outcome = depot.download(to.path()).await;
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.errors);
    let folder = to.path().join("run-1/master_2");
    assert_eq!(
        names(&folder),
        ["manifest.json", "objects.tar.zst.age", "verified.json"]
    );
    assert_eq!(
        std::fs::read(folder.join("objects.tar.zst.age")).unwrap(),
        depot.archive
    );
    assert_eq!(std::fs::read(folder.join("manifest.json")).unwrap(), depot.manifest);
    assert_eq!(std::fs::read(folder.join("verified.json")).unwrap(), depot.receipt);
    let (jobs, removed) = depot.seen.lock().unwrap().clone();
    assert!(jobs.len() > 10 && removed.len() == jobs.len());
    assert!(
        jobs.iter()
            .all(|line| line.contains("--folder=master_2") && line.contains("--name=run-1"))
    );
    let again = depot.download(to.path()).await;
    assert!(
        again.exit == Exit::Usage && again.errors.contains("is ever written over"),
        "{}",
        again.errors
    );
}

#[tokio::test]
async fn a_backup_whose_upgrade_is_gone_is_downloaded_by_its_location() {
    let to = tempfile::tempdir().unwrap();
    let depot = Depot {
        upgrade: Value::Null,
        ..Depot::new()
    };
    let outcome = depot
        .download_of(&["--location=run-1/eu", "--claim=vault"], to.path())
        .await;
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.errors);
    assert_eq!(names(&to.path().join("run-1/eu")).len(), 3);
    let outcome = depot
        .download_of(&["--location=../eu", "--claim=vault"], to.path())
        .await;
    assert!(outcome.errors.contains("no folder of a backup"), "{}", outcome.errors);
}

#[tokio::test]
async fn a_download_that_breaks_leaves_nothing_that_looks_whole() {
    let spoils: [fn(usize, String) -> String; 3] = [
        |number, log| {
            if number == 20 {
                log.replace("data: ", "data: A")
            } else {
                log
            }
        },
        |number, log| if number == 20 { String::new() } else { log },
        |number, log| {
            if number == 3 {
                log.lines().take(2).collect()
            } else {
                log
            }
        },
    ];
    for spoil in spoils {
        let to = tempfile::tempdir().unwrap();
        let depot = Depot { spoil, ..Depot::new() };
        let outcome = depot.download(to.path()).await;
        assert_eq!(outcome.exit, Exit::Unexpected, "{}", outcome.errors);
        assert_eq!(names(&to.path().join("run-1/master_2")), [""; 0]);
    }
}

type Change = fn(&mut Depot);

#[tokio::test]
async fn what_is_stored_and_not_what_it_was_is_refused() {
    let changes: [(Change, &str); 5] = [
        (|depot| depot.archive[50] ^= 1, "another digest than its manifest"),
        (|depot| depot.archive.truncate(50), "has 50 bytes and should have 95"),
        (|depot| depot.manifest.push(b' '), "another digest than was expected"),
        (
            |depot| depot.receipt = b"{}".to_vec(),
            "verified.json is not that of this backup",
        ),
        (
            |depot| depot.upgrade["status"]["targets"][0]["backup"]["location"] = "../master".into(),
            "no folder of a backup",
        ),
    ];
    for (change, said) in changes {
        let to = tempfile::tempdir().unwrap();
        let mut depot = Depot::new();
        change(&mut depot);
        let outcome = depot.download(to.path()).await;
        assert_ne!(outcome.exit, Exit::Done);
        assert!(outcome.errors.contains(said), "{said}: {}", outcome.errors);
        assert_eq!(names(&to.path().join("run-1/master_2")), [""; 0], "{said}");
    }
}

#[tokio::test]
async fn a_bucket_is_read_by_the_jobs_and_a_folder_has_to_be_named() {
    let to = tempfile::tempdir().unwrap();
    let mut depot = Depot::new();
    let digest = depot.upgrade["status"]["targets"][0]["backup"]["digest"].clone();
    depot.upgrade = upgrade_on_s3();
    depot.upgrade["status"]["targets"][0]["backup"]["digest"] = digest;
    let outcome = depot.download(to.path()).await;
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.errors);
    assert!(depot.seen.lock().unwrap().0[0].contains("--s3-bucket=backups"));
    assert_eq!(command(&["backup", "download", "to-2-31"], "").await.exit, Exit::Usage);
}
