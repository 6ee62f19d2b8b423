//! What a round writes and when: status with its intent before each effect, against the version that was read; and Jobs that
//! are what the operator makes them, whatever stands in a KKPUpgrade.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_connection::Connector;
use kkp_upgrade_core::decide::Decision;
use kkp_upgrade_core::effect::Effect;
use kkp_upgrade_core::facts::ThrottleMark;
use kkp_upgrade_core::rules::Catalogue;
use kkp_upgrade_core::status::Status;
use kkp_upgrade_core::timing::Timing;
use kube::runtime::events::{Recorder, Reporter};
use serde_json::{Value, json};

use super::super::{job, throttle};
use super::fake_api::FakeApi;
use super::installer;
use crate::call::{CallError, call};
use crate::catalogue::Catalogues;
use crate::context::{Context, FINALIZER, THROTTLE_ANNOTATION};
use crate::http::Health;
use crate::metrics::Metrics;
use crate::observe::RecentLook;
use crate::outside::Outside;
use crate::reconcile::reconcile;
use crate::record::{self, WriteClock};
use crate::refusals::Refusals;
use crate::seeds::SeedConnections;
use crate::watches::Trigger;

const UPGRADE: &str = "/apis/upgrade.k8c.io/v1alpha1/namespaces/kubermatic/kkpupgrades/up";

/// What an operator shares, in front of an API in memory.
pub(crate) fn context(api: &FakeApi) -> Context {
    let reporter = Reporter {
        controller: "test".to_owned(),
        instance: None,
    };
    Context {
        client: api.client(),
        namespace: "kubermatic".to_owned(),
        pod_uid: "pod".to_owned(),
        pod_name: "operator-0".to_owned(),
        image: "registry.example.test/upgrade:1".to_owned(),
        default_backup_claim: None,
        catalogues: Catalogues::new(Catalogue::embedded_shared().unwrap()),
        timing: Timing::default(),
        seeds: SeedConnections::new(Connector::default()),
        outside: Outside::default(),
        recorder: Recorder::new(api.client(), reporter),
        metrics: Metrics::new("test"),
        health: Health::new(&[], Duration::from_mins(1)),
        recent: RecentLook::new(Duration::ZERO),
        trigger: Trigger::new(Timing::default().resync),
        writes: WriteClock::default(),
        refusals: Refusals::default(),
        effects: std::sync::atomic::AtomicU64::new(0),
    }
}

fn stored(api: &FakeApi) -> KKPUpgradeObject {
    serde_json::from_value(api.get(UPGRADE).unwrap()).unwrap()
}

/// A KKPUpgrade whose run has ended and whose finalizer is all that is left.
fn ending(api: &FakeApi) -> Arc<KKPUpgradeObject> {
    api.put(
        UPGRADE,
        json!({
            "metadata": {"name": "up", "namespace": "kubermatic", "uid": "u", "generation": 1, "finalizers": [FINALIZER],
                "deletionTimestamp": "2026-11-21T03:00:00Z"},
            "spec": {"targetVersion": "2.31.0"},
        }),
    );
    Arc::new(stored(api))
}

/// Writes to the KKPUpgrade and to nothing else, in their order.
fn writes(api: &FakeApi) -> Vec<String> {
    let requests = api.requests().into_iter();
    let writes = requests.filter(|request| !request.starts_with("GET ") && !request.contains("/events"));
    writes.map(|request| request.replace(UPGRADE, "up")).collect()
}

#[tokio::test]
async fn each_effect_follows_the_status_that_names_it() {
    let api = FakeApi::default();
    let context = Arc::new(context(&api));
    let object = ending(&api);
    let mut effects = 0;
    for _ in 0..6 {
        let before = api.get(UPGRADE).unwrap()["status"]["step"]["holder"].clone();
        // The platform cannot be read at all, which keeps nobody from leaving.
        reconcile(object.clone(), context.clone()).await.unwrap();
        let writes = writes(&api);
        if let Some(place) = writes.iter().position(|write| write == "PATCH up") {
            effects += 1;
            assert_eq!(writes[..place], ["PUT up/status"], "the intent comes first, once");
            let after = api.get(UPGRADE).unwrap()["status"]["step"]["holder"].clone();
            assert!(after.is_string() && after != before, "{after} names this very effect");
        }
    }
    assert_eq!(effects, 1);
    assert!(stored(&api).metadata.finalizers.unwrap_or_default().is_empty());
}

#[tokio::test]
async fn an_intent_that_is_refused_has_no_effect() {
    let api = FakeApi::default();
    let context = Arc::new(context(&api));
    let object = ending(&api);
    for _ in 0..6 {
        if stored(&api).status["phase"] == "Aborted" {
            break; // what is left is to take the finalizer off
        }
        reconcile(object.clone(), context.clone()).await.unwrap();
    }
    api.refuse_writes_of_status(true);
    api.requests();
    for _ in 0..3 {
        assert!(reconcile(object.clone(), context.clone()).await.is_err());
    }
    assert!(!writes(&api).contains(&"PATCH up".to_owned()));
    assert_eq!(stored(&api).metadata.finalizers, Some(vec![FINALIZER.to_owned()]));
    api.refuse_writes_of_status(false);
    reconcile(object, context).await.unwrap();
    assert!(writes(&api).contains(&"PATCH up".to_owned()));
}

