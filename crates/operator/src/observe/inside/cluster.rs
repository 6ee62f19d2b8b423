//! One user cluster: what it says of itself, and the Pods of its control plane on the seed. Reading only.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kkp_upgrade_core::rules::{Field, UserClusterFacts};
use kube::{Api, Client};

use super::Chosen;
use super::contents::{dead_webhooks, failing, gathered, not_ready, unavailable, webhooks};
use crate::call::CallError;
use crate::seeds::{SeedConnection, SeedConnections};

/// Longest that one list may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Everything about one user cluster.
pub(super) async fn look(
    seeds: &SeedConnections,
    (seed, connection): (&str, &SeedConnection),
    chosen: &Chosen,
    now: Timestamp,
) -> UserClusterFacts {
    let what = format!("Pods in {} on seed {seed}", chosen.namespace);
    let pods = Api::<Pod>::namespaced(connection.client.clone(), &chosen.namespace);
    let (control_plane, client) = tokio::join!(
        within(what.clone(), gathered(pods, what, move |pod: &Pod| failing(pod, now))),
        Box::pin(seeds.inside((seed, connection), &chosen.name, &chosen.namespace)),
    );
    let inside = match client {
        Ok(client) => Box::pin(contents(&client, &format!("user cluster {seed}/{}", chosen.name), now)).await,
        Err(error) => silent(&error.to_string()),
    };
    UserClusterFacts {
        failing_control_plane_pods: control_plane,
        ..inside
    }
}

/// It does not answer: that is known, and nothing else.
fn silent(why: &str) -> UserClusterFacts {
    let unread = || Field::NotRead(why.to_owned());
    UserClusterFacts {
        answered: false.into(),
        nodes_not_ready: unread(),
        failing_system_pods: unread(),
        dead_webhooks: unread(),
        unavailable_apis: unread(),
        gatekeeper_fails_closed: Field::NotRead(why.to_owned()),
        failing_control_plane_pods: unread(),
    }
}

async fn contents(client: &Client, place: &str, now: Timestamp) -> UserClusterFacts {
    let what = |plural: &str| format!("{plural} of {place}");
    let system = Api::<Pod>::namespaced(client.clone(), "kube-system");
    let (nodes, pods, apis, webhooks) = tokio::join!(
        within(
            what("nodes"),
            gathered(Api::<Node>::all(client.clone()), what("nodes"), not_ready)
        ),
        within(
            what("Pods"),
            gathered(system, what("Pods"), move |pod: &Pod| failing(pod, now))
        ),
        within(
            what("APIServices"),
            gathered(Api::<APIService>::all(client.clone()), what("APIServices"), unavailable)
        ),
        within(what("webhooks"), Box::pin(webhooks(client, place))),
    );
    let (gatekeeper, dead) = match webhooks {
        Field::Known(webhooks) => {
            let what = what("EndpointSlices");
            let dead = within(what.clone(), Box::pin(dead_webhooks(client, what, &webhooks.closed))).await;
            (webhooks.gatekeeper_fails_closed.into(), dead)
        }
        Field::NotRead(why) => (Field::NotRead(why.clone()), Field::NotRead(why)),
    };
    UserClusterFacts {
        answered: true.into(),
        nodes_not_ready: nodes,
        failing_system_pods: pods,
        dead_webhooks: dead,
        unavailable_apis: apis,
        gatekeeper_fails_closed: gatekeeper,
        failing_control_plane_pods: Field::default(),
    }
}

async fn within<T>(what: String, reading: impl Future<Output = Result<T, CallError>>) -> Field<T> {
    match tokio::time::timeout(DEADLINE, reading).await {
        Ok(read) => Field::from_result(read),
        Err(_) => Field::NotRead(format!("{what}: no answer within {} s", DEADLINE.as_secs())),
    }
}
