//! What a rule's program sees besides the item: hop, releases, request, and a few functions. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kube_cel::cel::extractors::This;
use kube_cel::cel::objects::Key;
use kube_cel::cel::{Context, ExecutionError, ResolveResult, Value};
use semver::Version;

use super::finding::Hop;
use super::releases::{AutomaticUpdate, Release, Releases};
use super::schema::{Field, Item};
use crate::version::KkpVersion;

/// Fields of `hop`: `minors` = distance in minors, `route` = versions between, `started` = the master was already touched.
pub(super) const HOP_FIELDS: [&str; 7] = ["from", "to", "minors", "otherMajor", "downgrade", "started", "route"];
/// The two releases of a hop.
pub(super) const RELEASES: [&str; 2] = ["from", "to"];
/// Fields of `release.from` and `release.to`; all but `version`, `known` and `hint` are null for an unknown release.
pub(super) const RELEASE_FIELDS: [&str; 8] = [
    "version",
    "known",
    "hint",
    "newest",
    "kubernetes",
    "defaultKubernetes",
    "job",
    "oneWay",
];
/// Functions that a rule may call, besides operators, macros and `release.….accepts(version)`.
/// `minor('v2.30.6')` = `'2.30'`; `text(x)` = any value as text, `unset` for null, a list with commas.
pub(super) const FUNCTIONS: [&str; 7] = ["size", "startsWith", "endsWith", "contains", "matches", "minor", "text"];

/// Versions of user clusters that the `KubermaticConfiguration` sets by itself (`.spec.versions`): they replace the list of
/// the release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfiguredVersions {
    /// `.spec.versions.versions`; `None` or empty = the list of the release counts.
    pub versions: Option<Vec<String>>,
    /// `from` of each of `.spec.versions.updates` with `automatic: true`; `None` = the rules of the release count.
    pub automatic_updates: Option<Vec<String>>,
}

/// The context of one hop: everything that programs see but the item.
pub(super) fn context(
    releases: &Releases,
    hop: Hop,
    started: bool,
    spec: &Item,
    configured: &Field<ConfiguredVersions>,
) -> Context<'static> {
    let mut context = Context::default();
    context.add_function("minor", |version: Arc<String>| minor(&version));
    context.add_function("text", |value: Value| -> ResolveResult {
        Ok(Value::from(text(&value)))
    });
    let sides: BTreeMap<String, Release> = [hop.from, hop.to]
        .iter()
        .filter_map(|version| releases.get(*version))
        .map(|release| (release.version.to_string(), release.clone()))
        .collect();
    let configured = configured.clone();
    context.add_function(
        "accepts",
        move |This(side): This<Value>, kubernetes: Arc<String>| -> ResolveResult {
            accepts(&sides, &configured, &side, &kubernetes)
                .map(Value::Bool)
                .map_err(|reason| ExecutionError::function_error("accepts", reason))
        },
    );
    context.add_variable_from_value("hop", hop_value(releases, hop, started));
    let release = RELEASES
        .into_iter()
        .zip([hop.from, hop.to])
        .map(|(side, version)| (side, release_value(releases, version)));
    context.add_variable_from_value("release", release.collect::<HashMap<_, _>>());
    context.add_variable_from_value("spec", item_value(spec));
    context
}

/// An item as a CEL value.
pub(super) fn item_value(item: &Item) -> Value {
    Value::from(
        item.fields
            .iter()
            .map(|(name, value)| (name.clone(), json_value(value)))
            .collect::<HashMap<_, _>>(),
    )
}

/// Numbers become signed: a literal in a rule is signed, and CEL does not compare signed with unsigned.
fn json_value(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Bool(flag) => Value::Bool(*flag),
        serde_json::Value::Number(number) => number.as_i64().map_or(Value::Null, Value::Int),
        serde_json::Value::String(text) => Value::from(text.clone()),
        serde_json::Value::Array(values) => Value::List(Arc::new(values.iter().map(json_value).collect())),
        serde_json::Value::Null | serde_json::Value::Object(_) => Value::Null,
    }
}

