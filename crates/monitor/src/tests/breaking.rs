//! Histories that break what holds about the platform: gate, backups, queue, limit, ownership, evidence.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::story::{Story, cluster, configuration_key, deletion, deployment, key, set, upgrade_key, write};
use crate::{Identity, ObjectKey, Verb};

/// The story breaks this property, with these words.
#[track_caller]
pub(super) fn breaks(property: &str, words: &str, story: &Story) {
    let found = story.judged();
    let hit = found
        .iter()
        .any(|violation| violation.property == property && violation.message.contains(words));
    assert!(hit, "no {property} with `{words}` in {found:#?}");
}

/// The story breaks nothing at all.
#[track_caller]
pub(super) fn keeps(story: &Story) {
    assert_eq!(story.judged(), []);
}

fn drop_condition(kind: &'static str) -> impl Fn(&mut Value) {
    move |object| {
        if let Some(conditions) = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
            conditions.retain(|condition| condition["type"] != kind);
        }
    }
}

#[test]
fn s1_gate() {
    let no_preflight = Story::whole().edit("backup", "done", drop_condition("PreflightPassed"));
    breaks("S1", "before its Preflight passed", &no_preflight);
    breaks(
        "S1",
        "BackupVerified is not True",
        &Story::whole().edit("deploying", "done", drop_condition("BackupVerified")),
    );
    let no_backup = |object: &mut Value| {
        set(
            object,
            "/status/targets",
            json!([{"name": "master", "state": "Pending"}]),
        );
    };
    breaks(
        "S1",
        "master has no verified backup",
        &Story::whole().edit("backed-up", "done", no_backup),
    );
    let skipped = |object: &mut Value| set(object, "/spec/backup/policy", json!("Skip"));
    breaks(
        "S1",
        "nobody accepted",
        &Story::whole().edit("order", "finalizer-off", skipped),
    );
    let accepted = |object: &mut Value| {
        set(object, "/spec/backup/policy", json!("Skip"));
        set(object, "/spec/acceptedRisks", json!([{"rule": "backup-skipped"}]));
    };
    keeps(&Story::whole().edit("order", "finalizer-off", accepted));
    breaks(
        "S1",
        "does not exist",
        &Story::whole().then_write("deploying", deletion(Identity::Other, upgrade_key(), None)),
    );
    // A seed with a cluster of its own needs a backup of its own.
    let two = |object: &mut Value| {
        if let Some(targets) = object.pointer_mut("/status/targets").and_then(Value::as_array_mut) {
            targets.push(json!({"name": "eu", "state": "Pending"}));
        }
    };
    let on_seed = ObjectKey {
        cluster: "eu".to_owned(),
        ..key("", "namespaces", "x")
    };
    let story = Story::whole().edit("backed-up", "finalizer-off", two);
    keeps(&story);
    breaks(
        "S1",
        "eu has no verified backup",
        &story.then_write("order", write(Identity::Other, Verb::Create, on_seed, json!({}))),
    );
}

#[test]
fn s2_verified_backup() {
    breaks(
        "S2",
        "no backup Job of it is Complete",
        &Story::whole().without("backup-complete"),
    );
    let partial = |object: &mut Value| {
        if let Some(objects) = object.pointer_mut("/status/targets/0/backup/objects") {
            *objects = json!(0);
        }
    };
    breaks(
        "S2",
        "without digest",
        &Story::whole().edit("backed-up", "done", partial),
    );
    let late = Story::whole().late("deploying", SignedDuration::from_hours(2));
    breaks("S2", "older than an hour", &late);
    let waited = Story::whole().late("job", SignedDuration::from_hours(2));
    breaks("S2", "the installer is started with a backup of", &waited);
}

#[test]
fn s3_backups_stay() {
    let other = |object: &mut Value| {
        set(
            object,
            "/status/targets",
            json!([{"name": "master", "state": "x", "backup": {"location": "run/1/master", "digest": "sha256:other"}}]),
        );
    };
    breaks(
        "S3",
        "written over",
        &Story::whole().edit("done", "finalizer-off", other),
    );
    let claim = deletion(
        Identity::Operator,
        key("", "persistentvolumeclaims", "backups"),
        Some("x"),
    );
    breaks("S3", "deleted by", &Story::whole().then_write("done", claim));
    let owned = |job: &mut Value| set(job, "/metadata/ownerReferences", json!([{"uid": "u"}]));
    breaks("S3", "has an owner", &Story::whole().edit("job", "job", owned));
}

