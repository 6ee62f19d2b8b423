//! Room on a seed for the roll-out of control planes: what its Pods ask for against what its nodes have. Only sums are kept;
//! read only where `spec.checks.seedCapacity` asks for it, because Pods are the longest list of a seed by far. Reading only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::rules::SeedReading;
use super::survey::each;
use crate::call::CallError;

/// Longest that one seed may take.
const TIME: Duration = Duration::from_secs(30);
/// Pods and nodes per page.
const PAGE: u32 = 250;
/// What the names of namespaces of user clusters begin with (KKP `pkg/kubernetes/cluster.go`).
const USER_CLUSTER: &str = "cluster-";
/// 10⁻⁹, the unit that quantities are counted in before they are rounded.
const NANO: i128 = 1_000_000_000;

/// Requests in thousandths of a CPU, and in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    cpu: i64,
    memory: i64,
}

impl Amount {
    fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_add(other.cpu),
            memory: self.memory.saturating_add(other.memory),
        }
    }

    fn most(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
        }
    }

    /// A quantity that cannot be read counts as nothing: the API server takes none.
    fn of(quantities: Option<&BTreeMap<String, Quantity>>) -> Self {
        let amount = |name: &str, unit: i128| {
            let nano = quantities.and_then(|all| nano(&all.get(name)?.0)).unwrap_or(0);
            i64::try_from(nano / unit).unwrap_or(i64::MAX)
        };
        Self {
            cpu: amount("cpu", NANO / 1000),
            memory: amount("memory", NANO),
        }
    }
}

/// What there is, what is taken, and what the control planes take of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Capacity {
    /// Of nodes that take Pods, by name.
    nodes: BTreeSet<String>,
    allocatable: Amount,
    taken: Amount,
    control_planes: BTreeSet<String>,
    by_control_planes: Amount,
}

impl Capacity {
    fn add_node(&mut self, node: &Node) {
        let spec = node.spec.clone().unwrap_or_default();
        let status = node.status.clone().unwrap_or_default();
        let conditions = status.conditions.iter().flatten();
        let mut ready = conditions.filter(|condition| condition.type_ == "Ready" && condition.status == "True");
        let keeps_away = spec
            .taints
            .iter()
            .flatten()
            .any(|taint| taint.effect != "PreferNoSchedule");
        if spec.unschedulable != Some(true) && !keeps_away && ready.next().is_some() {
            self.nodes.insert(node.name_any());
            self.allocatable = self.allocatable.plus(Amount::of(status.allocatable.as_ref()));
        }
    }

    /// A Pod that runs elsewhere takes nothing here; one that waits for a node will.
    fn add_pod(&mut self, pod: &Pod) {
        let requests = requests(pod);
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        if node.is_none_or(|node| self.nodes.contains(node)) {
            self.taken = self.taken.plus(requests);
        }
        let namespace = pod.namespace().unwrap_or_default();
        if namespace.starts_with(USER_CLUSTER) {
            self.by_control_planes = self.by_control_planes.plus(requests);
            self.control_planes.insert(namespace);
        }
    }

    /// Namespaces of user clusters with Pods in them.
    pub(super) fn control_planes(&self) -> i64 {
        i64::try_from(self.control_planes.len()).unwrap_or(i64::MAX)
    }

    /// How many more average control planes could be started, by requests alone; `None` = there are none to measure by.
    pub(super) fn room(&self) -> Option<i64> {
        let count = self.control_planes();
        let fit = |allocatable: i64, taken: i64, all: i64| {
            let free = i128::from(allocatable) - i128::from(taken);
            // Divided last, so that small requests are not rounded to none.
            (all > 0).then(|| i64::try_from(free.max(0) * i128::from(count) / i128::from(all)).unwrap_or(i64::MAX))
        };
        let cpu = fit(self.allocatable.cpu, self.taken.cpu, self.by_control_planes.cpu);
        let memory = fit(
            self.allocatable.memory,
            self.taken.memory,
            self.by_control_planes.memory,
        );
        cpu.into_iter().chain(memory).min()
    }

