//! Histories that break what holds about a run: installers, phases, plan, rest, conditions, bounds.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::breaking::{breaks, keeps};
use super::story::{
    BACKUP_JOB, JOB, Story, at, by, condition, deletion, job, key, record, release, set, upgrade_key, write,
};
use crate::{Expectations, Identity, InstallerRecord, Sources, Verb, What};

#[test]
fn s5_one_run() {
    let again = || {
        What::Installer(InstallerRecord {
            run: "run-2".to_owned(),
            pod: format!("{JOB}-fghij"),
            ..record("start")
        })
    };
    breaks(
        "S5",
        "started the installer 2 times",
        &Story::whole().then("job-complete", again()),
    );
    breaks("S5", "had not ended", &Story::whole().then("crds", again()));
    let foreign = || {
        What::Installer(InstallerRecord {
            run: "run-3".to_owned(),
            pod: "by-hand-abcde".to_owned(),
            ..record("start")
        })
    };
    breaks("S5", "had not ended", &Story::whole().then("crds", foreign()));
    keeps(&Story::whole().then("end", foreign()));
    // Killed, without an end in the ledger, and its Pod is proven over.
    keeps(&Story::whole().without("end").then("job-complete", foreign()));
}

#[test]
fn s6_no_blind_retry() {
    let second = || {
        write(
            Identity::Operator,
            Verb::Create,
            key("batch", "jobs", "kkpu-installer-2"),
            job("kkpu-installer-2", "installer", None),
        )
    };
    breaks("S6", "was over", &Story::whole().then_write("end", second()));
    keeps(&Story::whole().then_write("job-complete", second()));
    let active = |object: &mut Value| set(object, "/status/terminating", json!(1));
    breaks(
        "S6",
        "was over",
        &Story::whole()
            .edit("job-complete", "job-complete", active)
            .then_write("job-complete", second()),
    );
    let fence = json!({"metadata": {"labels": {"upgrade.k8c.io/upgrade-uid": "uid-u"}, "annotations": {"upgrade.k8c.io/fence-owner": "operator"}}});
    let taken = write(Identity::Operator, Verb::Create, key("", "configmaps", JOB), fence);
    keeps(&Story::whole().then_write("job", second()).then_write("job", taken));
}

#[test]
fn s7_no_purge() {
    let failed = |name: &str, status, revision| {
        let mut secret = release(status, revision);
        set(&mut secret, "/metadata/labels/name", json!(name));
        write(
            Identity::Other,
            Verb::Create,
            key("", "secrets", &format!("sh.helm.release.v1.{name}.v{revision}")),
            secret,
        )
    };
    breaks(
        "S7",
        "was failed",
        &Story::whole().then_write("order", failed("kubermatic-operator", "failed", 1)),
    );
    breaks(
        "S7",
        "was pending-upgrade",
        &Story::whole().then_write("order", failed("kubermatic-operator", "pending-upgrade", 1)),
    );
    keeps(&Story::whole().then_write("order", failed("grafana", "failed", 1)));
    let mended = Story::whole()
        .then_write("order", failed("kubermatic-operator", "failed", 1))
        .then_write("preflight", failed("kubermatic-operator", "deployed", 2));
    keeps(&mended);
}

#[test]
fn l4_never_killed() {
    let kill = || deletion(Identity::Operator, key("batch", "jobs", JOB), Some("x"));
    breaks(
        "L4",
        "while the installer ran",
        &Story::whole().then_write("crds", kill()),
    );
}

#[test]
fn l7_nothing_twice() {
    let again = write(
        Identity::Operator,
        Verb::Create,
        key("batch", "jobs", BACKUP_JOB),
        job(BACKUP_JOB, "backup", None),
    );
    breaks(
        "L7",
        "a second time",
        &Story::whole().then_write("backup-deleted", again),
    );
    let retrying = |object: &mut Value| set(object, "/spec/backoffLimit", json!(3));
    breaks("L7", "backoffLimit", &Story::whole().edit("job", "job", retrying));
}

