//! The pieces together say what the evidence says of the whole, whatever is wrong with which piece.

use kkp_upgrade_kkp::evidence::{ClusterVerdict, UserClusterObservation};
use serde_json::{Value, json};

use super::*;

const TARGET: &str = "v2.31.0";
const OLD: &str = "v2.30.6";

fn cluster(tag: &str, addon_tag: &str, pause: &Value) -> Cluster {
    let condition = |tag: &str| json!({"status": "True", "kubermaticVersion": tag});
    let mut conditions = serde_json::Map::new();
    for kind in evidence::user_cluster::REQUIRED_CONDITIONS {
        conditions.insert(kind.to_owned(), condition(tag));
    }
    conditions.insert(evidence::user_cluster::ADDON_CONDITION.to_owned(), condition(addon_tag));
    serde_json::from_value(json!({
        "metadata": {"name": "a"}, "spec": {"version": "1.34.1", "pause": pause},
        "status": {"namespaceName": "cluster-a", "conditions": conditions},
    }))
    .unwrap()
}

fn controller(tag: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "usercluster-controller", "namespace": "cluster-a", "generation": 1},
        "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c", "image": format!("quay.io/k/k:{tag}")}]}}},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1},
    }))
    .unwrap()
}

fn addon(condition: &Value) -> Addon {
    serde_json::from_value(json!({
        "metadata": {"name": "canal", "namespace": "cluster-a"},
        "status": {"conditions": {"AddonReconciledSuccessfully": condition}},
    }))
    .unwrap()
}

#[test]
fn the_pieces_say_what_the_evidence_says_of_the_whole() {
    let stamped = |tag: &str| json!({"status": "True", "kubermaticVersion": tag});
    let mut seen = BTreeSet::new();
    for own in [OLD, TARGET] {
        for addon_tag in [OLD, TARGET] {
            for pause in [json!(false), json!(true), json!("yes")] {
                for deployment in [None, Some(OLD), Some(TARGET)] {
                    for condition in [None, Some(stamped(OLD)), Some(stamped(TARGET)), Some(json!(7))] {
                        let cluster = cluster(own, addon_tag, &pause);
                        let controller = deployment.map(controller);
                        let addon = condition.as_ref().map(addon);
                        let whole = evidence::user_cluster(
                            TARGET,
                            &UserClusterObservation {
                                cluster: &cluster,
                                worker_name: "",
                                controller: controller.as_ref().map_or(Observed::Absent, Observed::Found),
                                addons: Observed::Found(addon.iter().collect()),
                            },
                        );
                        let mut pieces = ClusterPieces::new(TARGET, "");
                        pieces.set_cluster(&cluster);
                        if let Some(controller) = &controller {
                            pieces.set_controller(controller);
                        }
                        if let Some(addon) = &addon {
                            pieces.set_addon(addon);
                        }
                        let kept = pieces.clusters.get("a").unwrap();
                        let together = pieces.verdict(kept, &Unreadable::default());
                        match whole {
                            ClusterVerdict::SetApart(why) => assert_eq!(kept.apart, Some(why)),
                            ClusterVerdict::Judged(evidence) => assert_eq!(together, Piece::from(evidence)),
                        }
                        seen.insert(format!("{together:?}").chars().take(7).collect::<String>());
                    }
                }
            }
        }
    }
    assert_eq!(seen.len(), 3, "all three verdicts occur: {seen:?}");
}

#[test]
fn what_could_not_be_read_is_never_proven() {
    let mut pieces = ClusterPieces::new(TARGET, "");
    pieces.set_cluster(&cluster(TARGET, TARGET, &json!(false)));
    pieces.set_controller(&controller(TARGET));
    assert!(pieces.is_settled());
    for unreadable in [
        Unreadable {
            addons: Some("forbidden".to_owned()),
            controllers: None,
        },
        Unreadable {
            addons: None,
            controllers: Some("forbidden".to_owned()),
        },
    ] {
        let summary = pieces.summary("eu", &BTreeSet::new(), &unreadable);
        assert_eq!(summary.counts.value().map(|counts| counts.converged), Some(0));
        assert!(summary.lagging.first().is_some_and(|text| text.contains("forbidden")));
    }
}
