//! The Kubernetes API conventions, checked on the generated CRD. An exception stands in [`EXCEPTIONS`] with its reason.

use serde_json::{Value, json};

use crate::crd::{CRD_NAME, crd};

/// (path, convention, reason).
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

struct Lint {
    broken: Vec<String>,
    nodes: usize,
}

impl Lint {
    fn say(&mut self, path: &str, convention: &str) {
        if !EXCEPTIONS
            .iter()
            .any(|(at, name, _)| *at == path && *name == convention)
        {
            self.broken.push(format!("{path}: {convention}"));
        }
    }

    fn expect(&mut self, holds: bool, path: &str, convention: &str) {
        if !holds {
            self.say(path, convention);
        }
    }

    fn walk(&mut self, path: &str, node: &Value, in_list: bool) {
        self.nodes += 1;
        let kind = node["type"].as_str().unwrap_or_default();
        let scalar_item = path.ends_with("[]") && !matches!(kind, "object" | "array");
        self.expect(
            scalar_item || node["description"].as_str().is_some_and(|text| text.ends_with('.')),
            path,
            "description",
        );
        self.expect(node.get("nullable").is_none(), path, "no nullable");
        self.expect(
            !(in_list && node.get("default").is_some()),
            path,
            "no default in list items",
        );
        for key in [
            "anyOf",
            "oneOf",
            "allOf",
            "not",
            "additionalProperties",
            "x-kubernetes-preserve-unknown-fields",
        ] {
            self.expect(node.get(key).is_none(), path, "closed structure");
        }
        match kind {
            "string" => self.string(path, node),
            "integer" => self.integer(path, node),
            "array" => self.array(path, node),
            "object" => {
                let properties = node["properties"].as_object().cloned().unwrap_or_default();
                self.expect(!properties.is_empty(), path, "object with properties");
                for (name, child) in &properties {
                    self.name(&format!("{path}.{name}"), name, child);
                    self.walk(&format!("{path}.{name}"), child, in_list);
                }
            }
            "boolean" => {}
            _ => self.say(path, "known type, no float"),
        }
    }

    fn name(&mut self, path: &str, name: &str, node: &Value) {
        let camel = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric());
        self.expect(camel, path, "camelCase name");
        self.expect(
            !name.ends_with("Timestamp") && !name.ends_with("Reference") && !name.ends_with("Duration"),
            path,
            "name",
        );
        self.expect(
            (node["format"] == "date-time")
                == (name.ends_with("Time") || ["time", "evidenceSince", "unknownSince"].contains(&name)),
            path,
            "times are called fooTime",
        );
    }

    fn string(&mut self, path: &str, node: &Value) {
        let bounded = node.get("maxLength").is_some() || node.get("enum").is_some() || node["format"] == "date-time";
        self.expect(bounded, path, "maxLength");
        // A reader must take a value of a later release, so nothing that the operator writes is a closed list.
        self.expect(
            !(path.starts_with(".status") && node.get("enum").is_some()),
            path,
            "no enum in status",
        );
    }

    fn integer(&mut self, path: &str, node: &Value) {
        self.expect(
            matches!(node["format"].as_str(), Some("int32" | "int64")),
            path,
            "int32 or int64",
        );
        if path.starts_with(".spec") {
            self.expect(
                node.get("minimum").is_some() && node.get("maximum").is_some(),
                path,
                "bounds",
            );
        }
    }

    fn array(&mut self, path: &str, node: &Value) {
        self.expect(node.get("maxItems").is_some(), path, "maxItems");
        let keys = node.get("x-kubernetes-list-map-keys").is_some();
        let kind = node["x-kubernetes-list-type"].as_str().unwrap_or_default();
        let scalars = !matches!(node["items"]["type"].as_str(), Some("object" | "array") | None);
        self.expect(
            (kind == "atomic" && !keys) || (kind == "map" && keys) || (kind == "set" && !keys && scalars),
            path,
            "list type",
        );
        // The API server refuses the whole definition otherwise.
        let listed = |of: &Value, name: &Value| of.as_array().is_some_and(|names| names.contains(name));
        for key in node["x-kubernetes-list-map-keys"].as_array().into_iter().flatten() {
            self.expect(listed(&node["items"]["required"], key), path, "required key");
        }
        self.walk(&format!("{path}[]"), &node["items"], true);
    }
}

