//! One cluster that is master and seed, Community Edition, three user clusters.

use kkp_stand_in::release::Edition;
use kkp_stand_in::script::ClusterScript;
use kube::Client;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::bench::{Bench, NEW, OLD, apply, at, dynamic, eventually, get, is_rolled_at, kkp, rolled};

const CONDITIONS: [&str; 5] = [
    "SeedResourcesUpToDate",
    "ClusterControllerReconciledSuccessfully",
    "CloudControllerReconciledSuccessfully",
    "UpdateControllerReconciledSuccessfully",
    "MonitoringControllerReconciledSuccessfully",
];

const CLUSTERS: [&str; 6] = ["aaa", "bbb", "ccc", "ddd", "eee", "fff"];

pub(crate) async fn upgrade_with_all_lies() {
    let bench = Bench::start(&["master"], Edition::Community).await;
    let client = bench.client("master").await;
    install(&bench, &client).await;
    the_throttle_is_a_flag(&client).await;
    webhook_speaks(&bench, &client).await;
    let heartbeat = heartbeat(&client).await;
    break_a_cluster(&bench, &client).await;
    bench.script(|script| script.operator.seed_deployment_ms = 1_500);
    bench.install(&client, NEW).await;
    versions_come_long_before_the_seed(&client).await;
    a_broken_cluster_throttles_the_others(&client).await;
    assert_eq!(
        self::heartbeat(&client).await,
        heartbeat,
        "an unchanged condition keeps its heartbeat"
    );
    bench.script(|script| script.seed.clusters.clear());
    everything_converges(&client).await;
    skipped_seed_is_paused(&client).await;
    a_pod_that_is_killed_does_no_harm(&client).await;
    bench.lab.stop().unwrap();
}

async fn install(bench: &Bench, client: &Client) {
    bench.install(client, OLD).await;
    apply(
        &kkp(client, "KubermaticConfiguration"),
        "kubermatic",
        json!({"spec": {
            "ingress": {"domain": "kkp.example.test"}, "featureGates": {"HeadlessInstallation": true},
        }}),
    )
    .await;
    let secret = json!({"stringData": {"kubeconfig": bench.kubeconfig("master")}});
    apply(
        &dynamic(client, "v1", "Secret", Some("kubermatic")),
        "seed-kubeconfig",
        secret,
    )
    .await;
    apply(
        &kkp(client, "Seed"),
        "kubermatic",
        json!({"spec": {"kubeconfig": {"name": "seed-kubeconfig"}}}),
    )
    .await;
    eventually("the Seed is healthy", async || {
        at(&get(&kkp(client, "Seed"), "kubermatic").await, "/status/phase") == "Healthy"
    })
    .await;
    for name in [
        "kubermatic-master-controller-manager",
        "kubermatic-webhook",
        "kubermatic-seed-controller-manager",
        "nodeport-proxy-envoy",
        "nodeport-proxy-updater",
    ] {
        let what = format!("{name} is rolled");
        let is_proxy = name == "nodeport-proxy-envoy";
        eventually(&what, async || {
            is_rolled_at(client, "kubermatic", name, OLD).await
                || (is_proxy && rolled(client, "kubermatic", name).await.1)
        })
        .await;
    }
    user_clusters(client).await;
}

async fn user_clusters(client: &Client) {
    for name in CLUSTERS {
        let spec = json!({"spec": {"version": "1.34.1", "cniPlugin": {"type": "cilium", "version": "1.18.10"}}});
        apply(&kkp(client, "Cluster"), name, spec).await;
    }
    all_at(client, &CLUSTERS, OLD).await;
    let addons = dynamic(client, "kubermatic.k8c.io/v1", "Addon", Some("cluster-bbb"));
    apply(&addons, "canal", json!({"spec": {}})).await;
    eventually("the Addon and its cluster say so", async || {
        addon_is_at(client, OLD).await
            && condition(
                &get(&kkp(client, "Cluster"), "bbb").await,
                "AddonControllerReconciledSuccessfully",
            ) == ("True", OLD)
    })
    .await;
    let without = get(&kkp(client, "Cluster"), "ccc").await;
    assert_eq!(
        condition(&without, "AddonControllerReconciledSuccessfully"),
        ("", ""),
        "no Addon, no condition"
    );
    assert_eq!(at(&without, "/status/extendedHealth/etcd"), "HealthStatusUp");
    assert_eq!(at(&without, "/status/versions/controlPlane"), "1.34.1");
    eventually("the Seed counts its clusters", async || {
        get(&kkp(client, "Seed"), "kubermatic")
            .await
            .pointer("/status/clusters")
            == Some(&json!(CLUSTERS.len()))
    })
    .await;
}

