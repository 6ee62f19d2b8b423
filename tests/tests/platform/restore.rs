//! A backup of a live platform, damage on master and seed, a restore of the master by the plugin whose Pod is killed in the middle, the
//! same command again, and that of the seed: real Jobs in Pods of the lab, with the rights of `deploy/restore` or those of the Seed's
//! kubeconfig.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use kkp_lab::platform::{MASTER, Topology};
use kkp_lab::pod_runner::{Control, ControlCommand, StartBehaviour};
use kkp_upgrade_core::status::Status;
use kkp_upgrade_kubectl_plugin::console::Console;
use kkp_upgrade_kubectl_plugin::execute;
use kkp_upgrade_kubectl_plugin::exit::Exit;
use kkp_upgrade_tests::bed::{Bed, NAMESPACE, repository};
use kkp_upgrade_tests::campaign::evidence::audit_log;
use kkp_upgrade_tests::fault::Plan;
use kkp_upgrade_tests::interruption::Point;
use kkp_upgrade_tests::observer::Observer;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::Value;

/// Objects that the test loses in each cluster, each with what kubectl calls it.
const LOST: [&str; 4] = [
    "projects.kubermatic.k8c.io/restored-project",
    "users.kubermatic.k8c.io/restored-user",
    "secrets/restored-secret",
    "configmaps/restored-map",
];
/// Name of the KKPUpgrade that makes the backup.
const UPGRADE: &str = "backed-up";
/// Name of the record of the restore's calls.
const RECORD: &str = "restore";
/// So many objects are back when the Pod is killed.
const BEFORE_THE_KILL: usize = 2;
/// Who restores the master.
const ACCOUNT: &str = "system:serviceaccount:kubermatic:kkp-upgrade-restore";
/// In the address of every write of a restore; on a seed its user is the one of the kubeconfig.
const MANAGER: &str = "fieldManager=kkp-upgrade-restore";
/// The Seed, whose cluster is another one than the master's.
const SEED: &str = "eu";
/// Chooses its backup.
const OF_THE_SEED: [&str; 2] = ["--target", SEED];
const SOON: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_comes_back_also_after_a_kill_in_the_middle() -> anyhow::Result<()> {
    let bed = Bed::with_operator(
        env!("CARGO_BIN_EXE_kkp-upgrade-testbed"),
        // The master is no seed here: it is restored with the account's own rights.
        &Topology::master("2.30.6").enterprise().seed(SEED, 1),
        &["2.31.0"],
        &["--poll=500", "--resync=1000"],
    )
    .await?;
    let observer = Observer::start(bed.upgrades(), |_, _| ());
    add(&bed, MASTER).await?;
    add(&bed, SEED).await?;
    let [of_the_master, of_the_seed] = back_up(&bed).await?;
    let before = [content(&bed, MASTER).await?, content(&bed, SEED).await?];
    lose(&bed, MASTER).await?;
    lose(&bed, SEED).await?;

    planned(&bed).await?;
    killed_in_the_middle(&bed, &of_the_master).await?;
    restored(&bed, &of_the_master, &[], LOST.len() - BEFORE_THE_KILL).await?;
    ensure!(
        there(&bed, SEED).await? == 0,
        "the backup of the master went to the seed"
    );
    restored(&bed, &of_the_seed, &OF_THE_SEED, LOST.len()).await?;
    let after = [content(&bed, MASTER).await?, content(&bed, SEED).await?];
    ensure!(after == before, "before {before:#?}\nafter {after:#?}");
    only_what_was_lost(&bed, MASTER)?;
    only_what_was_lost(&bed, SEED)?;
    no_secret_was_told(&bed)?;
    bed.finish(&observer)
}

