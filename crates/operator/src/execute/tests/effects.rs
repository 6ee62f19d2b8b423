//! Effects against an API: idempotent by name or by precondition, and never over somebody else's object.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_backup::{Opener, Recipients};
use kkp_upgrade_core::facts::ThrottleMark;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::super::job::{Place, delete, manifest, submit};
use super::super::{backup, backup_key, config_map, configurations, fence, finalizer, lease, throttle};
use super::fake_api::FakeApi;
use crate::context::{ACTIVE_LEASE, FENCE_OWNER_ANNOTATION, FINALIZER, THROTTLE_ANNOTATION, UPGRADE_LABEL};

const MAPS: &str = "/api/v1/namespaces/kubermatic/configmaps";
const JOBS: &str = "/apis/batch/v1/namespaces/kubermatic/jobs";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kubermatic/leases";
const UPGRADES: &str = "/apis/upgrade.k8c.io/v1alpha1/namespaces/kubermatic/kkpupgrades";
const CONFIGURATION: &str = "/apis/kubermatic.k8c.io/v1/namespaces/kubermatic/kubermaticconfigurations/kubermatic";
const PLACE: Place<'static> = Place {
    namespace: "kubermatic",
    image: "registry.example.test/upgrade:1",
    upgrade: "up",
};

fn object(uid: &str) -> KKPUpgradeObject {
    serde_json::from_value(json!({"metadata": {"name": "up", "namespace": "kubermatic", "uid": uid}})).unwrap()
}

fn job(folder_of: &str) -> Job {
    let mut intent = super::backup("master");
    folder_of.clone_into(&mut intent.plan);
    manifest(PLACE, &intent, backup::work(PLACE, &intent, None).unwrap())
}

#[tokio::test]
async fn the_same_job_twice_is_one_job_and_another_of_its_name_is_refused() {
    let api = FakeApi::default();
    let jobs = Api::<Job>::namespaced(api.client(), "kubermatic");
    for _ in 0..2 {
        submit(&jobs, &job("a")).await.unwrap();
    }
    let error = submit(&jobs, &job("b")).await.unwrap_err();
    assert!(error.to_string().contains("made for something else"), "{error}");
    let path = format!("{JOBS}/kkpu-step-0123456789");
    let mut foreign = api.get(&path).unwrap();
    foreign["metadata"]["labels"][UPGRADE_LABEL] = "another".into();
    api.put(&path, foreign);
    assert!(submit(&jobs, &job("a")).await.is_err());
}

#[tokio::test]
async fn the_key_of_backups_is_made_once_and_one_that_is_there_stays() {
    let api = FakeApi::default();
    let secrets = Api::<Secret>::namespaced(api.client(), "kubermatic");
    let path = "/api/v1/namespaces/kubermatic/secrets/kkp-upgrade-backup-key";
    backup_key::create(&secrets, "kubermatic").await.unwrap();
    let made: Secret = serde_json::from_value(api.get(path).unwrap()).unwrap();
    let text = |name: &str| String::from_utf8(made.data.as_ref().unwrap()[name].0.clone()).unwrap();
    assert!(Recipients::parse(&[text("recipient")]).is_ok());
    // What `age --identity` reads, and it is the private half of this very key.
    let identity = text("identity");
    assert!(
        identity.starts_with(&format!("# public key: {}\n", text("recipient"))),
        "not a key file"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &identity).unwrap();
    Opener::from_file(file.path()).unwrap();
    backup_key::create(&secrets, "kubermatic").await.unwrap();
    assert_eq!(api.get(path).unwrap(), serde_json::to_value(&made).unwrap());
    // Whoever keeps the private half elsewhere is not given another one.
    api.put(
        path,
        json!({"metadata": {"name": "kkp-upgrade-backup-key"}, "data": {}}),
    );
    backup_key::create(&secrets, "kubermatic").await.unwrap();
    assert_eq!(api.get(path).unwrap()["data"], json!({}));
    api.refuse(&[403]);
    let error = backup_key::create(&secrets, "kubermatic")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("kkp-upgrade-backup-key") && !error.contains("AGE-SECRET-KEY"),
        "{error}"
    );
}

#[tokio::test]
async fn only_the_job_with_that_uid_is_deleted_and_a_missing_one_is_fine() {
    let api = FakeApi::default();
    let jobs = Api::<Job>::namespaced(api.client(), "kubermatic");
    api.put(&format!("{JOBS}/j"), json!({"metadata": {"name": "j", "uid": "new"}}));
    assert!(delete(&jobs, "j", "old").await.unwrap_err().is_conflict());
    assert!(api.get(&format!("{JOBS}/j")).is_some());
    delete(&jobs, "j", "new").await.unwrap();
    assert!(api.get(&format!("{JOBS}/j")).is_none());
    delete(&jobs, "j", "new").await.unwrap();
}

#[tokio::test]
async fn the_operator_takes_a_fence_only_where_nobody_has_it() {
    let api = FakeApi::default();
    let fences = Api::<ConfigMap>::namespaced(api.client(), "kubermatic");
    let path = format!("{MAPS}/j");
    api.put(
        &path,
        serde_json::to_value(fence::manifest("kubermatic", "u", "j", Some("p"))).unwrap(),
    );
    let before = api.get(&path);
    fence::take_for_operator(&fences, "kubermatic", "u", "j").await.unwrap();
    assert_eq!(api.get(&path), before);
    fence::take_for_operator(&fences, "kubermatic", "u", "k").await.unwrap();
    let taken = api.get(&format!("{MAPS}/k")).unwrap();
    assert_eq!(
        taken["metadata"]["annotations"],
        json!({FENCE_OWNER_ANNOTATION: "operator"})
    );
    assert_eq!(taken["immutable"], true);
    assert_eq!(taken["metadata"].get("ownerReferences"), None);
}

