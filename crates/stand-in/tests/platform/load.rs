//! Figures, not a test: what forty user clusters cost, at rest and while they roll. Runs only when it is named: `load`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kkp_stand_in::release::Edition;
use serde_json::json;

use crate::bench::{Bench, NEW, OLD, apply, at, dynamic, eventually, get, is_rolled_at, kkp};

const CLUSTERS: usize = 40;
const REST: Duration = Duration::from_secs(10);

pub(crate) async fn figures() {
    let bench = Bench::start(&["master"], Edition::Community).await;
    let client = bench.client("master").await;
    bench.install(&client, OLD).await;
    let spec = json!({"spec": {"ingress": {"domain": "x"}, "featureGates": {"HeadlessInstallation": true}}});
    apply(&kkp(&client, "KubermaticConfiguration"), "kubermatic", spec).await;
    let secret = json!({"stringData": {"kubeconfig": bench.kubeconfig("master")}});
    apply(
        &dynamic(&client, "v1", "Secret", Some("kubermatic")),
        "seed-kubeconfig",
        secret,
    )
    .await;
    apply(
        &kkp(&client, "Seed"),
        "kubermatic",
        json!({"spec": {"kubeconfig": {"name": "seed-kubeconfig"}}}),
    )
    .await;
    let seeds = kkp(&client, "Seed");
    eventually("the Seed is healthy", async || {
        at(&get(&seeds, "kubermatic").await, "/status/phase") == "Healthy"
    })
    .await;
    let names: Vec<String> = (0..CLUSTERS).map(|number| format!("c{number:02}")).collect();
    for name in &names {
        apply(&kkp(&client, "Cluster"), name, json!({"spec": {"version": "1.34.1"}})).await;
    }
    let all_at = async |version: &str| {
        for name in &names {
            let namespace = format!("cluster-{name}");
            let what = format!("{name} is at {version}");
            eventually(&what, async || {
                is_rolled_at(&client, &namespace, "usercluster-controller", version).await
            })
            .await;
        }
    };
    all_at(OLD).await;
    print("at rest", &processor_times(), REST).await;
    let start = Instant::now();
    let before = processor_times();
    bench.install(&client, NEW).await;
    all_at(NEW).await;
    eprintln!("{CLUSTERS} user clusters rolled in {:?}", start.elapsed());
    print("rolling", &before, Duration::ZERO).await;
    bench.lab.stop().unwrap();
}

async fn print(when: &str, before: &Times, wait: Duration) {
    tokio::time::sleep(wait).await;
    let mut used: BTreeMap<String, u64> = BTreeMap::new();
    for (process, ticks) in processor_times() {
        *used.entry(process.0.clone()).or_default() += ticks - before.get(&process).copied().unwrap_or(0);
    }
    for (program, ticks) in used {
        eprintln!("{when}: {program} used {} ms of processor time", ticks * 10);
    }
}

/// Clock ticks (10 ms) by name and id of the process; labs of others on this machine count too.
type Times = BTreeMap<(String, String), u64>;

const PROGRAMS: [&str; 7] = [
    "kubermatic-oper",
    "master-controll",
    "seed-controller",
    "kubermatic-webh",
    "kube-apiserver",
    "etcd",
    "kube-controller",
];

fn processor_times() -> Times {
    let mut times = Times::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else {
            continue;
        };
        let Some((head, fields)) = stat.rsplit_once(") ") else {
            continue;
        };
        let Some((id, name)) = head.split_once(" (") else {
            continue;
        };
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = |index: usize| {
            fields
                .get(index)
                .and_then(|field| field.parse::<u64>().ok())
                .unwrap_or(0)
        };
        if PROGRAMS.contains(&name) {
            times.insert((name.to_owned(), id.to_owned()), ticks(11) + ticks(12));
        }
    }
    times
}