#[test]
fn s11_order() {
    let early = |object: &mut Value| {
        let conditions = object
            .pointer_mut("/status/conditions")
            .and_then(Value::as_array_mut)
            .unwrap();
        conditions.push(condition("SeedsUpgraded", "True", "PlanReady", 5));
    };
    breaks(
        "S11",
        "SeedsUpgraded became True before MasterUpgraded",
        &Story::whole().edit("intent", "intent", early),
    );
    let hop = |from: &str, to: &str| {
        let hop = json!({"index": 1, "total": 1, "from": from, "to": to});
        move |object: &mut Value| set(object, "/status/hop", hop.clone())
    };
    breaks(
        "S11",
        "skips a minor",
        &Story::whole().edit("preflight", "done", hop("2.29.0", "2.31.0")),
    );
    breaks(
        "S11",
        "back to",
        &Story::whole().edit("preflight", "done", hop("2.31.1", "2.31.0")),
    );
    let older = |object: &mut Value| set(object, "/status/currentVersion", json!("2.30.5"));
    breaks("S11", "went back", &Story::whole().edit("master", "seeds", older));
}

#[test]
fn s12_phases() {
    let phase = |name: &'static str| move |object: &mut Value| set(object, "/status/phase", json!(name));
    breaks(
        "S12",
        "from Preflight to Deploying",
        &Story::whole().edit("backup", "backed-up", phase("Preflight")),
    );
    breaks(
        "S12",
        "is not declared",
        &Story::whole().edit("backup", "backup", phase("Resting")),
    );
    let after = |name: &'static str, token: Option<&'static str>, run: i64| {
        let story = Story::whole();
        let mut object = story.object("finalizer-off");
        set(&mut object, "/status/phase", json!(name));
        set(&mut object, "/status/runId", json!(run));
        if let Some(token) = token {
            set(&mut object, "/metadata/annotations/upgrade.k8c.io~1retry", json!(token));
            set(&mut object, "/status/lastHandledRetry", json!(token));
        }
        story.then_write(
            "finalizer-off",
            write(Identity::Operator, Verb::Update, upgrade_key(), object),
        )
    };
    breaks("S12", "from Done to Preflight", &after("Preflight", Some("x"), 1));
    breaks("S12", "nobody said retry", &after("Preflight", None, 1));
    breaks("S12", "has the number of the old one", &after("Pending", None, 1));
    breaks("S12", "runId went from 1 to 3", &after("Pending", None, 3));
    breaks("S12", "begins in Done", &after("Done", None, 2));
}

#[test]
fn s12_books() {
    let no_history = |object: &mut Value| set(object, "/status/history", json!([]));
    breaks(
        "S12",
        "once and in front",
        &Story::whole().edit("done", "finalizer-off", no_history),
    );
    let rewritten = |object: &mut Value| set(object, "/status/history", json!([]));
    breaks(
        "S12",
        "history changed",
        &Story::whole().edit("finalizer-off", "finalizer-off", rewritten),
    );
    let early = |object: &mut Value| set(object, "/status/currentVersion", json!("2.31.0"));
    breaks(
        "S12",
        "currentVersion moved",
        &Story::whole().edit("master", "finalizer-off", early),
    );
    let endless = |object: &mut Value| set(object, "/status/completionTime", Value::Null);
    breaks(
        "S12",
        "no completionTime",
        &Story::whole().edit("done", "finalizer-off", endless),
    );
    let unasked = |object: &mut Value| set(object, "/status/lastHandledAbort", json!("x"));
    breaks(
        "S12",
        "lastHandled of abort",
        &Story::whole().edit("master", "finalizer-off", unasked),
    );
}

#[test]
fn s13_frozen() {
    let digest = |object: &mut Value| set(object, "/status/plan/digest", json!("sha256:other"));
    breaks(
        "S13",
        "status.plan.digest changed",
        &Story::whole().edit("master", "verifying", digest),
    );
    let target = |version: &'static str| move |object: &mut Value| set(object, "/spec/targetVersion", json!(version));
    breaks(
        "S13",
        "spec.targetVersion changed",
        &Story::whole().edit("master", "finalizer-off", target("2.31.1")),
    );
    let image = |object: &mut Value| {
        set(
            object,
            "/spec/template/spec/containers",
            json!([{"image": "quay.io/kubermatic/kubermatic:v2.31.1"}]),
        );
    };
    breaks("S13", "runs image", &Story::whole().edit("job", "job", image));
}

