//! Killed, cut off and overtaken at every write: run again, the end is the same.

use super::fake_backup::Backup;
use super::fake_cluster::{FakeCluster, Fault};
use super::restoring::platform;

/// Everything fails from the given write on; the write itself is done or not.
async fn killed_at(number: u64, fault: Fault) {
    let volume = tempfile::tempdir().unwrap();
    Backup::of(&platform()).write(volume.path());
    let cluster = FakeCluster::default();
    let mut dead = false;
    cluster.on_call(move |call| {
        if dead {
            return Fault::Dead;
        }
        dead = call.writes == number && !call.dry_run && *call.method != http::Method::GET;
        if dead { fault } else { Fault::None }
    });
    cluster.carry_out(volume.path()).await.unwrap_err();
    let done = cluster.writes().len() as u64;
    assert_eq!(done, number + u64::from(fault == Fault::Lost));
    cluster.heal();
    assert_eq!(cluster.garbage(), Vec::<String>::new(), "after {number}");
    let report = cluster.carry_out(volume.path()).await.unwrap();
    assert_eq!(report.findings, [], "{number} {fault:?}");
    assert_eq!(
        cluster.content(),
        FakeCluster::with(&platform()).content(),
        "{number} {fault:?}"
    );
    // As many writes as without: nothing is made twice.
    assert_eq!(cluster.writes().len(), 14, "{number} {fault:?}: {:?}", cluster.writes());
}

#[tokio::test]
async fn killed_before_or_after_each_write_the_next_run_ends_the_same() {
    for number in 0..14 {
        killed_at(number, Fault::Dead).await;
        killed_at(number, Fault::Lost).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_once_needs_no_second_run() {
    for number in 0..14 {
        let volume = tempfile::tempdir().unwrap();
        Backup::of(&platform()).write(volume.path());
        let cluster = FakeCluster::default();
        let mut once = true;
        cluster.on_call(move |call| {
            let now = call.writes == number && !call.dry_run && *call.method != http::Method::GET;
            if now && std::mem::take(&mut once) {
                Fault::Lost
            } else {
                Fault::None
            }
        });
        let report = cluster.carry_out(volume.path()).await.unwrap();
        assert_eq!((report.findings.len(), cluster.writes().len()), (0, 14), "{number}");
        assert_eq!(cluster.content(), FakeCluster::with(&platform()).content(), "{number}");
    }
}

#[tokio::test]
async fn what_somebody_writes_between_plan_and_write_stays() {
    let volume = tempfile::tempdir().unwrap();
    Backup::of(&platform()).write(volume.path());
    let cluster = FakeCluster::with(&platform());
    let jane = platform().remove(7);
    cluster.change(&jane, |live| live["spec"]["email"] = "first@example.com".into());
    cluster.remove(&platform()[6]);
    let other = cluster.clone();
    let (mut reads, target) = (0, jane.clone());
    let digest = cluster.plan(volume.path()).await.plan_digest;
    // The second look at the User is that of the execution: the first one is the plan's.
    cluster.on_call(move |call| {
        if call.address.ends_with("/users/jane") && *call.method == http::Method::GET {
            reads += 1;
        }
        if reads == 1 && call.address.ends_with("/secrets") && !call.dry_run {
            reads += 1;
            return Fault::Answer(429, "come again");
        }
        Fault::None
    });
    let running = cluster.restore(volume.path(), |arguments| arguments.confirm = Some(digest));
    let overtaking = async {
        while other.writes().is_empty() {
            tokio::task::yield_now().await;
        }
        other.change(&target, |live| live["spec"]["email"] = "second@example.com".into());
    };
    let (report, ()) = tokio::join!(running, overtaking);
    let report = report.unwrap();
    assert_eq!(cluster.get(&jane).unwrap()["spec"]["email"], "second@example.com");
    assert!(
        report.text().contains("somebody else wrote it since the plan"),
        "{}",
        report.text()
    );
}