    /// Percent of CPU, and of memory, that is asked for; 100 where there is none.
    pub(super) fn percent(&self) -> (i64, i64) {
        let part = |taken: i64, allocatable: i64| {
            let percent = i128::from(taken)
                .saturating_mul(100)
                .checked_div(i128::from(allocatable));
            i64::try_from(percent.unwrap_or(100)).unwrap_or(i64::MAX)
        };
        let memory = part(self.taken.memory, self.allocatable.memory);
        (part(self.taken.cpu, self.allocatable.cpu), memory)
    }
}

/// The capacity of each seed that answers, by its name.
pub(super) async fn read(seeds: &[SeedReading]) -> BTreeMap<String, Result<Capacity, String>> {
    let readings = seeds.iter().filter_map(|seed| {
        let client = seed.client.as_ref().ok()?;
        let name = seed.seed.name_any();
        let given_up = seed.clusters.given_up.clone();
        Some(async move {
            if let Some(why) = given_up {
                return (name, Err(why));
            }
            let read = tokio::time::timeout(TIME, Box::pin(sums(client, &name))).await;
            let late = || {
                Err(format!(
                    "the Pods of seed {name} were not read within {} s",
                    TIME.as_secs()
                ))
            };
            let capacity = read.map_or_else(|_| late(), |read| read.map_err(|error| error.to_string()));
            (name, capacity)
        })
    });
    join_all(readings).await.into_iter().collect()
}

async fn sums(client: &Client, seed: &str) -> Result<Capacity, CallError> {
    let mut capacity = Capacity::default();
    let nodes = Api::<Node>::all(client.clone());
    let page = ListParams::default().limit(PAGE);
    each(nodes, format!("nodes of seed {seed}"), page.clone(), |node| {
        capacity.add_node(&node);
    })
    .await?;
    let pods = Api::<Pod>::all(client.clone());
    let running = page.fields("status.phase!=Succeeded,status.phase!=Failed");
    each(pods, format!("Pods of seed {seed}"), running, |pod| {
        capacity.add_pod(&pod);
    })
    .await?;
    Ok(capacity)
}

/// What the scheduler counts for a Pod: its containers with the init containers that stay, or the largest init container.
fn requests(pod: &Pod) -> Amount {
    let Some(spec) = &pod.spec else {
        return Amount::default();
    };
    let of = |container: &Container| {
        let resources = container.resources.as_ref();
        Amount::of(resources.and_then(|resources| resources.requests.as_ref()))
    };
    let (stay, go): (Vec<&Container>, Vec<&Container>) = spec
        .init_containers
        .iter()
        .flatten()
        .partition(|container| container.restart_policy.as_deref() == Some("Always"));
    let together = spec
        .containers
        .iter()
        .chain(stay)
        .map(of)
        .fold(Amount::default(), Amount::plus);
    let overhead = Amount::of(spec.overhead.as_ref());
    go.into_iter().map(of).fold(together, Amount::most).plus(overhead)
}

