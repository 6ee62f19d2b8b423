//! What a node does when a test asks for trouble.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kkp_lab::pod_runner::{ControlCommand, PodRunnerConfig, StartBehaviour};
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::bed::{Bed, shell, spawn_runner};

async fn on_start(bed: &Bed, app: &str, behaviour: StartBehaviour) {
    let labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
    bed.control
        .send(&ControlCommand::OnStart {
            labels,
            behaviour,
            pods: None,
        })
        .await
        .unwrap();
}

fn is_running(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["state"]["running"].is_object()
}

pub(crate) async fn a_killed_process_is_restarted(bed: Bed) {
    bed.pod(
        "p",
        json!({"terminationGracePeriodSeconds": 0, "containers": [shell("c", "exec sleep 1000")]}),
    )
    .await;
    bed.wait_pod("p", "process", is_running).await;
    let kill = ControlCommand::Kill {
        namespace: bed.namespace.clone(),
        pod: "p".to_owned(),
        container: None,
        signal: "SIGKILL".to_owned(),
    };
    assert_eq!(bed.control.send(&kill).await.unwrap(), 1);
    let pod = bed
        .wait_pod("p", "restart", |pod| {
            pod["status"]["containerStatuses"][0]["restartCount"] == 1 && is_running(pod)
        })
        .await;
    assert_eq!(
        pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"],
        137
    );
}

pub(crate) async fn a_pod_can_start_twice(bed: Bed) {
    on_start(&bed, "twice", StartBehaviour::Twice { after_milliseconds: 0 }).await;
    let mut container = shell(
        "c",
        "echo run >> /state/runs; until test $(wc -l < /state/runs) -ge 2; do sleep 0.05; done",
    );
    container["volumeMounts"] = json!([{"name": "state", "mountPath": "/state"}]);
    let claim = json!({"metadata": {"name": "state"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    bed.create("v1", "PersistentVolumeClaim", claim).await;
    let volume = json!({"name": "state", "persistentVolumeClaim": {"claimName": "state"}});
    // Neither run ends before it has seen the other one.
    bed.job("twice", json!({"containers": [container], "volumes": [volume]}))
        .await;
    bed.wait_phase("twice", "Succeeded").await;
}

pub(crate) async fn a_pod_can_start_never_or_late(bed: Bed) {
    on_start(&bed, "never", StartBehaviour::Never).await;
    on_start(&bed, "late", StartBehaviour::Slowly { milliseconds: 1500 }).await;
    let start = std::time::Instant::now();
    bed.job("never", json!({"containers": [shell("c", "echo ran")]})).await;
    bed.job("late", json!({"containers": [shell("c", "echo ran")]})).await;
    bed.wait_phase("late", "Succeeded").await;
    assert!(start.elapsed() >= std::time::Duration::from_millis(1500));
    let pod = bed.wait_phase("never", "Pending").await;
    assert_eq!(bed.log(&pod, "c"), "");
    bed.api::<Pod>()
        .delete(pod["metadata"]["name"].as_str().unwrap(), &DeleteParams::default())
        .await
        .unwrap();
    let name = pod["metadata"]["name"].as_str().unwrap();
    bed.wait("removal", async || {
        bed.api::<Pod>().get_opt(name).await.unwrap().is_none().then_some(())
    })
    .await;
}

/// A second node of its own, so that its runner can be stopped without the other cases noticing.
pub(crate) async fn a_lost_job_pod_fails_after_a_restart_of_the_runner(bed: Bed) {
    let config = PodRunnerConfig {
        node_name: "restarted".to_owned(),
        work_folder: bed.work_folder.with_file_name("pods-restarted"),
        ..bed.config.clone()
    };
    std::fs::create_dir_all(&config.work_folder).unwrap();
    let runner = spawn_runner(config.clone());
    // Suspended, so that the Job's own controller leaves the Pod alone.
    let containers = json!([shell("c", "true")]);
    let job = json!({"metadata": {"name": "owner"}, "spec": {"suspend": true, "template": {"spec": {
        "restartPolicy": "Never", "containers": containers}}}});
    bed.create("batch/v1", "Job", job).await;
    let uid = bed.api::<Job>().get("owner").await.unwrap().metadata.uid;
    let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "owner", "uid": uid}]);
    for (name, references) in [("of-job", owner), ("of-nobody", Value::Null)] {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"app": name}, "ownerReferences": references},
            "spec": {"nodeName": "restarted", "terminationGracePeriodSeconds": 0, "restartPolicy": "OnFailure",
                     "containers": [shell("c", "exec sleep 1000")]},
        }))
        .unwrap();
        bed.wait("ServiceAccount admission", async || {
            bed.api::<Pod>().create(&PostParams::default(), &pod).await.ok()
        })
        .await;
        bed.wait_pod(name, "process", is_running).await;
    }
    runner.abort();
    let _ = runner.await;
    let runner = spawn_runner(config);
    let pod = bed.wait_phase("of-job", "Failed").await;
    assert_eq!(pod["status"]["reason"], "NodeRestart");
    bed.wait_pod("of-nobody", "restart", |pod| {
        pod["status"]["containerStatuses"][0]["restartCount"] == 1 && is_running(pod)
    })
    .await;
    for name in ["of-job", "of-nobody"] {
        bed.api::<Pod>().delete(name, &DeleteParams::default()).await.unwrap();
        bed.wait("removal", async || {
            bed.api::<Pod>().get_opt(name).await.unwrap().is_none().then_some(())
        })
        .await;
    }
    runner.abort();
}

pub(crate) async fn a_lost_node_catches_up(bed: Bed) {
    let script = "echo up; until test -e /state/go; do sleep 0.05; done; echo went on";
    let mut container = shell("c", script);
    container["volumeMounts"] = json!([{"name": "state", "mountPath": "/state"}]);
    let claim = json!({"metadata": {"name": "state"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    bed.create("v1", "PersistentVolumeClaim", claim).await;
    let volume = json!({"name": "state", "persistentVolumeClaim": {"claimName": "state"}});
    bed.job("j", json!({"containers": [container], "volumes": [volume]}))
        .await;
    let pod = bed
        .wait_pod("j", "output", |pod| is_running(pod) && bed.log(pod, "c").contains("up"))
        .await;
    bed.control.send(&ControlCommand::LoseNode).await.unwrap();
    let folder = kkp_lab::pod_runner::claim_folder(&bed.work_folder, &bed.namespace, "state");
    std::fs::write(folder.join("go"), "").unwrap();
    bed.wait("end of the process", async || {
        bed.log(&pod, "c").contains("went on").then_some(())
    })
    .await;
    // What the API is told meanwhile is nothing: a Pod made now stays unbound, and the old one counts as running.
    bed.job("meanwhile", json!({"containers": [shell("c", "true")]})).await;
    let pod = bed.wait_pod("meanwhile", "a Pod", |_| true).await;
    assert!(pod["spec"]["nodeName"].is_null(), "{pod}");
    bed.wait_phase("j", "Running").await;
    bed.control.send(&ControlCommand::ReturnNode).await.unwrap();
    bed.wait_phase("j", "Succeeded").await;
    bed.wait_phase("meanwhile", "Succeeded").await;
}
