//! An object against the schema of the CRD, as the API server checks it with strict field validation. Pure.

use std::collections::BTreeSet;

use kkp_upgrade_api::{GROUP, KIND, VERSION, crd};
use regex::bytes::RegexBuilder;
use serde_json::{Map, Value};

use super::Mistake;

/// Longest name of an object, in characters (RFC 1123 subdomain).
const NAME: usize = 253;
/// Longest name of a namespace, in characters (RFC 1123 label).
const NAMESPACE: usize = 63;
/// Longest value that a message repeats, in characters.
const SHOWN: usize = 60;

/// The schema of the served version.
pub(super) fn schema() -> Value {
    let versions = crd().spec.versions;
    let schema = versions
        .into_iter()
        .find_map(|version| version.schema?.open_api_v3_schema);
    serde_json::to_value(schema).unwrap_or_default()
}

/// Everything that does not fit.
pub(super) fn problems(object: &Value) -> Vec<Mistake> {
    let mut problems = Vec::new();
    let Some(fields) = object.as_object() else {
        return vec![Mistake::new("", "is not an object", "write fields and values")];
    };
    identity(fields, &mut problems);
    metadata(fields.get("metadata"), &mut problems);
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    for unknown in fields.keys().filter(|key| !known.contains(&key.as_str())) {
        problems.push(unknown_field(unknown, known.into_iter()));
    }
    let schema = schema();
    match (fields.get("spec"), schema.pointer("/properties/spec")) {
        (Some(spec), Some(schema)) => node("spec", schema, spec, &mut problems),
        (None, _) => problems.push(Mistake::new(
            "spec",
            "is missing",
            "set it, at least with targetVersion",
        )),
        (Some(_), None) => {}
    }
    problems
}

fn identity(fields: &Map<String, Value>, problems: &mut Vec<Mistake>) {
    for (field, wanted) in [("apiVersion", format!("{GROUP}/{VERSION}")), ("kind", KIND.to_owned())] {
        match fields.get(field) {
            Some(Value::String(text)) if *text == wanted => {}
            Some(other) => problems.push(Mistake::new(
                field,
                format!("is {}", shown(other)),
                format!("set it to {wanted}"),
            )),
            None => problems.push(Mistake::new(field, "is missing", format!("set it to {wanted}"))),
        }
    }
}

fn metadata(metadata: Option<&Value>, problems: &mut Vec<Mistake>) {
    let text = |key: &str| metadata.and_then(|metadata| metadata.get(key)).and_then(Value::as_str);
    match (text("name"), text("generateName")) {
        (None, None) => problems.push(Mistake::new("metadata.name", "is missing", "give it a name")),
        (Some(name), _) if !is_name(name, NAME, true) => problems.push(Mistake::new(
            "metadata.name",
            format!("`{}` is no name", cut(name)),
            "use lower case letters, digits, `-` and `.`, with a letter or digit at both ends",
        )),
        _ => {}
    }
    if let Some(namespace) = text("namespace").filter(|namespace| !is_name(namespace, NAMESPACE, false)) {
        problems.push(Mistake::new(
            "metadata.namespace",
            format!("`{}` is no name of a namespace", cut(namespace)),
            "use lower case letters, digits and `-`, with a letter or digit at both ends",
        ));
    }
}

fn is_name(name: &str, longest: usize, dots: bool) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.iter().all(|byte| letter(*byte) || *byte == b'-')
            && bytes.first().is_some_and(|byte| letter(*byte))
            && bytes.last().is_some_and(|byte| letter(*byte))
    };
    name.len() <= longest && if dots { name.split('.').all(label) } else { label(name) }
}

