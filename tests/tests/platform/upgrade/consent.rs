//! Consent to a plan by annotation: nothing is changed before, and the run is of the plan that was approved.

use super::*;

fn awaits(status: &Status) -> bool {
    reason_of(status, "Ready") == "AwaitingApproval" && status.is_true(ConditionType::PreflightPassed)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_before_exactly_this_plan_is_approved() -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    bed.apply(&upgrade("asked", "  approval: {mode: Manual}\n")).await?;
    let status = bed.until("asked", SOON, awaits).await?;
    let plan = status.plan.context("there is no plan")?;
    ensure!(
        plan.awaiting.is_some_and(|awaiting| awaiting.digest == plan.digest),
        "status does not say which plan waits"
    );
    annotate(&bed, &format!("sha256:{}", "0".repeat(64))).await?;
    let refused = |status: &Status| awaits(status) && message_of(status, "Ready").contains("another plan");
    bed.until("asked", SOON, refused).await?;
    ensure!(
        lease_holder(&bed).await?.is_none(),
        "who waits for a person holds nothing"
    );
    ensure!(
        bed.installer_starts(TO)?.is_empty(),
        "an installer was started without consent"
    );
    let ours = ListParams::default().labels("upgrade.k8c.io/upgrade-uid");
    let jobs = Api::<Job>::namespaced(bed.client.clone(), NAMESPACE);
    ensure!(
        jobs.list(&ours).await?.items.is_empty(),
        "a Job was made without consent"
    );

    annotate(&bed, &plan.digest).await?;
    let status = bed.until("asked", DEADLINE, at_rest).await?;
    ensure_good_path(&observer, "asked", &status).await?;
    ensure_one_installer_run(&bed)?;
    let entry = status.history.first().context("there is no history")?;
    ensure!(
        entry.plan_digest.as_ref() == Some(&plan.digest),
        "another plan was carried out"
    );
    let by = entry.approved_by.clone().unwrap_or_default();
    ensure!(by.ends_with("written by kubectl-annotate"), "approved by {by:?}");
    ensure!(
        status.last_handled_approve.as_ref() == Some(&plan.digest),
        "the command is not answered"
    );
    bed.finish(&observer)
}

async fn annotate(bed: &Bed, digest: &str) -> anyhow::Result<()> {
    let annotation = format!("upgrade.k8c.io/approve={digest}");
    bed.kubectl(&["annotate", "--overwrite", "kkpu", "asked", "-n", NAMESPACE, &annotation])
        .await?;
    Ok(())
}
