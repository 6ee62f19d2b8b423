//! The CRD's own rules in CEL (`x-kubernetes-validations`), evaluated as the API server does at a creation. Pure.

use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Mistake;
use super::schema::schema;

/// A rule that compares an object with what it was before: at a creation the API server does not evaluate it either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Skipped {
    /// Field that it is about.
    pub(super) field: String,
    /// What it says when it is broken.
    pub(super) message: String,
}

/// What the rules refuse.
pub(super) fn problems(object: &Value) -> Vec<Mistake> {
    let object = without_status(object);
    let Err(errors) = Validator::new().validate(&schema(), &object, None) else {
        return Vec::new();
    };
    errors
        .into_vec()
        .into_iter()
        .map(|error| {
            Mistake::new(
                error.field_path,
                error.message,
                "correct it: the API server refuses the object",
            )
        })
        .collect()
}

/// An applied object has no status but the schema's default.
fn without_status(object: &Value) -> Value {
    let fields = object.as_object().cloned().unwrap_or_default();
    let fields: Map<String, Value> = fields.into_iter().filter(|(name, _)| name != "status").collect();
    Value::Object(fields)
}

/// The rules that are not evaluated, by the fields that they guard.
pub(super) fn skipped() -> Vec<Skipped> {
    let mut skipped = Vec::new();
    collect(&compile_schema(&schema()), "", &mut skipped);
    skipped.sort_by(|one, other| one.field.cmp(&other.field));
    skipped
}

fn collect(node: &CompiledSchema, path: &str, skipped: &mut Vec<Skipped>) {
    let transitions = node.validations.iter().flatten().filter(|rule| rule.is_transition_rule);
    skipped.extend(transitions.map(|compiled| Skipped {
        field: match &compiled.rule.field_path {
            Some(field) => format!("{path}{field}").trim_start_matches('.').to_owned(),
            None => path.to_owned(),
        },
        message: compiled.rule.message.clone().unwrap_or_default(),
    }));
    for (name, child) in &node.properties {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        collect(child, &path, skipped);
    }
    if let Some(items) = &node.items {
        collect(items, &format!("{path}[]"), skipped);
    }
}
