//! Histories with a restore: by comparison and against what was seen, and what breaks that.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::breaking::{breaks, keeps};
use super::story::{Story, deletion, key, write};
use crate::{Identity, ObjectKey, Verb, Write, names};

fn project() -> ObjectKey {
    key("kubermatic.k8c.io", "projects", "p")
}

fn body(finalizers: &[&str]) -> Value {
    json!({"metadata": {"name": "p", "finalizers": finalizers}})
}

fn collected() -> Write {
    let mut write = deletion(Identity::Kubernetes, project(), None);
    write.actor.name = names::GARBAGE_COLLECTOR.to_owned();
    write
}

/// A whole run, then these writes in this order.
fn story(writes: Vec<Write>) -> Story {
    let mut story = Story::whole();
    for write in writes {
        story.write("restore", write);
    }
    story
}

fn made() -> Write {
    write(Identity::Restore, Verb::Create, project(), body(&["a"]))
}

fn updated(finalizers: &[&str]) -> Write {
    write(Identity::Restore, Verb::Update, project(), body(finalizers))
}

#[test]
fn s16_a_restore_takes_nothing_away() {
    keeps(&story(vec![made(), updated(&["a", "b"])]));
    breaks(
        "S16",
        "the finalizer a was taken away",
        &story(vec![made(), updated(&["b"])]),
    );
    let deleted = deletion(Identity::Restore, project(), Some("u"));
    breaks("S16", "deleted by a restore", &story(vec![made(), deleted]));
    let blind = Write {
        version_precondition: None,
        ..updated(&["a"])
    };
    breaks("S16", "without resourceVersion", &story(vec![made(), blind]));
}

#[test]
fn s17_what_came_back_stays() {
    breaks("S17", "collected as garbage", &story(vec![made(), collected()]));
    let mut late = story(vec![made()]);
    late.write("collected", collected());
    keeps(&late.late("collected", SignedDuration::from_mins(11)));
    let by_a_person = deletion(Identity::Other, project(), None);
    keeps(&story(vec![made(), by_a_person]));
    let foreign = write(Identity::Other, Verb::Create, project(), body(&[]));
    keeps(&story(vec![foreign, collected()]));
}
