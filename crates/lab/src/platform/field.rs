//! Fields of JSON values: one that is not there reads as null, and is made when it is written. Pure.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// The field at a JSON pointer.
pub(super) fn field<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&NULL)
}

/// The place for a field, made with all the objects around it.
pub(super) fn slot<'a>(value: &'a mut Value, keys: &[&str]) -> &'a mut Value {
    let Some((key, rest)) = keys.split_first() else {
        return value;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => slot(map.entry(*key).or_insert(Value::Null), rest),
        other => other,
    }
}
