//! For each property a history that keeps it and one that breaks it.

mod breaking;
mod breaking_etcd;
mod breaking_fixes;
mod breaking_objects;
mod breaking_restore;
mod breaking_steps;
mod reading;
mod run;
mod story;

use story::Story;

#[test]
fn a_run_that_keeps_every_promise_breaks_none() {
    assert_eq!(Story::whole().judged(), []);
}