async fn the_throttle_is_a_flag(client: &Client) {
    let patch = Patch::Merge(json!({"spec": {"seedController": {"maximumParallelReconciles": 1}}}));
    eventually("the configuration can be changed", async || {
        kkp(client, "KubermaticConfiguration")
            .patch("kubermatic", &PatchParams::default(), &patch)
            .await
            .is_ok()
    })
    .await;
    let deployments = dynamic(client, "apps/v1", "Deployment", Some("kubermatic"));
    eventually("the flag follows and is rolled out", async || {
        let deployment = get(&deployments, "kubermatic-seed-controller-manager").await;
        deployment.to_string().contains("\"-max-parallel-reconcile=1\"")
            && is_rolled_at(client, "kubermatic", "kubermatic-seed-controller-manager", OLD).await
    })
    .await;
}

async fn webhook_speaks(bench: &Bench, client: &Client) {
    let refused = |error: kube::Error| error.to_string();
    let cluster = Patch::Merge(json!({"spec": {"cniPlugin": {"version": "0.1"}}}));
    let text = kkp(client, "Cluster")
        .patch("ccc", &PatchParams::default(), &cluster)
        .await
        .map_err(refused)
        .unwrap_err();
    assert!(text.contains("cilium 0.1 is not supported"), "{text}");
    bench.script(|script| drop(script.webhook.refuse.insert("seeds".to_owned(), "not now".to_owned())));
    let label = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    let text = kkp(client, "Seed")
        .patch("kubermatic", &PatchParams::default(), &label)
        .await
        .map_err(refused)
        .unwrap_err();
    assert!(text.contains("not now"), "{text}");
    bench.script(|script| script.webhook.refuse.clear());
    let other = Patch::Apply(json!({
        "apiVersion": "kubermatic.k8c.io/v1", "kind": "Seed", "metadata": {"name": "other"},
        "spec": {"kubeconfig": {"name": "seed-kubeconfig"}},
    }));
    let other = kkp(client, "Seed")
        .patch("other", &PatchParams::apply("test"), &other)
        .await;
    let text = other.map_err(refused).unwrap_err();
    assert!(text.contains("Community Edition"), "{text}");
    for (kind, count) in [
        ("ValidatingWebhookConfiguration", 12),
        ("MutatingWebhookConfiguration", 6),
    ] {
        let api = dynamic(client, "admissionregistration.k8s.io/v1", kind, None);
        let found = api.list(&ListParams::default()).await.unwrap().items;
        assert_eq!(found.len(), count, "{kind}");
        assert!(
            found
                .iter()
                .all(|item| item.data.pointer("/webhooks/0/failurePolicy") == Some(&json!("Fail")))
        );
    }
}

async fn heartbeat(client: &Client) -> String {
    at(
        &get(&kkp(client, "Seed"), "kubermatic").await,
        "/status/conditions/ResourcesReconciled/lastHeartbeatTime",
    )
    .to_owned()
}

