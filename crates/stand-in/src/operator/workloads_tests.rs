use serde_json::json;

use super::*;
use crate::objects::{configuration_resource, seed_resource};
use crate::release::Edition;

fn object(resource: &kube::api::ApiResource, name: &str, spec: &Value) -> DynamicObject {
    let mut object = DynamicObject::new(name, resource)
        .within("kubermatic")
        .data(json!({ "spec": spec }));
    object.metadata.uid = Some(format!("uid-of-{name}"));
    object
}

fn render(version: &str, configuration: &Value, seed: &Value) -> (Vec<Deployment>, Vec<Deployment>) {
    let release = Release::of(version, Edition::Community).unwrap();
    let configuration = object(&configuration_resource(), "kubermatic", configuration);
    let seed = object(&seed_resource(), "kubermatic", seed);
    let platform = |owner| Platform {
        release: &release,
        configuration: &configuration,
        owner,
        namespace: "kubermatic",
    };
    (
        platform(&configuration).master().unwrap(),
        platform(&seed).seed(&seed).unwrap(),
    )
}

fn names(deployments: &[Deployment]) -> Vec<&str> {
    deployments
        .iter()
        .filter_map(|deployment| deployment.metadata.name.as_deref())
        .collect()
}

fn images(deployment: &Deployment) -> Vec<&str> {
    let pod = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref())
        .unwrap();
    pod.containers
        .iter()
        .filter_map(|container| container.image.as_deref())
        .collect()
}

fn args(deployment: &Deployment) -> Vec<String> {
    let pod = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref())
        .unwrap();
    pod.containers
        .first()
        .and_then(|container| container.args.clone())
        .unwrap_or_default()
}

#[test]
fn api_and_dashboard_are_absent_from_a_headless_installation() {
    let (full, _) = render("2.31.0", &json!({}), &json!({}));
    let (headless, _) = render(
        "2.31.0",
        &json!({"featureGates": {"HeadlessInstallation": true}}),
        &json!({}),
    );
    assert_eq!(
        names(&full),
        [
            "kubermatic-master-controller-manager",
            "kubermatic-webhook",
            "kubermatic-api",
            "kubermatic-dashboard"
        ]
    );
    assert_eq!(
        names(&headless),
        ["kubermatic-master-controller-manager", "kubermatic-webhook"]
    );
}

#[test]
fn a_pinned_tag_of_the_user_interface_survives_the_upgrade() {
    let configuration = json!({"api": {"dockerTag": "v2.30.1"}, "ui": {"dockerTagSuffix": "fix"}});
    let (master, _) = render("2.31.0", &configuration, &json!({}));
    let images: Vec<&str> = master.iter().skip(2).flat_map(images).collect();
    assert_eq!(
        images,
        [
            "quay.io/kubermatic/dashboard:v2.30.1",
            "quay.io/kubermatic/dashboard:v2.31.0-fix"
        ]
    );
}

#[test]
fn the_throttle_travels_as_a_flag_and_zero_means_ten() {
    for (wanted, flag) in [
        (json!(5), "5"),
        (json!(0), "10"),
        (Value::Null, "10"),
        (json!(-1), "-1"),
    ] {
        let configuration = json!({"seedController": {"maximumParallelReconciles": wanted}});
        let (_, seed) = render("2.31.0", &configuration, &json!({}));
        let args = args(seed.first().unwrap());
        assert!(args.contains(&format!("-max-parallel-reconcile={flag}")), "{args:?}");
        assert!(args.contains(&"-seed-name=kubermatic".to_owned()));
    }
}

#[test]
fn every_deployment_carries_version_and_owner_and_envoy_has_its_own_tag() {
    let (master, seed) = render("2.30.6", &json!({}), &json!({}));
    assert_eq!(
        names(&seed),
        [
            "kubermatic-seed-controller-manager",
            "kubermatic-webhook",
            "nodeport-proxy-envoy",
            "nodeport-proxy-updater"
        ]
    );
    for deployment in master.iter().chain(&seed) {
        let labels = deployment.metadata.labels.as_ref().unwrap();
        assert_eq!(labels.get(VERSION_LABEL).map(String::as_str), Some("v2.30.6"));
        assert_eq!(deployment.metadata.owner_references.as_ref().map(Vec::len), Some(1));
    }
    let envoy = seed.get(2).unwrap();
    assert_eq!(
        images(envoy),
        [
            "quay.io/kubermatic/nodeport-proxy:v2.30.6",
            "docker.io/envoyproxy/envoy:v1.36.4"
        ]
    );
}

#[test]
fn a_disabled_proxy_is_left_out() {
    let (_, seed) = render("2.31.0", &json!({}), &json!({"nodeportProxy": {"disable": true}}));
    assert_eq!(
        names(&seed),
        ["kubermatic-seed-controller-manager", "kubermatic-webhook"]
    );
}

#[test]
fn the_addons_come_from_their_own_image() {
    let (_, seed) = render(
        "2.31.0",
        &json!({"userCluster": {"addons": {"dockerTagSuffix": "mine"}}}),
        &json!({}),
    );
    let pod = seed
        .first()
        .and_then(|deployment| deployment.spec.as_ref()?.template.spec.clone())
        .unwrap();
    let images: Vec<String> = pod
        .init_containers
        .unwrap_or_default()
        .into_iter()
        .filter_map(|init| init.image)
        .collect();
    assert_eq!(images, ["quay.io/kubermatic/addons:v2.31.0-mine"]);
}
