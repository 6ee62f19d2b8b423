//! Whole runs against an object storage that fails, lies, or is slow: never a verified backup that is a bad one, and always a
//! message with the object and the way out.

use super::bucket_stub::{Fault, IMPATIENT, PATIENT, SECRET, Stub};
use super::fake_api::FakeApi;
use super::opener;
use crate::store::{AttemptFolder, BucketFault};
use crate::verify::on_a_thread;
use crate::{BackupError, BackupResult, open_with, read_receipt};

const FOLDER: &str = "/backups/platform/prod/run-1/master";

async fn back_up(api: &FakeApi, stub: &Stub, limits: crate::BucketLimits) -> Result<BackupResult, BackupError> {
    let folder = tempfile::tempdir().unwrap();
    api.run_on(stub.store(limits), folder.path()).back_up().await
}

fn fault_of(error: &BackupError) -> Option<BucketFault> {
    match error {
        BackupError::Bucket { fault, .. } => Some(*fault),
        _ => None,
    }
}

/// Looks at everything that the storage holds, with no fault and with a recipient's key.
async fn receipts(stub: &Stub) -> usize {
    stub.heal();
    let (store, opener) = (stub.store(PATIENT), opener());
    let folders = on_a_thread(move || AttemptFolder::existing(store, "run-1", "master"))
        .await
        .unwrap();
    let mut found = 0;
    for folder in folders {
        let place = folder.clone();
        if on_a_thread(move || place.read(crate::RECEIPT_FILE))
            .await
            .unwrap()
            .is_none()
        {
            continue;
        }
        // A receipt that is itself spoiled proves nothing, and is taken for none.
        if let Ok((written, _)) = open_with(&folder, None, &opener).await {
            let digest = written.manifest_digest;
            let receipt = on_a_thread(move || read_receipt(&folder, &digest)).await.unwrap();
            found += usize::from(receipt.is_some());
        } else {
            panic!("{} has a receipt and is no good backup", folder.location());
        }
    }
    found
}

#[tokio::test]
async fn a_backup_in_a_bucket_is_verified_and_used_again() {
    let (api, stub) = (FakeApi::platform(), Stub::start().await);
    let first = back_up(&api, &stub, PATIENT).await.unwrap();
    assert_eq!(first.path, "s3://backups/platform/prod/run-1/master");
    let names: Vec<String> = stub.look(|stored| stored.objects.keys().cloned().collect());
    let expected = ["claim", "manifest.json", "objects.tar.zst.age", "verified.json"];
    assert_eq!(names, expected.map(|file| format!("{FOLDER}/{file}")));
    let archive = stub.look(|stored| stored.objects[&format!("{FOLDER}/objects.tar.zst.age")].clone());
    assert_eq!(
        (crate::digest(&archive), archive.len() as u64),
        (first.archive_digest.clone(), first.bytes)
    );
    let parts = stub.look(|stored| stored.log.iter().filter(|line| line.contains("partNumber")).count());
    assert_eq!(parts, archive.len().div_ceil(PATIENT.part_bytes));
    assert!(parts > 1, "one part proves nothing about parts");
    assert_eq!(back_up(&api, &stub, PATIENT).await.unwrap(), first);
    assert_eq!(receipts(&stub).await, 1);
    // What was verified and is damaged since is not used again.
    stub.look(|stored| {
        let archive = stored
            .objects
            .get_mut(&format!("{FOLDER}/objects.tar.zst.age"))
            .unwrap();
        archive[100] ^= 1;
    });
    let second = back_up(&api, &stub, PATIENT).await.unwrap();
    assert_eq!(second.path, "s3://backups/platform/prod/run-1/master_2");
}

/// Every fault at every request: once, and from then on.
async fn everywhere(fault: Fault) {
    let (api, stub) = (FakeApi::platform(), Stub::start().await);
    back_up(&api, &stub, PATIENT).await.unwrap();
    let requests = stub.look(|stored| stored.log.len());
    let mut failed = 0;
    for at in 0..requests {
        for lasting in [false, true] {
            let stub = Stub::start().await;
            let scripted = fault.clone();
            stub.script(move |number, _| (number == at || lasting && number > at).then(|| scripted.clone()));
            let outcome = back_up(&api, &stub, IMPATIENT).await;
            let proven = receipts(&stub).await;
            match outcome {
                Ok(result) => assert!(result.objects == 10 && proven <= 1, "{fault:?} at {at}"),
                Err(error) => {
                    failed += 1;
                    let text = error.to_string();
                    assert!(
                        text.contains("s3://backups/platform/prod/run-1"),
                        "{fault:?} at {at}: {text}"
                    );
                    assert!(
                        text.contains("; ") && !text.contains(SECRET),
                        "{fault:?} at {at}: {text}"
                    );
                }
            }
        }
    }
    assert!(failed > 0, "{fault:?} was never noticed");
}

#[tokio::test]
async fn a_storage_that_fails_at_any_request() {
    everywhere(Fault::Status(503, "SlowDown")).await;
}

#[tokio::test]
async fn a_storage_that_refuses_any_request() {
    everywhere(Fault::Status(403, "AccessDenied")).await;
}

#[tokio::test]
async fn a_storage_that_is_full_at_any_request() {
    everywhere(Fault::Status(507, "XMinioStorageFull")).await;
}

#[tokio::test]
async fn a_storage_that_breaks_connections_at_any_request() {
    everywhere(Fault::Reset).await;
}

#[tokio::test]
async fn a_storage_that_stores_or_reads_by_half() {
    everywhere(Fault::Short).await;
}

#[tokio::test]
async fn a_storage_that_flips_a_bit() {
    everywhere(Fault::Flip).await;
}

