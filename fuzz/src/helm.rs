//! Payloads of Helm releases. The first byte says how the rest is wrapped: `0` not at all, `1` base64, `2` base64 of gzip,
//! `3` as one of the values of a whole release, beside a secret.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use kkp_upgrade_kkp::helm::{ReleasePayload, decode, for_installer, operator_image};
use serde_json::Value;

use crate::{CANARY, Violation, holds, quotes_nothing};

/// JSON readers give up below this depth, and the release around the value has some of it.
const DEPTH: usize = 100;

pub(crate) fn run(input: &[u8]) -> Result<(), Violation> {
    let Some((mode, rest)) = input.split_first() else {
        return judge(None).map(drop);
    };
    match mode % 4 {
        0 => judge(Some(rest)).map(drop),
        1 => judge(Some(STANDARD.encode(rest).as_bytes())).map(drop),
        2 => judge(Some(&compressed(rest)?)).map(drop),
        _ => beside_a_secret(rest),
    }
}

fn judge(release: Option<&[u8]>) -> Result<Option<ReleasePayload>, Violation> {
    let decoded = decode("sh.helm.release.v1.kkp.v1", release);
    let again = decode("sh.helm.release.v1.kkp.v1", release);
    holds(decoded == again, || "decoding twice differs".to_owned())?;
    match decoded {
        Ok(payload) => {
            merged(payload.user_values.clone())?;
            Ok(Some(payload))
        }
        Err(error) => {
            quotes_nothing(&format!("{error} {error:?}"))?;
            Ok(None)
        }
    }
}

/// Values for an installer run have the running repository and no tag.
fn merged(values: Value) -> Result<(), Violation> {
    let Ok(merged) = for_installer(values, "mirror.example.test/kubermatic") else {
        return Ok(());
    };
    let image = operator_image(&merged).map_err(|error| Violation::Oracle(error.to_string()))?;
    holds(
        image.tag.is_none() && image.repository.as_deref() == Some("mirror.example.test/kubermatic"),
        || format!("the merge gave {image:?}"),
    )
}

fn beside_a_secret(value: &[u8]) -> Result<(), Violation> {
    let mut json = format!(
        r#"{{"name":"kubermatic-operator","version":7,"info":{{"status":"deployed"}},"chart":{{"metadata":{{"name":"k","version":"2.31.0"}}}},"config":{{"password":"{CANARY}","x":"#
    )
    .into_bytes();
    json.extend_from_slice(value);
    json.extend_from_slice(b"}}");
    let payload = judge(Some(&compressed(&json)?))?;
    if let Some(payload) = &payload {
        // Names of chart and release are no secrets, and the input may have moved the secret into one.
        let named = [
            &payload.name,
            &payload.chart_name,
            &payload.chart_version,
            &payload.app_version,
        ];
        if !named.iter().any(|name| name.contains(CANARY)) && !payload.status.as_str().contains(CANARY) {
            quotes_nothing(&format!("{payload:?}"))?;
        }
    }
    let Ok(expected) = serde_json::from_slice::<Value>(value) else {
        return Ok(());
    };
    match &payload {
        Some(payload) => holds(payload.user_values.get("x") == Some(&expected), || {
            format!("{expected} was read as {:?}", payload.user_values.get("x"))
        }),
        None => holds(depth(&expected) > DEPTH, || format!("{expected} was not read")),
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn compressed(bytes: &[u8]) -> Result<Vec<u8>, Violation> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let gzip = encoder.write_all(bytes).and_then(|()| encoder.finish());
    let gzip = gzip.map_err(|error| Violation::Oracle(format!("the harness cannot compress: {error}")))?;
    Ok(STANDARD.encode(gzip).into_bytes())
}