/// Version fields and a healthy phase, while the seed's programs are still old.
async fn versions_come_long_before_the_seed(client: &Client) {
    eventually("the Seed claims the new version", async || {
        let (seed, configuration) = (
            get(&kkp(client, "Seed"), "kubermatic").await,
            get(&kkp(client, "KubermaticConfiguration"), "kubermatic").await,
        );
        at(&seed, "/status/versions/kubermatic") == NEW && at(&configuration, "/status/kubermaticVersion") == NEW
    })
    .await;
    let seed = get(&kkp(client, "Seed"), "kubermatic").await;
    assert_eq!(at(&seed, "/status/phase"), "Healthy");
    let (tag, _) = rolled(client, "kubermatic", "kubermatic-seed-controller-manager").await;
    assert_eq!(
        tag, OLD,
        "the seed must still be old when its status claims the new version"
    );
}

/// `aaa` never finishes and the limit is 1: with the old version, then with the new one, nobody else is touched, although
/// the conditions of the others say the new version.
async fn a_broken_cluster_throttles_the_others(client: &Client) {
    eventually("one cluster is stuck, the others are throttled", async || {
        let stuck = get(&kkp(client, "Cluster"), "aaa").await;
        let mut is_so = condition(&stuck, "SeedResourcesUpToDate") == ("False", NEW)
            && rolled(client, "cluster-aaa", "usercluster-controller").await.0 == NEW;
        for name in CLUSTERS.iter().skip(1) {
            let cluster = get(&kkp(client, "Cluster"), name).await;
            is_so &= condition(&cluster, "ClusterControllerReconciledSuccessfully") == ("False", NEW)
                && condition(&cluster, "MonitoringControllerReconciledSuccessfully") == ("False", NEW)
                && condition(&cluster, "CloudControllerReconciledSuccessfully") == ("True", NEW)
                && condition(&cluster, "SeedResourcesUpToDate") == ("True", NEW);
        }
        is_so
    })
    .await;
    for name in CLUSTERS.iter().skip(1) {
        let (tag, _) = rolled(client, &format!("cluster-{name}"), "usercluster-controller").await;
        assert_eq!(tag, OLD, "{name} is throttled");
    }
}

/// Frozen in the middle of an update of Kubernetes.
async fn break_a_cluster(bench: &Bench, client: &Client) {
    bench.script(|script| {
        let fault = ClusterScript {
            never_converges: true,
            ..ClusterScript::default()
        };
        script.seed.clusters.insert("aaa".to_owned(), fault);
    });
    let deployments = dynamic(client, "apps/v1", "Deployment", Some("cluster-aaa"));
    eventually("the script is read while the programs run", async || {
        get(&deployments, "apiserver").await.pointer("/spec/paused") == Some(&json!(true))
    })
    .await;
    let version = Patch::Merge(json!({"spec": {"version": "1.34.3"}}));
    kkp(client, "Cluster")
        .patch("aaa", &PatchParams::default(), &version)
        .await
        .unwrap();
    eventually("the cluster is not up to date", async || {
        condition(&get(&kkp(client, "Cluster"), "aaa").await, "SeedResourcesUpToDate") == ("False", OLD)
    })
    .await;
}

async fn everything_converges(client: &Client) {
    all_at(client, &CLUSTERS, NEW).await;
    for name in [
        "kubermatic-master-controller-manager",
        "kubermatic-webhook",
        "kubermatic-seed-controller-manager",
    ] {
        eventually(&format!("{name} is at the new version"), async || {
            is_rolled_at(client, "kubermatic", name, NEW).await
        })
        .await;
    }
    eventually("the Addon is at the new version", async || {
        addon_is_at(client, NEW).await
    })
    .await;
    let crd = dynamic(client, "apiextensions.k8s.io/v1", "CustomResourceDefinition", None);
    let crd = get(&crd, "clusters.kubermatic.k8c.io").await;
    assert_eq!(
        crd.pointer("/metadata/annotations").unwrap()["app.kubernetes.io/version"],
        NEW
    );
}

