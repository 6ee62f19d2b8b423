//! A master and a remote seed, Enterprise Edition: copies, held seeds, broken kubeconfigs.

use base64::Engine;
use kkp_stand_in::release::Edition;
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::bench::{Bench, NEW, OLD, apply, at, dynamic, eventually, get, is_rolled_at, kkp, rolled};

const SCM: &str = "kubermatic-seed-controller-manager";

pub(crate) async fn seed_by_seed() {
    let bench = Bench::start(&["master", "eu"], Edition::Enterprise).await;
    let (master, eu) = (bench.client("master").await, bench.client("eu").await);
    install(&bench, &master, &eu).await;
    a_held_seed_stays_old(&bench, &master, &eu).await;
    a_broken_kubeconfig_is_told(&bench, &master).await;
    bench.lab.stop().unwrap();
}

async fn install(bench: &Bench, master: &Client, eu: &Client) {
    bench.install(master, OLD).await;
    let configuration = json!({"spec": {"ingress": {"domain": "x"}}});
    apply(&kkp(master, "KubermaticConfiguration"), "kubermatic", configuration).await;
    let secrets = dynamic(master, "v1", "Secret", Some("kubermatic"));
    apply(
        &secrets,
        "kubeconfig-eu",
        json!({"stringData": {"kubeconfig": bench.kubeconfig("eu")}}),
    )
    .await;
    let seeds = kkp(master, "Seed");
    apply(&seeds, "eu", json!({"spec": {"kubeconfig": {"name": "kubeconfig-eu"}}})).await;
    eventually("the Seed is healthy", async || {
        at(&get(&seeds, "eu").await, "/status/phase") == "Healthy"
    })
    .await;
    eventually("the seed is rolled", async || {
        is_rolled_at(eu, "kubermatic", SCM, OLD).await
    })
    .await;
    eventually("API and dashboard run", async || {
        is_rolled_at(master, "kubermatic", "kubermatic-api", OLD).await
    })
    .await;
    let copy = get(&kkp(eu, "KubermaticConfiguration"), "kubermatic").await;
    assert_eq!(at(&copy, "/spec/ingress/domain"), "x");
    assert_eq!(copy.pointer("/status"), None, "a copy has no status");
    apply(&kkp(eu, "Cluster"), "abc", json!({"spec": {"version": "1.34.1"}})).await;
    user_cluster_is_at(eu, OLD).await;
}

async fn user_cluster_is_at(eu: &Client, version: &str) {
    let what = format!("the user cluster is at {version}");
    eventually(&what, async || {
        is_rolled_at(eu, "cluster-abc", "usercluster-controller", version).await
    })
    .await;
}

async fn a_held_seed_stays_old(bench: &Bench, master: &Client, eu: &Client) {
    let seeds = kkp(master, "Seed");
    let mark = |value: Value| {
        Patch::Merge(json!({"metadata": {"annotations": {"kubermatic.k8c.io/skip-reconciling": value}}}))
    };
    let hold = mark(json!("hold"));
    eventually("the hold can be set", async || {
        seeds.patch("eu", &PatchParams::default(), &hold).await.is_ok()
    })
    .await;
    bench.install(master, NEW).await;
    eventually("the master is rolled", async || {
        is_rolled_at(master, "kubermatic", "kubermatic-webhook", NEW).await
    })
    .await;
    eventually("the held seed claims the new version", async || {
        let seed = get(&seeds, "eu").await;
        at(&seed, "/status/versions/kubermatic") == NEW && at(&seed, "/status/phase") == "Paused"
    })
    .await;
    let crds = dynamic(eu, "apiextensions.k8s.io/v1", "CustomResourceDefinition", None);
    let crd_version = async || {
        get(&crds, "clusters.kubermatic.k8c.io").await["metadata"]["annotations"]["app.kubernetes.io/version"].clone()
    };
    assert_eq!(
        (crd_version().await, rolled(eu, "kubermatic", SCM).await.0),
        (json!(OLD), OLD.to_owned())
    );
    let release = mark(Value::Null);
    eventually("the hold can be lifted", async || {
        seeds.patch("eu", &PatchParams::default(), &release).await.is_ok()
    })
    .await;
    eventually("the seed follows", async || {
        is_rolled_at(eu, "kubermatic", SCM, NEW).await && crd_version().await == NEW
    })
    .await;
    user_cluster_is_at(eu, NEW).await;
}

async fn a_broken_kubeconfig_is_told(bench: &Bench, master: &Client) {
    let seeds = kkp(master, "Seed");
    let secrets = dynamic(master, "v1", "Secret", Some("kubermatic"));
    // The API server's certificate is not good for this address.
    let broken = bench.kubeconfig("eu").replace("127.0.0.1", "127.0.0.2");
    let broken =
        Patch::Merge(json!({"data": {"kubeconfig": base64::engine::general_purpose::STANDARD.encode(broken)}}));
    secrets
        .patch("kubeconfig-eu", &PatchParams::default(), &broken)
        .await
        .unwrap();
    eventually("the Seed is invalid", async || {
        let seed = get(&seeds, "eu").await;
        at(&seed, "/status/phase") == "Invalid"
            && at(&seed, "/status/conditions/KubeconfigValid/reason") == "KubeconfigInvalid"
    })
    .await;
    let label = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    let refused = seeds
        .patch("eu", &PatchParams::default(), &label)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("failed to get the client of Seed eu"), "{refused}");
    secrets
        .delete("kubeconfig-eu", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    eventually("the kubeconfig is unavailable", async || {
        at(&get(&seeds, "eu").await, "/status/conditions/KubeconfigValid/reason") == "KubeconfigUnavailable"
    })
    .await;
}
