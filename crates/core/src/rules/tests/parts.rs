//! Several who look at parts of a platform say together what one says who looks at all of it, in whatever order.

use super::*;
use proptest::prelude::*;
use serde_json::json;

/// Something that passes by.
#[derive(Debug, Clone)]
enum Step {
    Cluster {
        seed: &'static str,
        kubernetes: &'static str,
        paused: bool,
        error: Option<&'static str>,
    },
    Addon {
        seed: &'static str,
        deleted: &'static str,
    },
    Node {
        place: &'static str,
        ready: &'static str,
    },
    Seed(&'static str),
    Unreadable(ItemKind, &'static str, &'static str),
    Visited(ItemKind, &'static str),
    Lost(&'static str),
}

const KINDS: [ItemKind; 4] = [ItemKind::Cluster, ItemKind::Addon, ItemKind::Node, ItemKind::Crd];

fn step() -> impl Strategy<Value = Step> {
    let seed = || prop::sample::select(vec!["eu", "us"]);
    let place = || prop::sample::select(vec![MASTER, "eu", "us"]);
    let kind = || prop::sample::select(KINDS.to_vec());
    let reason = prop::sample::select(vec!["no answer", "forbidden", "too late"]);
    let error = prop::sample::select(vec![None, Some("ReconcileError"), Some("UnsupportedChange")]);
    let kubernetes = prop::sample::select(vec!["1.33.5", "1.32.1", "1.30.0", ""]);
    let ready = prop::sample::select(vec!["True", "False", "Unknown"]);
    let deleted = prop::sample::select(vec!["2026-05-01T00:00:00Z", "2026-05-31T23:00:00Z", "never"]);
    prop_oneof![
        4 => (seed(), kubernetes, any::<bool>(), error).prop_map(|(seed, kubernetes, paused, error)| Step::Cluster {
            seed,
            kubernetes,
            paused,
            error,
        }),
        3 => (seed(), deleted).prop_map(|(seed, deleted)| Step::Addon { seed, deleted }),
        2 => (place(), ready).prop_map(|(place, ready)| Step::Node { place, ready }),
        1 => seed().prop_map(Step::Seed),
        1 => (kind(), place(), reason).prop_map(|(kind, place, reason)| Step::Unreadable(kind, place, reason)),
        1 => (kind(), place()).prop_map(|(kind, place)| Step::Visited(kind, place)),
        1 => Just(Step::Lost("us")),
    ]
}

/// The step happens to the evaluation; every object has a name of its own.
fn happen(evaluation: &mut Evaluation, (number, step): &(usize, Step)) {
    let metadata = |more: serde_json::Value| {
        let mut metadata = json!({"name": format!("n{number}"), "creationTimestamp": "2026-05-01T00:00:00Z"});
        metadata
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        metadata
    };
    match step {
        Step::Cluster {
            seed,
            kubernetes,
            paused,
            error,
        } => {
            let object = json!({"metadata": metadata(json!({})), "status": {"errorReason": error,
                "conditions": {"SeedResourcesUpToDate": {"status": "True"}}}});
            let facts = ClusterFacts {
                paused: (*paused).into(),
                ..cluster(kubernetes)
            };
            evaluation.object(&Object::new(ItemKind::Cluster, seed, &object).with(&facts));
        }
        Step::Addon { seed, deleted } => {
            let metadata = metadata(json!({"namespace": "cluster-a", "deletionTimestamp": deleted}));
            let object = json!({"metadata": metadata, "spec": {"name": "node-exporter"}});
            evaluation.object(&Object::new(ItemKind::Addon, seed, &object));
        }
        Step::Node { place, ready } => {
            let object = json!({"metadata": metadata(json!({})),
                "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            evaluation.object(&Object::new(ItemKind::Node, place, &object));
        }
        Step::Seed(name) => seed_item(evaluation, name, &seed()),
        Step::Unreadable(kind, place, reason) => evaluation.unreadable(*kind, place, reason),
        Step::Visited(kind, place) => evaluation.visited(*kind, place),
        Step::Lost(place) => evaluation.lost(place, "no answer"),
    }
}

fn begun() -> Evaluation {
    let catalogue = Catalogue::embedded_shared().unwrap();
    let stages = [Stage::Preflight, Stage::Verify, Stage::Post];
    let mut evaluation = Evaluation::new(&catalogue, &stages, &input());
    evaluation.shared("eu");
    platform_item(&mut evaluation, &platform());
    seed_item(&mut evaluation, "eu", &seed());
    evaluation
}

/// A step with its number, and which of three parts it happens to.
type Share = ((usize, Step), usize);

/// Steps, and the same in another order.
fn split() -> impl Strategy<Value = (Vec<Share>, Vec<Share>)> {
    let steps = prop::collection::vec((step(), 0..3_usize), 0..24);
    let numbered = steps.prop_map(|steps| {
        let steps = steps.into_iter().enumerate();
        steps
            .map(|(number, (step, part))| ((number, step), part))
            .collect::<Vec<_>>()
    });
    numbered.prop_flat_map(|steps| (Just(steps.clone()), Just(steps).prop_shuffle()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn parts_say_together_what_one_says((steps, shuffled) in split()) {
        let mut whole = begun();
        for (step, _) in &steps {
            happen(&mut whole, step);
        }
        let mut joined = begun();
        let mut parts = [joined.part(), joined.part(), joined.part()];
        for (step, part) in &shuffled {
            happen(&mut parts[*part], step);
        }
        parts.into_iter().rev().for_each(|part| joined.absorb(part));
        prop_assert_eq!(whole.finish(), joined.finish());
    }
}

#[test]
fn what_only_a_part_has_seen_is_counted_for_the_seed() {
    let failing = |seed: &'static str| Step::Cluster {
        seed,
        kubernetes: "1.33.5",
        paused: false,
        error: Some("ReconcileError"),
    };
    let mut evaluation = begun();
    let mut parts = [evaluation.part(), evaluation.part()];
    for (number, part) in parts.iter_mut().enumerate() {
        happen(part, &(number, failing("eu")));
        part.visited(ItemKind::Cluster, "eu");
    }
    for part in parts {
        evaluation.absorb(part);
    }
    let findings = evaluation.finish();
    let told = |text: &str| findings.iter().any(|finding| finding.message.contains(text));
    assert!(
        told("n0 (ReconcileError), n1 (ReconcileError)"),
        "{:?}",
        found(&findings)
    );
}

#[test]
fn a_seed_on_the_masters_cluster_tells_what_nobody_else_does() {
    let mut evaluation = begun();
    let silent = WebhookFacts {
        answered: false.into(),
        error: Some("no endpoints".to_owned()).into(),
    };
    evaluation.facts("eu/Cluster", &silent);
    evaluation.unreadable(ItemKind::Release, "eu/kube-system", "forbidden");
    evaluation.unreadable(ItemKind::Release, "eu/monitoring", "forbidden");
    evaluation.unreadable(ItemKind::Release, "eu", "too late");
    let findings = evaluation.finish();
    let of = |rule: &str| {
        let own = findings.iter().filter(|finding| finding.rule == rule);
        own.map(|finding| finding.target.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of("webhook-not-answering"), ["eu/Cluster"]);
    // The master tells of `monitoring`.
    assert_eq!(of("helm-release-not-deployed"), ["eu", "eu/kube-system"]);
}
