//! Reading: lists to their last page, and Jobs that are ours by UID and intent.

use std::convert::Infallible;

use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::decide::RuleNeeds;
use kkp_upgrade_core::facts::{JobFacts, Known};
use kkp_upgrade_core::request::Request as UpgradeRequest;
use kkp_upgrade_core::rules::{Catalogue, Evaluation, Hop, Input, Stage};
use kkp_upgrade_core::status::{Status, Step};
use kkp_upgrade_core::version::KkpVersion;
use kube::api::ListParams;
use kube::client::Body;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::job;
use super::platform::asked;
use super::survey::list;
use crate::catalogue::Snapshot;
use crate::context::{INTENT_ANNOTATION, UPGRADE_LABEL};
use crate::execute::tests::fake_api::FakeApi;
use crate::execute::tests::recording::context;

/// When rules are asked.
pub(super) const NOW: &str = "2026-06-01T00:00:00Z";

/// The rules of a Preflight, nothing shown to them yet.
pub(super) fn preflight() -> Evaluation {
    let (from, to) = (KkpVersion::new(2, 30, 6), KkpVersion::new(2, 31, 0));
    let input = Input {
        hops: vec![Hop { from, to }],
        now: NOW.parse().unwrap(),
        ..Input::default()
    };
    Evaluation::new(&Catalogue::embedded_shared().unwrap(), &[Stage::Preflight], &input)
}

/// A server that has one object on each of three pages.
fn paged() -> Client {
    let service = tower::service_fn(|request: Request<Body>| async move {
        let query = request.uri().query().unwrap_or_default().to_owned();
        assert!(query.contains("limit="), "{query}");
        let (name, next) = match query.split("continue=").nth(1) {
            None => ("first", Some("second")),
            Some("second") => ("second", Some("third")),
            _ => ("third", None),
        };
        let metadata = next.map_or_else(|| json!({}), |next| json!({"continue": next}));
        let answer = json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata,
            "items": [{"metadata": {"name": name}}]});
        Ok::<_, Infallible>(Response::new(Body::from(answer.to_string().into_bytes())))
    });
    Client::new(service, "kubermatic")
}

#[tokio::test]
async fn a_list_is_read_to_its_last_page() {
    let all = list::<ConfigMap>(Api::all(paged()), "ConfigMaps".to_owned(), ListParams::default()).await;
    let names: Vec<String> = all.unwrap().iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["first", "second", "third"]);
}

#[tokio::test]
async fn a_job_of_the_name_is_ours_only_by_uid_and_intent() {
    let read = async |uid: &str, intent: &str| {
        let api = FakeApi::default();
        api.put(
            "/apis/batch/v1/namespaces/kubermatic/jobs/j",
            json!({"metadata": {"name": "j", "uid": "job", "labels": {UPGRADE_LABEL: uid},
                "annotations": {INTENT_ANNOTATION: intent}}}),
        );
        let status = Status {
            step: Some(Step {
                job: Some("j".to_owned()),
                intent: Some("sha256:i".to_owned()),
                ..Step::default()
            }),
            ..Status::default()
        };
        job::read(&context(&api).observer(&Known::NotRead), "j", &status, "u").await
    };
    for (uid, intent) in [("older", "sha256:i"), ("u", "sha256:other"), ("", "")] {
        assert_eq!(read(uid, intent).await.unwrap(), JobFacts::Foreign, "{uid} {intent}");
    }
    // Ours, so its Pods are asked for, which this server does not have.
    let error = read("u", "sha256:i").await.unwrap_err();
    assert!(error.to_string().contains("Pods of Job j"), "{error}");
}

#[test]
fn a_catalogue_that_cannot_be_read_leaves_every_rule_undecided() {
    let object = json!({"metadata": {"name": "up"}, "spec": {"targetVersion": "2.31.0"}});
    let object: KKPUpgradeObject = serde_json::from_value(object).unwrap();
    let request = UpgradeRequest::try_from(&object.parse_spec().unwrap()).unwrap();
    let rules = RuleNeeds {
        from: Some(KkpVersion::new(2, 30, 6)),
        ahead: Vec::new(),
        to: KkpVersion::new(2, 31, 0),
        stages: &[Stage::Preflight],
    };
    let asked =
        |catalogue| asked(Some(&request), Some(&rules), None, catalogue).map(|(.., snapshot)| snapshot.refused.clone());
    let refused = Known::Is(Snapshot {
        catalogue: Catalogue::embedded_shared().unwrap(),
        refused: Some("junk".to_owned()),
    });
    assert_eq!(
        asked(&refused),
        Ok(Some("junk".to_owned())),
        "the compiled-in one counts"
    );
    let unread = Known::Unknown("ConfigMap kkp-upgrade-catalogue: 403".to_owned());
    assert_eq!(
        asked(&unread),
        Err(Known::Unknown("ConfigMap kkp-upgrade-catalogue: 403".to_owned()))
    );
    assert_eq!(
        asked(&Known::NotRead),
        Err(Known::Unknown("not read in this round".to_owned()))
    );
}
