//! Fixes against an API: value and note in one write, against the version that was seen, and gone without a trace.

use kkp_upgrade_core::fix::{FIX_ANNOTATION, FixIntent, FixMark, FixTarget, SeenObject};
use kkp_upgrade_core::rules::ItemKind;
use kkp_upgrade_kkp::types::Cluster;
use kube::Api;
use kube::core::{ApiResource, DynamicObject};
use serde_json::{Value, json};

use super::super::fix;
use super::fake_api::FakeApi;

const CLUSTER: &str = "/apis/kubermatic.k8c.io/v1/clusters/x";

fn api(server: &FakeApi) -> Api<DynamicObject> {
    Api::all_with(server.client(), &ApiResource::erase::<Cluster>(&()))
}

fn mark(original: &Value, applied: &Value) -> FixMark {
    FixMark {
        owner: "u".to_owned(),
        rule: "cluster-paused".to_owned(),
        path: ".spec.pause".to_owned(),
        original: Some(original.clone()),
        applied: Some(applied.clone()),
        temporary: true,
        throttled: false,
    }
}

fn intent(version: &str, value: &Value, marks: Vec<FixMark>) -> FixIntent {
    FixIntent {
        target: FixTarget {
            kind: ItemKind::Cluster,
            name: "eu/x".to_owned(),
        },
        resource_version: version.to_owned(),
        values: vec![(".spec.pause".to_owned(), Some(value.clone()))],
        marks,
    }
}

async fn send(server: &FakeApi, intent: &FixIntent) -> Result<(), crate::call::CallError> {
    fix::send(&api(server), "x", "patch cluster eu/x".to_owned(), intent).await
}

#[tokio::test]
async fn a_fix_comes_and_goes_with_its_note_and_touches_nothing_else() {
    let server = FakeApi::default();
    let before = json!({"metadata": {"name": "x", "annotations": {"a": "b"}},
        "spec": {"version": "1.33.0", "pause": true, "cloud": {"dc": "here"}}});
    server.put(CLUSTER, before.clone());
    let (paused, running) = (json!(true), json!(false));
    send(&server, &intent("1", &running, vec![mark(&paused, &running)]))
        .await
        .unwrap();
    let fixed = server.get(CLUSTER).unwrap();
    assert_eq!(
        fixed["spec"],
        json!({"version": "1.33.0", "pause": false, "cloud": {"dc": "here"}})
    );
    let seen = SeenObject::read(&fixed, []);
    assert_eq!(seen.marks.value().unwrap(), &[mark(&paused, &running)]);

    send(&server, &intent(&seen.resource_version, &paused, Vec::new()))
        .await
        .unwrap();
    let back = server.get(CLUSTER).unwrap();
    assert_eq!(back["spec"], before["spec"]);
    assert_eq!(back["metadata"]["annotations"], json!({"a": "b"}));
    assert_eq!(server.requests(), vec![format!("PATCH {CLUSTER}"); 2]);
}

#[tokio::test]
async fn a_fix_against_another_version_than_was_seen_is_lost() {
    let server = FakeApi::default();
    server.put(CLUSTER, json!({"metadata": {"name": "x"}, "spec": {"pause": true}}));
    server.put(CLUSTER, json!({"metadata": {"name": "x"}, "spec": {"pause": null}}));
    let (paused, running) = (json!(true), json!(false));
    let lost = send(&server, &intent("1", &running, vec![mark(&paused, &running)])).await;
    assert!(lost.unwrap_err().is_conflict());
    let annotations = &server.get(CLUSTER).unwrap()["metadata"]["annotations"];
    assert_eq!(annotations.get(FIX_ANNOTATION), None);
}

#[tokio::test]
async fn a_refusal_names_the_object_and_has_its_code() {
    let server = FakeApi::default();
    server.put(CLUSTER, json!({"metadata": {"name": "x"}}));
    server.refuse(&[403]);
    let refused = send(&server, &intent("1", &json!(false), Vec::new()))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Some(403));
    assert!(refused.to_string().starts_with("patch cluster eu/x: 403"), "{refused}");
}

#[tokio::test]
async fn a_path_that_cannot_be_written_is_never_sent() {
    let server = FakeApi::default();
    let mut odd = intent("1", &json!(false), Vec::new());
    odd.values = vec![(".spec.items[]".to_owned(), Some(json!(1)))];
    assert!(send(&server, &odd).await.is_err());
    assert_eq!(server.requests(), Vec::<String>::new());
}
