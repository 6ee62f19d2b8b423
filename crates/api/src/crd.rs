//! The `CustomResourceDefinition`, generated from the types and brought into the shape that the Kubernetes API
//! conventions ask for. Talks to no cluster.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool, ValidationRule,
};
use kube::CustomResourceExt as _;
use serde_json::json;

use crate::spec::KKPUpgrade;

/// Name of the `CustomResourceDefinition`.
pub const CRD_NAME: &str = "kkpupgrades.upgrade.k8c.io";

/// Fields of the spec that do not change while a run has changed something that is not put back yet.
pub const LOCKED_FIELDS: [&str; 6] = ["targetVersion", "mode", "via", "edition", "backup", "installer"];

/// What `kubectl get` shows: title, type, path, description. No path depends on the order of a list.
const COLUMNS: [Column; 5] = [
    ("TARGET", "string", ".spec.targetVersion", "Version to reach."),
    ("PHASE", "string", ".status.phase", "Where the run is."),
    (
        "PROGRESS",
        "string",
        ".status.progress.summary",
        "Seeds and user clusters that run the target version.",
    ),
    (
        "READY",
        "string",
        r#".status.conditions[?(@.type=="Ready")].status"#,
        "True when done, False when a person has to act.",
    ),
    (
        "REASON",
        "string",
        r#".status.conditions[?(@.type=="Ready")].reason"#,
        "Why Ready is as it is.",
    ),
];

/// What `kubectl get -o wide` shows beside [`COLUMNS`].
const WIDE_COLUMNS: [Column; 6] = [
    (
        "FROM",
        "string",
        ".status.fromVersion",
        "Version that the run began with.",
    ),
    (
        "HOP",
        "string",
        ".status.hop.to",
        "Version that the current hop goes to.",
    ),
    ("STEP", "string", ".status.step.name", "Step that is being taken."),
    (
        "MESSAGE",
        "string",
        r#".status.conditions[?(@.type=="Ready")].message"#,
        "The reason in words.",
    ),
    ("STARTED", "date", ".status.startTime", "When the run began."),
    ("COMPLETED", "date", ".status.completionTime", "When the run ended."),
];

/// The column that comes last by convention.
const AGE: Column = ("AGE", "date", ".metadata.creationTimestamp", "Age of the object.");

/// Title, type, path, description.
type Column = (&'static str, &'static str, &'static str, &'static str);

/// The `CustomResourceDefinition` as it is installed.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    let mut definition = KKPUpgrade::crd();
    for version in &mut definition.spec.versions {
        version.additional_printer_columns = Some(columns());
        if let Some(root) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            conform(root);
        }
    }
    definition
}

fn columns() -> Vec<CustomResourceColumnDefinition> {
    let column = |(name, type_, json_path, description): Column, priority| CustomResourceColumnDefinition {
        name: name.to_owned(),
        type_: type_.to_owned(),
        json_path: json_path.to_owned(),
        description: Some(description.to_owned()),
        priority,
        format: None,
    };
    let narrow = COLUMNS.into_iter().map(|entry| column(entry, None));
    let wide = WIDE_COLUMNS.into_iter().map(|entry| column(entry, Some(1)));
    narrow.chain(wide).chain([column(AGE, None)]).collect()
}

/// Everything that the types cannot say.
fn conform(root: &mut JSONSchemaProps) {
    visit(root, &mut |node| {
        node.nullable = None;
        node.description = node.description.as_deref().map(unwrap_lines);
    });
    root.title = None;
    let properties = root.properties.get_or_insert_default();
    if let Some(status) = properties.get_mut("status") {
        // Only the operator writes status: a default there would invent an observation.
        visit(status, &mut |node| node.default = None);
        // kstatus takes an object without conditions for current. Until the operator has looked, this says otherwise.
        status.default = Some(JSON(json!({ "observedGeneration": -1 })));
    }
    if let Some(spec) = properties.get_mut("spec") {
        visit_items(spec, &mut |item| visit(item, &mut |node| node.default = None));
    }
    root.x_kubernetes_validations = Some(LOCKED_FIELDS.iter().map(|field| lock(field)).collect());
}

/// `text` without the line breaks of the source it was written in; paragraphs stay.
fn unwrap_lines(text: &str) -> String {
    text.split("\n\n")
        .map(|paragraph| paragraph.replace('\n', " "))
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// The rule that holds `field` while a run is locked. Setting the target back is always allowed and means abort, so that
/// `git revert` is the abort button. It stands at the root because only there a rule sees spec and status.
fn lock(field: &str) -> ValidationRule {
    // Spelled out with `has` instead of optionals, which the client-side evaluator of the unit tests does not know.
    let rule = format!(
        "!has(oldSelf.status) || !has(oldSelf.status.locked) || !oldSelf.status.locked || \
         (has(oldSelf.status.fromVersion) && self.spec.targetVersion.replace('v', '') == oldSelf.status.fromVersion) || \
         (has(oldSelf.status.currentVersion) && self.spec.targetVersion.replace('v', '') == oldSelf.status.currentVersion) || \
         (has(self.spec.{field}) ? has(oldSelf.spec.{field}) && self.spec.{field} == oldSelf.spec.{field} : \
         !has(oldSelf.spec.{field}))"
    );
    ValidationRule {
        rule,
        message: Some(format!(
            "`spec.{field}` must not change while the upgrade runs; to abort, set `spec.targetVersion` back to `status.fromVersion`"
        )),
        reason: Some("FieldValueForbidden".to_owned()),
        field_path: Some(format!(".spec.{field}")),
        ..ValidationRule::default()
    }
}

/// Calls `change` on `node` and everything below it.
fn visit(node: &mut JSONSchemaProps, change: &mut dyn FnMut(&mut JSONSchemaProps)) {
    change(node);
    for child in children(node) {
        visit(child, change);
    }
}

/// Calls `change` on the items of every list at or below `node`.
fn visit_items(node: &mut JSONSchemaProps, change: &mut dyn FnMut(&mut JSONSchemaProps)) {
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = node.items.as_mut() {
        change(item);
    }
    for child in children(node) {
        visit_items(child, change);
    }
}

/// The schemas directly below `node`.
fn children(node: &mut JSONSchemaProps) -> impl Iterator<Item = &mut JSONSchemaProps> {
    let items = match node.items.as_mut() {
        Some(JSONSchemaPropsOrArray::Schema(item)) => Some(item.as_mut()),
        _ => None,
    };
    let values = match node.additional_properties.as_mut() {
        Some(JSONSchemaPropsOrBool::Schema(value)) => Some(value.as_mut()),
        _ => None,
    };
    node.properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
        .chain(items)
        .chain(values)
}
