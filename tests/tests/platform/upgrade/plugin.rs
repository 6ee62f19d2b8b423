//! `kubectl kkp-upgrade plan` on a live platform, by somebody who may only read: the same plan as the operator's, the right
//! exit codes, and not one write.

use kkp_lab::platform::MASTER;
use kkp_upgrade_kubectl_plugin::console::Console;
use kkp_upgrade_kubectl_plugin::execute;
use kkp_upgrade_kubectl_plugin::exit::Exit;
use kkp_upgrade_operator::permissions::{CHART_NAMESPACES, READER, READER_CREDENTIALS, READER_SECRETS};
use kkp_upgrade_tests::campaign::evidence::audit_log;

use super::*;

/// Who looks.
const PERSON: &str = "jane";

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_the_very_plan_of_the_operator_and_writes_nothing() -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    let nobody = plan(&bed, &["--target-version", TO, "-n", NAMESPACE]).await?;
    ensure!(nobody.0 == Exit::NotFound, "without any right: {nobody:?}");

    bind_reader(&bed).await?;
    let (exit, document) = plan(&bed, &["--target-version", TO]).await?;
    ensure!(
        document["digest"].is_null(),
        "nobody can approve a plan of no KKPUpgrade: {document}"
    );
    ensure!(
        document["notPermitted"]
            .to_string()
            .contains("secrets in namespace kubermatic"),
        "a reader without Secrets was not told so: {document}"
    );
    ensure!(matches!(exit, Exit::NotFound | Exit::Blocked), "{exit}: {document}");

    bind_secrets(&bed).await?;
    bed.apply(&upgrade("asked", "  approval: {mode: Manual}\n")).await?;
    let status = bed
        .until("asked", SOON, |status| reason_of(status, "Ready") == "AwaitingApproval")
        .await?;
    let digest = status.plan.context("there is no plan")?.digest;
    let (exit, document) = plan(&bed, &["asked"]).await?;
    ensure!(exit == Exit::Done, "{exit}: {document}");
    ensure!(
        document.get("digest").and_then(Value::as_str) == Some(&*digest),
        "the operator's is {digest}: {document}"
    );
    ensure!(document["verdict"]["reason"] == "AwaitingApproval", "{document}");
    ensure!(document["notPermitted"] == Value::Array(Vec::new()), "{document}");
    let (exit, _) = plan(&bed, &["asked", "--exit-on-wait"]).await?;
    ensure!(exit == Exit::Waits, "{exit}");
    let (exit, document) = plan(&bed, &["--target-version", TO, "--detailed-exitcode"]).await?;
    ensure!(exit == Exit::Differences, "{exit}: {document}");

    ensure_blocked_is_told(&bed).await?;
    ensure_only_read(&bed)?;
    ensure_untouched(&bed, "asked").await?;
    bed.finish(&observer)
}

async fn ensure_blocked_is_told(bed: &Bed) -> anyhow::Result<()> {
    bed.apply(&upgrade("blocked", "  mode: Plan\n  backup: {policy: Skip}\n"))
        .await?;
    let blocked = bed
        .until("blocked", SOON, |status| {
            reason_of(status, "Ready") == "PreflightBlocked"
        })
        .await?;
    let (exit, document) = plan(bed, &["blocked", "--detailed-exitcode"]).await?;
    ensure!(exit == Exit::Blocked, "{exit}: {document}");
    let digest = blocked.plan.context("there is no plan")?.digest;
    ensure!(
        document.get("digest").and_then(Value::as_str) == Some(&*digest),
        "the operator's is {digest}: {document}"
    );
    Ok(())
}

/// What the plugin says to the reader, and how it ends.
async fn plan(bed: &Bed, arguments: &[&str]) -> anyhow::Result<(Exit, Value)> {
    let kubeconfig = bed.running.lab.cluster(MASTER)?.kubeconfig_path.clone();
    let kubeconfig = kubeconfig.to_str().context("the path of the kubeconfig is no text")?;
    let always = [
        "kubectl-kkp_upgrade",
        "plan",
        "-o",
        "json",
        "--kubeconfig",
        kubeconfig,
        "--as",
        PERSON,
    ];
    let arguments = always.iter().chain(arguments).map(Into::into).collect();
    let (mut console, output, errors) = Console::capturing("", 80);
    let exit = Box::pin(execute(arguments, &mut console)).await;
    let (output, errors) = (output.take(), errors.take());
    let document = serde_json::from_str(if output.is_empty() { &errors } else { &output })?;
    Ok((exit, document))
}

/// What `deploy/reader` brings, bound to the reader.
async fn bind_reader(bed: &Bed) -> anyhow::Result<()> {
    let (cluster_role, role) = (format!("--clusterrole={READER}"), format!("--role={READER}"));
    let user = format!("--user={PERSON}");
    bed.kubectl(&["create", "clusterrolebinding", READER, &cluster_role, &user])
        .await?;
    bed.kubectl(&["create", "rolebinding", READER, &role, &user, "-n", NAMESPACE])
        .await?;
    Ok(())
}

/// The credentials that a plan rests on: Presets, and Secrets in KKP's namespace and those of its charts that exist.
async fn bind_secrets(bed: &Bed) -> anyhow::Result<()> {
    let (role, user) = (format!("--clusterrole={READER_SECRETS}"), format!("--user={PERSON}"));
    let credentials = format!("--clusterrole={READER_CREDENTIALS}");
    bed.kubectl(&["create", "clusterrolebinding", READER_CREDENTIALS, &credentials, &user])
        .await?;
    let there = bed.kubectl(&["get", "namespaces", "-o", "name"]).await?;
    for namespace in std::iter::once(NAMESPACE).chain(CHART_NAMESPACES) {
        if there.lines().any(|line| line == format!("namespace/{namespace}")) {
            let name = format!("{READER}-secrets");
            bed.kubectl(&["create", "rolebinding", &name, &role, &user, "-n", namespace])
                .await?;
        }
    }
    Ok(())
}

/// The API server has heard nothing but reads from the reader, and did hear those.
fn ensure_only_read(bed: &Bed) -> anyhow::Result<()> {
    let log = audit_log(bed, MASTER)?;
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let verbs: Vec<String> = events
        .filter(|event| event.pointer("/impersonatedUser/username").and_then(Value::as_str) == Some(PERSON))
        .filter_map(|event| Some(event.get("verb")?.as_str()?.to_owned()))
        .collect();
    for verb in &verbs {
        ensure!(matches!(verb.as_str(), "get" | "list"), "the reader sent `{verb}`");
    }
    ensure!(
        verbs.iter().any(|verb| verb == "list"),
        "the audit log knows nothing of the reader"
    );
    Ok(())
}