/// Without the account there is no plan; with it there is one, which writes nothing.
async fn planned(bed: &Bed) -> anyhow::Result<()> {
    let (exit, said) = plugin(bed, "", &["--plan"]).await?;
    ensure!(
        exit == Exit::NotFound && said.contains("deploy/restore"),
        "without the account: {exit}: {said}"
    );
    let account = repository().join("deploy/restore");
    bed.kubectl(&["apply", "-k", &account.to_string_lossy()]).await?;
    let (exit, said) = plugin(bed, "", &["--plan"]).await?;
    ensure!(
        exit == Exit::Done && said.contains("--confirm=sha256:"),
        "{exit}: {said}"
    );
    ensure!(counts(bed).await? == [LOST.len(), 0], "{said}");
    ensure!(there(bed, MASTER).await? == 0, "a plan wrote: {said}");
    Ok(())
}

/// So many objects come back, and then there is nothing left to do.
async fn restored(bed: &Bed, location: &str, target: &[&str], missing: usize) -> anyhow::Result<()> {
    let (exit, said) = confirmed(bed, location, target).await?;
    ensure!(exit == Exit::Done && said.contains("restored "), "{exit}: {said}");
    ensure!(counts(bed).await? == [missing, 0], "{missing} were left: {said}");
    let (exit, said) = plugin(bed, "", &[target, &["--plan"]].concat()).await?;
    ensure!(
        exit == Exit::Done && said.contains("there is nothing to restore"),
        "{exit}: {said}"
    );
    Ok(())
}

/// kubectl on a cluster of the platform, in KKP's namespace; what it prints.
async fn kubectl(bed: &Bed, cluster: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let arguments = [&["-n", NAMESPACE], arguments].concat();
    bed.kubectl_on(cluster, &arguments).await
}

/// UID of the user that owns the project.
async fn owner(bed: &Bed, cluster: &str) -> anyhow::Result<String> {
    kubectl(bed, cluster, &["get", LOST[1], "-o", "jsonpath={.metadata.uid}"]).await
}

/// What will be lost: in each cluster something else under the same names.
async fn add(bed: &Bed, cluster: &str) -> anyhow::Result<()> {
    let user = format!(
        "apiVersion: kubermatic.k8c.io/v1
kind: User
metadata: {{name: restored-user, finalizers: [example.test/cleanup], labels: {{kept: {cluster}}}}}
spec: {{name: Restored, email: restored@{cluster}.test}}
---
apiVersion: v1
kind: Secret
metadata: {{name: restored-secret, namespace: kubermatic}}
stringData: {{password: correct horse {cluster}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: restored-map, namespace: kubermatic}}
data: {{key: {cluster}}}
"
    );
    bed.apply_on(cluster, &user).await?;
    let uid = owner(bed, cluster).await?;
    let project = format!(
        "apiVersion: kubermatic.k8c.io/v1
kind: Project
metadata:
  name: restored-project
  ownerReferences: [{{apiVersion: kubermatic.k8c.io/v1, kind: User, name: restored-user, uid: {uid}}}]
spec: {{name: Restored in {cluster}}}
"
    );
    bed.apply_on(cluster, &project).await.map(drop)
}

/// The backup of an upgrade that is stopped before it changes anything; where those of master and seed lie.
async fn back_up(bed: &Bed) -> anyhow::Result<[String; 2]> {
    bed.job_pods_start("installer", StartBehaviour::Never).await?;
    bed.apply(&Point::BeforeFence.upgrade(UPGRADE)).await?;
    bed.reached(UPGRADE, Point::BeforeFence).await?;
    bed.command(UPGRADE, "abort", "now").await?;
    let aborted = |status: &Status| status.phase.as_deref() == Some("Aborted") && status.step.is_none();
    let status = bed.until(UPGRADE, SOON, aborted).await?;
    bed.pods_start_normally().await?;
    let location = |name: &str| {
        let backup = status.target(name).and_then(|target| target.backup.as_ref());
        let backup = backup.with_context(|| format!("no backup of {name}"))?;
        anyhow::Ok(backup.location.clone())
    };
    Ok([location("master")?, location(SEED)?])
}