fn second(phase: &str) -> Value {
    json!({"metadata": {"name": "v", "namespace": "kubermatic", "uid": "uid-v", "generation": 1},
        "status": {"phase": phase, "observedGeneration": -1}})
}

#[test]
fn s4_one_at_a_time() {
    let other = || key("upgrade.k8c.io", "kkpupgrades", "v");
    let with = |phase| Story::whole().then_write("order", write(Identity::Other, Verb::Create, other(), second(phase)));
    keeps(&with("Preflight"));
    breaks("S4", "while KKPUpgrade kubermatic/v is as well", &with("Deploying"));
    let foreign = |lease: &mut Value| set(lease, "/spec/holderIdentity", json!("uid-v"));
    breaks(
        "S4",
        "held by Some(\"uid-v\")",
        &Story::whole().edit("lease", "lease", foreign),
    );
    let back = Story::whole();
    let lease = write(
        Identity::Operator,
        Verb::Update,
        key("coordination.k8s.io", "leases", "kkp-upgrade-active"),
        back.object("lease-back"),
    );
    breaks("S4", "in the middle of its run", &back.then_write("deploying", lease));
}

#[test]
fn l5_leader() {
    let lease = |holder: &str, renewed: i64| {
        let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed});
        let name = key("coordination.k8s.io", "leases", "kkp-upgrade-operator-leader");
        write(Identity::Operator, Verb::Update, name, json!({"spec": spec}))
    };
    let story = || Story::whole().then_write("order", lease("a", 0));
    keeps(&story().then_write("preflight", lease("a", 1)));
    breaks(
        "L5",
        "b took it from a",
        &story().then_write("preflight", lease("b", 1)),
    );
    let given_back = story()
        .then_write("preflight", lease("", 1))
        .then_write("lease", lease("b", 2));
    keeps(&given_back);
    keeps(&story().then_write("cluster", lease("b", 1)));
}

#[test]
fn s8_limit() {
    let value = |number: i64| {
        move |object: &mut Value| set(object, "/spec/seedController/maximumParallelReconciles", json!(number))
    };
    let note = |original: Value, applied: i64| {
        move |object: &mut Value| {
            let text = json!({"owner": "uid-u", "original": original, "applied": applied}).to_string();
            set(object, "/metadata/annotations/upgrade.k8c.io~1throttle", json!(text));
        }
    };
    let no_note = |object: &mut Value| set(object, "/metadata/annotations", json!({}));
    breaks("S8", "without a note", &Story::whole().edit("limit", "limit", no_note));
    breaks(
        "S8",
        "says that 5 was there",
        &Story::whole().edit("limit", "limit", note(json!(5), 3)),
    );
    breaks(
        "S8",
        "the note in the same write says 4",
        &Story::whole().edit("limit", "limit", note(json!(7), 4)),
    );
    breaks(
        "S8",
        "put back to 8 where 7",
        &Story::whole().edit("put-back", "put-back", value(8)),
    );
    breaks("S8", "its note is still there", &Story::whole().without("put-back"));
    breaks(
        "S8",
        "without the resourceVersion",
        &Story::whole().alter("limit", |write| write.version_precondition = None),
    );
    // A person sets 9 in the middle: it may be left, and must not be written over.
    let person = |story: &Story| {
        let mut object = story.object("limit");
        value(9)(&mut object);
        write(Identity::Other, Verb::Update, configuration_key(), object)
    };
    let contested = Story::whole();
    let hand = person(&contested);
    breaks(
        "S8",
        "9 was somebody else's value",
        &contested.then_write("master", hand),
    );
    let left = Story::whole().edit("put-back", "put-back", value(9));
    let hand = person(&left);
    keeps(&left.then_write("master", hand));
    let again = Story::whole();
    let (hand, ours) = (person(&again), again.object("limit"));
    let ours = write(Identity::Operator, Verb::Update, configuration_key(), ours);
    breaks(
        "S8",
        "was written over",
        &again.then_write("master", ours).then_write("master", hand),
    );
}

