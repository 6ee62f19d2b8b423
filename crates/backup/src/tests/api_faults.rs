//! An API server that fails at any request of a backup: never a verified backup, nothing left of an archive, and always a message
//! with what was read, what was wrong and the way out.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::fake_api::{FakeApi, Wire, failure};
use crate::{BackupError, BackupResult};

/// What an API server says when the conversion webhook of a CRD does not answer.
const CONVERSION: &str = "conversion webhook for kubermatic.k8c.io/v1, Kind=Cluster failed: connection refused";
/// Nothing that lies in the platform may be told.
const CONTENT: &str = "hunter2";

type Respond = fn() -> Wire;

/// Ways in which a request fails, and words of the message: what the server said, and the way out.
const FAULTS: [(Respond, &[&str]); 8] = [
    (
        || Wire::Answer(500, failure(500, "InternalError", CONVERSION)),
        &[CONVERSION, "; bring back the conversion webhook"],
    ),
    (
        || Wire::Answer(429, failure(429, "TooManyRequests", "too many requests")),
        &["too many requests", "; see the API server's and etcd's log"],
    ),
    (
        || Wire::Answer(503, failure(503, "ServiceUnavailable", "etcd is away")),
        &["etcd is away", "; see the API server's and etcd's log"],
    ),
    (
        || Wire::Answer(401, failure(401, "Unauthorized", "Unauthorized")),
        &["renew the kubeconfig"],
    ),
    (|| Wire::Answer(200, json!({"secret": CONTENT})), &[]),
    (|| Wire::Text("<html>hunter2</html>"), &[]),
    // Killed in the middle of an answer.
    (|| Wire::BreaksOff("{\"items\": [{\"data\": \"hunter2"), &["connection"]),
    (|| Wire::Silence, &["no answer for"]),
];

/// Runs a backup whose request with this number fails, and says of what that was and how the backup ended.
async fn failing(number: usize, respond: Respond) -> Option<(String, Result<BackupResult, BackupError>)> {
    let (api, volume) = (FakeApi::platform(), tempfile::tempdir().unwrap());
    let api = api.patient_for(Duration::from_millis(200));
    api.on_wire(move |at| (at == number).then(respond));
    let outcome = api.run(volume.path()).back_up().await;
    let address = api.change(|state| state.log.get(number).cloned())?;
    let folder = volume.path().join("run-1/master");
    if outcome.is_err() {
        assert!(!folder.join(crate::RECEIPT_FILE).exists(), "{address}: called verified");
        let files = std::fs::read_dir(&folder).map_or(0, Iterator::count);
        // Archive and manifest are there when only the comparison failed.
        assert!(files == 0 || files == 2, "{address}: {files} files");
    }
    Some((address, outcome))
}

#[tokio::test]
async fn a_backup_from_an_api_server_that_fails_at_any_request() {
    let (api, volume) = (FakeApi::platform(), tempfile::tempdir().unwrap());
    let whole = api.run(volume.path()).back_up().await.unwrap();
    let log: Vec<String> = api.change(|state| state.log.clone());
    let mut seen = BTreeSet::new();
    for (number, address) in log.iter().enumerate() {
        // The first faults at every request; all of them at one of each kind of request.
        let kind = ["?limit=1", "Exact", "continue="].map(|word| address.contains(word));
        let faults = if seen.insert((address.split('?').next(), kind)) {
            FAULTS.len()
        } else {
            1
        };
        for (respond, words) in &FAULTS[..faults] {
            let Some((address, outcome)) = failing(number, *respond).await else {
                continue;
            };
            let error = match outcome {
                Err(error) => error.to_string(),
                // Of KKP's namespace only the presence counts, and a group is asked for at each of its versions, the preferred one
                // twice: nothing is missing then.
                Ok(result) if result.objects == whole.objects && !address.contains("limit=") => continue,
                Ok(result) => panic!("{address}: a backup came of it, {result:?}"),
            };
            let path = address.split('?').next().unwrap();
            let plural = path.rsplit('/').next().unwrap();
            let said = words.iter().chain(&["; "]).all(|word| error.contains(word));
            assert!(said && !error.contains(CONTENT), "{address}: {error}");
            assert!(
                error.contains(plural) || !address.contains("limit="),
                "{address}: {error}"
            );
        }
    }
    assert!(
        log.len() > 40 && seen.len() > 20,
        "{} requests, {} kinds",
        log.len(),
        seen.len()
    );
}
