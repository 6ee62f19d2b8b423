//! The Helm values of KKP's installer: what they say of the operator's image, and what must be changed before a run.
//!
//! Pure. A pinned `kubermaticOperator.image.tag` would keep the old version without any error, and the charts inside the
//! Enterprise image name the Community repository: so the tag goes, and the repository that runs is written down. Source: KKP
//! 2.31, `charts/kubermatic-operator/values.yaml`, `hack/ci/release-images.sh`.

use serde_json::{Map, Value};

const OPERATOR: &str = "kubermaticOperator";
const IMAGE: &str = "image";
const REPOSITORY: &str = "repository";
const TAG: &str = "tag";

/// Values that cannot be used. The messages name places, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValuesError {
    /// The text is no YAML.
    #[error("Helm values are no YAML (line {line}, column {column}): check them with `helm lint`")]
    NotYaml {
        /// Line of the problem, 0 when it is not known.
        line: u64,
        /// Column of the problem, 0 when it is not known.
        column: u64,
    },
    /// A mapping is needed and something else stands there.
    #[error("Helm values: {path} is no mapping, write it as `key: value` lines")]
    NotMapping {
        /// Dotted path, or `top level`.
        path: &'static str,
    },
    /// A text is needed and something else stands there.
    #[error("Helm values: {path} is no text, put it into quotes")]
    NotText {
        /// Dotted path.
        path: &'static str,
    },
    /// The repository that runs is not known, so it cannot be kept.
    #[error(
        "Helm values: the repository of the running kubermatic-operator is empty, read it from its Deployment first"
    )]
    NoRepository,
}

/// What values say of the operator's image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorImage {
    /// `kubermaticOperator.image.repository`; unset means the chart's own.
    pub repository: Option<String>,
    /// `kubermaticOperator.image.tag`; unset means the chart's own.
    pub tag: Option<String>,
}

/// Reads values as Helm does: words such as `yes` and `off` are booleans, a leading zero means octal, the last of two equal
/// keys wins. An empty text is an empty mapping.
///
/// # Errors
/// When the text is no YAML or no mapping.
pub fn parse_yaml(text: &str) -> Result<Value, ValuesError> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
    };
    // The message of the YAML error is dropped on purpose: it can quote values.
    let value: Value = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error
            .location()
            .map_or((0, 0), |location| (location.line(), location.column()));
        ValuesError::NotYaml {
            line: place.0,
            column: place.1,
        }
    })?;
    match value {
        Value::Null => Ok(Value::Object(Map::new())),
        Value::Object(_) => Ok(value),
        _ => Err(ValuesError::NotMapping { path: "top level" }),
    }
}

/// What the values say of the operator's image.
///
/// # Errors
/// When something on the way is of a wrong type.
pub fn operator_image(values: &Value) -> Result<OperatorImage, ValuesError> {
    let top = mapping(values, "top level")?;
    let operator = section(top, OPERATOR, "kubermaticOperator")?;
    let image = operator
        .map(|operator| section(operator, IMAGE, "kubermaticOperator.image"))
        .transpose()?
        .flatten();
    let Some(image) = image else {
        return Ok(OperatorImage::default());
    };
    Ok(OperatorImage {
        repository: text(image, REPOSITORY, "kubermaticOperator.image.repository")?,
        tag: text(image, TAG, "kubermaticOperator.image.tag")?,
    })
}

/// The values for an installer run: the running repository is kept, a pinned tag is dropped, all else stays.
///
/// # Errors
/// When the repository is empty or something on the way to the image is no mapping.
pub fn for_installer(mut values: Value, running_repository: &str) -> Result<Value, ValuesError> {
    if running_repository.trim().is_empty() {
        return Err(ValuesError::NoRepository);
    }
    let image = mapping_mut(&mut values, "top level")
        .map(|top| top.entry(OPERATOR).or_insert(Value::Null))
        .and_then(|operator| mapping_mut(operator, "kubermaticOperator"))
        .map(|operator| operator.entry(IMAGE).or_insert(Value::Null))
        .and_then(|image| mapping_mut(image, "kubermaticOperator.image"))?;
    image.insert(REPOSITORY.to_owned(), Value::from(running_repository));
    image.remove(TAG);
    Ok(values)
}

fn mapping<'a>(value: &'a Value, path: &'static str) -> Result<&'a Map<String, Value>, ValuesError> {
    value.as_object().ok_or(ValuesError::NotMapping { path })
}

/// A mapping to write into; null, which Helm takes for nothing, becomes an empty one.
fn mapping_mut<'a>(value: &'a mut Value, path: &'static str) -> Result<&'a mut Map<String, Value>, ValuesError> {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().ok_or(ValuesError::NotMapping { path })
}

fn section<'a>(
    parent: &'a Map<String, Value>,
    key: &str,
    path: &'static str,
) -> Result<Option<&'a Map<String, Value>>, ValuesError> {
    match parent.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => mapping(value, path).map(Some),
    }
}

/// A text; null and the empty text mean the chart's own.
fn text(parent: &Map<String, Value>, key: &str, path: &'static str) -> Result<Option<String>, ValuesError> {
    match parent.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok((!text.is_empty()).then(|| text.clone())),
        Some(_) => Err(ValuesError::NotText { path }),
    }
}
