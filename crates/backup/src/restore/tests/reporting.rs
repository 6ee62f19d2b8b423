//! What a restore leaves in files: the whole report, and the sum for the Job's termination message.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::fake_backup::Backup;
use super::fake_cluster::{FakeCluster, Fault};
use super::restoring::{WRITES, platform};
use crate::restore::RestoreError;

fn json_of(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[tokio::test]
async fn the_whole_report_goes_to_the_file_that_was_named_and_the_sum_to_the_result() {
    let volume = tempfile::tempdir().unwrap();
    Backup::of(&platform()).write(volume.path());
    let cluster = FakeCluster::default();
    let (file, result) = (volume.path().join("report.json"), volume.path().join("result"));
    let plan = cluster.restore(volume.path(), |arguments| arguments.report_file = Some(file.clone()));
    let plan = plan.await.unwrap();
    assert_eq!(json_of(&file), serde_json::to_value(&plan).unwrap());
    assert_eq!(json_of(&file)["objects"].as_array().unwrap().len(), platform().len());
    let done = cluster.restore(volume.path(), |arguments| {
        arguments.confirm = Some(plan.plan_digest.clone());
        arguments.report_file = Some(file.clone());
    });
    let done = done.await.unwrap();
    assert_eq!(json_of(&file), serde_json::to_value(&done).unwrap());
    let sum = json!({"planDigest": plan.plan_digest, "counts": done.counts, "written": WRITES, "findings": 0});
    assert_eq!(json_of(&result), sum);
}

#[tokio::test]
async fn a_report_that_cannot_be_written_is_an_error_and_a_failure_leaves_only_its_message() {
    let volume = tempfile::tempdir().unwrap();
    Backup::of(&platform()).write(volume.path());
    let cluster = FakeCluster::default();
    let nowhere = volume.path().join("missing/report.json");
    let error = cluster
        .restore(volume.path(), |arguments| arguments.report_file = Some(nowhere.clone()))
        .await
        .unwrap_err();
    assert!(matches!(error, RestoreError::Result(_)), "{error}");
    assert!(error.to_string().contains(nowhere.to_str().unwrap()), "{error}");
    cluster.on_call(|_| Fault::Dead);
    let file = volume.path().join("report.json");
    let error = cluster
        .restore(volume.path(), |arguments| arguments.report_file = Some(file.clone()))
        .await
        .unwrap_err();
    assert!(!file.exists());
    let left = json_of(&volume.path().join("result"));
    assert_eq!(left, json!({"error": error.to_string()}));
}
