//! The documents of a file. Pure.

use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Failure;

/// One object of a file.
pub(super) struct Document {
    /// Number of its document, from 1; empty documents do not count.
    pub(super) number: usize,
    pub(super) object: Value,
}

/// All objects; the items of a `List` are objects of its document.
///
/// # Errors
/// A text that is no YAML.
pub(super) fn documents(file: &str, text: &str) -> Result<Vec<Document>, Failure> {
    // Without the lines around it: a file may hold Secrets beside the KKPUpgrade.
    let values: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let first = error.without_snippet().to_string();
        let first = first.lines().next().unwrap_or_default().to_owned();
        Failure::new(Exit::Usage, format!("{} is no YAML: {first}", super::shown(file)))
    })?;
    let documents = (1..).zip(values).flat_map(|(number, value)| {
        let objects = match value {
            Value::Object(mut list) if list.get("kind").and_then(Value::as_str) == Some("List") => {
                match list.remove("items") {
                    Some(Value::Array(items)) => items,
                    _ => Vec::new(),
                }
            }
            other => vec![other],
        };
        objects.into_iter().map(move |object| Document { number, object })
    });
    Ok(documents.collect())
}
