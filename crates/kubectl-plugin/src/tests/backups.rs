//! `backup`: what is listed, and a restore from the plan to its end, with Jobs that end as the test says.

use std::sync::{Arc, Mutex};

use http::Method;
use kube::Client;
use serde_json::{Value, json};

use super::fake_api::{FakeApi, answering};
use super::{Outcome, backup, command};
use crate::arguments::BackupOutput;
use crate::backup::{records, show};
use crate::console::Console;
use crate::exit::Exit;

const LOCATION: &str = "run-1/master_2";
const IN_BUCKET: &str = "s3://backups/platform/prod/run-1/master_2";

pub(super) fn upgrade() -> Value {
    json!({"apiVersion": "upgrade.k8c.io/v1alpha1", "kind": "KKPUpgrade",
        "metadata": {"name": "to-2-31", "namespace": "kubermatic", "uid": "u", "resourceVersion": "1"},
        "spec": {"targetVersion": "2.31.0",
            "backup": {"storage": {"persistentVolumeClaim": {"claimName": "backups", "path": "prod"}}}},
        "status": {"targets": [{"name": "master", "state": "BackedUp", "backup": {"location": LOCATION,
            "digest": "sha256:abc", "objects": 12, "bytes": 3456, "verifiedTime": "2026-01-02T03:04:05Z"}}]}})
}

/// The same with its backup in a bucket.
pub(super) fn upgrade_on_s3() -> Value {
    let mut upgrade = upgrade();
    upgrade["spec"]["backup"]["storage"] = json!({"s3": {"endpoint": "https://s3.example.test:9000", "bucket": "backups",
        "prefix": "platform/prod", "credentialsSecretRef": {"name": "s3"}}});
    upgrade["status"]["targets"][0]["backup"]["location"] = IN_BUCKET.into();
    upgrade
}

#[tokio::test]
async fn backups_are_listed_from_the_status() {
    let api = FakeApi::default();
    let path = "/apis/upgrade.k8c.io/v1alpha1/namespaces/kubermatic/kkpupgrades/to-2-31";
    api.put(path, upgrade());
    for name in [None, Some("to-2-31")] {
        let found = records(&api.client(), "kubermatic", name).await.unwrap();
        let (mut console, output, _) = Console::capturing("", 200);
        show(&found, BackupOutput::Table, &mut console).unwrap();
        let table = output.take();
        for word in [
            "to-2-31",
            "backups:prod",
            LOCATION,
            "12",
            "3456",
            "2026-01-02T03:04:05Z",
            "sha256:abc",
        ] {
            assert!(table.contains(word), "{word} in {table}");
        }
        show(&found, BackupOutput::Json, &mut console).unwrap();
        let list: Vec<Value> = serde_json::from_str(&output.take()).unwrap();
        assert_eq!(list[0]["location"], LOCATION);
    }
    api.put(path, upgrade_on_s3());
    let found = records(&api.client(), "kubermatic", Some("to-2-31")).await.unwrap();
    let (mut console, output, _) = Console::capturing("", 200);
    show(&found, BackupOutput::Table, &mut console).unwrap();
    let table = output.take();
    assert!(table.contains("(bucket)") && table.contains(IN_BUCKET), "{table}");
    api.edit(path, |upgrade| upgrade["status"]["targets"] = json!([]));
    let none = records(&api.client(), "kubermatic", Some("to-2-31")).await.unwrap_err();
    assert_eq!(none.exit, Exit::NotFound);
}

/// A cluster whose restore Jobs end at once, each with the next of these last words.
#[derive(Clone, Default)]
pub(super) struct Cluster {
    pub(super) words: Arc<Mutex<Vec<Value>>>,
    pub(super) jobs: Arc<Mutex<Vec<Value>>>,
    pub(super) without_account: bool,
    /// Instead of the one on a volume.
    pub(super) upgrade: Option<Value>,
}

impl Cluster {
    pub(super) fn ending(words: &[Value]) -> Self {
        let words = words.iter().rev().cloned().collect();
        Self {
            words: Arc::new(Mutex::new(words)),
            ..Self::default()
        }
    }

