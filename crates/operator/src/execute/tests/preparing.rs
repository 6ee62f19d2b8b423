//! The init container of the installer: what it refuses, whom it lets through, and what it writes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use k8s_openapi::ByteString;
use kkp_upgrade_api::KKPUpgradeObject;
use serde_json::{Value, json};

use super::super::fence;
use super::fake_api::FakeApi;
use crate::prepare::{PrepareArguments, PrepareError, check, effective_values, kubeconfig, let_through};

const FENCE: &str = "/api/v1/namespaces/kubermatic/configmaps/j";
const UPGRADE: &str = "/apis/upgrade.k8c.io/v1alpha1/namespaces/kubermatic/kkpupgrades/up";
const SECRET: &str = "/api/v1/namespaces/kubermatic/secrets/values";
const VALUES: &str = "dex: {password: geheim}\nkubermaticOperator: {image: {tag: v2.30.6}}\n";

fn arguments(values_digest: &str, output: &Path) -> PrepareArguments {
    PrepareArguments {
        upgrade: "up".to_owned(),
        upgrade_uid: "u".to_owned(),
        job: "j".to_owned(),
        intent: "i".to_owned(),
        values_digest: values_digest.to_owned(),
        values_secret: Some("values".to_owned()),
        values_key: Some("v.yaml".to_owned()),
        running_repository: "mirror/kubermatic-ee".to_owned(),
        namespace: "kubermatic".to_owned(),
        pod_uid: "p".to_owned(),
        output: output.to_owned(),
        server_host: "10.96.0.1".to_owned(),
        server_port: 443,
    }
}

fn upgrade() -> Value {
    json!({
        "metadata": {"name": "up", "namespace": "kubermatic", "uid": "u"},
        "status": {"observedGeneration": 1, "phase": "Deploying", "step": {"name": "Master", "job": "j", "intent": "i"}},
    })
}

fn refused(change: impl FnOnce(&mut Value)) -> String {
    let mut value = upgrade();
    change(&mut value);
    let object: KKPUpgradeObject = serde_json::from_value(value).unwrap();
    check(&object, &arguments("d", Path::new("/nowhere")))
        .map_or_else(|error| error.to_string(), |()| "wanted".to_owned())
}

#[test]
fn only_the_job_of_the_running_step_is_wanted() {
    assert_eq!(refused(|_| {}), "wanted");
    let ending = json!({"result": "Aborted", "reason": "Aborting", "message": "m"});
    let table: [(&str, Value, &str); 9] = [
        ("/metadata/uid", json!("other"), "another object of the same name"),
        (
            "/metadata/deletionTimestamp",
            json!("2026-11-21T03:00:00Z"),
            "being deleted",
        ),
        ("/status/phase", json!("Verifying"), "phase is \"Verifying\""),
        ("/status/phase", Value::Null, "phase is \"\""),
        ("/status/ending", ending, "ending as Aborted"),
        ("/status/step/job", json!("k"), "wants Job k"),
        ("/status/step", json!({"name": "Seeds"}), "wants Job none"),
        ("/status/step/intent", json!("other"), "another intent"),
        (
            "/status/observedGeneration",
            json!("x"),
            "status of KKPUpgrade kubermatic/up",
        ),
    ];
    for (path, value, problem) in table {
        let (parent, field) = path.rsplit_once('/').unwrap();
        let said = refused(|object| object.pointer_mut(parent).unwrap()[field] = value);
        assert!(said.contains(problem), "{path}: {said}");
    }
    assert!(refused(|object| object["status"] = Value::Null).contains("phase is \"\""));
}

#[test]
fn the_kubeconfig_names_files_and_never_holds_a_token() {
    let parsed = kube::config::Kubeconfig::from_yaml(&kubeconfig("10.96.0.1", 443)).unwrap();
    let cluster = parsed.clusters[0].cluster.as_ref().unwrap();
    assert_eq!(cluster.server.as_deref(), Some("https://10.96.0.1:443"));
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    assert_eq!(cluster.certificate_authority, Some(format!("{account}/ca.crt")));
    let user = parsed.auth_infos[0].auth_info.as_ref().unwrap();
    assert_eq!(user.token_file, Some(format!("{account}/token")));
    assert!(user.token.is_none());
    assert_eq!(parsed.current_context.as_deref(), Some("master"));
    assert!(kubeconfig("fd00::1", 6443).contains("https://[fd00::1]:6443"));
}