/// As after a disaster: the objects are gone, and nobody cleaned up what they stood for.
async fn lose(bed: &Bed, cluster: &str) -> anyhow::Result<()> {
    for object in LOST {
        let gone = ["delete", object, "--wait=false", "--ignore-not-found"];
        kubectl(bed, cluster, &gone).await?;
        bed.wait(&format!("the end of {object}"), SOON, || async move {
            let there = ["get", object, "-o", "name", "--ignore-not-found"];
            let found = kubectl(bed, cluster, &there).await;
            if found.is_ok_and(|found| found.trim().is_empty()) {
                return Some(());
            }
            let free = r#"--patch={"metadata":{"finalizers":null}}"#;
            // It may go at this very moment.
            let _ = kubectl(bed, cluster, &["patch", object, "--type=merge", free]).await;
            None
        })
        .await?;
    }
    Ok(())
}

/// How many of the lost objects are there.
async fn there(bed: &Bed, cluster: &str) -> anyhow::Result<usize> {
    let mut count = 0;
    for object in LOST {
        let found = ["get", object, "-o", "name", "--ignore-not-found"];
        count += usize::from(!kubectl(bed, cluster, &found).await?.trim().is_empty());
    }
    Ok(count)
}

/// What the objects are, without what the server writes; the owner by whether it lives.
async fn content(bed: &Bed, cluster: &str) -> anyhow::Result<Vec<Value>> {
    let uid = owner(bed, cluster).await?;
    let mut all = Vec::new();
    for object in LOST {
        let text = kubectl(bed, cluster, &["get", object, "-o", "json"]).await?;
        let mut object: Value = serde_json::from_str(&text)?;
        let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
        let metadata = metadata.context("no metadata")?;
        for field in [
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "managedFields",
        ] {
            metadata.remove(field);
        }
        for owner in metadata
            .get_mut("ownerReferences")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let lives = owner["uid"] == uid.as_str();
            let owner = owner.as_object_mut().context("an owner is no object")?;
            owner.insert("uid".to_owned(), lives.into());
        }
        all.push(object);
    }
    Ok(all)
}

/// `kubectl kkp-upgrade backup restore`, with a person who types this; how it ends, and all that it says.
async fn plugin(bed: &Bed, typed: &str, more: &[&str]) -> anyhow::Result<(Exit, String)> {
    let kubeconfig = bed.running.lab.cluster(MASTER)?.kubeconfig_path.clone();
    let kubeconfig = kubeconfig.to_str().context("the path of the kubeconfig is no text")?;
    let always = [
        "kubectl-kkp_upgrade",
        "backup",
        "restore",
        UPGRADE,
        "--kubeconfig",
        kubeconfig,
    ];
    let arguments = always.iter().chain(more).map(Into::into).collect();
    let (mut console, output, errors) = Console::capturing(typed, 80);
    let exit = Box::pin(execute(arguments, &mut console)).await;
    Ok((exit, format!("{}\n{}", output.take(), errors.take())))
}

/// The Job's third creation is held back, and its Pod killed while it waits.
async fn killed_in_the_middle(bed: &Bed, location: &str) -> anyhow::Result<()> {
    let plan = format!(
        "{{record: {RECORD}, faults: [{{at: {{peer: backup, verb: create, occurrence: {}}}, strike: {{kind: hold}}}}]}}",
        BEFORE_THE_KILL + 1
    );
    bed.faults.set(&Plan::from_yaml(&plan)?)?;
    let ((exit, said), ()) = tokio::try_join!(confirmed(bed, location, &[]), kill(bed))?;
    bed.faults.clear()?;
    ensure!(
        exit == Exit::Unexpected && said.contains("ended without a result"),
        "killed: {exit}: {said}"
    );
    let back = there(bed, MASTER).await?;
    ensure!(back == BEFORE_THE_KILL, "{back} objects are back: {said}");
    Ok(())
}

