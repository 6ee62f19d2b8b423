//! A seed's API server goes away before and in the middle of a run, and credentials that must not be told to anybody:
//! what blocks names the seed, the run goes on by itself, and nothing that is written holds a secret.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Secret;
use kkp_lab::control_plane::{Action, Component};
use kkp_lab::platform::{MASTER, Topology};
use kkp_upgrade_core::status::Status;
use kkp_upgrade_tests::bed::{Bed, NAMESPACE, upgrade};
use kkp_upgrade_tests::faults::{message_of, reason_of};
use kkp_upgrade_tests::observer::Observer;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

// Only ends what hangs: beside three other platforms, two cores have had a load of 26.
const DEADLINE: Duration = Duration::from_mins(4);
/// Stands in the Helm values of the live release and in a Secret of values.
const VALUES_CANARY: &str = "canary-of-the-helm-values";
/// Stands in kubeconfigs of the seed as a token.
const TOKEN_CANARY: &str = "canary-of-the-seed-token";

async fn bed() -> anyhow::Result<(Bed, Observer)> {
    let mut topology = Topology::master("2.30.6").seed("eu", 2).enterprise();
    topology.helm_values = json!({"kubermaticOperator": {"podAnnotations": {}}, "canary": VALUES_CANARY});
    // A minute of grace before unreadable facts stall a run would be most of the test.
    let bed = Bed::with_operator(
        env!("CARGO_BIN_EXE_kkp-upgrade-testbed"),
        &topology,
        &["2.31.0"],
        &["--poll=500", "--resync=1000", "--unknown-grace=2000"],
    )
    .await?;
    let observer = Observer::start(bed.upgrades(), |_, _| ());
    Ok((bed, observer))
}

fn stalled_on_the_seed(status: &Status) -> bool {
    reason_of(status, "Stalled") == "PreflightBlocked"
        && status
            .findings
            .iter()
            .any(|found| found.rule == "seed-unreachable" && found.target.contains("eu"))
}

