//! Nothing in the spec chooses with whose rights, where, or what a Job runs: whoever may write a KKPUpgrade would else act with
//! the rights of every account in the namespace. Tests only.

use serde_json::Value;

use crate::crd::crd;

/// Words in the name of a field that would choose it.
const CHOOSING: [&str; 16] = [
    "account",
    "namespace",
    "command",
    "args",
    "env",
    "image",
    "registry",
    "mount",
    "security",
    "host",
    "privileged",
    "template",
    "kubeconfig",
    "url",
    "token",
    "volumes",
];

fn fields(path: &str, node: &Value, found: &mut Vec<String>) {
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        found.push(format!("{path}.{name}"));
        fields(&format!("{path}.{name}"), child, found);
    }
    if node["items"].is_object() {
        fields(&format!("{path}[]"), &node["items"], found);
    }
}

fn choosing(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or_default().to_lowercase();
    CHOOSING.iter().any(|word| name.contains(word))
}

#[test]
fn no_field_of_the_spec_chooses_an_account_a_place_or_a_program() {
    let definition = serde_json::to_value(crd()).unwrap();
    let mut found = Vec::new();
    for version in definition["spec"]["versions"].as_array().unwrap() {
        let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        fields("spec", spec, &mut found);
    }
    assert!(
        found.iter().any(|path| path == "spec.installer.helmTimeoutSeconds"),
        "{found:?}"
    );
    assert!(
        found.iter().any(|path| path == "spec.acceptedRisks[].rule"),
        "{found:?}"
    );
    found.retain(|path| choosing(path));
    assert_eq!(found, Vec::<String>::new());
    assert!(choosing("spec.installer.serviceAccountName") && choosing("spec.job.image"));
}