/// A quantity of Kubernetes (`1500m`, `2Gi`, `1e3`) in thousand-millionths.
fn nano(quantity: &str) -> Option<i128> {
    let end = quantity
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(end);
    if number.is_empty() {
        return None;
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction:0<9.9}");
    let nano: i128 = digits.parse().ok()?;
    let scaled = |base: i128, exponent: u32| nano.checked_mul(base.checked_pow(exponent)?);
    match unit {
        "" => Some(nano),
        "n" => Some(nano / NANO),
        "u" => Some(nano / 1_000_000),
        "m" => Some(nano / 1000),
        "k" => scaled(1000, 1),
        "M" => scaled(1000, 2),
        "G" => scaled(1000, 3),
        "T" => scaled(1000, 4),
        "P" => scaled(1000, 5),
        "E" => scaled(1000, 6),
        "Ki" => scaled(1024, 1),
        "Mi" => scaled(1024, 2),
        "Gi" => scaled(1024, 3),
        "Ti" => scaled(1024, 4),
        "Pi" => scaled(1024, 5),
        "Ei" => scaled(1024, 6),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 {
                Some(nano / power)
            } else {
                nano.checked_mul(power)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("0", 0),
            ("1", NANO),
            ("1500m", 3 * NANO / 2),
            ("0.25", NANO / 4),
            ("100u", NANO / 10_000),
            ("7n", 7),
            ("2k", 2000 * NANO),
            ("1.5Gi", 1_610_612_736 * NANO),
            ("129e6", 129_000_000 * NANO),
            ("5E-1", NANO / 2),
            ("1E", 1_000_000_000_000_000_000 * NANO),
        ] {
            assert_eq!(nano(text), Some(expected), "{text}");
        }
        for text in ["", "x", "1 Gi", "1gi", "-1", "1e", "99999999999999Ei"] {
            assert_eq!(nano(text), None, "{text}");
        }
    }

    fn node(name: &str, ready: &str, spec: &Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec, "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi"}, "conditions": [{"type": "Ready", "status": ready}]}}))
        .unwrap()
    }

    fn pod(namespace: &str, node: Option<&str>, cpu: &str, memory: &str) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": "p", "namespace": namespace}, "spec": {"nodeName": node,
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]}}),
        )
        .unwrap()
    }

    #[test]
    fn only_nodes_that_take_pods_have_room() {
        let mut capacity = Capacity::default();
        for (name, ready, spec) in [
            ("good", "True", json!({})),
            (
                "rather-not",
                "True",
                json!({"taints": [{"key": "a", "effect": "PreferNoSchedule"}]}),
            ),
            ("down", "Unknown", json!({})),
            ("cordoned", "True", json!({"unschedulable": true})),
            (
                "master",
                "True",
                json!({"taints": [{"key": "a", "effect": "NoSchedule"}]}),
            ),
        ] {
            capacity.add_node(&node(name, ready, &spec));
        }
        assert_eq!(
            capacity.nodes,
            BTreeSet::from(["good".to_owned(), "rather-not".to_owned()])
        );
        assert_eq!(
            (capacity.allocatable.cpu, capacity.allocatable.memory),
            (8000, 16 << 30)
        );
        assert_eq!((capacity.room(), capacity.percent()), (None, (0, 0)));
        assert_eq!(Capacity::default().percent(), (100, 100));
    }

    #[test]
    fn room_is_what_fits_of_the_scarcer_resource() {
        let mut capacity = Capacity::default();
        capacity.add_node(&node("good", "True", &json!({})));
        capacity.add_pod(&pod("cluster-a", Some("good"), "500m", "1Gi"));
        capacity.add_pod(&pod("cluster-a", Some("good"), "500m", "1Gi"));
        capacity.add_pod(&pod("cluster-b", None, "0", "2Gi"));
        capacity.add_pod(&pod("kube-system", Some("good"), "1", "1Gi"));
        // Control planes on nodes of their own take nothing here, and still say how large one is.
        assert_eq!((capacity.control_planes(), capacity.percent()), (2, (50, 62)));
        // 2 CPU are left for 500m each, 3 GiB for 2 GiB each.
        assert_eq!(capacity.room(), Some(1));
        capacity.add_pod(&pod("kube-system", Some("elsewhere"), "4", "8Gi"));
        assert_eq!(capacity.room(), Some(1));
        capacity.add_pod(&pod("kube-system", Some("good"), "4", "0"));
        assert_eq!(capacity.room(), Some(0), "more than there is");
    }

    #[test]
    fn init_containers_count_as_the_scheduler_counts_them() {
        let request = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {
            "overhead": {"cpu": "10m"},
            "initContainers": [{"name": "large", "resources": request("2")},
                {"name": "stays", "restartPolicy": "Always", "resources": request("300m")}],
            "containers": [{"name": "a", "resources": request("1")}, {"name": "b"}]}}))
        .unwrap();
        assert_eq!(requests(&pod).cpu, 2010);
        let without: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {
            "initContainers": [{"name": "stays", "restartPolicy": "Always", "resources": request("300m")}],
            "containers": [{"name": "a", "resources": request("1")}]}}))
        .unwrap();
        assert_eq!(requests(&without).cpu, 1300);
    }
}