#[tokio::test]
async fn a_config_map_is_created_replaced_left_alone_or_refused() {
    let api = FakeApi::default();
    let maps = Api::<ConfigMap>::namespaced(api.client(), "kubermatic");
    let path = format!("{MAPS}/up-plan");
    let plan = |text: &str| {
        let text = text.to_owned();
        config_map::plan("kubermatic", &object("u"), "up-plan", (&text, &text), &text)
    };
    config_map::write(&maps, plan("one")).await.unwrap();
    let owner = &api.get(&path).unwrap()["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["uid"], &owner["controller"], &owner["kind"]),
        (&json!("u"), &json!(true), &json!("KKPUpgrade"))
    );
    config_map::write(&maps, plan("two")).await.unwrap();
    assert_eq!(
        api.get(&path).unwrap()["data"],
        json!({"plan.yaml": "two", "plan.md": "two"})
    );
    api.requests();
    config_map::write(&maps, plan("two")).await.unwrap();
    assert_eq!(api.requests(), [format!("GET {path}")]);

    let other = config_map::leftovers("kubermatic", &object("other"), "up-plan", "text");
    assert_eq!(other.metadata.owner_references, None);
    let error = config_map::write(&maps, other).await.unwrap_err();
    assert!(
        error.to_string().contains("kubermatic/up-plan") && error.to_string().contains("does not belong"),
        "{error}"
    );
    assert_eq!(
        api.get(&path).unwrap()["data"],
        json!({"plan.yaml": "two", "plan.md": "two"})
    );
}

#[tokio::test]
async fn the_lease_goes_to_whoever_saw_its_newest_version() {
    let api = FakeApi::default();
    let leases = Api::<Lease>::namespaced(api.client(), "kubermatic");
    let path = format!("{LEASES}/{ACTIVE_LEASE}");
    let now = "2026-11-21T03:00:00Z".parse().unwrap();
    let version = |api: &FakeApi| {
        api.get(&path).unwrap()["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    lease::acquire(&leases, "kubermatic", &object("a"), now, None)
        .await
        .unwrap();
    assert_eq!(api.get(&path).unwrap()["spec"]["holderIdentity"], "a");
    let late = lease::acquire(&leases, "kubermatic", &object("b"), now, None).await;
    assert!(late.unwrap_err().is_conflict());

    let seen = version(&api);
    lease::release(&leases, "kubermatic", &seen).await.unwrap();
    assert_eq!(api.get(&path).unwrap()["spec"].get("holderIdentity"), None);
    assert!(
        lease::release(&leases, "kubermatic", &seen)
            .await
            .unwrap_err()
            .is_conflict()
    );
    let stale = lease::acquire(&leases, "kubermatic", &object("b"), now, Some(seen)).await;
    assert!(stale.unwrap_err().is_conflict());
    lease::acquire(&leases, "kubermatic", &object("b"), now, Some(version(&api)))
        .await
        .unwrap();
    assert_eq!(api.get(&path).unwrap()["spec"]["holderIdentity"], "b");
}

#[tokio::test]
async fn the_finalizer_rests_on_the_version_that_was_read() {
    let api = FakeApi::default();
    let path = format!("{UPGRADES}/up");
    api.put(
        &path,
        json!({"metadata": {"name": "up", "namespace": "kubermatic", "uid": "u", "finalizers": ["other"]}}),
    );
    let read = |api: &FakeApi| serde_json::from_value::<KKPUpgradeObject>(api.get(&path).unwrap()).unwrap();
    let old = read(&api);
    finalizer::set(api.client(), &old, true).await.unwrap();
    assert_eq!(
        api.get(&path).unwrap()["metadata"]["finalizers"],
        json!(["other", FINALIZER])
    );
    assert!(
        finalizer::set(api.client(), &old, true)
            .await
            .unwrap_err()
            .is_conflict()
    );
    finalizer::set(api.client(), &read(&api), false).await.unwrap();
    assert_eq!(api.get(&path).unwrap()["metadata"]["finalizers"], json!(["other"]));
}

#[tokio::test]
async fn the_limit_and_our_note_come_and_go_together() {
    let api = FakeApi::default();
    api.put(
        CONFIGURATION,
        json!({"metadata": {"name": "kubermatic"}, "spec": {"exposeStrategy": "NodePort"}}),
    );
    let send = async |body: Value| {
        let parameters = PatchParams::default();
        configurations(api.client(), "kubermatic")
            .patch("kubermatic", &parameters, &Patch::Merge(body))
            .await
    };
    let mark = ThrottleMark {
        owner: "u".to_owned(),
        original: None,
        applied: 2,
    };
    send(throttle::set_body(&mark, "1").unwrap()).await.unwrap();
    let set = api.get(CONFIGURATION).unwrap();
    assert_eq!(set["spec"]["seedController"]["maximumParallelReconciles"], 2);
    assert!(set["metadata"]["annotations"][THROTTLE_ANNOTATION].is_string());
    assert!(send(throttle::restore_body(None, true, "1")).await.is_err());
    send(throttle::restore_body(None, true, "2")).await.unwrap();
    let restored = api.get(CONFIGURATION).unwrap();
    assert_eq!(
        restored["spec"],
        json!({"exposeStrategy": "NodePort", "seedController": {}})
    );
    assert_eq!(restored["metadata"]["annotations"], json!({}));
}