async fn kill(bed: &Bed) -> anyhow::Result<()> {
    bed.wait("the Job's third creation", SOON, || async {
        let held = bed.faults.held(RECORD).ok()?;
        (!held.is_empty()).then_some(())
    })
    .await?;
    let running = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    let pod = restores(bed).await?.into_iter().find(running);
    let command = ControlCommand::Kill {
        namespace: NAMESPACE.to_owned(),
        pod: pod.context("no Pod of a restore runs")?.name_any(),
        container: None,
        signal: "SIGKILL".to_owned(),
    };
    Control::new(&bed.node_folder(MASTER)?).send(&command).await?;
    Ok(())
}

/// Plans and confirms; once more where the platform moved in between.
async fn confirmed(bed: &Bed, location: &str, target: &[&str]) -> anyhow::Result<(Exit, String)> {
    let typed = format!("{location}\n");
    let attempt = || async {
        match plugin(bed, &typed, target).await {
            Ok((Exit::Blocked, said)) if said.contains("the plan that was confirmed") => None,
            other => Some(other),
        }
    };
    bed.wait("a plan that still holds when it is confirmed", SOON, attempt)
        .await?
}

/// How many objects the last Job had to create, and how many it refused.
async fn counts(bed: &Bed) -> anyhow::Result<[usize; 2]> {
    let mut pods = restores(bed).await?;
    pods.sort_by_key(|pod| pod.metadata.creation_timestamp.clone());
    let pod = pods.pop().context("no Pod of a restore")?;
    let statuses = pod.status.and_then(|status| status.container_statuses);
    let ended = statuses
        .into_iter()
        .flatten()
        .find_map(|status| status.state?.terminated);
    let sum: Value = serde_json::from_str(&ended.and_then(|ended| ended.message).unwrap_or_default())?;
    let count = |verdict: &str| {
        let count = sum.pointer(&format!("/counts/{verdict}")).and_then(Value::as_u64);
        count
            .and_then(|count| usize::try_from(count).ok())
            .with_context(|| sum.to_string())
    };
    Ok([count("create")?, count("refused")?])
}

async fn restores(bed: &Bed) -> anyhow::Result<Vec<Pod>> {
    let pods = Api::<Pod>::namespaced(bed.client.clone(), NAMESPACE);
    let label = ListParams::default().labels("app.kubernetes.io/name=kkp-upgrade-restore");
    Ok(pods.list(&label).await?.items)
}

/// The logs of the Jobs say what they did, and nothing of the Secret.
fn no_secret_was_told(bed: &Bed) -> anyhow::Result<()> {
    let mut text = String::new();
    for entry in std::fs::read_dir(bed.node_folder(MASTER)?.join("logs"))? {
        let path = entry?.path();
        if path.to_string_lossy().contains("kkp-upgrade-restore") {
            text.push_str(&String::from_utf8_lossy(&std::fs::read(path)?));
        }
    }
    ensure!(text.contains("restored-secret"), "the logs name no object: {text}");
    for secret in ["correct horse", "Y29ycmVjdCBob3Jz"] {
        ensure!(!text.contains(secret), "the Secret stands in a log");
    }
    Ok(())
}

/// The restore created what was lost, each once, and deleted nothing.
fn only_what_was_lost(bed: &Bed, cluster: &str) -> anyhow::Result<()> {
    let log = audit_log(bed, cluster)?;
    let mut created = Vec::new();
    for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (user, verb, address) = (text("/user/username"), text("/verb"), text("/requestURI"));
        if user != ACCOUNT && !address.contains(MANAGER) {
            continue;
        }
        ensure!(
            matches!(verb, "get" | "create" | "update"),
            "the restore of {cluster} sent `{verb}`: {event}"
        );
        let accepted = event.pointer("/responseStatus/code").and_then(Value::as_u64) == Some(201);
        if verb == "create" && accepted && !address.contains("dryRun=All") {
            created.push(format!("{}/{}", text("/objectRef/resource"), text("/objectRef/name")));
        }
    }
    created.sort();
    let lost = ["configmaps", "projects", "secrets", "users"];
    let resources: Vec<&str> = created.iter().filter_map(|object| object.split('/').next()).collect();
    ensure!(resources == lost, "{cluster}: {created:?}");
    Ok(())
}