/// One value against its schema.
fn node(path: &str, schema: &Value, value: &Value, problems: &mut Vec<Mistake>) {
    let wanted = schema.get("type").and_then(Value::as_str).unwrap_or("object");
    if value.is_null() && schema.get("default").is_some() {
        // The API server takes it away and puts the default in its place.
        return;
    }
    match (wanted, value) {
        ("object", Value::Object(fields)) => object(path, schema, fields, problems),
        ("array", Value::Array(items)) => array(path, schema, items, problems),
        ("string", Value::String(text)) => string(path, schema, text, problems),
        ("integer", Value::Number(number)) if number.is_i64() || number.is_u64() => {
            integer(path, schema, value, problems);
        }
        ("boolean", Value::Bool(_)) => {}
        (_, other) => problems.push(wrong_type(path, wanted, other)),
    }
    one_of_a_few(path, schema, value, problems);
}

fn wrong_type(path: &str, wanted: &str, value: &Value) -> Mistake {
    let remedy = match (wanted, value) {
        ("string", Value::Number(_) | Value::Bool(_)) => "put it into quotation marks".to_owned(),
        (_, Value::Null) => "give it a value, or remove it".to_owned(),
        ("integer", _) => "write a whole number, without quotation marks".to_owned(),
        ("boolean", _) => "write true or false, without quotation marks".to_owned(),
        ("array", _) => "write a list".to_owned(),
        _ => format!("write a value of type {wanted}"),
    };
    Mistake::new(path, format!("{} is not of type {wanted}", shown(value)), remedy)
}

fn object(path: &str, schema: &Value, fields: &Map<String, Value>, problems: &mut Vec<Mistake>) {
    let empty = Map::new();
    let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    for required in strings(schema.get("required")) {
        if !fields.contains_key(required) {
            problems.push(Mistake::new(
                format!("{path}.{required}"),
                "is missing",
                "it is required: set it",
            ));
        }
    }
    let open = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    for (name, value) in fields {
        match (known.get(name), schema.get("additionalProperties")) {
            (Some(schema), _) => node(&format!("{path}.{name}"), schema, value, problems),
            (None, Some(schema)) if schema.is_object() => node(&format!("{path}.{name}"), schema, value, problems),
            (None, _) if open => {}
            (None, _) => problems.push(unknown_field(
                &format!("{path}.{name}"),
                known.keys().map(String::as_str),
            )),
        }
    }
}

/// A field that the API server would drop or, with strict validation, refuse.
fn unknown_field<'a>(path: &str, known: impl Iterator<Item = &'a str>) -> Mistake {
    let name = path.rsplit('.').next().unwrap_or(path);
    let near = known
        .map(|field| (strsim::jaro_winkler(field, name), field))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    let remedy = match near {
        Some((_, field)) => format!("did you mean `{field}`?"),
        None => "remove it".to_owned(),
    };
    Mistake::new(path, "is no field", remedy)
}

fn array(path: &str, schema: &Value, items: &[Value], problems: &mut Vec<Mistake>) {
    let length = items.len();
    if let Some(most) =
        number(schema, "maxItems").filter(|most| i128::try_from(length).is_ok_and(|length| length > *most))
    {
        problems.push(Mistake::new(
            path,
            format!("has {length} entries"),
            format!("keep at most {most}"),
        ));
    }
    if let Some(least) =
        number(schema, "minItems").filter(|least| i128::try_from(length).is_ok_and(|length| length < *least))
    {
        problems.push(Mistake::new(
            path,
            format!("has {length} entries"),
            format!("give at least {least}"),
        ));
    }
    if let Some(of_items) = schema.get("items") {
        for (index, item) in items.iter().enumerate() {
            node(&format!("{path}[{index}]"), of_items, item, problems);
        }
    }
    repeated(path, schema, items, problems);
}

/// Entries of a set, and keys of a map, stand once.
fn repeated(path: &str, schema: &Value, items: &[Value], problems: &mut Vec<Mistake>) {
    let keys: Vec<&str> = strings(schema.get("x-kubernetes-list-map-keys")).collect();
    let identity = |item: &Value| match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => Some(item.to_string()),
        Some("map") => Some(
            keys.iter()
                .map(|key| item.get(key).unwrap_or(&Value::Null).to_string())
                .collect(),
        ),
        _ => None,
    };
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        if identity(item).is_some_and(|identity| !seen.insert(identity)) {
            problems.push(Mistake::new(
                format!("{path}[{index}]"),
                "stands twice",
                "keep one of them",
            ));
        }
    }
}

