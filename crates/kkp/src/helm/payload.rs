//! The payload of a release Secret: base64 of gzip of JSON, inside the base64 that the API adds and clients take off.
//!
//! Pure. Bounded: a Secret may hold 1 MiB, and gzip can make a thousand times that out of it. Source: Helm 3,
//! `pkg/storage/driver/util.go`.

use std::fmt;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;

/// The largest payload that is inflated, in bytes.
pub const MAX_INFLATED: u64 = 16 * 1024 * 1024;

const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 0x08];

/// What a release Secret says of its revision. The manifests are not read.
#[derive(Clone, PartialEq)]
pub struct ReleasePayload {
    /// Name of the release.
    pub name: String,
    /// Revision.
    pub revision: u64,
    /// State inside the payload; the label is what counts.
    pub status: super::ReleaseStatus,
    /// Name of the chart.
    pub chart_name: String,
    /// Version of the chart, e.g. `2.31.0` (up to 2.25 with a `v`).
    pub chart_version: String,
    /// Version of what the chart installs, e.g. `v2.31.0`; empty when the chart names none.
    pub app_version: String,
    /// The values that were given by the user. They contain secrets.
    pub user_values: Value,
}

impl fmt::Debug for ReleasePayload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ReleasePayload")
            .field("name", &self.name)
            .field("revision", &self.revision)
            .field("status", &self.status)
            .field("chart_name", &self.chart_name)
            .field("chart_version", &self.chart_version)
            .field("app_version", &self.app_version)
            .finish_non_exhaustive()
    }
}

/// A payload that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Helm release Secret {secret}: {problem}; look at it with `helm history`, and repair or roll back the release")]
pub struct PayloadError {
    /// Name of the Secret.
    pub secret: String,
    /// What is wrong with it.
    pub problem: PayloadProblem,
}

/// What is wrong with a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadProblem {
    /// The Secret has no key `release`.
    #[error("has no key `release`")]
    Missing,
    /// The inner encoding is broken.
    #[error("the payload is no base64")]
    NotBase64,
    /// The compressed stream is broken or ends early.
    #[error("the payload is no complete gzip stream")]
    NotGzip,
    /// The payload is larger than [`MAX_INFLATED`].
    #[error("the payload is larger than {MAX_INFLATED} bytes when inflated")]
    TooLarge,
    /// The JSON is broken or lacks what every release has.
    #[error("the payload is no release: JSON does not fit at line {line}, column {column}")]
    NotRelease {
        /// Line of the problem.
        line: usize,
        /// Column of the problem.
        column: usize,
    },
}

#[derive(Deserialize)]
struct RawRelease {
    name: String,
    version: u64,
    info: RawInfo,
    chart: RawChart,
    #[serde(default)]
    config: Value,
}

#[derive(Deserialize)]
struct RawInfo {
    status: String,
}

#[derive(Deserialize)]
struct RawChart {
    metadata: RawChartMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawChartMetadata {
    name: String,
    version: String,
    #[serde(default)]
    app_version: String,
}

/// Decodes `data.release` of a Secret, as a client gives it: without the API's own base64.
///
/// # Errors
/// When a layer is broken, larger than [`MAX_INFLATED`], or no release; never with a text out of the payload.
pub fn decode(secret: &str, release: Option<&[u8]>) -> Result<ReleasePayload, PayloadError> {
    let named = |problem| PayloadError {
        secret: secret.to_owned(),
        problem,
    };
    let encoded = release.ok_or_else(|| named(PayloadProblem::Missing))?;
    let compressed = STANDARD
        .decode(encoded.trim_ascii())
        .map_err(|_| named(PayloadProblem::NotBase64))?;
    let json = inflate(&compressed).map_err(named)?;
    // The message of the JSON error is dropped on purpose: it quotes values.
    let raw: RawRelease = serde_json::from_slice(&json).map_err(|error| {
        named(PayloadProblem::NotRelease {
            line: error.line(),
            column: error.column(),
        })
    })?;
    Ok(ReleasePayload {
        name: raw.name,
        revision: raw.version,
        status: super::ReleaseStatus::from(raw.info.status.as_str()),
        chart_name: raw.chart.metadata.name,
        chart_version: raw.chart.metadata.version,
        app_version: raw.chart.metadata.app_version,
        user_values: raw.config,
    })
}

/// Very old releases are not compressed; Helm reads them too.
fn inflate(compressed: &[u8]) -> Result<Vec<u8>, PayloadProblem> {
    if !compressed.starts_with(&GZIP_MAGIC) {
        return Ok(compressed.to_owned());
    }
    let mut json = Vec::new();
    // One byte more than allowed, to tell "full" from "too large".
    let mut bounded = GzDecoder::new(compressed).take(MAX_INFLATED + 1);
    bounded.read_to_end(&mut json).map_err(|_| PayloadProblem::NotGzip)?;
    if json.len() as u64 > MAX_INFLATED {
        Err(PayloadProblem::TooLarge)
    } else {
        Ok(json)
    }
}
