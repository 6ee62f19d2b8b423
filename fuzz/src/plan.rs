//! What plans are made of and what Jobs and objects say. The first byte chooses: `v` Helm values, `p` Helm values beside a
//! secret, `t` our note about the limit, `e` a termination message, `m` the manifest of a backup, `r` the receipt of its
//! verification, `k` spec and status of KKP's objects, `i` an image reference, `n` a version, `u` a range of versions.

use std::path::Path;

use kkp_upgrade_backup::{Manifest, Verified, parse_manifest};
use kkp_upgrade_core::facts::ThrottleMark;
use kkp_upgrade_core::rules::AutomaticUpdate;
use kkp_upgrade_core::version::KkpVersion;
use kkp_upgrade_kkp::helm::{for_installer, operator_image, parse_yaml};
use kkp_upgrade_kkp::image::ImageReference;
use kkp_upgrade_kkp::types::{Cluster, KubermaticConfiguration, Seed};
use kkp_upgrade_operator::observe::error_lines;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{CANARY, Violation, holds, quotes_nothing};

pub(crate) fn run(input: &[u8]) -> Result<(), Violation> {
    let Some((choice, rest)) = input.split_first() else {
        return Ok(());
    };
    match choice {
        b'm' => return manifest(rest),
        b'r' => return unchanged::<Verified>(rest),
        b't' => return unchanged::<ThrottleMark>(rest),
        b'k' => return objects(rest),
        _ => {}
    }
    let Ok(text) = std::str::from_utf8(rest) else {
        return Ok(());
    };
    match choice {
        b'v' => values(text, false),
        b'p' => values(&format!("dex:\n  password: \"{CANARY}\"\n{text}"), true),
        b'e' => termination(text),
        b'i' => same(text, |text| ImageReference::parse(text).ok()),
        b'n' => same(text, |text| text.parse::<KkpVersion>().ok()),
        b'u' => range(text),
        _ => Ok(()),
    }
}

/// Values that are accepted can be written for the installer, which reads the same in them.
fn values(text: &str, secret: bool) -> Result<(), Violation> {
    let values = match parse_yaml(text) {
        Ok(values) => values,
        Err(error) => return quotes_nothing(&format!("{error} {error:?}")),
    };
    let Ok(merged) = for_installer(values.clone(), "mirror.example.test/kubermatic") else {
        return Ok(());
    };
    if secret && let Err(error) = operator_image(&values) {
        quotes_nothing(&format!("{error} {error:?}"))?;
    }
    let written = serde_json::to_string_pretty(&merged).map_err(|error| Violation::Oracle(error.to_string()))?;
    let read =
        parse_yaml(&written).map_err(|error| Violation::Oracle(format!("written values: {error}: {written}")))?;
    holds(read == merged, || {
        format!("written values mean something else: {written}")
    })
}

/// What was said is in the result, or nothing is.
fn termination(text: &str) -> Result<(), Violation> {
    let said = error_lines(text);
    holds(said.len() <= text.len() + 2, || {
        format!("{said} is longer than what was said")
    })
}

fn manifest(text: &[u8]) -> Result<(), Violation> {
    let Ok(manifest) = parse_manifest(Path::new("manifest.json"), text) else {
        return Ok(());
    };
    let counted = manifest
        .kinds
        .iter()
        .fold(0_u64, |sum, kind| sum.saturating_add(kind.count));
    holds(manifest.objects == counted, || {
        "an accepted manifest miscounts".to_owned()
    })?;
    for kind in &manifest.kinds {
        drop(kind.resource().label());
    }
    unchanged::<Manifest>(text)
}

/// What is read, written and read again is the same.
fn unchanged<T: Serialize + DeserializeOwned + PartialEq>(json: &[u8]) -> Result<(), Violation> {
    let Ok(value) = serde_json::from_slice::<T>(json) else {
        return Ok(());
    };
    let written = serde_json::to_vec(&value).map_err(|error| Violation::Oracle(error.to_string()))?;
    let read: T = serde_json::from_slice(&written).map_err(|error| Violation::Oracle(error.to_string()))?;
    holds(read == value, || {
        format!("read again as something else: {}", String::from_utf8_lossy(&written))
    })
}

/// No content of spec and status fails an object, whatever it is.
fn objects(json: &[u8]) -> Result<(), Violation> {
    let Ok(content) = serde_json::from_slice::<Value>(json) else {
        return Ok(());
    };
    let object = json!({"metadata": {"name": "x"}, "spec": content, "status": content});
    lenient::<Seed>(&object)?;
    lenient::<Cluster>(&object)?;
    lenient::<KubermaticConfiguration>(&object)
}

fn lenient<T: DeserializeOwned>(object: &Value) -> Result<(), Violation> {
    let read = T::deserialize(object);
    read.map(drop)
        .map_err(|error| Violation::Oracle(format!("an object is refused: {error}: {object}")))
}

/// What is parsed is written as something that parses to the same.
fn same<T: PartialEq + ToString>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Result<(), Violation> {
    let Some(parsed) = parse(text) else { return Ok(()) };
    let written = parsed.to_string();
    holds(parse(&written).as_ref() == Some(&parsed), || {
        format!("{text} is written as {written}, which is something else")
    })
}

/// A range that is accepted is decided for any version.
fn range(text: &str) -> Result<(), Violation> {
    let Ok(update) = AutomaticUpdate::parse(text) else {
        return Ok(());
    };
    holds(update.from == text, || format!("{text} became {}", update.from))
}
