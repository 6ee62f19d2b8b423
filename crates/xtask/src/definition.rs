//! The `CustomResourceDefinition` as YAML. Talks to no cluster.

use serde_json::{Number, Value};

use crate::outputs::YAML_HEADER;

/// The file that is installed.
pub(crate) fn yaml() -> anyhow::Result<String> {
    let mut definition = serde_json::to_value(kkp_upgrade_api::crd())?;
    whole_numbers(&mut definition);
    Ok(format!("{YAML_HEADER}{}", serde_saphyr::to_string(&definition)?))
}

/// `1000.0` becomes `1000`: the API server writes bounds so, and a GitOps tool would see a difference for ever.
pub(crate) fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            // Bounds of a schema are small: the text of a whole float is that of the integer and `.0`.
            let text = number.to_string();
            if let Some(whole) = text.strip_suffix(".0").and_then(|whole| whole.parse::<i64>().ok()) {
                *number = Number::from(whole);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_yaml_says_what_the_types_say() {
        let text = yaml().unwrap();
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        let mut definition = serde_json::to_value(kkp_upgrade_api::crd()).unwrap();
        whole_numbers(&mut definition);
        assert_eq!(read, definition);
        assert!(!text.contains(".0\n"), "whole numbers are written as such");
    }
}
