//! Histories with fixes: written with a note by consent, and what breaks that.

use serde_json::{Value, json};

use super::breaking::{breaks, keeps};
use super::story::{LIMIT, Story, UID, by, key, set, write};
use crate::{Identity, Verb, Write};

const RULE: &str = "template-version-unsupported";

fn template(version: &str, note: Option<Value>) -> Value {
    let mut template = json!({"metadata": {"name": "c9", "annotations": {}}, "spec": {"version": version}});
    if let Some(note) = note {
        template["metadata"]["annotations"]["upgrade.k8c.io/fix"] = json!(json!([note]).to_string());
    }
    template
}

fn note(original: &str, applied: &str) -> Value {
    json!({"owner": UID, "rule": RULE, "path": ".spec.version", "original": original, "applied": applied,
        "temporary": false, "throttled": true})
}

fn operator(after: Value) -> Write {
    let mut write = write(
        Identity::Other,
        Verb::Update,
        key("kubermatic.k8c.io", "clustertemplates", "c9"),
        after,
    );
    write.actor = by(Identity::Operator);
    write
}

/// A whole run in which a template was fixed after the limit.
fn story(asked: &[&str], fixed: Value) -> Story {
    let rules = json!(asked);
    let made = write(
        Identity::Other,
        Verb::Create,
        key("kubermatic.k8c.io", "clustertemplates", "c9"),
        template("1.32.13", None),
    );
    Story::whole()
        .edit("order", "finalizer-off", move |object| {
            set(object, "/spec/fixes", rules.clone());
        })
        .then_write("seed-limit", operator(fixed))
        .then_write("seed-limit", made)
}

#[test]
fn a_fix_that_was_asked_for_is_kept_and_any_other_breaks() {
    let fixed = || template("1.33.0", Some(note("1.32.13", "1.33.0")));
    keeps(&story(&[RULE], fixed()));
    breaks("S18", "which spec.fixes does not name", &story(&[], fixed()));
    breaks(
        "S18",
        "which spec.fixes does not name",
        &story(&["cluster-paused"], fixed()),
    );
}

#[test]
fn a_fix_writes_what_its_note_says_and_nothing_else() {
    let mut more = template("1.33.0", Some(note("1.32.13", "1.33.0")));
    set(&mut more, "/spec/cloud", json!(true));
    breaks("S18", "/spec/cloud was changed", &story(&[RULE], more));
    let wrong = template("1.34.1", Some(note("1.32.13", "1.33.0")));
    breaks("S18", "is not what stands there", &story(&[RULE], wrong));
    let forged = template("1.33.0", Some(note("1.31.0", "1.33.0")));
    breaks("S18", "is not what stood there", &story(&[RULE], forged));
    breaks("S18", "whose it is not", &story(&[RULE], template("1.33.0", None)));
}

#[test]
fn a_fix_for_a_run_that_is_over_breaks() {
    let fixed = template("1.33.0", Some(note("1.32.13", "1.33.0")));
    let late = Story::whole().then_write("finalizer-off", operator(fixed));
    breaks("S14", "which is at rest", &late);
}

/// The operator sends user clusters to another version, one after the other; the first `arrived` of them have come to it before.
fn sent(count: i64, arrived: i64) -> Story {
    let rules = json!([RULE]);
    let mut story = Story::whole().edit("order", "finalizer-off", move |object| {
        set(object, "/spec/fixes", rules.clone());
    });
    // What is put behind the same event last comes first.
    for number in (0..count).rev() {
        let place = key("kubermatic.k8c.io", "clusters", &format!("moved-{number}"));
        let mut moved = template("1.33.0", Some(note("1.32.13", "1.33.0")));
        set(&mut moved, "/status/versions/controlPlane", json!("1.32.13"));
        if number < arrived {
            let mut there = moved.clone();
            set(&mut there, "/status/versions/controlPlane", json!("1.33.0"));
            story = story.then_write("seed-limit", write(Identity::Other, Verb::Update, place.clone(), there));
        }
        let mut order = operator(moved);
        order.object = place;
        story = story.then_write("seed-limit", order);
    }
    story
}

#[test]
fn s9_no_more_user_clusters_are_on_their_way_than_the_limit() {
    let words = "the limit is 3";
    let said = |story: &Story| {
        let found = story.judged();
        found
            .iter()
            .any(|one| one.property == "S9" && one.message.contains(words))
    };
    assert!(!said(&sent(LIMIT, 0)));
    assert!(said(&sent(LIMIT + 1, 0)));
    assert!(!said(&sent(LIMIT + 1, 1)), "one has arrived");
}