#[tokio::test]
async fn a_storage_that_does_it_and_says_that_it_failed() {
    everywhere(Fault::LostAnswer).await;
}

#[tokio::test]
async fn a_storage_that_tells_wrong_tags() {
    everywhere(Fault::WrongTag).await;
}

#[tokio::test]
async fn a_storage_that_reads_an_old_object() {
    everywhere(Fault::Old(b"{\"formatVersion\": 2}".to_vec())).await;
}

#[tokio::test]
async fn a_storage_that_never_answers() {
    everywhere(Fault::Hang).await;
}

#[tokio::test]
async fn a_storage_of_a_byte_now_and_then() {
    everywhere(Fault::Trickle).await;
}

#[tokio::test]
async fn each_trouble_has_its_own_way_out() {
    let expect = async |fault: Fault, on: &'static str, kind: BucketFault, words: &str| {
        let (api, stub) = (FakeApi::platform(), Stub::start().await);
        stub.script(move |_, line| line.starts_with(on).then(|| fault.clone()));
        let error = back_up(&api, &stub, IMPATIENT).await.unwrap_err();
        assert_eq!(fault_of(&error), Some(kind), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(receipts(&stub).await, 0);
    };
    let denied = Fault::Status(403, "AccessDenied");
    expect(
        denied,
        "PUT",
        BucketFault::Denied,
        "403 Forbidden, AccessDenied: as scripted; see that the Secret",
    )
    .await;
    let full = Fault::Status(507, "XMinioStorageFull");
    expect(full, "POST", BucketFault::NoSpace, "enlarge it or its quota").await;
    let missing = Fault::Status(404, "NoSuchBucket");
    expect(missing, "GET", BucketFault::Missing, "see that the bucket exists").await;
    let moved = Fault::Status(301, "PermanentRedirect");
    expect(moved, "GET", BucketFault::Settings, "correct spec.backup.storage.s3").await;
    expect(Fault::Hang, "POST", BucketFault::Slow, "no answer within 0.4 s").await;
    expect(Fault::WriteOver, "PUT", BucketFault::Unconditional, "If-None-Match").await;
}

#[tokio::test]
async fn an_archive_that_comes_byte_by_byte_ends_with_words() {
    let (api, stub) = (FakeApi::platform(), Stub::start().await);
    stub.script(|_, line| {
        let archive = line.starts_with("GET") && line.contains("objects.tar");
        archive.then_some(Fault::Trickle)
    });
    let error = back_up(&api, &stub, IMPATIENT).await.unwrap_err();
    assert_eq!(fault_of(&error), Some(BucketFault::Slow), "{error}");
    assert!(error.to_string().contains("bytes came in 0.4 s"), "{error}");
}

#[tokio::test]
async fn a_spoiled_archive_or_manifest_is_a_bad_backup() {
    for (fault, object) in [
        (Fault::Short, "objects.tar"),
        (Fault::Flip, "objects.tar"),
        (Fault::Old(b"age".to_vec()), "objects.tar"),
        (Fault::Short, "manifest.json"),
        (Fault::Flip, "manifest.json"),
        (Fault::Old(b"{}".to_vec()), "manifest.json"),
    ] {
        let (api, stub) = (FakeApi::platform(), Stub::start().await);
        let scripted = fault.clone();
        stub.script(move |_, line| (line.starts_with("GET") && line.contains(object)).then(|| scripted.clone()));
        let error = back_up(&api, &stub, PATIENT).await.unwrap_err();
        assert!(error.is_bad_backup(), "{fault:?} of {object}: {error}");
        assert_eq!(receipts(&stub).await, 0);
    }
}

#[tokio::test]
async fn an_upload_that_fails_is_given_up_there() {
    let (api, stub) = (FakeApi::platform(), Stub::start().await);
    stub.script(|_, line| {
        line.contains("partNumber=2")
            .then_some(Fault::Status(403, "AccessDenied"))
    });
    back_up(&api, &stub, PATIENT).await.unwrap_err();
    assert!(stub.look(|stored| stored.uploads.is_empty()), "parts are left over");
    assert!(stub.look(|stored| stored.log.iter().any(|line| line.starts_with("DELETE"))));
}

#[tokio::test]
async fn credentials_may_be_exchanged_in_the_middle() {
    let (api, stub) = (FakeApi::platform(), Stub::start().await);
    let (exchanging, stored) = (stub.clone(), stub.stored.clone());
    stub.script(move |_, line| {
        if line.contains("partNumber=1") {
            exchanging.write_credentials("key-two");
        }
        None
    });
    back_up(&api, &stub, PATIENT).await.unwrap();
    assert_eq!(stored.lock().unwrap().keys, ["key-one", "key-two"]);
    stub.look(|stored| stored.accepted = Some("key-three".to_owned()));
    let error = back_up(&api, &stub, PATIENT).await.unwrap_err();
    assert_eq!(fault_of(&error), Some(BucketFault::Denied), "{error}");
    std::fs::remove_file(stub.credentials.path().join("accessKeyID")).unwrap();
    let error = back_up(&api, &stub, PATIENT).await.unwrap_err();
    assert_eq!(fault_of(&error), Some(BucketFault::NoCredentials), "{error}");
}

#[tokio::test]
async fn two_programs_never_get_the_same_folder() {
    let stub = Stub::start().await;
    let claims = (0..6).map(|_| {
        let store = stub.store(PATIENT);
        on_a_thread(move || AttemptFolder::claim(store, "run-1", "master"))
    });
    let mut folders: Vec<String> = futures::future::try_join_all(claims)
        .await
        .unwrap()
        .iter()
        .map(AttemptFolder::location)
        .collect();
    folders.sort();
    folders.dedup();
    assert_eq!(folders.len(), 6, "{folders:?}");
}