async fn nothing_was_done(bed: &Bed) -> anyhow::Result<()> {
    ensure!(bed.installer_starts("2.31.0")?.is_empty(), "an installer was started");
    ensure!(
        bed.limit().await?.is_none() && bed.limit_note().await?.is_none(),
        "the limit was touched"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_that_is_down_blocks_and_delays_the_run_which_goes_on_by_itself() -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    let lab = &bed.running.lab;
    // KKP itself notices a dead seed within a minute; here the outage is younger than that.
    bed.running.platform.script("master: {silentSeeds: [eu]}")?;
    lab.apply("eu", Component::ApiServer, Action::Kill).await?;
    bed.apply(&upgrade(0)).await?;
    let status = bed.until("u", DEADLINE, stalled_on_the_seed).await?;
    ensure!(status.phase.as_deref() == Some("Preflight"), "{:?}", status.phase);
    let graceful = observer
        .seen
        .of("u")
        .iter()
        .any(|seen| reason_of(seen, "Ready") == "Retrying");
    ensure!(graceful, "an unreadable seed stalled the run without a second look");
    let message = message_of(&status, "Ready");
    ensure!(
        message.contains("seed eu") && message.contains("status.findings"),
        "{message}"
    );
    let finding = status
        .findings
        .iter()
        .find(|found| found.rule == "seed-unreachable")
        .context("no finding")?;
    ensure!(finding.remedy.contains("API server"), "{finding:?}");
    nothing_was_done(&bed).await?;

    // With the seed's rollout held back, the outage falls into Deploying for certain.
    bed.running
        .platform
        .script("operator: {seeds: {eu: {rollDelayMs: 5000}}}")?;
    lab.apply("eu", Component::ApiServer, Action::Start).await?;
    let seeds = |status: &Status| status.step.as_ref().is_some_and(|step| step.name == "Seeds");
    bed.until("u", DEADLINE, seeds).await?;
    lab.apply("eu", Component::ApiServer, Action::Kill).await?;
    let named = |status: &Status| {
        let unreachable = status
            .targets
            .iter()
            .any(|target| target.name == "eu" && target.state == "Unreachable");
        unreachable && status.insights.iter().any(|insight| insight.contains("seed eu"))
    };
    let status = bed.until("u", DEADLINE, named).await?;
    ensure!(status.phase.as_deref() == Some("Deploying"), "{:?}", status.phase);
    ensure!(
        bed.limit().await? == Some(2),
        "the limit does not go back while the seed is away"
    );

    lab.apply("eu", Component::ApiServer, Action::Start).await?;
    let done = |status: &Status| status.phase.as_deref() == Some("Done") && status.step.is_none();
    bed.until("u", DEADLINE, done).await?;
    ensure!(
        bed.limit().await?.is_none() && bed.limit_note().await?.is_none(),
        "the limit did not go back"
    );
    ensure!(
        bed.installer_starts("2.31.0")?.len() == 1,
        "{:?}",
        bed.installer_starts("2.31.0")?
    );
    bed.finish(&observer)
}

/// Writes the kubeconfig of the seed as text.
async fn set_kubeconfig(bed: &Bed, text: &str) -> anyhow::Result<()> {
    let patch = json!({"stringData": {"kubeconfig": text}}).to_string();
    bed.kubectl(&[
        "patch",
        "secret",
        "kubeconfig-eu",
        "-n",
        NAMESPACE,
        "--type=merge",
        "-p",
        &patch,
    ])
    .await?;
    Ok(())
}

/// Everything that others can read of a run: objects, events and logs of our own Pods.
async fn told(bed: &Bed, observer: &Observer) -> anyhow::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for kind in ["kkpupgrades", "events", "configmaps", "jobs", "leases", "pods"] {
        let text = bed.kubectl(&["get", kind, "-n", NAMESPACE, "-o", "json"]).await?;
        let list: Value = serde_json::from_str(&text)?;
        for item in list.pointer("/items").and_then(Value::as_array).into_iter().flatten() {
            let name = item
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            // What KKP's own programs tell is not the operator's to keep clean.
            let about = item.pointer("/involvedObject/kind").and_then(Value::as_str);
            if kind == "events" && about != Some("KKPUpgrade") {
                continue;
            }
            all.push((format!("{kind}/{name}"), item.to_string()));
        }
    }
    for (number, status) in observer.seen.of("u").iter().enumerate() {
        all.push((format!("status number {number}"), serde_json::to_string(status)?));
    }
    let logs = bed.node_folder(MASTER)?.join("logs");
    for entry in std::fs::read_dir(&logs)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains("kkp-upgrade-operator") || name.contains("kkpu-") {
            all.push((
                format!("log {name}"),
                String::from_utf8_lossy(&std::fs::read(entry.path())?).into_owned(),
            ));
        }
    }
    Ok(all)
}

fn is_clean(told: &[(String, String)]) -> anyhow::Result<()> {
    for canary in [VALUES_CANARY, TOKEN_CANARY] {
        let tellers: Vec<&str> = told
            .iter()
            .filter(|(_, text)| text.contains(canary))
            .map(|(teller, _)| teller.as_str())
            .collect();
        ensure!(tellers.is_empty(), "{canary:?} stands in {tellers:?}");
    }
    Ok(())
}

