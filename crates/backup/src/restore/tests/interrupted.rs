//! Killed, cut off and overtaken at every write: run again, the end is the same.

use super::fake_backup::Backup;
use super::fake_cluster::{FakeCluster, Fault};
use super::restoring::{WRITES, platform};
use crate::restore::RestoreError;

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
    assert_eq!(
        cluster.writes().len() as u64,
        WRITES,
        "{number} {fault:?}: {:?}",
        cluster.writes()
    );
}

#[tokio::test]
async fn killed_before_or_after_each_write_the_next_run_ends_the_same() {
    for number in 0..WRITES {
        killed_at(number, Fault::Dead).await;
        killed_at(number, Fault::Lost).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_once_needs_no_second_run() {
    for number in 0..WRITES {
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
        let writes = cluster.writes().len() as u64;
        assert_eq!((report.findings.len(), writes), (0, WRITES), "{number}");
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

#[tokio::test]
async fn a_webhook_that_goes_down_in_the_middle_ends_it_with_the_way_out() {
    // Creations and a status in the middle; dry runs were answered, as long as it was up.
    for (address, object) in [
        ("/clusters", "clusters.kubermatic.k8c.io c1"),
        ("/users/jane/status", "users.kubermatic.k8c.io jane"),
    ] {
        let volume = tempfile::tempdir().unwrap();
        Backup::of(&platform()).write(volume.path());
        let cluster = FakeCluster::default();
        cluster.on_call(move |call| {
            if call.address.ends_with(address) && !call.dry_run && *call.method != http::Method::GET {
                let words = "Internal error occurred: failed calling webhook \"x.kubermatic.io\": failed to call webhook: \
                    the server responded with the status code 500 but did not return status information";
                return Fault::Answer(500, words);
            }
            Fault::None
        });
        let error = cluster.carry_out(volume.path()).await.unwrap_err();
        assert!(
            matches!(&error, RestoreError::Admission { object: named, .. } if named == object),
            "{error}"
        );
        let words = error.to_string();
        assert!(words.contains("webhook x.kubermatic.io"), "{words}");
        assert!(words.contains("bring its Deployment back, then"), "{words}");
        let done = cluster.writes().len() as u64;
        assert!(done > 0 && done < WRITES, "{done}");
        cluster.heal();
        let report = cluster.carry_out(volume.path()).await.unwrap();
        assert_eq!((report.findings, report.written), (Vec::new(), Some(WRITES - done)));
        assert_eq!(cluster.content(), FakeCluster::with(&platform()).content());
    }
}

#[tokio::test]
async fn what_somebody_deletes_between_plan_and_write_is_not_made_again() {
    let volume = tempfile::tempdir().unwrap();
    Backup::of(&platform()).write(volume.path());
    let cluster = FakeCluster::with(&platform());
    let dex = platform().remove(6);
    cluster.change(&dex, |live| live["data"]["key"] = "b3RoZXI=".into());
    let digest = cluster.plan(volume.path()).await.plan_digest;
    let (mut reads, other, gone) = (0, cluster.clone(), dex.clone());
    // Gone with the second look: the first one is that of the plan, which is made again.
    cluster.on_call(move |call| {
        reads += u32::from(call.address.ends_with("/dex") && *call.method == http::Method::GET);
        if reads == 2 {
            other.remove(&gone);
        }
        Fault::None
    });
    let report = cluster
        .restore(volume.path(), |arguments| arguments.confirm = Some(digest))
        .await
        .unwrap();
    assert_eq!((cluster.get(&dex), report.written), (None, Some(0)));
    let finding = &report.findings[0];
    assert_eq!(finding.object, "secrets kubermatic/dex");
    assert_eq!(finding.reason, "somebody deleted it since the plan");
    assert_eq!(finding.next_step, "plan again");
    // The new plan is to create it: now somebody can say so.
    assert_eq!(cluster.plan(volume.path()).await.counts.create, 1);
}
