//! Platforms that are not in order.

use super::*;

pub(crate) async fn a_release_that_was_interrupted(bed: &Bed) -> anyhow::Result<()> {
    let secrets = Api::<Secret>::namespaced(bed.client.clone(), NAMESPACE);
    let releases = ListParams::default().labels("owner=helm,name=kubermatic-operator");
    let revision = |secret: &Secret| secret.labels().get("version").and_then(|text| text.parse::<u32>().ok());
    let newest = secrets
        .list(&releases)
        .await?
        .items
        .into_iter()
        .max_by_key(revision)
        .context("no release")?;
    let label = async |status: &str| -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"status": status}}}));
        secrets
            .patch(&newest.name_any(), &PatchParams::default(), &patch)
            .await?;
        Ok(())
    };
    label("pending-upgrade").await?;
    // Not as a dry run: this is the order that would lose the release.
    bed.apply(&manifest("release-pending-order", TO, "")).await?;
    let blocker = Blocker {
        rule: "helm-release-not-deployed",
        target: "master/kubermatic/kubermatic-operator",
        message: &["pending-upgrade"],
        remedy: "Roll the release back with helm to its last deployed revision",
    };
    blocker.stops(bed, "release-pending-order").await?;
    bed.delete("release-pending-order").await?;
    blocker.stops_until(bed, "release-pending", label("deployed")).await
}

pub(crate) async fn a_kubeconfig_that_is_none(bed: &Bed) -> anyhow::Result<()> {
    let secrets = Api::<Secret>::namespaced(bed.client.clone(), NAMESPACE);
    let name = "kubeconfig-kubermatic";
    let before = secrets.get(name).await?.data.context("no kubeconfig")?;
    patch(
        bed,
        &["secret", name, "-n", NAMESPACE],
        &json!({"stringData": {"kubeconfig": "token: secret-word"}}),
    )
    .await?;
    let blocker = Blocker {
        rule: "seed-unreachable",
        target: "seed kubermatic",
        message: &["Secret kubermatic/kubeconfig-kubermatic", "cannot be used"],
        remedy: "the Secret that spec.kubeconfig of the Seed names",
    };
    bed.apply(&manifest("kubeconfig-broken", TO, PLAN)).await?;
    blocker.stops(bed, "kubeconfig-broken").await?;
    let status = bed.status("kubeconfig-broken").await?;
    let all = serde_json::to_string(&status)?;
    ensure!(!all.contains("secret-word"), "the Secret's content is in status: {all}");
    patch(bed, &["secret", name, "-n", NAMESPACE], &json!({"data": before})).await?;
    goes_on(bed, "kubeconfig-broken").await
}

pub(crate) async fn a_seed_that_kkp_cannot_reconcile(bed: &Bed) -> anyhow::Result<()> {
    bed.running
        .platform
        .script("operator: {seeds: {kubermatic: {error: no space left}}}")?;
    // KKP's operator looks at a Seed when it changes.
    let nudge = async |value: &str| {
        let change = json!({"metadata": {"annotations": {"test.kkp/nudge": value}}});
        patch(bed, &["seed", "kubermatic", "-n", NAMESPACE], &change).await
    };
    nudge("broken").await?;
    let blocker = Blocker {
        rule: "seed-not-healthy",
        target: "seed kubermatic",
        message: &["ResourcesReconciled False"],
        remedy: "Read the conditions and events of the Seed",
    };
    let mend = async {
        bed.running.platform.script("")?;
        nudge("mended").await
    };
    blocker.stops_until(bed, "seed-unhealthy", mend).await
}

pub(crate) async fn no_storage_class(bed: &Bed) -> anyhow::Result<()> {
    bed.kubectl(&["delete", "storageclass", "kubermatic-fast"]).await?;
    let blocker = Blocker {
        rule: "storage-class-missing",
        target: "",
        message: &["kubermatic-fast"],
        remedy: "Create StorageClass kubermatic-fast",
    };
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "kubermatic-fast"},
                       "provisioner": "lab.kkp-upgrade/none"});
    let mend = async { bed.apply(&class.to_string()).await.map(drop) };
    blocker.stops_until(bed, "storage-class", mend).await
}

pub(crate) async fn a_webhook_that_refuses(bed: &Bed) -> anyhow::Result<()> {
    bed.running
        .platform
        .script("webhook: {refuse: {kubermaticconfigurations: certificate has expired}}")?;
    let blocker = Blocker {
        rule: "webhook-not-answering",
        target: "master/KubermaticConfiguration",
        message: &["certificate has expired"],
        remedy: "Repair Deployment kubermatic-webhook",
    };
    let mend = async { bed.running.platform.script("").map_err(Into::into) };
    blocker.stops_until(bed, "webhook", mend).await
}

pub(crate) async fn a_cluster_that_the_target_refuses(bed: &Bed) -> anyhow::Result<()> {
    let version = async |version: &str| {
        let change = json!({"spec": {"version": version}});
        patch(bed, &["clusters.kubermatic.k8c.io", "kubermatic-002"], &change).await
    };
    version("1.32.13").await?;
    let blocker = Blocker {
        rule: "cluster-version-unsupported",
        target: "kubermatic/kubermatic-002",
        message: &["runs Kubernetes 1.32.13", "2.31.0"],
        remedy: "Upgrade the cluster to the named version",
    };
    blocker.stops_until(bed, "cluster-version", version("1.34.10")).await
}

pub(crate) async fn accounts_that_may_not_act(bed: &Bed) -> anyhow::Result<()> {
    let role = ["role", "kkp-upgrade-operator", "-n", NAMESPACE];
    let before = bed
        .kubectl(&[&["get"], &role[..], &["-o", "jsonpath={.rules}"]].concat())
        .await?;
    let before: Value = serde_json::from_str(&before)?;
    let mut fewer = before.clone();
    for rule in fewer.as_array_mut().into_iter().flatten() {
        let jobs = rule.pointer("/resources/0") == Some(&json!("jobs"));
        if let Some(verbs) = rule.get_mut("verbs").and_then(Value::as_array_mut).filter(|_| jobs) {
            verbs.retain(|verb| verb != "delete");
        }
    }
    ensure!(fewer != before, "no rule about Jobs: {before}");
    patch(bed, &role, &json!({"rules": fewer})).await?;
    let blocker = Blocker {
        rule: "account-may-not-act",
        target: "kkp-upgrade-operator",
        message: &["may not delete jobs.batch"],
        remedy: "Apply `deploy/`",
    };
    blocker
        .stops_until(bed, "right", patch(bed, &role, &json!({"rules": before})))
        .await?;

    let binding = ["clusterrolebinding", "kkp-upgrade-installer"];
    let subject = async |name: &str| {
        let subjects = json!([{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]);
        patch(bed, &binding, &json!({"subjects": subjects})).await
    };
    subject("nobody").await?;
    let blocker = Blocker {
        rule: "account-may-not-act",
        target: "kkp-upgrade-installer",
        message: &["may not do everything"],
        remedy: "Apply `deploy/`",
    };
    blocker
        .stops_until(bed, "installer-right", subject("kkp-upgrade-installer"))
        .await
}
