//! Tables: throttle, health, and Clusters that hold up a seed.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::samples::*;
use super::*;
use crate::types::Cluster;

const SEED_CONTROLLER: &str = include_str!("../../tests/fixtures/deployment-seed-controller-manager.yaml");

fn seed_controller(arguments: &[&str]) -> Deployment {
    let mut document = deployment(
        "kubermatic-seed-controller-manager",
        &[("controller-manager", "a:v2.31.0")],
    );
    set(&mut document, "/spec/template/spec/containers/0/args", json!(arguments));
    serde_json::from_value(document).unwrap()
}

#[test]
fn the_throttle_is_read_from_the_flag_as_go_does() {
    for (arguments, expected) in [
        (&["-max-parallel-reconcile=5"] as &[&str], Some(5)),
        (&["--max-parallel-reconcile=5", "-v=2"], Some(5)),
        (&["-max-parallel-reconcile", "7"], Some(7)),
        (&["-max-parallel-reconcile=5", "-max-parallel-reconcile=6"], Some(6)),
        (&["-max-parallel-reconcile=-1"], None),
        (&["-max-parallel-reconcile=many"], None),
        (&["-max-parallel-reconcile"], None),
        (&["-max-parallel-reconciles=5"], None),
        (&["max-parallel-reconcile=5"], None),
        (&[], None),
    ] {
        assert_eq!(seed_throttle(&seed_controller(arguments)), expected, "{arguments:?}");
    }
}

#[test]
fn a_throttle_that_is_not_rolled_out_is_not_in_force() {
    let mut real: Deployment = serde_saphyr::from_str(SEED_CONTROLLER).unwrap();
    assert_eq!(rolled_out(&real), Err("0 of 1 replicas ready".to_owned()));
    assert_eq!(seed_throttle(&real), None);
    assert_eq!(seed_worker_name(&real), "");
    let status = real.status.as_mut().unwrap();
    status.ready_replicas = Some(1);
    status.available_replicas = Some(1);
    assert_eq!(seed_throttle(&real), Some(10));
    real.metadata.generation = Some(2);
    assert_eq!(seed_throttle(&real), None);
    assert_eq!(seed_worker_name(&seed_controller(&["-worker-name=dev"])), "dev");
}

fn cluster_with_health(health: &Value, version: &str) -> Cluster {
    let conditions = json!({"ClusterControllerReconciledSuccessfully": {"kubermaticVersion": version}});
    serde_json::from_value(json!({"metadata": {}, "status": {"extendedHealth": health, "conditions": conditions}}))
        .unwrap()
}

#[test]
fn health_follows_the_rule_of_kkp() {
    let parts = [
        "etcd",
        "controller",
        "apiserver",
        "scheduler",
        "cloudProviderInfrastructure",
        "userClusterControllerManager",
        "machineController",
    ];
    let all_up = json!(
        parts
            .iter()
            .map(|part| ((*part).to_owned(), json!("HealthStatusUp")))
            .collect::<serde_json::Map<_, _>>()
    );
    assert!(cluster_health(&cluster_with_health(&all_up, TARGET)).is_healthy());
    for part in parts {
        for (state, expected) in [
            ("HealthStatusDown", true),
            ("HealthStatusProvisioning", true),
            ("", part != "machineController"),
        ] {
            let mut health = all_up.clone();
            health[part] = json!(state);
            let judged = cluster_health(&cluster_with_health(&health, TARGET));
            let named = judged.unhealthy
                == [UnhealthyPart {
                    name: part,
                    status: state.to_owned(),
                }];
            assert_eq!(named, expected, "{part} {state}: {judged:?}");
        }
    }
    let mut unused = all_up;
    unused.as_object_mut().unwrap().remove("machineController");
    assert!(cluster_health(&cluster_with_health(&unused, "v2.26.0")).is_healthy());
    assert!(!cluster_health(&cluster_with_health(&unused, "v2.25.18")).is_healthy());
    unused["machineController"] = json!(7);
    assert!(!cluster_health(&cluster_with_health(&unused, TARGET)).is_healthy());
    assert_eq!(cluster_health(&Cluster::default()).unhealthy.len(), 6);
}