fn decision(effect: Option<Effect>) -> Decision {
    Decision {
        status: Status {
            observed_generation: 1,
            phase: Some("Preflight".to_owned()),
            ..Status::default()
        },
        effect,
        requeue: Duration::ZERO,
        events: Vec::new(),
    }
}

#[tokio::test]
async fn status_is_written_against_the_version_that_it_was_decided_from() {
    let api = FakeApi::default();
    let context = context(&api);
    let object = ending(&api);
    // Another operator has written meanwhile.
    let mut newer = api.get(UPGRADE).unwrap();
    newer["status"] = json!({"observedGeneration": 1, "phase": "Backup"});
    api.put(UPGRADE, newer);
    for effect in [None, Some(Effect::AddFinalizer)] {
        let decision = decision(effect);
        let lost = record::intent(&context, &object, &Status::default(), &decision).await;
        assert!(lost.err().is_some_and(|error| error.is_conflict()));
        assert_eq!(stored(&api).status["phase"], "Backup", "never written over");
    }
}

#[tokio::test]
async fn status_is_not_written_to_another_object_of_the_name() {
    let api = FakeApi::default();
    let context = context(&api);
    let mut old = (*ending(&api)).clone();
    old.metadata.uid = Some("older".to_owned());
    let decision = decision(None);
    let lost = record::intent(&context, &old, &Status::default(), &decision).await;
    assert!(lost.err().is_some_and(|error| error.is_conflict()));
}

#[tokio::test]
async fn nothing_new_writes_nothing_and_an_effect_is_recorded_all_the_same() {
    let api = FakeApi::default();
    let context = context(&api);
    ending(&api);
    let first = decision(None);
    record::intent(&context, &stored(&api), &Status::default(), &first)
        .await
        .unwrap();
    api.requests();
    let object = stored(&api);
    let none = record::intent(&context, &object, &first.status, &first).await.unwrap();
    assert!(none.is_none() && writes(&api).is_empty(), "at rest");
    // An effect whose status has only a count that moved: too small a change to be written by itself.
    let mut second = decision(Some(Effect::AddFinalizer));
    second.status.insights.push("7 to go".to_owned());
    let intent = record::intent(&context, &object, &first.status, &second).await.unwrap();
    assert!(intent.is_some());
    assert_eq!(writes(&api), ["PUT up/status"]);
}

#[tokio::test]
async fn a_job_is_what_the_operator_makes_it_whatever_the_kkpupgrade_says() {
    let made = async |object: Value| -> Job {
        let api = FakeApi::default();
        let object = serde_json::from_value(object).unwrap();
        job::create(&context(&api), &object, &installer()).await.unwrap();
        let path = format!("/apis/batch/v1/namespaces/kubermatic/jobs/{}", installer().name);
        let mut job = api.get(&path).unwrap();
        job["metadata"]["resourceVersion"] = Value::Null;
        serde_json::from_value(job).unwrap()
    };
    let plain = made(json!({"metadata": {"name": "up", "namespace": "kubermatic", "uid": "u"}})).await;
    let wishes = json!({
        "serviceAccountName": "admin", "serviceAccount": "admin", "namespace": "kube-system", "image": "evil:1",
        "command": ["sh"], "args": ["-c"], "env": [{"name": "A", "value": "b"}], "activeDeadlineSeconds": 1,
        "hostNetwork": true, "privileged": true, "volumes": [{"name": "root", "hostPath": {"path": "/"}}],
    });
    let annotations = json!({
        "upgrade.k8c.io/service-account": "admin", "upgrade.k8c.io/serviceAccountName": "admin",
        "upgrade.k8c.io/image": "evil:1", "upgrade.k8c.io/namespace": "kube-system",
    });
    let mut spec = wishes.clone();
    spec["targetVersion"] = "2.31.0".into();
    for section in ["installer", "backup", "job", "podTemplate"] {
        spec[section] = wishes.clone();
    }
    let wishful = made(json!({
        "metadata": {"name": "up", "namespace": "kubermatic", "uid": "u", "labels": annotations, "annotations": annotations},
        "spec": spec,
    }))
    .await;
    assert_eq!(wishful, plain);
}

#[test]
fn the_note_keeps_what_the_limit_was() {
    for original in [None, Some(0), Some(20)] {
        let mark = ThrottleMark {
            owner: "u".to_owned(),
            original,
            applied: 3,
        };
        let body = throttle::set_body(&mark, "1").unwrap();
        let note = body["metadata"]["annotations"][THROTTLE_ANNOTATION].as_str().unwrap();
        assert_eq!(serde_json::from_str::<ThrottleMark>(note).unwrap(), mark);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_answered_ends() {
    let silent = call("list of Seeds", std::future::pending::<kube::Result<()>>());
    let ended = tokio::time::timeout(Duration::from_secs(31), silent).await;
    let error = ended.map_err(|_| "it hangs").unwrap().unwrap_err();
    assert!(matches!(error, CallError::Deadline { .. }));
    assert!(
        error.to_string().starts_with("list of Seeds: no answer within"),
        "{error}"
    );
}
