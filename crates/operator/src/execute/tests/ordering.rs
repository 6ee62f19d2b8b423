//! Orders for etcd backups: each created once, none written over, and one refusal holds up no other.

use kkp_upgrade_core::effect::EtcdIntent;
use kkp_upgrade_core::etcd::{EtcdCluster, RUN_LABEL, config_name, run_label};
use serde_json::json;

use super::super::etcd::create;
use super::fake_api::FakeApi;
use crate::context::UPGRADE_LABEL;

const UID: &str = "11111111-2222-3333-4444-555555555555";

fn path(cluster: &str) -> String {
    format!(
        "/apis/kubermatic.k8c.io/v1/namespaces/cluster-{cluster}/etcdbackupconfigs/{}",
        config_name(UID, 3, 1)
    )
}

fn intent() -> EtcdIntent {
    let cluster = |name: &str| EtcdCluster {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        namespace: format!("cluster-{name}"),
        project: Some("p".to_owned()),
    };
    EtcdIntent {
        seed: "eu".to_owned(),
        destination: "s3".to_owned(),
        uid: UID.to_owned(),
        run: 3,
        requested: "2026-01-01T00:00:00Z".parse().unwrap(),
        backups: vec![(cluster("a"), 1), (cluster("b"), 1)],
    }
}

#[tokio::test]
async fn an_order_is_one_shot_and_says_whose_it_is() {
    let server = FakeApi::default();
    create(&server.client(), &intent()).await.unwrap();
    let made = server.get(&path("a")).unwrap();
    assert_eq!(
        made["spec"],
        json!({"name": config_name(UID, 3, 1), "destination": "s3",
            "cluster": {"apiVersion": "kubermatic.k8c.io/v1", "kind": "Cluster", "name": "a", "uid": "uid-a"}})
    );
    let labels = &made["metadata"]["labels"];
    assert_eq!(
        *labels,
        json!({RUN_LABEL: run_label(UID, 3), UPGRADE_LABEL: UID, "project-id": "p"})
    );
    assert!(server.get(&path("b")).is_some());
}

#[tokio::test]
async fn what_is_there_stays_and_no_second_one_is_made() {
    let server = FakeApi::default();
    create(&server.client(), &intent()).await.unwrap();
    let before = server.get(&path("a"));
    server.requests();
    create(&server.client(), &intent()).await.unwrap();
    assert_eq!(server.get(&path("a")), before);
    let requests = server.requests();
    assert!(
        requests
            .iter()
            .all(|request| request.starts_with("POST") || request.starts_with("GET")),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_foreign_object_of_the_name_is_an_error_and_left_alone() {
    let server = FakeApi::default();
    server.put(&path("a"), json!({"metadata": {"name": config_name(UID, 3, 1)}}));
    let before = server.get(&path("a"));
    let error = create(&server.client(), &intent()).await.unwrap_err().to_string();
    assert!(error.contains("was not made by this run"), "{error}");
    assert_eq!(server.get(&path("a")), before);
    assert!(server.get(&path("b")).is_some(), "the other one is made all the same");
}

#[tokio::test]
async fn a_refusal_names_the_object_and_holds_up_no_other() {
    let server = FakeApi::default();
    server.refuse(&[403]);
    let error = create(&server.client(), &intent()).await.unwrap_err();
    assert_eq!(error.code(), Some(403));
    assert!(error.to_string().contains("cluster-a/kkpu-"), "{error}");
    assert!(server.get(&path("a")).is_none() && server.get(&path("b")).is_some());
}