async fn skipped_seed_is_paused(client: &Client) {
    let seeds = kkp(client, "Seed");
    let mark = |value: Value| {
        Patch::Merge(json!({"metadata": {"annotations": {"kubermatic.k8c.io/skip-reconciling": value}}}))
    };
    let (set, clear) = (mark(json!("true")), mark(Value::Null));
    eventually("the Seed can be annotated", async || {
        seeds.patch("kubermatic", &PatchParams::default(), &set).await.is_ok()
    })
    .await;
    eventually("the Seed is paused", async || {
        at(&get(&seeds, "kubermatic").await, "/status/phase") == "Paused"
    })
    .await;
    let patch = Patch::Merge(json!({"spec": {"seedController": {"maximumParallelReconciles": 7}}}));
    kkp(client, "KubermaticConfiguration")
        .patch("kubermatic", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let deployments = dynamic(client, "apps/v1", "Deployment", Some("kubermatic"));
    let flag = async || {
        get(&deployments, "kubermatic-seed-controller-manager")
            .await
            .to_string()
            .contains("-max-parallel-reconcile=7")
    };
    // Longer than an unskipped seed takes.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(!flag().await, "a skipped seed keeps its flag");
    assert_eq!(
        at(
            &get(&seeds, "kubermatic").await,
            "/status/conditions/ResourcesReconciled/status"
        ),
        "True"
    );
    seeds
        .patch("kubermatic", &PatchParams::default(), &clear)
        .await
        .unwrap();
    eventually("the flag follows once the annotation is gone", flag).await;
    eventually("the Seed is healthy again", async || {
        at(&get(&seeds, "kubermatic").await, "/status/phase") == "Healthy"
    })
    .await;
}

async fn a_pod_that_is_killed_does_no_harm(client: &Client) {
    let patch = Patch::Merge(json!({"spec": {"pause": true}}));
    eventually("a cluster can be paused", async || {
        kkp(client, "Cluster")
            .patch("ccc", &PatchParams::default(), &patch)
            .await
            .is_ok()
    })
    .await;
    let pods = dynamic(client, "v1", "Pod", Some("kubermatic"));
    let selection = ListParams::default().labels("app.kubernetes.io/name=kubermatic-seed-controller-manager");
    for pod in pods.list(&selection).await.unwrap().items {
        // One that is still ending may be gone by now.
        let now = kube::api::DeleteParams::default().grace_period(0);
        drop(pods.delete(pod.metadata.name.as_deref().unwrap(), &now).await);
    }
    let version = Patch::Merge(json!({"spec": {"version": "1.34.2"}}));
    for name in ["bbb", "ccc"] {
        kkp(client, "Cluster")
            .patch(name, &PatchParams::default(), &version)
            .await
            .unwrap();
    }
    eventually("the successor moves the cluster on", async || {
        at(
            &get(&kkp(client, "Cluster"), "bbb").await,
            "/status/versions/controlPlane",
        ) == "1.34.2"
    })
    .await;
    assert_eq!(
        at(
            &get(&kkp(client, "Cluster"), "ccc").await,
            "/status/versions/controlPlane"
        ),
        "1.34.1",
        "paused means untouched"
    );
}

fn condition<'object>(object: &'object Value, kind: &str) -> (&'object str, &'object str) {
    let field = |name: &str| at(object, &format!("/status/conditions/{kind}/{name}"));
    (field("status"), field("kubermaticVersion"))
}

async fn addon_is_at(client: &Client, version: &str) -> bool {
    let addons = dynamic(client, "kubermatic.k8c.io/v1", "Addon", Some("cluster-bbb"));
    let addon = get(&addons, "canal").await;
    at(&addon, "/status/phase") == "Healthy" && condition(&addon, "AddonReconciledSuccessfully") == ("True", version)
}

async fn all_at(client: &Client, names: &[&str], version: &str) {
    for name in names {
        eventually(&format!("{name} is at {version}"), async || {
            let cluster = get(&kkp(client, "Cluster"), name).await;
            CONDITIONS
                .iter()
                .all(|kind| condition(&cluster, kind) == ("True", version))
                && is_rolled_at(client, &format!("cluster-{name}"), "usercluster-controller", version).await
        })
        .await;
    }
}
