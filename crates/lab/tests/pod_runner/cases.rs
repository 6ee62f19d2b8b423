//! What a well-behaved node does.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kkp_lab::pod_runner::claim_folder;
use kube::Api;
use kube::api::{DeleteParams, LogParams};
use serde_json::{Value, json};

use crate::bed::{Bed, shell, shell_image};

fn is_complete(job: &Job) -> bool {
    job.status
        .as_ref()
        .is_some_and(|status| status.succeeded == Some(1) && status.completion_time.is_some())
}

pub(crate) async fn a_deployment_of_an_unknown_image_becomes_available(bed: Bed) {
    let deployment = json!({"metadata": {"name": "d"}, "spec": {
        "replicas": 50,
        "selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "unknown:1"}]}},
    }});
    bed.create("apps/v1", "Deployment", deployment).await;
    bed.wait_object::<Deployment>("d", "available Deployment", |found| {
        found
            .status
            .as_ref()
            .is_some_and(|status| status.available_replicas == Some(50))
    })
    .await;
    bed.api::<Deployment>()
        .delete("d", &DeleteParams::background())
        .await
        .unwrap();
    bed.wait("removal of all Pods", async || {
        bed.api::<Pod>()
            .list(&kube::api::ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
            .then_some(())
    })
    .await;
}

pub(crate) async fn a_job_completes(bed: Bed) {
    bed.job("j", json!({"containers": [shell("c", "echo out; echo err >&2")]}))
        .await;
    bed.wait_object::<Job>("j", "complete Job", is_complete).await;
    let pod = bed.wait_phase("j", "Succeeded").await;
    assert_eq!(bed.log(&pod, "c"), "out\nerr\n");
    assert_eq!(
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"],
        0
    );
}

pub(crate) async fn a_log_is_read_through_the_api_server_and_whole(bed: Bed) {
    bed.job("j", json!({"containers": [shell("c", "echo out; echo err >&2")]}))
        .await;
    let pod = bed.wait_phase("j", "Succeeded").await;
    let name = pod["metadata"]["name"].as_str().unwrap();
    let pods = bed.api::<Pod>();
    assert_eq!(pods.logs(name, &LogParams::default()).await.unwrap(), "out\nerr\n");
    let last_line = LogParams {
        tail_lines: Some(1),
        ..LogParams::default()
    };
    let refused = pods.logs(name, &last_line).await.unwrap_err().to_string();
    assert!(refused.contains("tailLines=1"), "{refused}");

    // Without a certificate of the cluster nobody reads it past the API server.
    let nodes: Api<Node> = Api::all(bed.client.clone());
    let node = serde_json::to_value(nodes.get(&bed.config.node_name).await.unwrap()).unwrap();
    let port = &node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
    let mut config = kube::Config::new(format!("https://127.0.0.1:{port}").parse().unwrap());
    config.accept_invalid_certs = true;
    let stranger = kube::Client::try_from(config).unwrap();
    let path = format!("/containerLogs/{}/{name}/c", bed.namespace);
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    assert!(stranger.request_text(request).await.is_err());
}

pub(crate) async fn a_failed_job_tells_code_and_last_words(bed: Bed) {
    let mut quiet = shell("c", "echo this is the reason; exit 3");
    quiet["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    let telling = shell("t", "echo noise; echo my own words > /dev/termination-log; exit 4");
    bed.job("j", json!({"containers": [quiet, telling]})).await;
    let pod = bed.wait_phase("j", "Failed").await;
    let ended = |index: usize| pod["status"]["containerStatuses"][index]["state"]["terminated"].clone();
    assert_eq!(
        (&ended(0)["exitCode"], &ended(0)["message"]),
        (&json!(3), &json!("this is the reason\n"))
    );
    assert_eq!(
        (&ended(1)["exitCode"], &ended(1)["message"]),
        (&json!(4), &json!("my own words\n"))
    );
    bed.wait_object::<Job>("j", "failed Job", |job| {
        job.status.as_ref().is_some_and(|status| status.failed == Some(1))
    })
    .await;
}

fn waits_for(pod: &Value, reason: &str) -> bool {
    pod["status"]["phase"] == "Pending" && pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
}

pub(crate) async fn a_job_without_image_waits_until_it_is_there(bed: Bed) {
    let reference = "lab.example/late:1";
    bed.job(
        "j",
        json!({"containers": [{"name": "c", "image": reference, "command": ["tool", "-c", "exit 0"]}]}),
    )
    .await;
    let pod = bed
        .wait_pod("j", "ErrImagePull", |pod| waits_for(pod, "ErrImagePull"))
        .await;
    assert_eq!(pod["status"]["containerStatuses"][0]["ready"], false);
    bed.images.add(reference, &shell_image()).unwrap();
    bed.wait_object::<Job>("j", "complete Job", is_complete).await;
}

pub(crate) async fn a_job_without_program_waits(bed: Bed) {
    bed.job(
        "j",
        json!({"containers": [{"name": "c", "image": "lab.example/shell:1", "command": ["no-such-program"]}]}),
    )
    .await;
    let pod = bed
        .wait_pod("j", "RunContainerError", |pod| waits_for(pod, "RunContainerError"))
        .await;
    let message = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
        .as_str()
        .unwrap();
    assert!(message.contains("no-such-program"), "{message}");
}

pub(crate) async fn the_service_account_token_works(bed: Bed) {
    let script = r#"cd /var/run/secrets/kubernetes.io/serviceaccount
        curl -s --cacert ca.crt -H "Authorization: Bearer $(cat token)" \
        https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/apis/authentication.k8s.io/v1/selfsubjectreviews \
        -H 'Content-Type: application/json' -d '{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}' | tr -d ' \n'; cat namespace"#;
    bed.job("j", json!({"containers": [shell("c", script)]})).await;
    let pod = bed.wait_phase("j", "Succeeded").await;
    let log = bed.log(&pod, "c");
    assert!(
        log.contains(&format!(
            "\"username\":\"system:serviceaccount:{}:default\"",
            bed.namespace
        )),
        "{log}"
    );
    assert!(
        log.contains(pod["metadata"]["uid"].as_str().unwrap()),
        "the token is bound to the Pod: {log}"
    );
    assert!(log.ends_with(&bed.namespace), "{log}");
}

pub(crate) async fn a_program_gets_its_grace_period(bed: Bed) {
    let script = "trap 'echo got it; sleep 0.3; echo done; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    bed.pod(
        "p",
        json!({"restartPolicy": "Never", "containers": [shell("c", script)]}),
    )
    .await;
    let pod = bed
        .wait_pod("p", "output", |pod| bed.log(pod, "c").contains("up"))
        .await;
    let log = || bed.log(&pod, "c");
    let pods = bed.api::<Pod>();
    let mut watched = std::pin::pin!(kube::runtime::watcher(
        pods.clone(),
        kube::runtime::watcher::Config::default()
    ));
    pods.delete("p", &DeleteParams::default()).await.unwrap();
    let mut phases = Vec::new();
    while let Some(event) = futures::StreamExt::next(&mut watched).await {
        match event.unwrap() {
            kube::runtime::watcher::Event::Apply(pod) => phases.extend(pod.status.and_then(|status| status.phase)),
            kube::runtime::watcher::Event::Delete(_) => break,
            _ => {}
        }
    }
    assert_eq!(log(), "up\ngot it\ndone\n");
    assert_eq!(
        phases.last().map(String::as_str),
        Some("Succeeded"),
        "terminal before it is removed: {phases:?}"
    );
}

pub(crate) async fn a_stubborn_program_is_killed(bed: Bed) {
    let script = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    bed.pod(
        "p",
        json!({"terminationGracePeriodSeconds": 1, "containers": [shell("c", script)]}),
    )
    .await;
    bed.wait_pod("p", "output", |pod| bed.log(pod, "c").contains("up"))
        .await;
    let start = std::time::Instant::now();
    bed.api::<Pod>().delete("p", &DeleteParams::default()).await.unwrap();
    bed.wait("removal", async || {
        bed.api::<Pod>().get_opt("p").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(
        start.elapsed() >= std::time::Duration::from_secs(1),
        "the grace period was kept"
    );
}

pub(crate) async fn a_claim_outlives_its_pods(bed: Bed) {
    let claim = json!({"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    bed.create("v1", "PersistentVolumeClaim", claim).await;
    let job = |script: &str, read_only: bool| {
        let mut container = shell("c", script);
        container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data", "subPath": "sub"}]);
        let claim = json!({"claimName": "data", "readOnly": read_only});
        json!({"containers": [container], "volumes": [{"name": "data", "persistentVolumeClaim": claim}]})
    };
    bed.job("write", job("echo kept > /data/file", false)).await;
    bed.wait_phase("write", "Succeeded").await;
    bed.job("read", job("cat /data/file; echo x > /data/file || echo refused", true))
        .await;
    let pod = bed.wait_phase("read", "Succeeded").await;
    let log = bed.log(&pod, "c");
    assert!(log.starts_with("kept\n") && log.ends_with("refused\n"), "{log}");
    let claim = bed.api::<PersistentVolumeClaim>().get("data").await.unwrap();
    assert_eq!(claim.status.unwrap().phase.as_deref(), Some("Bound"));
    let folder = claim_folder(&bed.work_folder, &bed.namespace, "data");
    assert_eq!(std::fs::read_to_string(folder.join("sub/file")).unwrap(), "kept\n");
}

pub(crate) async fn init_containers_run_in_order(bed: Bed) {
    let with_volume = |name: &str, script: &str| {
        let mut container = shell(name, script);
        container["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
        container
    };
    let spec = json!({
        "volumes": [{"name": "shared", "emptyDir": {}}],
        "initContainers": [with_volume("one", "sleep 0.2; echo one >> /shared/order"), with_volume("two", "echo two >> /shared/order")],
        "containers": [with_volume("c", "cat /shared/order")],
    });
    bed.job("good", spec.clone()).await;
    let pod = bed.wait_phase("good", "Succeeded").await;
    assert_eq!(bed.log(&pod, "c"), "one\ntwo\n");
    let mut broken = spec;
    broken["initContainers"][0]["command"] = json!(["sh", "-c", "exit 7"]);
    bed.job("bad", broken).await;
    let pod = bed.wait_phase("bad", "Failed").await;
    assert_eq!(
        pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"],
        7
    );
    assert_eq!(
        bed.log(&pod, "two") + &bed.log(&pod, "c"),
        "",
        "nothing after the failed one ran"
    );
}

pub(crate) async fn failures_are_restarted_with_back_off(bed: Bed) {
    let mut container = shell("c", "echo run >> /state/runs; test $(wc -l < /state/runs) -ge 3");
    container["volumeMounts"] = json!([{"name": "state", "mountPath": "/state"}]);
    let spec = json!({"restartPolicy": "OnFailure", "containers": [container], "volumes": [{"name": "state", "emptyDir": {}}]});
    bed.pod("p", spec).await;
    let pod = bed.wait_phase("p", "Succeeded").await;
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["restartCount"], 2);
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
}

pub(crate) async fn a_foreign_sidecar_is_faked_beside_a_program(bed: Bed) {
    let spec = json!({
        "initContainers": [{"name": "foreign-init", "image": "unknown:1"}],
        "containers": [shell("c", "echo up; exec sleep 1000"), {"name": "foreign", "image": "unknown:1"}],
        "terminationGracePeriodSeconds": 1,
    });
    bed.pod("p", spec).await;
    let pod = bed
        .wait_pod("p", "readiness", |pod| {
            let statuses = pod["status"]["containerStatuses"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            statuses.len() == 2
                && statuses.iter().all(|status| status["ready"] == true)
                && bed.log(pod, "c").contains("up")
        })
        .await;
    assert_eq!(pod["status"]["phase"], "Running");
    bed.api::<Pod>().delete("p", &DeleteParams::default()).await.unwrap();
    bed.wait("removal", async || {
        bed.api::<Pod>().get_opt("p").await.unwrap().is_none().then_some(())
    })
    .await;
}

pub(crate) async fn the_sandbox_is_what_the_pod_asks_for(bed: Bed) {
    let script = "id -u; id -g; id -G; hostname; echo $$$$; pwd; \
        (echo x > /file) 2>/dev/null || echo read-only; echo ok > /tmp/x && cat /tmp/x; ls /proc | grep -c '^[0-9]'; \
        test -e /root/.bashrc || test -e /home || echo no-host-files; cat /dev/null && echo null";
    let mut container = shell("c", script);
    container["workingDir"] = json!("/work/here");
    container["securityContext"] = json!({"readOnlyRootFilesystem": true, "runAsGroup": 2000});
    container["volumeMounts"] = json!([{"name": "tmp", "mountPath": "/tmp"}]);
    let spec = json!({
        "securityContext": {"runAsUser": 1000, "runAsNonRoot": true, "fsGroup": 3000},
        "containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}],
    });
    bed.job("j", spec).await;
    let pod = bed.wait_phase("j", "Succeeded").await;
    let log = bed.log(&pod, "c");
    let lines: Vec<&str> = log.lines().collect();
    let name = pod["metadata"]["name"].as_str().unwrap();
    // A user namespace made without privileges has one user, and every container is that one.
    let users = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let has_one_user = users.split_whitespace().nth(2) == Some("1");
    let ids = if has_one_user {
        ["0", "0", "0"]
    } else {
        ["1000", "2000", "2000 3000"]
    };
    assert_eq!((&lines[..3], &lines[3..5]), (&ids[..], &[name, "1"][..]), "{log}");
    assert_eq!(lines[5..8], ["/work/here", "read-only", "ok"], "{log}");
    assert!(lines[8].parse::<u32>().unwrap() <= 4, "only its own processes: {log}");
    assert_eq!(lines[9..], ["no-host-files", "null"], "{log}");
}

pub(crate) async fn readiness_follows_the_probe(bed: Bed) {
    let mut container = shell(
        "c",
        "until test -e /state/go; do sleep 0.05; done; touch /state/ready; exec sleep 1000",
    );
    container["volumeMounts"] = json!([{"name": "state", "mountPath": "/state"}]);
    container["readinessProbe"] =
        json!({"exec": {"command": ["sh", "-c", "test -e /state/ready"]}, "periodSeconds": 10});
    let claim = json!({"metadata": {"name": "state"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    bed.create("v1", "PersistentVolumeClaim", claim).await;
    let volume = json!({"name": "state", "persistentVolumeClaim": {"claimName": "state"}});
    bed.pod(
        "p",
        json!({"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": [volume]}),
    )
    .await;
    let started = |pod: &Value| pod["status"]["containerStatuses"][0]["started"] == true;
    let pod = bed.wait_pod("p", "start", started).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["ready"], false);
    std::fs::write(claim_folder(&bed.work_folder, &bed.namespace, "state").join("go"), "").unwrap();
    bed.wait_pod("p", "readiness", |pod| {
        pod["status"]["containerStatuses"][0]["ready"] == true
    })
    .await;
}

pub(crate) async fn environment_and_volumes_come_from_objects(bed: Bed) {
    bed.create(
        "v1",
        "ConfigMap",
        json!({"metadata": {"name": "cm"}, "data": {"A": "1", "file": "text"}}),
    )
    .await;
    bed.create(
        "v1",
        "Secret",
        json!({"metadata": {"name": "s"}, "stringData": {"B": "2"}}),
    )
    .await;
    let mut container = shell(
        "c",
        "echo $X_A $B $NAME $JOINED $1; cat /files/file /files/deep/b /info/labels; stat -L -c %a /files/deep/b",
    );
    container["args"] = json!([]);
    container["command"]
        .as_array_mut()
        .unwrap()
        .extend([json!("arg0"), json!("$(B)-$$(B)-$(NONE)")]);
    container["envFrom"] =
        json!([{"prefix": "X_", "configMapRef": {"name": "cm"}}, {"secretRef": {"name": "none", "optional": true}}]);
    container["env"].as_array_mut().unwrap().extend([
        json!({"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "B"}}}),
        json!({"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}),
        json!({"name": "JOINED", "value": "$(B)/$(X_A)"}),
    ]);
    container["volumeMounts"] =
        json!([{"name": "files", "mountPath": "/files"}, {"name": "info", "mountPath": "/info"}]);
    let secret = json!({"name": "s", "items": [{"key": "B", "path": "deep/b", "mode": 0o444}]});
    let volumes = json!([
        {"name": "files", "projected": {"sources": [{"configMap": {"name": "cm"}}, {"secret": secret}]}},
        {"name": "info", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels['app']"}}]}},
    ]);
    bed.job("j", json!({"containers": [container], "volumes": volumes}))
        .await;
    let pod = bed.wait_phase("j", "Succeeded").await;
    assert_eq!(
        bed.log(&pod, "c"),
        format!("1 2 {} 2/1 2-$(B)-$(NONE)\ntext2j444\n", bed.namespace)
    );
}
