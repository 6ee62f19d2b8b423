//! Tests of the removal of older backups: on a real folder, against an API server in memory.

use std::fs;
use std::path::Path;

use kkp_upgrade_core::request::sha256;
use kkp_upgrade_core::retention::folder_name;
use serde_json::{Value, json};

use super::*;
use crate::execute::tests::fake_api::FakeApi;

const LIST: &str = "/apis/upgrade.k8c.io/v1alpha1/namespaces/kubermatic/kkpupgrades";
const UID: &str = "aaaaaaaa-1111";

/// A verified backup of the master, the `number`th one, made for [`UID`].
fn plant(volume: &Path, number: u32) -> std::path::PathBuf {
    let run = folder_name("2.30.6", "2.31.0", UID, i64::from(number), 1);
    let folder = volume.join(&run).join("master");
    fs::create_dir_all(&folder).unwrap();
    let manifest = json!({
        "formatVersion": 2, "name": run, "target": "master", "clusterUid": "uid-m", "serverVersion": "",
        "platformVersion": "", "startedTime": format!("2026-11-0{number}T00:00:00Z"), "revision": (number * 100).to_string(),
        "scope": {"groups": [], "platformNamespace": "", "namespaces": [], "secrets": []},
        "archive": {"file": "objects.tar.zst.age", "compression": "zstd", "encryption": "age", "recipients": [],
            "bytes": 7, "digest": "sha256:a"},
        "objects": 0, "kinds": [], "omitted": [],
    });
    let text = manifest.to_string();
    let receipt = json!({
        "manifestDigest": sha256(text.as_bytes()), "objects": 0, "bytes": 7, "verifiedTime": "2026-11-21T00:00:00Z",
        "comparison": "sameRevision",
    });
    fs::write(folder.join("objects.tar.zst.age"), "archive").unwrap();
    fs::write(folder.join("manifest.json"), text).unwrap();
    fs::write(folder.join("verified.json"), receipt.to_string()).unwrap();
    folder
}

struct Room {
    volume: tempfile::TempDir,
    api: FakeApi,
}

impl Room {
    fn with_seven() -> Self {
        let room = Self {
            volume: tempfile::tempdir().unwrap(),
            api: FakeApi::default(),
        };
        (1..=7).for_each(|number| drop(plant(room.volume.path(), number)));
        room.upgrade(&json!({"phase": "Done"}));
        room
    }

    /// The only KKPUpgrade there is, with this status.
    fn upgrade(&self, status: &Value) {
        let upgrade = json!({
            "apiVersion": "upgrade.k8c.io/v1alpha1", "kind": "KKPUpgrade",
            "metadata": {"name": "u", "namespace": "kubermatic", "uid": UID}, "spec": {"targetVersion": "2.31.0"},
            "status": status,
        });
        let list = json!({"apiVersion": "upgrade.k8c.io/v1alpha1", "kind": "KKPUpgradeList", "items": [upgrade],
            "metadata": {"name": "for the store in memory"}});
        self.api.put(LIST, list);
    }

    fn shelf(&self) -> Shelf {
        Shelf {
            client: self.api.client(),
            namespace: "kubermatic".to_owned(),
            store: Store::from(self.volume.path()),
            clusters: vec![("master".to_owned(), "uid-m".to_owned())],
        }
    }

    /// Numbers of the backups that are there.
    fn left(&self) -> Vec<u32> {
        let there = |number: &u32| {
            let run = folder_name("2.30.6", "2.31.0", UID, i64::from(*number), 1);
            self.volume.path().join(run).join("master/manifest.json").exists()
        };
        (1..=7).filter(there).collect()
    }
}

fn keep(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

#[tokio::test]
async fn the_newest_stay_and_every_removal_is_preceded_by_a_look_at_the_upgrades() {
    let room = Room::with_seven();
    let result = room.shelf().tidy(keep(5)).await.unwrap();
    assert_eq!((result.removed, result.kept, result.problem), (2, 5, None));
    assert_eq!(room.left(), [3, 4, 5, 6, 7]);
    assert_eq!(room.api.requests(), vec![format!("GET {LIST}"); 3]);
    assert_eq!(
        fs::read_dir(room.volume.path()).unwrap().count(),
        5,
        "the folders are gone"
    );
    let again = room.shelf().tidy(keep(5)).await.unwrap();
    assert_eq!((again.removed, again.kept), (0, 5));
}

#[tokio::test]
async fn an_upgrade_that_may_still_need_them_keeps_them() {
    for status in [json!({"phase": "Failed"}), json!(null), json!({"phase": 7})] {
        let room = Room::with_seven();
        room.upgrade(&status);
        let result = room.shelf().tidy(keep(1)).await.unwrap();
        assert_eq!((result.removed, room.left().len()), (0, 7), "{status}");
    }
}

#[tokio::test]
async fn without_an_answer_of_the_api_server_nothing_goes() {
    let room = Room::with_seven();
    room.api.refuse_second(500);
    let error = room.shelf().tidy(keep(5)).await.unwrap_err().to_string();
    assert!(error.contains("KKPUpgrades"), "{error}");
    assert_eq!(room.left().len(), 7);
}

#[tokio::test]
async fn what_changed_since_the_decision_counts() {
    let room = Room::with_seven();
    let shelf = room.shelf();
    let clusters = shelf.clusters.clone();
    let found: Vec<StoredBackup> = retention::verified(&shelf.store, &clusters)
        .unwrap()
        .iter()
        .map(stored)
        .collect();
    let decided = removals(&found, &[], keep(5));
    assert_eq!(decided.len(), 2);
    room.upgrade(&json!({"phase": "Backup"}));
    assert!(
        !shelf.remove(&decided[0]).await.unwrap(),
        "a run has begun that needs it"
    );
    room.upgrade(&json!({"phase": "Done"}));
    let newest = room.volume.path().join(&decided[0].newer[0].folder).join("master");
    fs::remove_file(newest.join("verified.json")).unwrap();
    assert!(
        !shelf.remove(&decided[0]).await.unwrap(),
        "one for whose sake it goes is none any more"
    );
    assert_eq!(room.left().len(), 7);
    // The second one goes for the sake of the same.
    assert!(!shelf.remove(&decided[1]).await.unwrap());
}

#[tokio::test]
async fn a_removal_that_was_interrupted_is_finished() {
    let room = Room::with_seven();
    let oldest = plant(room.volume.path(), 1);
    let mark = json!({"target": "master", "clusterUid": "uid-m", "manifestDigest": "sha256:m"});
    fs::write(oldest.join("removing.json"), mark.to_string()).unwrap();
    fs::remove_file(oldest.join("manifest.json")).unwrap();
    let result = room.shelf().tidy(keep(6)).await.unwrap();
    assert_eq!((result.removed, result.kept), (0, 6));
    assert!(!oldest.exists());
}

#[test]
fn a_refusal_that_is_meant_is_told_and_not_tried_again() {
    let of_the_bucket = |fault| BackupError::Bucket {
        action: "remove",
        path: "s3://b/o".into(),
        fault,
        message: String::new(),
    };
    assert!(is_meant(&of_the_bucket(BucketFault::Denied)));
    assert!(!is_meant(&of_the_bucket(BucketFault::Failing)));
}
