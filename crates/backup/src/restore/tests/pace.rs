//! The bound on how fast the API server is asked.

use std::time::{Duration, Instant};

use super::fake_backup::kind;
use super::fake_cluster::FakeCluster;
use super::restoring::{namespace, secret};
use crate::restore::archive::StoredObject;
use crate::restore::target::Ask;

// By the real clock, which can only make it slower: a bound from below needs no other. Without an archive, which takes longer to read.
#[tokio::test]
async fn writes_and_dry_runs_together_stay_within_the_rate() {
    let cluster = FakeCluster::with(&[namespace("kubermatic")]);
    let start = Instant::now();
    let target = cluster.target(10);
    let mut asked = 0;
    for name in ["a", "b", "c"] {
        let mut body = secret(name, "eA==");
        body["metadata"].as_object_mut().unwrap().remove("uid");
        let object = StoredObject {
            path: String::new(),
            digest: String::new(),
            resource: kind(&body),
            namespace: Some("kubermatic".to_owned()),
            name: name.to_owned(),
            body,
        };
        for dry_run in [true, false] {
            target.write(&object, Ask::Create, &object.body, dry_run).await.unwrap();
            asked += 1;
        }
    }
    let took = start.elapsed();
    assert_eq!((asked, cluster.writes().len()), (6, 3));
    assert!(took >= Duration::from_millis(100) * (asked - 1), "{took:?}");
}