#[test]
fn s8_limit_in_force() {
    let other = |object: &mut Value| {
        if let Some(arguments) = object.pointer_mut("/spec/template/spec/containers/0/args") {
            *arguments = json!(["-max-parallel-reconcile=10"]);
        }
    };
    breaks(
        "S8",
        "ran with another limit",
        &Story::whole().edit("seed-limit", "seed-limit", other),
    );
    breaks(
        "S8",
        "had Throttled True",
        &Story::whole().edit("intent", "done", drop_condition("Throttled")),
    );
}

#[test]
fn s18_only_ours() {
    let more = |object: &mut Value| set(object, "/spec/ingress/domain", json!("other"));
    breaks(
        "S18",
        "/spec/ingress was changed",
        &Story::whole().edit("limit", "limit", more),
    );
    let spec = |object: &mut Value| set(object, "/spec/paused", json!(true));
    breaks(
        "S18",
        "/spec/paused was changed",
        &Story::whole().edit("deploying", "done", spec),
    );
    let other = |group, resource| {
        write(
            Identity::Operator,
            Verb::Update,
            key(group, resource, "x"),
            json!({"metadata": {}}),
        )
    };
    breaks(
        "S18",
        "whose it is not",
        &Story::whole().then_write("deploying", other("", "secrets")),
    );
    let backup_key = |verb| {
        let key = key("", "secrets", crate::names::BACKUP_KEY);
        write(Identity::Operator, verb, key, json!({"metadata": {}}))
    };
    keeps(&Story::whole().then_write("preflight", backup_key(Verb::Create)));
    breaks(
        "S18",
        "whose it is not",
        &Story::whole().then_write("deploying", backup_key(Verb::Update)),
    );
    breaks(
        "S18",
        "without the label",
        &Story::whole().then_write("deploying", other("", "configmaps")),
    );
    let backup = write(Identity::Backup, Verb::Create, key("", "configmaps", "x"), json!({}));
    breaks(
        "S18",
        "which only reads",
        &Story::whole().then_write("backup-job", backup),
    );
    let on_seed = |mut write: crate::Write| {
        write.object.cluster = "eu".to_owned();
        write
    };
    breaks(
        "S18",
        "on a seed",
        &Story::whole().then_write("done", on_seed(other("apps", "deployments"))),
    );
    let hijacked = |object: &mut Value| set(object, "/metadata/finalizers", json!(["somebody/else"]));
    breaks(
        "S18",
        "finalizer was touched",
        &Story::whole().edit("finalizer-off", "finalizer-off", hijacked),
    );
}

#[test]
fn s20_proven_done() {
    let old = |version: &'static str, ready| move |object: &mut Value| *object = deployment("o", version, ready);
    breaks(
        "S20",
        "runs 2.30.6",
        &Story::whole().edit("operator-rolled", "operator-rolled", old("2.30.6", 1)),
    );
    breaks(
        "S20",
        "has not rolled out",
        &Story::whole().edit("operator-rolled", "operator-rolled", old("2.31.0", 0)),
    );
    breaks(
        "S20",
        "SeedsUpgraded",
        &Story::whole().edit("seed-rolled", "seed-rolled", old("2.30.6", 1)),
    );
    let crds = |object: &mut Value| {
        set(
            object,
            "/metadata/annotations/app.kubernetes.io~1version",
            json!("v2.30.6"),
        );
    };
    breaks(
        "S20",
        "the CRDs on master are of v2.30.6",
        &Story::whole().edit("crds", "crds", crds),
    );
    breaks(
        "S20",
        "not at 2.31.0",
        &Story::whole().edit("cluster", "cluster", |object| *object = cluster("v2.30.6")),
    );
    let paused = |object: &mut Value| {
        *object = cluster("v2.30.6");
        set(object, "/spec/pause", json!(true));
    };
    keeps(&Story::whole().edit("cluster", "cluster", paused));
    let odd = |object: &mut Value| set(object, "/status/targets", json!(7));
    breaks("S20", "cannot be read", &Story::whole().edit("done", "done", odd));
}
