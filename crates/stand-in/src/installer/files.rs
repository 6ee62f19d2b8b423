//! The files that the command line names. Never talks to a cluster.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::arguments::Deploy;
use crate::release::Release;

/// The configuration of `--config`, if there is one.
pub(super) fn configuration(deploy: &Deploy) -> anyhow::Result<Option<Value>> {
    let Some(path) = &deploy.config else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to load KubermaticConfiguration: {}", path.display()))?;
    Ok(Some(
        serde_saphyr::from_str(&text).context("failed to load KubermaticConfiguration")?,
    ))
}

/// The values of all `--helm-values`, merged.
pub(super) fn helm_values(deploy: &Deploy, release: &Release) -> anyhow::Result<Value> {
    if deploy.helm_values.len() > 1 && release.semantic_version().minor < 31 {
        bail!("--helm-values can be given only once before KKP 2.31")
    }
    let mut values = json!({});
    for path in &deploy.helm_values {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("failed to load Helm values: {}", path.display()))?;
        let next: Option<Value> = serde_saphyr::from_str(&text).context("failed to load Helm values")?;
        merge(&mut values, next.unwrap_or_default());
    }
    Ok(values)
}

/// Puts `next` over `values`, key by key.
fn merge(values: &mut Value, next: Value) {
    match (values, next) {
        (Value::Object(values), Value::Object(next)) => {
            let next: BTreeMap<_, _> = next.into_iter().collect();
            for (key, value) in next {
                merge(values.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (values, next) => *values = next,
    }
}
