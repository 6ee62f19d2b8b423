//! Removing or breaking any piece of complete evidence never leaves a proof.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::samples::*;

fn complete() -> [(Judge, Value); 3] {
    [
        (judge_master, master_document(TARGET)),
        (judge_seed, seed_document(TARGET)),
        (judge_cluster, cluster_document(TARGET)),
    ]
}

/// Pointers of all values below this one, parents before children.
fn pointers(value: &Value, prefix: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.replace('/', "~1"), value)).collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        let pointer = format!("{prefix}/{key}");
        found.push(pointer.clone());
        pointers(child, &pointer, found);
    }
}

/// What of the samples is there for being found or read, and proves nothing.
fn is_evidence(pointer: &str) -> bool {
    let name_of_container = pointer.contains("/containers/") && pointer.ends_with("/name");
    let name_of_owner = ["/cluster/metadata/name", "/controller/metadata/name"].contains(&pointer);
    let container_only =
        name_of_container || name_of_owner || pointer.starts_with("/addons/") && pointer.contains("/metadata");
    // Metadata of these objects only holds names and what would speak against them.
    let empty = ["/configuration/metadata", "/seed/metadata", "/cluster/metadata"].contains(&pointer);
    // An Addon less is no Addon less at the target; the list as a whole is evidence.
    let whole_addon = pointer.strip_prefix("/addons/").is_some_and(|rest| !rest.contains('/'));
    // The init container of the proxy: one that is not there cannot be old.
    let init_container = pointer.contains("initContainers") && !pointer.ends_with("/image");
    !(container_only || empty || whole_addon || init_container)
}

fn evidence_pointers(document: &Value) -> Vec<String> {
    let mut all = Vec::new();
    pointers(document, "", &mut all);
    all.retain(|pointer| is_evidence(pointer));
    all
}

fn remove(document: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return;
    };
    match document.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.remove(&key.replace("~1", "/"));
        }
        // Later pointers keep their meaning when the place stays.
        Some(Value::Array(items)) => {
            if let Some(item) = key.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                *item = json!({"metadata": {"name": "gone"}});
            }
        }
        _ => {}
    }
}

#[test]
fn without_any_single_piece_there_is_no_proof() {
    for (judge, document) in complete() {
        let pieces = evidence_pointers(&document);
        assert!(pieces.len() > 40, "{pieces:?}");
        for pointer in pieces {
            let mut without = document.clone();
            remove(&mut without, &pointer);
            assert!(!judge(TARGET, &without).is_proven(), "removed {pointer}");
        }
    }
}

fn broken_values() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        Just(json!(true)),
        Just(json!("")),
        Just(json!("False")),
        Just(json!(-1)),
        Just(json!(1)),
        Just(json!("v2.30.6")),
        Just(json!("quay.io/kubermatic/kubermatic:v2.30.6")),
        "[a-z:/@.0-9]{0,12}".prop_map(Value::from),
    ]
}

proptest! {
    #[test]
    fn without_several_pieces_there_is_no_proof(
        which in 0..3_usize,
        picks in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(broken_values())), 1..5),
    ) {
        let (judge, mut document) = complete().into_iter().nth(which).unwrap();
        let pieces = evidence_pointers(&document);
        let mut touched = Vec::new();
        for (pick, replacement) in picks {
            let pointer = pick.get(&pieces);
            match (replacement, document.pointer_mut(pointer)) {
                // An empty list of Addons says that there are none, which is an answer.
                (Some(value), Some(_)) if pointer == "/addons" && value == json!([]) => continue,
                // A generation below the observed one has been observed too.
                (Some(value), Some(_)) if pointer.ends_with("/generation") && value.is_i64() => continue,
                (Some(value), Some(place)) => *place = value,
                (None, Some(_)) => remove(&mut document, pointer),
                (_, None) => continue,
            }
            touched.push(pointer.clone());
        }
        prop_assume!(!touched.is_empty());
        // Without the parent nothing below can be set right again, so one piece broken is enough.
        prop_assert!(!judge(TARGET, &document).is_proven(), "broken: {:?}", touched);
    }
}
