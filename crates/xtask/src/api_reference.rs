//! The page of fields, from the schema that is installed. Talks to no cluster.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::Value;

use crate::definition::whole_numbers;
use crate::outputs::PAGE_HEADER;

/// The page.
pub(crate) fn page() -> anyhow::Result<String> {
    let mut definition = serde_json::to_value(kkp_upgrade_api::crd())?;
    whole_numbers(&mut definition);
    let schema = definition
        .pointer("/spec/versions/0/schema/openAPIV3Schema")
        .context("the CustomResourceDefinition has no schema")?;
    let description = schema["description"].as_str().unwrap_or_default();
    let mut text = format!("{PAGE_HEADER}# KKPUpgrade, `upgrade.k8c.io/v1alpha1`\n\n{description}\n");
    for (part, node) in schema["properties"].as_object().into_iter().flatten() {
        writeln!(
            text,
            "\n## {part}\n\n| Field | Type | Default | Meaning |\n|---|---|---|---|"
        )?;
        rows(&mut text, part, node)?;
    }
    text.push_str("\n## Admission rules\n\n");
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        writeln!(text, "- {}", rule["message"].as_str().unwrap_or_default())?;
    }
    Ok(text)
}

fn rows(text: &mut String, path: &str, node: &Value) -> anyhow::Result<()> {
    let required: Vec<&str> = node["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let default = match child.get("default") {
            Some(default) => format!("`{default}`"),
            None if required.contains(&name.as_str()) => "required".to_owned(),
            None => String::new(),
        };
        let meaning = child["description"]
            .as_str()
            .unwrap_or_default()
            .replace('|', "\\|")
            .replace("\n\n", "<br>");
        writeln!(text, "| `{path}` | {} | {default} | {meaning} |", type_of(child))?;
        rows(text, &path, child)?;
        if let Some(items) = child.get("items") {
            rows(text, &format!("{path}[]"), items)?;
        }
    }
    Ok(())
}

/// Type and bounds in words.
fn type_of(node: &Value) -> String {
    let kind = match node["type"].as_str().unwrap_or_default() {
        "array" => format!("list of {}", type_of(&node["items"])),
        "string" if node["format"] == "date-time" => "time".to_owned(),
        other => other.to_owned(),
    };
    let choices = node["enum"].as_array().map(|choices| {
        let choices: Vec<String> = choices
            .iter()
            .filter_map(Value::as_str)
            .map(|choice| format!("`{choice}`"))
            .collect();
        choices.join(" or ")
    });
    let bound = |key: &str| node.get(key).filter(|bound| bound.is_number()).map(ToString::to_string);
    let range = match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("at least {least}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (None, None) => None,
    };
    let length = bound("maxLength").map(|most| format!("at most {most} characters"));
    let count = bound("maxItems").map(|most| format!("at most {most}"));
    let details: Vec<String> = [choices, range, length, count].into_iter().flatten().collect();
    if details.is_empty() {
        kind
    } else {
        format!("{kind}, {}", details.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_objects_and_of_list_items_have_rows_with_bounds_and_defaults() {
        let page = page().unwrap();
        for row in [
            "| `spec.targetVersion` | string, at most 32 characters | required | Version of KKP to reach",
            "| `spec.installer.helmTimeoutSeconds` | integer, 10 to 7200 | `600` | ",
            "| `spec.acceptedRisks[].rule` | string, at most 64 characters | required | ",
            "| `spec.mode` | string, `Upgrade` or `Plan` | `\"Upgrade\"` | ",
            "| `status.conditions[].lastTransitionTime` | time | required | ",
            "- `spec.targetVersion` must not change while the upgrade runs",
        ] {
            assert!(page.contains(row), "{row}");
        }
    }
}
