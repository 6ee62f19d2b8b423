//! Histories that break what single objects tell: fields that are owned, a note that stays, threatened releases, deletions.

use serde_json::{Value, json};

use super::breaking::{breaks, keeps};
use super::story::{Story, by, deletion, key, release, set, upgrade_key, write};
use crate::{Actor, Expectations, Identity, Sources, Verb, What};

/// The managed fields of the operator on an object.
fn owning(fields: &Value) -> Value {
    json!([
        {"manager": "kkp-upgrade-operator", "fieldsV1": fields},
        {"manager": "kubectl", "fieldsV1": {"f:spec": {"f:caBundle": {}}}},
    ])
}

#[test]
fn s18_owned_fields() {
    let owns = |fields: Value| move |object: &mut Value| set(object, "/metadata/managedFields", owning(&fields));
    let limit = json!({
        "f:metadata": {"f:annotations": {"f:upgrade.k8c.io/throttle": {}}},
        "f:spec": {"f:seedController": {"f:maximumParallelReconciles": {}}},
    });
    keeps(&Story::whole().edit("limit", "put-back", owns(limit)));
    let more = json!({"f:spec": {"f:seedController": {"f:replicas": {}}}});
    breaks(
        "S18",
        "owns /spec/seedController/replicas",
        &Story::whole().edit("limit", "limit", owns(more)),
    );
    keeps(&Story::whole().edit("done", "done", owns(json!({"f:status": {"f:phase": {}}}))));
    breaks(
        "S18",
        "owns /spec/targetVersion",
        &Story::whole().edit("done", "done", owns(json!({"f:spec": {"f:targetVersion": {}}}))),
    );
    // Seen by a watch, with nobody known who wrote it.
    let mut seed = json!({"metadata": {"name": "eu"}});
    set(
        &mut seed,
        "/metadata/managedFields",
        owning(&json!({"f:spec": {"f:country": {}}})),
    );
    let watched = What::Seen(key("kubermatic.k8c.io", "seeds", "eu"), std::sync::Arc::new(seed));
    breaks(
        "S18",
        "owns /spec/country",
        &Story::whole().then("configuration", watched),
    );
}

#[test]
fn s8_note_gone() {
    let only_objects = Expectations {
        sources: Sources {
            writers: false,
            ledger: false,
        },
        ..Expectations::default()
    };
    assert_eq!(Story::whole().judged_by(&only_objects), []);
    let kept = Story::whole();
    let note = kept.object("limit").pointer("/metadata/annotations").cloned();
    let kept = kept.edit("put-back", "put-back", |object| {
        set(object, "/metadata/annotations", note.clone().unwrap_or_default());
    });
    let found = kept.judged_by(&only_objects);
    assert!(
        found
            .iter()
            .any(|violation| violation.property == "S8" && violation.message.contains("its note is still there")),
        "{found:#?}"
    );
}

#[test]
fn s6_no_job_beside_a_threatened_release() {
    let broken = |name: &str, status: &str, revision: u64| {
        let mut secret = release(status, revision);
        set(&mut secret, "/metadata/labels/name", json!(name));
        let name = format!("sh.helm.release.v1.{name}.v{revision}");
        write(Identity::Other, Verb::Create, key("", "secrets", &name), secret)
    };
    breaks(
        "S6",
        "created while release dex was pending-upgrade",
        &Story::whole().then_write("order", broken("dex", "pending-upgrade", 1)),
    );
    keeps(&Story::whole().then_write("job", broken("dex", "failed", 1)));
    // Not of the stack that the installer manages.
    keeps(&Story::whole().then_write("order", broken("grafana", "failed", 1)));
}

#[test]
fn s18_deletes() {
    breaks(
        "S18",
        "without its UID",
        &Story::whole().alter("job-deleted", |write| write.uid_precondition = None),
    );
    let map = deletion(Identity::Operator, key("", "configmaps", "x"), Some("x"));
    breaks("S18", "nothing but its Jobs", &Story::whole().then_write("done", map));
    let pod = |state: Value, version: Option<&str>| {
        let mut write = deletion(Identity::Operator, key("", "pods", "p"), Some("x"));
        write.version_precondition = version.map(str::to_owned);
        write.after = Some(std::sync::Arc::new(
            json!({"metadata": {"labels": {"upgrade.k8c.io/upgrade-uid": "u"}}, "status": {"containerStatuses": [{"state": state}]}}),
        ));
        Story::whole().then_write("job-deleted", write)
    };
    let waiting = || json!({"waiting": {"reason": "ErrImagePull"}});
    breaks(
        "S18",
        "after its program had started",
        &pod(json!({"running": {}}), Some("7")),
    );
    breaks("S18", "without the version that was seen", &pod(waiting(), None));
    let found = pod(waiting(), Some("7")).judged();
    assert!(found.iter().all(|violation| violation.property != "S18"), "{found:#?}");
    let theirs = write(
        Identity::Other,
        Verb::Create,
        key("batch", "jobs", "theirs"),
        json!({"metadata": {}}),
    );
    let deleted = deletion(Identity::Operator, key("batch", "jobs", "theirs"), Some("x"));
    let story = Story::whole()
        .then_write("done", theirs)
        .then_write("lease-back", deleted);
    breaks("S18", "deleted by the operator, whose it is not", &story);
}

#[test]
fn s19_no_empty_write() {
    let story = Story::whole();
    let mut same = story.object("done");
    set(&mut same, "/metadata/resourceVersion", json!("999"));
    let mut again = write(Identity::Operator, Verb::Update, upgrade_key(), same);
    again.subresource = Some("status".to_owned());
    breaks(
        "S19",
        "what stood there already",
        &story.then_write("done", again.clone()),
    );
    again.actor = Actor {
        name: "person".to_owned(),
        ..by(Identity::Other)
    };
    keeps(&Story::whole().then_write("done", again));
}
