//! Real labs: they start, serve, survive faults, and are gone when their owner is.

#![expect(
    clippy::unwrap_used,
    reason = "functions that tests share; the exemption for tests covers only the tests themselves"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kkp_lab::control_plane::{Action, Component, Pki};
use kkp_lab::{Lab, Topology};
use kube::api::{Api, ObjectMeta, PostParams};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kkp-lab");
const DEADLINE: Duration = Duration::from_mins(1);

fn topology(clusters: &[&str]) -> Topology {
    Topology {
        program: Some(PathBuf::from(PROGRAM)),
        pod_runner: false,
        ..Topology::of(clusters)
    }
}

async fn start(topology: Topology) -> Lab {
    let lab = Lab::start(topology).await.unwrap();
    for cluster in lab.clusters() {
        eprintln!("{} ready after {:?}", cluster.name, cluster.start_time);
    }
    lab
}

async fn config_maps(lab: &Lab, cluster: &str) -> Api<ConfigMap> {
    Api::namespaced(lab.cluster(cluster).unwrap().client().await.unwrap(), "default")
}

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

/// Polls until the condition holds; names it when it never does.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Processes whose command line names the folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.unwrap().path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(folder))
        .collect()
}

async fn assert_gone(folder: &Path) {
    eventually("every process of the lab is gone", async || {
        processes_of(folder).is_empty()
    })
    .await;
    eventually("the lab's folder is gone", async || !folder.exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_serves_like_a_cluster_and_is_gone_after_drop() {
    let lab = start(topology(&["master"])).await;
    let folder = lab.folder().to_owned();
    // stage 1 to 3, etcd, API server, controllers: proof that the search below can find something.
    assert!(processes_of(&folder).len() >= 6, "{:?}", processes_of(&folder));
    let client = lab.cluster("master").unwrap().client().await.unwrap();
    let version = client.apiserver_version().await.unwrap();
    assert!(version.git_version.starts_with("v1.36."), "{version:?}");
    let namespace: Namespace = serde_json::from_value(serde_json::json!({"metadata": {"name": "work"}})).unwrap();
    Api::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let roots: Api<ConfigMap> = Api::namespaced(client.clone(), "work");
    eventually("controllers publish the root certificate", async || {
        roots.get("kube-root-ca.crt").await.is_ok()
    })
    .await;
    // A token of a ServiceAccount is accepted, and RBAC says no to what nobody allowed.
    let token = lab
        .kubectl("master", &["create", "token", "default", "-n", "work"])
        .await
        .unwrap();
    assert!(token.status.success(), "{token:?}");
    let token = String::from_utf8(token.stdout).unwrap();
    let ask = |verb: &'static str| {
        let token = format!("--token={}", token.trim());
        let server = lab.cluster("master").unwrap().server.clone();
        async move {
            let anonymous = [
                "--kubeconfig=/dev/null",
                "--insecure-skip-tls-verify",
                "-s",
                &server,
                &token,
            ];
            lab_kubectl(&anonymous, &["auth", "can-i", verb, "secrets", "-n", "work"]).await
        }
    };
    assert_eq!(ask("get").await, "no");
    let bind = [
        "create",
        "rolebinding",
        "b",
        "-n",
        "work",
        "--clusterrole=admin",
        "--serviceaccount=work:default",
    ];
    assert!(lab.kubectl("master", &bind).await.unwrap().status.success());
    eventually("the binding is in force", async || ask("get").await == "yes").await;
    drop(lab);
    assert_gone(&folder).await;
}

/// kubectl without the administrator's kubeconfig: a client certificate would win over the token.
async fn lab_kubectl(connection: &[&str], arguments: &[&str]) -> String {
    let kubectl = kkp_lab::control_plane::Programs::ensure().unwrap().kubectl();
    let output = tokio::process::Command::new(kubectl)
        .args(connection)
        .args(arguments)
        .output()
        .await
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_is_gone_when_its_owner_is_killed() {
    let mut owner = Command::new(PROGRAM).arg("up").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
    let name = lines
        .find_map(|line| line.strip_prefix("lab ").map(str::to_owned))
        .unwrap();
    let folder = std::env::temp_dir().join(name);
    assert!(processes_of(&folder).len() >= 6, "{:?}", processes_of(&folder));
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert_gone(&folder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_is_gone_when_its_outermost_process_is_killed() {
    let lab = start(topology(&["master"])).await;
    let folder = lab.folder().to_owned();
    kill(Pid::from_raw(i32::try_from(lab.pid()).unwrap()), Signal::SIGKILL).unwrap();
    eventually("every process of the lab is gone", async || {
        processes_of(&folder).is_empty()
    })
    .await;
    let error = lab.apply("master", Component::Etcd, Action::Kill).await.unwrap_err();
    assert!(error.to_string().contains("has ended"), "{error}");
    drop(lab);
    // Nobody was left to remove it; the next lab's sweep does when this process is gone.
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_labs_side_by_side_do_not_see_each_other() {
    let (first, second) = tokio::join!(start(topology(&["master", "eu"])), start(topology(&["master"])));
    let mut ports: Vec<u16> = first
        .clusters()
        .iter()
        .chain(second.clusters())
        .map(|cluster| cluster.port)
        .collect();
    ports.dedup();
    assert_eq!(ports.len(), 3, "{ports:?}");
    config_maps(&first, "master")
        .await
        .create(&PostParams::default(), &config_map("mark"))
        .await
        .unwrap();
    for (lab, cluster, expected) in [
        (&first, "master", true),
        (&first, "eu", false),
        (&second, "master", false),
    ] {
        let found = config_maps(lab, cluster).await.get_opt("mark").await.unwrap().is_some();
        assert_eq!(found, expected, "{cluster} of {}", lab.folder().display());
    }
    // The certificate authority of one is not that of the other: a mixed-up kubeconfig cannot pass unnoticed.
    let ca = |lab: &Lab| fs::read(lab.cluster("master").unwrap().folder.join("pki/ca.crt")).unwrap();
    assert_ne!(ca(&first), ca(&second));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_programs_come_back_with_all_data() {
    let lab = start(topology(&["master"])).await;
    let api = config_maps(&lab, "master").await;
    for (number, component) in [Component::ApiServer, Component::Etcd].into_iter().enumerate() {
        let name = format!("before-{number}");
        api.create(&PostParams::default(), &config_map(&name)).await.unwrap();
        lab.apply("master", component, Action::Kill).await.unwrap();
        let probe = format!("during-{number}");
        let refused = tokio::time::timeout(
            Duration::from_secs(5),
            api.create(&PostParams::default(), &config_map(&probe)),
        )
        .await;
        assert!(
            !matches!(refused, Ok(Ok(_))),
            "{component:?} is dead, yet it accepted a write"
        );
        let begin = Instant::now();
        lab.apply("master", component, Action::Start).await.unwrap();
        eventually("the object is there again", async || api.get(&name).await.is_ok()).await;
        eprintln!("{component:?} back after {:?}", begin.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_does_not_answer_until_it_is_thawed() {
    let lab = start(topology(&["master"])).await;
    let api = config_maps(&lab, "master").await;
    lab.apply("master", Component::ApiServer, Action::Freeze).await.unwrap();
    let frozen = tokio::time::timeout(Duration::from_secs(1), api.list(&kube::api::ListParams::default())).await;
    assert!(frozen.is_err(), "a frozen server answered");
    lab.apply("master", Component::ApiServer, Action::Thaw).await.unwrap();
    eventually("the server answers", async || {
        api.list(&kube::api::ListParams::default()).await.is_ok()
    })
    .await;
    let error = lab.apply("nowhere", Component::Etcd, Action::Kill).await.unwrap_err();
    assert!(error.to_string().contains("no cluster nowhere"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_starts_from_a_snapshot_of_another() {
    let snapshot = tempfile::tempdir().unwrap();
    let lab = start(topology(&["master"])).await;
    config_maps(&lab, "master")
        .await
        .create(&PostParams::default(), &config_map("mark"))
        .await
        .unwrap();
    lab.snapshot(snapshot.path()).await.unwrap();
    let marks = config_maps(&lab, "master").await;
    eventually("the original is back", async || marks.get("mark").await.is_ok()).await;
    let token = lab.kubectl("master", &["create", "token", "default"]).await.unwrap();
    assert!(token.status.success(), "{token:?}");
    let copy = start(Topology {
        data_from: Some(snapshot.path().to_owned()),
        ..topology(&["master", "new"])
    })
    .await;
    assert!(config_maps(&copy, "master").await.get("mark").await.is_ok());
    assert!(config_maps(&copy, "new").await.get_opt("mark").await.unwrap().is_none());
    // Same key for ServiceAccounts: a token of the original is good in the copy, so its own tokens stay good, too.
    let server = copy.cluster("master").unwrap().server.clone();
    let token = format!("--token={}", String::from_utf8(token.stdout).unwrap().trim());
    let connection = [
        "--kubeconfig=/dev/null",
        "--insecure-skip-tls-verify",
        "-s",
        &server,
        &token,
    ];
    let who = lab_kubectl(
        &connection,
        &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"],
    )
    .await;
    assert_eq!(who, "system:serviceaccount:default:default");
    // Each goes its own way.
    let secrets: Api<Secret> = Api::namespaced(copy.cluster("master").unwrap().client().await.unwrap(), "default");
    let secret: Secret = serde_json::from_value(serde_json::json!({"metadata": {"name": "copy-only"}})).unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let original: Api<Secret> = Api::namespaced(lab.cluster("master").unwrap().client().await.unwrap(), "default");
    assert!(original.get_opt("copy-only").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_log_names_who_wrote_what() {
    let lab = start(Topology {
        audit: true,
        ..topology(&["master"])
    })
    .await;
    config_maps(&lab, "master")
        .await
        .create(&PostParams::default(), &config_map("audited"))
        .await
        .unwrap();
    let log = lab.cluster("master").unwrap().folder.join("audit.log");
    eventually("the write is in the audit log", async || {
        fs::read_to_string(&log).unwrap_or_default().lines().any(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            event["verb"] == "create"
                && event["objectRef"]["name"] == "audited"
                && event["user"]["username"] == "kkp-lab-admin"
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_start_shows_the_log_and_leaves_no_process() {
    let snapshot = tempfile::tempdir().unwrap();
    let broken = snapshot.path().join("master");
    Pki::create(&broken.join("pki")).unwrap();
    fs::create_dir_all(broken.join("etcd")).unwrap();
    fs::write(broken.join("etcd/member"), "not a folder").unwrap();
    let topology = Topology {
        data_from: Some(snapshot.path().to_owned()),
        ..topology(&["master"])
    };
    let error = Lab::start(topology).await.unwrap_err().to_string();
    assert!(error.starts_with("etcd of cluster master ended"), "{error}");
    let log = error
        .split_once("log ")
        .and_then(|(_, rest)| rest.split_once(":\n"))
        .map(|(log, _)| Path::new(log));
    let folder = log.and_then(Path::parent).and_then(Path::parent).unwrap();
    assert!(
        log.unwrap().is_file(),
        "the error names a log that can be read: {error}"
    );
    assert_eq!(processes_of(folder), Vec::<String>::new());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_kept_lab_is_listed_and_ends_by_name() {
    let run = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let up = run(&["up", "--keep", "--clusters", "master"]);
    let name = up
        .lines()
        .find_map(|line| line.strip_prefix("lab "))
        .unwrap()
        .to_owned();
    let folder = std::env::temp_dir().join(&name);
    assert!(run(&["list"]).contains(&name));
    assert!(folder.join("master/kubeconfig").exists());
    run(&["down", &name]);
    assert!(!run(&["list"]).contains(&name));
    assert!(!folder.exists());
    assert_eq!(processes_of(&folder), Vec::<String>::new());
    let again = Command::new(PROGRAM).args(["down", &name]).output().unwrap();
    assert!(!again.status.success(), "a lab that is gone cannot be ended");
}
