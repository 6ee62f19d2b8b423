//! `backup verify`: which Jobs it starts, and what it makes of their last words.

use serde_json::{Value, json};

use super::backups::{Cluster, upgrade, upgrade_on_s3};
use super::{Outcome, backup, command};
use crate::exit::Exit;

async fn verify(cluster: &Cluster, flags: &[&str]) -> Outcome {
    backup(cluster.client(), &[&["verify"], flags].concat(), "").await
}

fn whole() -> Value {
    json!({"manifestDigest": "sha256:abc", "archiveDigest": "sha256:d", "objects": 12, "bytes": 3456,
        "contentChecked": true, "wasVerified": true})
}

fn outside() -> Value {
    json!({"manifestDigest": "sha256:abc", "archiveDigest": "sha256:d", "objects": 12, "bytes": 3456,
        "contentChecked": false, "wasVerified": true, "note": "the key at hand does not open it"})
}

#[tokio::test]
async fn a_good_backup_is_good_and_what_was_not_checked_is_said() {
    for (words, said) in [
        (whole(), "verified: every object opened and compared"),
        (
            outside(),
            "the content was NOT checked: the key at hand does not open it",
        ),
    ] {
        let cluster = Cluster::ending(&[words]);
        let outcome = verify(&cluster, &["to-2-31"]).await;
        assert_eq!(outcome.exit, Exit::Done, "{}", outcome.errors);
        assert!(
            outcome.output.contains(said) && outcome.output.contains("3456"),
            "{}",
            outcome.output
        );
        let line = cluster.lines().remove(0);
        for argument in [
            "--name=run-1",
            "--folder=master_2",
            "--manifest-digest=sha256:abc",
            "--identity-optional",
        ] {
            assert!(line.contains(argument), "{argument} in {line}");
        }
    }
    let cluster = Cluster::ending(&[whole()]);
    let outcome = verify(
        &cluster,
        &["to-2-31", "--target=master", "--identity-secret=mine", "-o", "json"],
    )
    .await;
    let list: Vec<Value> = serde_json::from_str(&outcome.output).unwrap();
    assert_eq!(
        (&list[0]["good"], &list[0]["contentChecked"]),
        (&json!(true), &json!(true))
    );
    assert!(!cluster.lines()[0].contains("--identity-optional"));
}

#[tokio::test]
async fn a_bad_backup_is_told_with_its_reason_and_the_others_are_looked_at() {
    let mut two = upgrade();
    let mut seed = two["status"]["targets"][0].clone();
    seed["name"] = "eu".into();
    seed["backup"]["location"] = "run-1/eu".into();
    two["status"]["targets"].as_array_mut().unwrap().push(seed);
    let cluster = Cluster {
        upgrade: Some(two),
        ..Cluster::ending(&[
            json!({"error": "objects.tar.zst.age is not the file that was written\u{1b}[2J; take a new backup"}),
            whole(),
        ])
    };
    let outcome = verify(&cluster, &["to-2-31"]).await;
    assert_eq!(
        (outcome.exit, cluster.lines().len()),
        (Exit::Blocked, 2),
        "{}",
        outcome.errors
    );
    assert!(
        outcome.output.contains("take a new backup")
            && outcome.output.contains("verified:")
            && !outcome.output.contains('\u{1b}'),
        "{}",
        outcome.output
    );
    // Another backup's good word is none for this one.
    let mut other = whole();
    other["manifestDigest"] = "sha256:other".into();
    for words in [other, json!({})] {
        let cluster = Cluster::ending(&[words]);
        assert_eq!(verify(&cluster, &["to-2-31"]).await.exit, Exit::Blocked);
    }
}

#[tokio::test]
async fn a_bucket_is_reached_as_the_upgrade_says_and_unknown_targets_are_named() {
    let on_s3 = Cluster {
        upgrade: Some(upgrade_on_s3()),
        ..Cluster::ending(&[whole()])
    };
    assert_eq!(verify(&on_s3, &["to-2-31"]).await.exit, Exit::Done);
    assert!(on_s3.lines()[0].contains("--s3-bucket=backups"));
    let cluster = Cluster::default();
    let outcome = verify(&cluster, &["to-2-31", "--target=asia"]).await;
    assert_eq!((outcome.exit, cluster.lines().len()), (Exit::NotFound, 0));
    assert!(
        outcome.errors.contains("choose with --target: master"),
        "{}",
        outcome.errors
    );
    assert_eq!(command(&["backup", "verify"], "").await.exit, Exit::Usage);
}

#[tokio::test]
async fn a_backup_whose_upgrade_is_gone_is_verified_by_its_location() {
    let there = ["--location=run-1/eu_2", "--claim=vault"];
    let cluster = Cluster::ending(&[whole()]);
    let outcome = verify(&cluster, &there).await;
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.errors);
    assert!(outcome.output.contains("eu ") && outcome.output.contains("sha256:abc"));
    let line = &cluster.lines()[0];
    assert!(line.contains("--name=run-1") && line.contains("--folder=eu_2") && !line.contains("--manifest-digest"));

    let cluster = Cluster::ending(&[whole()]);
    let outcome = verify(&cluster, &[&there[..], &["--manifest-digest=sha256:other"]].concat()).await;
    assert_eq!(outcome.exit, Exit::Blocked, "{}", outcome.output);
    for wrong in [
        &["backup", "verify", "--location=run-1/eu"][..],
        &["backup", "verify", "to-2-31", "--location=run-1/eu", "--claim=vault"],
        &[
            "backup",
            "verify",
            "--location=run-1/eu",
            "--claim=vault",
            "--target=eu",
        ],
    ] {
        assert_eq!(command(wrong, "").await.exit, Exit::Usage, "{wrong:?}");
    }
}
