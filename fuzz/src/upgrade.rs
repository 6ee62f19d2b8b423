//! A KKPUpgrade as the API server gives it: object, spec, status, request, and one decision about it. The first byte chooses
//! what the operator is said to have observed; the rest is the object's JSON. A Job's termination message stands in the
//! annotation `message`.

use jiff::Timestamp;
use kkp_upgrade_api::{KKPUpgradeObject, KKPUpgradeSpec};
use kkp_upgrade_core::decide::{decide, needs, waits_for_queue};
use kkp_upgrade_core::request::{Request, SpecError, Storage};
use kkp_upgrade_core::rules::{Catalogue, accept, risk_problems};
use kkp_upgrade_core::status::Status;
use kkp_upgrade_core::timing::Timing;
use kkp_upgrade_core::version::KkpVersion;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::facts::observed;
use crate::{Violation, holds};

pub(crate) fn run(input: &[u8], catalogue: &Catalogue) -> Result<(), Violation> {
    let (choice, json) = input.split_first().map_or((0, input), |(choice, json)| (*choice, json));
    let Ok(object) = serde_json::from_slice::<KKPUpgradeObject>(json) else {
        return Ok(());
    };
    again(&object, "object")?;
    let (spec, status) = (object.parse_spec(), object.parse_status());
    holds(object.parse().is_ok() == (spec.is_ok() && status.is_ok()), || {
        "parse differs from parse_spec and parse_status".to_owned()
    })?;
    let request = match &spec {
        Ok(spec) => {
            again(spec, "spec")?;
            requested(spec, catalogue)?
        }
        Err(error) => Err(SpecError {
            field: String::new(),
            problem: error.to_string(),
        }),
    };
    let Ok(status) = status.map(Option::unwrap_or_default) else {
        return Ok(());
    };
    again(&status, "status")?;
    routed(&status, catalogue)?;
    decided(&object, request.as_ref(), &status, choice)
}

/// What is written is read as the same again.
fn again<T: Serialize + DeserializeOwned + PartialEq>(value: &T, what: &str) -> Result<(), Violation> {
    let text = serde_json::to_string(value).map_err(|error| Violation::Oracle(format!("{what}: {error}")))?;
    let read: T = serde_json::from_str(&text)
        .map_err(|error| Violation::Oracle(format!("{what} is not read again: {error}: {text}")))?;
    holds(read == *value, || format!("{what} is read as something else: {text}"))
}

fn requested(spec: &KKPUpgradeSpec, catalogue: &Catalogue) -> Result<Result<Request, SpecError>, Violation> {
    let request = Request::try_from(spec);
    match &request {
        Err(error) => holds(error.to_string().starts_with("spec."), || {
            format!("no field is named: {error}")
        })?,
        Ok(request) => {
            let target = request.target.to_string();
            holds(
                spec.target_version.strip_prefix('v').unwrap_or(&spec.target_version) == target,
                || format!("{} was read as {target}", spec.target_version),
            )?;
            holds(
                request.soak.as_secs() <= 86_400 && request.progress_deadline.as_secs() >= 1,
                || format!("durations out of bounds: {request:?}"),
            )?;
            let path = match &request.backup.storage {
                Some(Storage::Claim { path, .. }) => path,
                Some(Storage::S3(bucket)) => &bucket.prefix,
                None => "",
            };
            holds(
                !path.starts_with('/') && !path.split('/').any(|part| part == ".."),
                || format!("the path {path} leaves the volume"),
            )?;
            drop(risk_problems(catalogue, &request.accepted_risks));
            drop(accept(Vec::new(), &request.accepted_risks, Timestamp::UNIX_EPOCH));
        }
    }
    Ok(request)
}

/// Versions in status are texts: whatever they are, the route between them is found or refused.
fn routed(status: &Status, catalogue: &Catalogue) -> Result<(), Violation> {
    let version = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<KkpVersion>().ok());
    if let (Some(from), Some(target)) = (version(&status.from_version), version(&status.target_version)) {
        let via: Vec<KkpVersion> = status.path.iter().filter_map(|text| text.parse().ok()).collect();
        if let Ok(path) = catalogue.path(from, target, &via) {
            holds(path.last().is_none_or(|last| *last == target), || {
                format!("the route from {from} to {target} ends elsewhere")
            })?;
        }
    }
    Ok(())
}

/// Deciding never fails, twice the same is the same, and what is decided can be stored and read.
fn decided(
    object: &KKPUpgradeObject,
    request: Result<&Request, &SpecError>,
    status: &Status,
    choice: u8,
) -> Result<(), Violation> {
    let facts = observed(object, choice);
    let timing = Timing::default();
    let wanted = needs(request.ok(), status, &facts.object);
    holds(wanted.platform || wanted.evidence.is_none(), || {
        "evidence is wanted without a platform".to_owned()
    })?;
    let waits = waits_for_queue(request.ok(), status);
    holds(!waits || request.is_ok(), || {
        "waits for the queue without a request".to_owned()
    })?;
    let decision = decide(request, status, &facts, &timing);
    holds(decide(request, status, &facts, &timing) == decision, || {
        "deciding twice differs".to_owned()
    })?;
    again(&decision.status, "decided status")?;
    let next = decide(request, &decision.status, &facts, &timing);
    again(&next.status, "status decided next")
}