    pub(super) fn client(&self) -> Client {
        let cluster = self.clone();
        answering(move |method, path, body| cluster.answer(method, path, body))
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let meta = |name: &str| json!({"name": name, "namespace": "kubermatic", "uid": "u", "resourceVersion": "1"});
        if path.ends_with("/log") {
            return (
                200,
                b"{\"level\":\"INFO\"}\nupdate   secrets kubermatic/dex\x1b[2J\nplan: sha256:p\n".to_vec(),
            );
        }
        let value = match (method, path.rsplit('/').next().unwrap()) {
            (&Method::POST, "jobs") => {
                self.jobs.lock().unwrap().push(serde_json::from_slice(body).unwrap());
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta("job-1")})
            }
            (&Method::GET, "job-1") => json!({"metadata": meta("job-1"),
                "status": {"conditions": [{"type": "Complete", "status": "True"}]}}),
            (&Method::GET, "pods") => {
                let words = self.words.lock().unwrap().pop().unwrap();
                json!({"metadata": {}, "items": [{"metadata": meta("job-1-x"), "status": {"containerStatuses": [{
                    "name": "restore", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"terminated": {"exitCode": 0, "message": words.to_string()}}}]}}]})
            }
            (&Method::GET, "to-2-31") => self.upgrade.clone().unwrap_or_else(upgrade),
            (&Method::GET, "kkp-upgrade-restore") if !self.without_account => {
                json!({"metadata": meta("kkp-upgrade-restore")})
            }
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

    async fn restore(&self, flags: &[&str], answer: &str) -> Outcome {
        backup(self.client(), &[&["restore"], flags].concat(), answer).await
    }

    /// Command lines of the Jobs so far.
    pub(super) fn lines(&self) -> Vec<String> {
        let container = |job: &Value| job["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
        self.jobs.lock().unwrap().iter().map(container).collect()
    }
}

fn planned() -> Value {
    json!({"planDigest": "sha256:p", "counts": {"create": 0, "update": 1, "equal": 3, "refused": 0}, "findings": 0})
}

fn done() -> Value {
    json!({"planDigest": "sha256:p", "counts": {"update": 1}, "written": 1, "findings": 0})
}

#[tokio::test]
async fn nothing_is_written_before_the_location_is_typed() {
    let cluster = Cluster::ending(&[planned(), done()]);
    let outcome = cluster.restore(&["to-2-31"], &format!("{LOCATION}\n")).await;
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.errors);
    // The Job's own log and escape sequences stay out.
    assert!(
        outcome.output.contains("update   secrets kubermatic/dex[2J\n"),
        "{}",
        outcome.output
    );
    assert!(!outcome.output.contains("INFO"), "{}", outcome.output);
    let lines = cluster.lines();
    assert!(
        lines[0].contains("--plan-only") && lines[0].contains("--manifest-digest=sha256:abc"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("--confirm=sha256:p") && lines[1].contains("--name=run-1"),
        "{lines:?}"
    );
    for wrong in ["yes\n", "\n", "run-1/master\n"] {
        let cluster = Cluster::ending(&[planned(), done()]);
        assert_eq!(cluster.restore(&["to-2-31"], wrong).await.exit, Exit::Usage);
        assert_eq!(cluster.lines().len(), 1, "{wrong}");
    }
}

#[tokio::test]
async fn off_a_terminal_only_the_digest_of_the_plan_confirms() {
    let cluster = Cluster::ending(&[planned()]);
    let outcome = cluster.restore(&["to-2-31"], "").await;
    assert_eq!((outcome.exit, cluster.lines().len()), (Exit::Waits, 1));
    assert!(outcome.errors.contains("--confirm=sha256:p"), "{}", outcome.errors);
    let cluster = Cluster::ending(&[planned()]);
    let outcome = cluster.restore(&["to-2-31", "--plan"], &format!("{LOCATION}\n")).await;
    assert_eq!((outcome.exit, cluster.lines().len()), (Exit::Done, 1));
    let cluster = Cluster::ending(&[done()]);
    let outcome = cluster.restore(&["to-2-31", "--confirm=sha256:p"], "").await;
    assert_eq!((outcome.exit, cluster.lines().len()), (Exit::Done, 1));
}

#[tokio::test]
async fn what_stops_a_restore_is_told_with_the_way_out() {
    let cluster = Cluster::ending(&[json!({"error": "no key opens it"})]);
    let outcome = cluster.restore(&["to-2-31"], "x\n").await;
    assert_eq!(outcome.exit, Exit::Blocked);
    assert!(
        outcome.errors.contains("no key opens it") && outcome.errors.contains("logs job/job-1"),
        "{}",
        outcome.errors
    );
    let cluster = Cluster {
        without_account: true,
        ..Cluster::default()
    };
    let outcome = cluster.restore(&["to-2-31"], "").await;
    assert_eq!((outcome.exit, cluster.lines().len()), (Exit::NotFound, 0));
    assert!(
        outcome.errors.contains("kubectl apply -k deploy/restore"),
        "{}",
        outcome.errors
    );
    let cluster = Cluster::default();
    let outcome = cluster.restore(&["to-2-31", "--target", "eu"], "").await;
    assert!(outcome.errors.contains("--target: master"), "{}", outcome.errors);
    let outcome = cluster.restore(&["--location", "elsewhere", "--claim", "c"], "").await;
    assert_eq!((outcome.exit, cluster.lines().len()), (Exit::Usage, 0));
}