fn string(path: &str, schema: &Value, text: &str, problems: &mut Vec<Mistake>) {
    let length = i128::try_from(text.chars().count()).unwrap_or(i128::MAX);
    if let Some(most) = number(schema, "maxLength").filter(|most| length > *most) {
        problems.push(Mistake::new(
            path,
            format!("is {length} characters long"),
            format!("use at most {most} characters"),
        ));
    }
    if let Some(least) = number(schema, "minLength").filter(|least| length < *least) {
        let problem = if length == 0 {
            "is empty".to_owned()
        } else {
            format!("is {length} characters long")
        };
        problems.push(Mistake::new(path, problem, format!("use {least} or more characters")));
    }
    let pattern = schema.get("pattern").and_then(Value::as_str);
    if let Some(pattern) = pattern.filter(|pattern| !matches(pattern, text)) {
        problems.push(Mistake::new(
            path,
            format!("`{}` does not match {pattern}", cut(text)),
            described(schema),
        ));
    }
    let time = schema.get("format").and_then(Value::as_str) == Some("date-time");
    if time && text.parse::<jiff::Timestamp>().is_err() {
        problems.push(Mistake::new(
            path,
            format!("`{}` is no time", cut(text)),
            "write a time with zone in RFC 3339, for example 2026-12-01T00:00:00Z",
        ));
    }
}

/// A pattern means to the API server what it means to RE2: classes are ASCII.
fn matches(pattern: &str, text: &str) -> bool {
    let compiled = RegexBuilder::new(pattern).unicode(false).build();
    // A pattern that cannot be compiled here is the server's to judge.
    compiled.map_or(true, |pattern| pattern.is_match(text.as_bytes()))
}

fn integer(path: &str, schema: &Value, value: &Value, problems: &mut Vec<Mistake>) {
    let Some(value) = value
        .as_i64()
        .map(i128::from)
        .or_else(|| value.as_u64().map(i128::from))
    else {
        return;
    };
    let (least, most) = (number(schema, "minimum"), number(schema, "maximum"));
    let below = least.is_some_and(|least| value < least);
    if below || most.is_some_and(|most| value > most) {
        let bound = |bound: Option<i128>| bound.map_or_else(|| "any".to_owned(), |bound| bound.to_string());
        problems.push(Mistake::new(
            path,
            format!("is {value}"),
            format!("use a number from {} to {}", bound(least), bound(most)),
        ));
    }
}

fn one_of_a_few(path: &str, schema: &Value, value: &Value, problems: &mut Vec<Mistake>) {
    let Some(allowed) = schema.get("enum").and_then(Value::as_array) else {
        return;
    };
    if value.is_string() && !allowed.contains(value) {
        let words: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        problems.push(Mistake::new(
            path,
            format!("{} is not allowed", shown(value)),
            format!("use one of {}", words.join(", ")),
        ));
    }
}

/// What the field is, in the words of its documentation: the best advice about a pattern.
fn described(schema: &Value) -> String {
    let text = schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or("write it in that form");
    text.split_inclusive(". ")
        .next()
        .unwrap_or(text)
        .trim_end_matches(['.', ' '])
        .to_owned()
}

fn number(schema: &Value, key: &str) -> Option<i128> {
    let value = schema.get(key)?;
    // Bounds are written as floating point numbers in the Kubernetes types; ours are whole.
    value
        .as_i64()
        .map(i128::from)
        .or_else(|| format!("{:.0}", value.as_f64()?).parse().ok())
}

fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn shown(value: &Value) -> String {
    format!("`{}`", cut(&value.to_string()))
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