fn schema() -> Value {
    serde_json::to_value(&crd().spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema).unwrap()
}

#[test]
fn the_schema_keeps_the_api_conventions() {
    let mut lint = Lint {
        broken: Vec::new(),
        nodes: 0,
    };
    lint.walk("", &schema(), false);
    assert_eq!(lint.broken, Vec::<String>::new());
    assert!(lint.nodes > 100, "only {} nodes were looked at", lint.nodes);
    for (path, convention, reason) in EXCEPTIONS {
        assert!(!reason.is_empty(), "{path}: {convention}");
    }
}

#[test]
fn the_lint_sees_what_it_is_there_for() {
    let bad = json!({"type": "object", "description": "Root.", "properties": {
        "spec": {"type": "object", "description": "no full stop", "properties": {
            "a": {"type": "string", "description": "A.", "nullable": true},
            "b": {"type": "number", "description": "B."},
            "c": {"type": "integer", "format": "int32", "description": "C."},
            "d": {"type": "array", "description": "D.", "items": {"type": "object", "description": "I.", "properties":
                {"e": {"type": "string", "maxLength": 1, "description": "E.", "default": "x"}}}},
            "fTimestamp": {"type": "string", "format": "date-time", "description": "F."},
            "g": {"type": "array", "description": "G.", "maxItems": 1, "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"], "items": {"type": "string", "maxLength": 1}},
        }},
        "status": {"type": "object", "description": "S.", "properties":
            {"phase": {"type": "string", "description": "P.", "enum": ["Done"]}}},
    }});
    let mut lint = Lint {
        broken: Vec::new(),
        nodes: 0,
    };
    lint.walk("", &bad, false);
    assert_eq!(
        lint.broken,
        [
            ".spec: description",
            ".spec.a: no nullable",
            ".spec.a: maxLength",
            ".spec.b: known type, no float",
            ".spec.c: bounds",
            ".spec.d: maxItems",
            ".spec.d: list type",
            ".spec.d[].e: no default in list items",
            ".spec.fTimestamp: name",
            ".spec.fTimestamp: times are called fooTime",
            ".spec.g: required key",
            ".status.phase: no enum in status",
        ]
    );
}

#[test]
fn names_columns_and_defaults_are_the_contract() {
    let definition = serde_json::to_value(crd()).unwrap();
    assert_eq!(definition["metadata"]["name"], CRD_NAME);
    let names = &definition["spec"]["names"];
    assert_eq!(
        (&names["kind"], &names["shortNames"], &names["categories"]),
        (&json!("KKPUpgrade"), &json!(["kkpu"]), &json!(["kubermatic"]))
    );
    let version = &definition["spec"]["versions"][0];
    assert_eq!(version["subresources"], json!({"status": {}}));
    assert_eq!(
        version["selectableFields"],
        json!([{"jsonPath": ".status.phase"}, {"jsonPath": ".spec.targetVersion"}])
    );
    let columns = version["additionalPrinterColumns"].as_array().unwrap();
    let titles = |wide: bool| -> Vec<&str> {
        columns
            .iter()
            .filter(|c| (c["priority"] == 1) == wide)
            .map(|c| c["name"].as_str().unwrap())
            .collect()
    };
    assert_eq!(titles(false), ["TARGET", "PHASE", "PROGRESS", "READY", "REASON", "AGE"]);
    assert_eq!(titles(true), ["FROM", "HOP", "STEP", "MESSAGE", "STARTED", "COMPLETED"]);
    for column in columns {
        let path = column["jsonPath"].as_str().unwrap();
        assert!(
            !path.contains('[') || path.contains("[?(@.type==\"Ready\")]"),
            "{path} depends on the order of a list"
        );
        assert!(
            column_exists(&version["schema"]["openAPIV3Schema"], path),
            "{path} is no field"
        );
    }
    assert_eq!(
        version["schema"]["openAPIV3Schema"]["properties"]["status"]["default"],
        json!({"observedGeneration": -1})
    );
}

/// Whether the schema has the field that a column shows.
fn column_exists(schema: &Value, path: &str) -> bool {
    if path.starts_with(".metadata.") {
        return true;
    }
    let mut node = schema;
    for part in path.replace("[?(@.type==\"Ready\")]", "[]").split('.').skip(1) {
        let (name, list) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
        node = &node["properties"][name];
        if list {
            node = &node["items"];
        }
    }
    node.is_object()
}