fn hop_value(releases: &Releases, hop: Hop, started: bool) -> HashMap<&'static str, Value> {
    let route = releases.path(hop.from, hop.to, &[]).map_or_else(
        |error| error.to_string(),
        |path| path.iter().map(ToString::to_string).collect::<Vec<_>>().join(", then "),
    );
    HashMap::from([
        ("from", Value::from(hop.from.to_string())),
        ("to", Value::from(hop.to.to_string())),
        (
            "minors",
            Value::Int(i64::from(hop.to.minor) - i64::from(hop.from.minor)),
        ),
        ("otherMajor", Value::Bool(hop.from.major != hop.to.major)),
        ("downgrade", Value::Bool(hop.to < hop.from)),
        ("started", Value::Bool(started)),
        ("route", Value::from(route)),
    ])
}

fn release_value(releases: &Releases, version: KkpVersion) -> HashMap<&'static str, Value> {
    let release = releases.get(version);
    let known = |value: &dyn Fn(&Release) -> Value| release.map_or(Value::Null, value);
    let one_way = |release: &Release| Value::List(Arc::new(release.one_way.iter().cloned().map(Value::from).collect()));
    HashMap::from([
        ("version", Value::from(version.to_string())),
        ("known", Value::Bool(release.is_some())),
        ("hint", Value::from(releases.hint(version))),
        (
            "newest",
            known(&|_| {
                releases
                    .newest(version.major, version.minor)
                    .map_or(Value::Null, |newest| Value::from(newest.to_string()))
            }),
        ),
        ("kubernetes", known(&|release| Value::from(release.kubernetes_range()))),
        (
            "defaultKubernetes",
            known(&|release| Value::from(release.default_kubernetes.to_string())),
        ),
        ("job", known(&|release| Value::from(release.job.to_string()))),
        ("oneWay", known(&one_way)),
    ])
}

/// The installer's own check: exact membership in the effective list, or inside an automatic update rule
/// (KKP `pkg/install/stack/kubermatic-master/validation.go`, `clusterVersionIsConfigured`).
fn accepts(
    sides: &BTreeMap<String, Release>,
    configured: &Field<ConfiguredVersions>,
    side: &Value,
    kubernetes: &str,
) -> Result<bool, String> {
    let Value::Map(side) = side else {
        return Err("not a release".to_owned());
    };
    let Some(Value::String(version)) = side.map.get(&Key::from("version")) else {
        return Err("a release without version".to_owned());
    };
    let release = sides
        .get(version.as_str())
        .ok_or_else(|| format!("release {version} is not in the catalogue"))?;
    let configured = match configured {
        Field::Known(configured) => configured,
        Field::NotRead(reason) => {
            return Err(format!(
                "spec.versions of the KubermaticConfiguration was not read: {reason}"
            ));
        }
    };
    let kubernetes = kubernetes_version(kubernetes)?;
    let listed = match configured.versions.as_deref() {
        None | Some([]) => release.kubernetes.contains(&kubernetes),
        Some(versions) => versions
            .iter()
            .map(|version| kubernetes_version(version))
            .collect::<Result<Vec<_>, _>>()?
            .contains(&kubernetes),
    };
    let updated = match &configured.automatic_updates {
        None => release
            .automatic_updates
            .iter()
            .any(|update| update.covers(&kubernetes)),
        Some(updates) => {
            let updates = updates
                .iter()
                .map(|from| AutomaticUpdate::parse(from))
                .collect::<Result<Vec<_>, _>>()?;
            updates.iter().any(|update| update.covers(&kubernetes))
        }
    };
    Ok(listed || updated)
}

fn kubernetes_version(text: &str) -> Result<Version, String> {
    Version::parse(text.strip_prefix('v').unwrap_or(text))
        .map_err(|error| format!("`{text}` is not a Kubernetes version: {error}"))
}

fn minor(version: &str) -> ResolveResult {
    // Development builds carry a suffix after the patch number: the minor is still plain.
    let version = version.split(['-', '+']).next().unwrap_or_default();
    let version: KkpVersion = version
        .parse()
        .map_err(|error| ExecutionError::function_error("minor", error))?;
    Ok(Value::from(version.minor_line()))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "unset".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::String(text) => text.as_ref().clone(),
        Value::List(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        _ => "…".to_owned(),
    }
}