/// The values of the live release do hold the canary: otherwise nobody could tell it.
async fn canary_is_in_the_values(bed: &Bed) -> anyhow::Result<()> {
    let secrets = Api::<Secret>::namespaced(bed.client.clone(), NAMESPACE);
    let releases = ListParams::default().labels("owner=helm,name=kubermatic-operator");
    let secret = secrets.list(&releases).await?.items.pop();
    let secret = secret.context("there is no release kubermatic-operator")?;
    let data = secret.data.as_ref().and_then(|data| data.get("release"));
    let payload = kkp_upgrade_kkp::helm::decode(&secret.name_any(), data.map(|data| data.0.as_slice()))?;
    ensure!(
        payload.user_values.to_string().contains(VALUES_CANARY),
        "the canary is not in the values"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_status_event_log_or_plan_holds_a_secret() -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    canary_is_in_the_values(&bed).await?;
    let plane = bed.running.platform.plane("eu").context("no control plane eu")?;
    let good = plane.kubeconfig.clone();

    // A kubeconfig that no parser understands, with the token where the mistake is.
    set_kubeconfig(
        &bed,
        &format!("apiVersion: v1\nkind: Config\nusers: [{{name: a, user: {{token: {TOKEN_CANARY}}}\n"),
    )
    .await?;
    bed.apply(&upgrade(0)).await?;
    bed.until("u", DEADLINE, stalled_on_the_seed).await?;
    // One that is right and whose token the seed refuses.
    let mut kubeconfig: Value = serde_saphyr::from_str(&good)?;
    let user = kubeconfig
        .pointer_mut("/users/0/user")
        .context("the kubeconfig has no user")?;
    let right = std::mem::replace(user, json!({"token": TOKEN_CANARY}));
    set_kubeconfig(&bed, &kubeconfig.to_string()).await?;
    let unauthorized = |status: &Status| {
        status
            .findings
            .iter()
            .any(|found| found.rule == "seed-unreachable" && found.message.contains("nauthorized"))
    };
    bed.until("u", DEADLINE, unauthorized).await?;

    // Values that no parser understands.
    let broken = json!({"stringData": {"values.yaml": format!("canary: [{VALUES_CANARY}\nx: }}{VALUES_CANARY}")},
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "values", "namespace": NAMESPACE}});
    bed.apply(&broken.to_string()).await?;
    let reference = |values: Value| json!({"spec": {"installer": values}}).to_string();
    let patch = reference(json!({"helmValuesRef": {"name": "values"}}));
    bed.kubectl(&["patch", "kkpu", "u", "-n", NAMESPACE, "--type=merge", "-p", &patch])
        .await?;
    set_kubeconfig(&bed, &good).await?;
    let values_named = |status: &Status| {
        let text = serde_json::to_string(&status.findings).unwrap_or_default() + &message_of(status, "Ready");
        text.contains("values.yaml") || text.contains("Helm values")
    };
    bed.until("u", DEADLINE, values_named).await?;
    nothing_was_done(&bed).await?;

    // Everything mended; the canary stays in the live release's values and as a second user of the kubeconfig.
    *kubeconfig
        .pointer_mut("/users/0/user")
        .context("the kubeconfig has no user")? = right;
    let users = kubeconfig
        .pointer_mut("/users")
        .and_then(Value::as_array_mut)
        .context("the kubeconfig has no users")?;
    users.push(json!({"name": "another", "user": {"token": TOKEN_CANARY}}));
    set_kubeconfig(&bed, &kubeconfig.to_string()).await?;
    let patch = reference(Value::Null);
    bed.kubectl(&["patch", "kkpu", "u", "-n", NAMESPACE, "--type=merge", "-p", &patch])
        .await?;
    let done = |status: &Status| status.phase.as_deref() == Some("Done") && status.step.is_none();
    bed.until("u", DEADLINE, done).await?;

    let told = told(&bed, &observer).await?;
    for kind in [
        "kkpupgrades/u",
        "events/",
        "configmaps/u-plan",
        "log kubermatic_kkp-upgrade-operator",
        "log kubermatic_kkpu-",
    ] {
        ensure!(
            told.iter()
                .any(|(teller, text)| teller.starts_with(kind) && !text.is_empty()),
            "nothing was read of {kind}"
        );
    }
    is_clean(&told)?;
    ensure!(
        is_clean(&[("a".to_owned(), format!("x{TOKEN_CANARY}"))]).is_err(),
        "the search finds what is there"
    );
    bed.finish(&observer)
}