async fn bed() -> (FakeApi, String) {
    let api = FakeApi::default();
    api.put(UPGRADE, upgrade());
    let values = ByteString(VALUES.as_bytes().to_vec());
    api.put(
        SECRET,
        json!({"metadata": {"name": "values"}, "data": {"v.yaml": values}}),
    );
    let secret = Some(("values".to_owned(), "v.yaml".to_owned()));
    let values = effective_values(&api.client(), "kubermatic", secret, "mirror/kubermatic-ee")
        .await
        .unwrap();
    (api, values.digest)
}

#[tokio::test]
async fn behind_the_fence_the_installer_finds_all_it_needs() {
    let (api, digest) = bed().await;
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(&digest, folder.path());
    // The second time is the same Pod with a new sandbox.
    for _ in 0..2 {
        let_through(&api.client(), &arguments).await.unwrap();
        let fence = api.get(FENCE).unwrap();
        assert_eq!(
            (
                &fence["immutable"],
                &fence["metadata"]["labels"]["upgrade.k8c.io/upgrade-uid"]
            ),
            (&json!(true), &json!("u"))
        );
        assert_eq!(
            fence["metadata"]["annotations"],
            json!({"upgrade.k8c.io/fence-owner": "pod", "upgrade.k8c.io/fence-pod": "p"})
        );
        let values = std::fs::read_to_string(folder.path().join("values.yaml")).unwrap();
        let values = kkp_upgrade_kkp::helm::parse_yaml(&values).unwrap();
        assert_eq!(
            values["kubermaticOperator"],
            json!({"image": {"repository": "mirror/kubermatic-ee"}})
        );
        for file in ["kubeconfig", "values.yaml"] {
            let mode = std::fs::metadata(folder.path().join(file))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        for sub_folder in ["run", "home", "tmp", "helm/cache", "helm/config", "helm/data"] {
            assert!(folder.path().join(sub_folder).is_dir(), "{sub_folder}");
        }
    }
}

#[tokio::test]
async fn a_fence_that_another_has_stays_his() {
    for (pod, holder) in [(None, "the operator"), (Some("q"), "Pod q")] {
        let (api, digest) = bed().await;
        let folder = tempfile::tempdir().unwrap();
        api.put(
            FENCE,
            serde_json::to_value(fence::manifest("kubermatic", "u", "j", pod)).unwrap(),
        );
        let error = let_through(&api.client(), &arguments(&digest, folder.path()))
            .await
            .unwrap_err();
        assert!(matches!(&error, PrepareError::FenceTaken { .. }), "{error}");
        assert!(error.to_string().contains(holder), "{error}");
        assert!(!folder.path().join("kubeconfig").exists());
    }
}

#[tokio::test]
async fn changed_values_or_an_unwanted_job_take_no_fence_and_say_no_value() {
    let (api, digest) = bed().await;
    let folder = tempfile::tempdir().unwrap();
    let error = let_through(&api.client(), &arguments("sha256:other", folder.path()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("changed since the plan"), "{error}");
    assert!(!error.to_string().contains("geheim"));
    let mut aborted = upgrade();
    aborted["status"]["phase"] = "Aborted".into();
    api.put(UPGRADE, aborted);
    let error = let_through(&api.client(), &arguments(&digest, folder.path()))
        .await
        .unwrap_err();
    assert!(matches!(error, PrepareError::Unwanted { .. }), "{error}");
    assert_eq!(api.get(FENCE), None);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_overloaded_is_asked_again_and_a_refusal_is_final() {
    let (api, digest) = bed().await;
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(&digest, folder.path());
    api.refuse(&[500, 429, 503]);
    let_through(&api.client(), &arguments).await.unwrap();
    api.requests();
    api.refuse(&[403]);
    let error = let_through(&api.client(), &arguments).await.unwrap_err();
    assert!(matches!(error, PrepareError::Call(_)), "{error}");
    assert_eq!(api.requests().len(), 1);
}