#[test]
fn s14_quiet() {
    let story = Story::whole();
    let limit = write(
        Identity::Operator,
        Verb::Update,
        key("kubermatic.k8c.io", "kubermaticconfigurations", "kubermatic"),
        story.object("limit"),
    );
    breaks("S14", "which is at rest", &story.then_write("done", limit));
    let stray = write(Identity::Installer, Verb::Create, key("", "secrets", "x"), json!({}));
    breaks("S14", "while no run goes on", &Story::whole().then_write("done", stray));
    let chatter = |count: i64| {
        let mut story = Story::whole();
        for number in 0..count {
            let mut object = story.object("finalizer-off");
            set(
                &mut object,
                "/status/progress",
                json!({"summary": "x", "percent": number}),
            );
            let mut write = write(Identity::Operator, Verb::Update, upgrade_key(), object);
            write.subresource = Some("status".to_owned());
            story.push("chatter", What::Write(Box::new(write)));
        }
        story
    };
    keeps(&chatter(2));
    breaks("S14", "3 writes without an edge", &chatter(3));
}

#[test]
fn s21_and_conditions() {
    let huge = |object: &mut Value| set(object, "/metadata/annotations/x", json!("x".repeat(70_000)));
    breaks("S21", "bytes", &Story::whole().edit("done", "done", huge));
    let long = |object: &mut Value| {
        let first = object.pointer_mut("/status/conditions/0/message").unwrap();
        *first = json!("x".repeat(300));
    };
    breaks("S21", "is too long", &Story::whole().edit("done", "done", long));
    let unready = |object: &mut Value| {
        let conditions = object
            .pointer_mut("/status/conditions")
            .and_then(Value::as_array_mut)
            .unwrap();
        conditions.retain(|condition| condition["type"] != "Ready");
    };
    breaks(
        "kstatus",
        "Ready is missing",
        &Story::whole().edit("done", "done", unready),
    );
    let moved = |object: &mut Value| {
        let time = object.pointer_mut("/status/conditions/0/lastTransitionTime").unwrap();
        *time = json!(at(50).to_string());
    };
    breaks(
        "kstatus",
        "moved without its status",
        &Story::whole().edit("master", "done", moved),
    );
    breaks("kstatus", "went back", &Story::whole().edit("master", "seeds", moved));
}

#[test]
fn l1_l2_bounds() {
    let bound = Expectations {
        terminal: Some(SignedDuration::from_secs(10)),
        silence: SignedDuration::from_secs(20),
        ..Expectations::default()
    };
    let found = |story: &Story| {
        story
            .judged_by(&bound)
            .iter()
            .map(|violation| violation.property)
            .collect::<Vec<_>>()
    };
    assert_eq!(found(&Story::whole()), Vec::<&str>::new());
    assert_eq!(found(&Story::whole().until("verifying")), ["L1"]);
    assert_eq!(
        found(&Story::whole().late("intent", SignedDuration::from_mins(1))),
        ["L2"]
    );
}

#[test]
fn l3_abort_answered() {
    let asked = |object: &mut Value| set(object, "/metadata/annotations/upgrade.k8c.io~1abort", json!("now"));
    let answered = |object: &mut Value| {
        asked(object);
        set(object, "/status/lastHandledAbort", json!("now"));
    };
    // The write that brings the annotation is a person's.
    let story = || Story::whole().alter("deploying", |write| write.actor = by(Identity::Other));
    let late = SignedDuration::from_mins(1);
    let deaf = story().edit("deploying", "finalizer-off", asked).late("done", late);
    breaks("L3", "was not answered", &deaf);
    let story = story()
        .edit("deploying", "intent", asked)
        .edit("master", "finalizer-off", answered);
    keeps(&story);
    breaks("L3", "was not answered", &story.late("master", late));
}

#[test]
fn l4_deletion_ends() {
    let asked = |object: &mut Value| set(object, "/metadata/deletionTimestamp", json!(at(1).to_string()));
    let gone = |story: Story| story.alter("finalizer-off", |write| write.gone = true);
    let story = || gone(Story::whole().edit("done", "finalizer-off", asked));
    keeps(&story());
    breaks(
        "L4",
        "its deletion took",
        &story().late("finalizer-off", SignedDuration::from_mins(3)),
    );
    breaks(
        "L4",
        "in the middle of its run",
        &Story::whole().alter("seeds", |write| write.gone = true),
    );
}

#[test]
fn what_a_source_does_not_tell_is_not_judged() {
    let only_objects = Expectations {
        sources: Sources {
            writers: false,
            ledger: false,
        },
        ..Expectations::default()
    };
    let story = Story::whole().alter("job-deleted", |write| write.uid_precondition = None);
    assert_eq!(story.judged_by(&only_objects), []);
    let excused = Expectations::default().excuse("S18", "without its UID", "a test");
    assert_eq!(story.judged_by(&excused), []);
    assert_ne!(story.judged(), []);
}
