//! Tests: the manifests of Jobs, and how effects behave against an API that answers as a real one does.

mod effects;
pub(crate) mod fake_api;
mod fixing;
mod manifests;
mod ordering;
mod preparing;
pub(crate) mod recording;

use k8s_openapi::api::core::v1::Container;
use kkp_upgrade_core::effect::{JobIntent, JobWork};
use kkp_upgrade_core::request::{S3Bucket, Storage};

/// Where the program of a Job may write.
pub(in crate::execute) fn writable(container: &Container) -> Vec<&str> {
    let mounts = container.volume_mounts.iter().flatten();
    let writable = mounts.filter(|mount| mount.read_only != Some(true));
    writable.map(|mount| mount.mount_path.as_str()).collect()
}

fn intent(target: &str, work: JobWork) -> JobIntent {
    JobIntent {
        name: "kkpu-step-0123456789".to_owned(),
        uid: "11111111-2222-3333-4444-555555555555".to_owned(),
        run: 1,
        hop: "2.31.0".to_owned(),
        step: "step".to_owned(),
        target: target.to_owned(),
        attempt: 1,
        plan: "sha256:plan".to_owned(),
        work,
    }
}

fn installer() -> JobIntent {
    let work = JobWork::Installer {
        stack: "kubermatic-master".to_owned(),
        image: "mirror.example.test:5000/kkp/kubermatic-ee:v2.31.0".to_owned(),
        proxies: vec![("HTTPS_PROXY".to_owned(), "http://proxy.example.test:3128".to_owned())],
        flags: vec!["--skip-charts".to_owned(), "cert-manager".to_owned()],
        values_digest: "sha256:values".to_owned(),
        values_secret: Some(("values".to_owned(), "values.yaml".to_owned())),
        helm_timeout_seconds: 600,
    };
    intent("master", work)
}

fn backup(target: &str) -> JobIntent {
    let work = JobWork::Backup {
        storage: Storage::Claim {
            claim: "backups".to_owned(),
            path: "platform/prod".to_owned(),
        },
        folder: "2.30.6-to-2.31.0-11111111-run1-1".to_owned(),
        platform_version: "2.30.6".to_owned(),
        recipients: vec!["age1one".to_owned(), "age1two".to_owned()],
        cluster_uid: Some("0b5e8a2c-cluster".to_owned()),
        reader: (target != "master").then(|| target.to_owned()),
    };
    intent(target, work)
}

pub(crate) fn retention(storage: Storage) -> JobIntent {
    let cluster = |target: &str, uid: &str| (target.to_owned(), uid.to_owned());
    let work = JobWork::Retention {
        storage,
        keep: 5,
        clusters: vec![cluster("master", "uid-m"), cluster("eu", "uid-e")],
    };
    intent("master", work)
}

pub(crate) fn backup_on_s3() -> JobIntent {
    let mut intent = backup("master");
    if let JobWork::Backup { storage, .. } = &mut intent.work {
        *storage = Storage::S3(Box::new(S3Bucket {
            endpoint: Some("https://s3.example.test:9000".to_owned()),
            bucket: "backups".to_owned(),
            prefix: "platform/prod".to_owned(),
            region: "eu-central-1".to_owned(),
            path_style: true,
            ca_bundle: Some(("ca-bundle".to_owned(), "ca.pem".to_owned())),
            credentials: "backup-credentials".to_owned(),
        }));
    }
    intent
}
