//! What a rule's program sees besides the item: hop, releases, request, and a few functions. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube_cel::cel::extractors::This;
use kube_cel::cel::objects::Key;
use kube_cel::cel::{Context, ExecutionError, ResolveResult, Value};
use semver::Version;

use super::finding::Hop;
use super::kubernetes::{self, Route};
use super::releases::{AutomaticUpdate, Release, Releases};
use super::schema::{Field, Item};
use crate::version::KkpVersion;

/// Fields of `hop`: `minors` = distance in minors, `route` = versions between, `started` = the master was already touched.
pub(super) const HOP_FIELDS: [&str; 7] = ["from", "to", "minors", "otherMajor", "downgrade", "started", "route"];
/// The two releases of a hop.
pub(super) const RELEASES: [&str; 2] = ["from", "to"];
/// Fields of `release.from` and `release.to`; all but `version`, `known` and `hint` are null for an unknown release.
pub(super) const RELEASE_FIELDS: [&str; 9] = [
    "version",
    "known",
    "hint",
    "newest",
    "kubernetes",
    "defaultKubernetes",
    "job",
    "notesCovered",
    "oneWay",
];
/// Functions that a rule may call, besides operators, macros and `release.….accepts(version)`.
/// `minor('v2.30.6')` = `'2.30'`; `text(x)` = any value as text, `unset` for null, a list with commas; `older(a, b)` = the
/// version `a` is older than `b`; `daysUntil(t)` = whole days from now on, less than 0 when `t` has passed; `distinct(list)` =
/// each value once.
/// For Kubernetes versions of user clusters, by the lists of all releases from here to the end of the route: `way(v)` = the
/// versions to go through one after the other, none = there is no way; `listed(v)` = the lowest one that is not older, null =
/// none; `skew(kubelet, v)` = why nodes with this kubelet keep it away, empty = they do not, also where there are no nodes.
pub(super) const FUNCTIONS: [&str; 13] = [
    "size",
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "minor",
    "text",
    "older",
    "daysUntil",
    "distinct",
    "way",
    "listed",
    "skew",
];

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
    route: &[Hop],
    started: bool,
    spec: &Item,
    configured: &Field<ConfiguredVersions>,
    now: Timestamp,
) -> Context<'static> {
    let mut context = Context::default();
    add_kubernetes(&mut context, Route::new(releases, hop, route, configured));
    context.add_function("minor", |version: Arc<String>| minor(&version));
    context.add_function("text", |value: Value| -> ResolveResult {
        Ok(Value::from(text(&value)))
    });
    context.add_function("older", |one: Arc<String>, other: Arc<String>| {
        older(&one, &other).map_err(|reason| ExecutionError::function_error("older", reason))
    });
    context.add_function("daysUntil", move |time: Arc<String>| {
        days_until(now, &time).map_err(|reason| ExecutionError::function_error("daysUntil", reason))
    });
    context.add_function("distinct", |list: Value| match list {
        Value::List(list) => Ok(Value::List(Arc::new(distinct(&list)))),
        _ => Err(ExecutionError::function_error("distinct", "not a list")),
    });
    let sides: BTreeMap<String, Arc<Release>> = [hop.from, hop.to]
        .iter()
        .filter_map(|version| releases.share(*version))
        .map(|release| (release.version.to_string(), release))
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

/// Functions about the Kubernetes versions of the route.
fn add_kubernetes(context: &mut Context<'static>, route: Route) {
    let also = route.clone();
    context.add_function("way", move |version: Arc<String>| {
        route
            .way(&version)
            .map(|way| Value::List(Arc::new(way.iter().map(|stop| Value::from(stop.to_string())).collect())))
            .map_err(|reason| ExecutionError::function_error("way", reason))
    });
    context.add_function("listed", move |version: Arc<String>| {
        also.listed(&version)
            .map(|found| found.map_or(Value::Null, |found| Value::from(found.to_string())))
            .map_err(|reason| ExecutionError::function_error("listed", reason))
    });
    context.add_function("skew", |kubelet: Value, wanted: Arc<String>| match kubelet {
        Value::Null => Ok(Value::from(String::new())),
        Value::String(kubelet) if kubelet.is_empty() => Ok(Value::from(String::new())),
        Value::String(kubelet) => kubernetes::skew(&kubelet, &wanted)
            .map(Value::from)
            .map_err(|reason| ExecutionError::function_error("skew", reason)),
        _ => Err(ExecutionError::function_error("skew", "not a version")),
    });
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

fn release_value(releases: &Releases, version: KkpVersion) -> HashMap<String, Value> {
    let release = releases.get(version);
    let known = |value: &dyn Fn(&Release) -> Value| release.map_or(Value::Null, value);
    let one_way = |release: &Release| Value::List(Arc::new(release.one_way.iter().cloned().map(Value::from).collect()));
    let lists = releases.list_names().iter().map(|name| {
        let list = release.and_then(|release| release.lists.get(name));
        let value = list.map_or(Value::Null, |list| {
            Value::List(Arc::new(list.iter().cloned().map(Value::from).collect()))
        });
        (name.clone(), value)
    });
    let fixed = [
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
        ("notesCovered", known(&|release| Value::Bool(release.notes_covered))),
        ("oneWay", known(&one_way)),
    ];
    let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value));
    fixed.chain(lists).collect()
}

/// The installer's own check: exact membership in the effective list, or inside an automatic update rule
/// (KKP `pkg/install/stack/kubermatic-master/validation.go`, `clusterVersionIsConfigured`).
fn accepts(
    sides: &BTreeMap<String, Arc<Release>>,
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

pub(super) fn kubernetes_version(text: &str) -> Result<Version, String> {
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

/// Versions of charts, images and Kubernetes: a leading `v` and a missing patch number do not count.
fn older(one: &str, other: &str) -> Result<bool, String> {
    let parse = |text: &str| {
        let plain = text.strip_prefix('v').unwrap_or(text);
        let core = plain.split(['-', '+']).next().unwrap_or_default();
        let missing = 2_usize.saturating_sub(core.matches('.').count());
        let (core, rest) = plain.split_at(core.len());
        Version::parse(&format!("{core}{}{rest}", ".0".repeat(missing)))
            .map_err(|error| format!("`{text}` is not a version: {error}"))
    };
    Ok(parse(one)? < parse(other)?)
}

fn days_until(now: Timestamp, time: &str) -> Result<i64, String> {
    let time: Timestamp = time
        .parse()
        .map_err(|error| format!("`{time}` is not a time: {error}"))?;
    Ok(time
        .duration_since(now)
        .as_secs()
        .div_euclid(SignedDuration::from_hours(24).as_secs()))
}

fn distinct(list: &[Value]) -> Vec<Value> {
    list.iter().fold(Vec::new(), |mut known, value| {
        if !known.contains(value) {
            known.push(value.clone());
        }
        known
    })
}