#[tokio::test]
async fn a_backup_is_named_one_way() {
    for wrong in [
        &["backup"][..],
        &["backup", "restore"],
        &["backup", "restore", "a", "--location", "b/c", "--claim", "d"],
        &["backup", "restore", "--location", "b/c"],
        &["backup", "restore", "--location", "s3://a/b/c"],
        &["backup", "restore", "a", "--s3-region=b"],
        &["backup", "restore", "a", "--claim=b", "--s3-credentials=c"],
        &["backup", "restore", "a", "--s3-credentials=c", "--s3-ca-bundle=d"],
        &["backup", "restore", "a", "--plan", "--confirm=x"],
    ] {
        assert_eq!(command(wrong, "").await.exit, Exit::Usage, "{wrong:?}");
    }
}

#[tokio::test]
async fn a_backup_in_a_bucket_is_restored_from_where_its_location_says() {
    let cluster = Cluster {
        upgrade: Some(upgrade_on_s3()),
        ..Cluster::ending(&[planned(), done()])
    };
    let outcome = cluster.restore(&["to-2-31"], &format!("{IN_BUCKET}\n")).await;
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.errors);
    for line in cluster.lines() {
        for argument in [
            "--s3-bucket=backups",
            "--s3-prefix=platform/prod",
            "--s3-endpoint=https://s3.example.test:9000",
            "--name=run-1",
            "--target=master",
            "--manifest-digest=sha256:abc",
        ] {
            assert!(line.contains(argument), "{argument} in {line}");
        }
    }
    let secrets = cluster.jobs.lock().unwrap()[0]["spec"]["template"]["spec"]["volumes"].to_string();
    assert!(secrets.contains("\"secretName\":\"s3\""), "{secrets}");

    let cluster = Cluster::ending(&[planned()]);
    let flags = [
        "--location=s3://old/run-2/eu",
        "--s3-credentials=keys",
        "--s3-region=eu-1",
        "--plan",
    ];
    let error = cluster.restore(&flags, "").await;
    // The Seed is not there yet: the bucket is right.
    assert_eq!(
        (error.exit, cluster.lines().len()),
        (Exit::NotFound, 0),
        "{}",
        error.errors
    );
    let flags = [&["--location=s3://old/run-2/master"][..], &flags[1..]].concat();
    let outcome = cluster.restore(&flags, "").await;
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.errors);
    let line = cluster.lines().remove(0);
    for argument in [
        "--s3-bucket=old",
        "--s3-region=eu-1",
        "--s3-virtual-hosted",
        "--name=run-2",
    ] {
        assert!(line.contains(argument), "{argument} in {line}");
    }
    assert!(
        !line.contains("--s3-prefix") && !line.contains("--destination"),
        "{line}"
    );
}

#[tokio::test]
async fn a_storage_that_is_not_the_one_of_the_location_is_refused() {
    let with = |spec: &Value, status: &Value| {
        let mut upgrade = upgrade();
        upgrade["spec"] = spec["spec"].clone();
        upgrade["status"] = status["status"].clone();
        Cluster {
            upgrade: Some(upgrade),
            ..Cluster::default()
        }
    };
    let mut other = upgrade_on_s3();
    other["spec"]["backup"]["storage"]["s3"]["prefix"] = "platform".into();
    for (cluster, flags, message) in [
        (
            with(&upgrade(), &upgrade_on_s3()),
            &["to-2-31"][..],
            "names another storage now",
        ),
        (
            with(&other, &upgrade_on_s3()),
            &["to-2-31"],
            "names another storage now",
        ),
        (with(&upgrade_on_s3(), &upgrade()), &["to-2-31"], "names a bucket now"),
        (
            with(&upgrade_on_s3(), &upgrade_on_s3()),
            &["to-2-31", "--claim=c"],
            "are for volumes",
        ),
        (
            with(&upgrade(), &upgrade()),
            &["to-2-31", "--s3-credentials=s"],
            "is for buckets",
        ),
        (
            Cluster::default(),
            &["--location=s3://a/b/master", "--claim=c"],
            "are for volumes",
        ),
        (
            Cluster::default(),
            &["--location=a/master", "--s3-credentials=s"],
            "is for buckets",
        ),
        (
            Cluster::default(),
            &["--location=s3://master/a", "--s3-credentials=s"],
            "no location",
        ),
        (
            Cluster::default(),
            &["--location=s3://a//b/master", "--s3-credentials=s"],
            "no location",
        ),
        (
            Cluster::default(),
            &["--location=a/b/master", "--claim=c"],
            "no location",
        ),
    ] {
        let outcome = cluster.restore(flags, "").await;
        assert_eq!(outcome.exit, Exit::Usage, "{flags:?}: {}", outcome.errors);
        assert!(outcome.errors.contains(message), "{flags:?}: {}", outcome.errors);
        assert_eq!(cluster.lines().len(), 0);
    }
}
