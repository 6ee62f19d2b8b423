//! `lint`: the samples are clean, and every kind of mistake is told with its field.

use std::fmt::Write as _;

use serde_json::Value;

use super::command;
use crate::exit::Exit;

/// A KKPUpgrade with this spec, as flow-style YAML.
fn upgrade(spec: &str) -> String {
    format!(
        "apiVersion: upgrade.k8c.io/v1alpha1\nkind: KKPUpgrade\nmetadata: {{name: u, namespace: kubermatic}}\nspec: {spec}\n"
    )
}

#[tokio::test]
async fn the_samples_are_clean() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/samples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let outcome = command(&["lint", "-f", path.to_str().unwrap()], "").await;
        assert_eq!(outcome.exit, Exit::Done, "{}", outcome.transcript());
        assert!(outcome.output.starts_with("✔ VALID"), "{}", outcome.output);
        seen += 1;
    }
    assert!(seen >= 3);
}

/// What is wrong in each: name and spec.
const BROKEN: [(&str, &str); 25] = [
    ("nothing", "{}"),
    ("no object", "[]"),
    ("version as a number", "{targetVersion: 2.31}"),
    ("version without patch", "{targetVersion: '2.31'}"),
    ("digits of another script", "{targetVersion: '2.३१.0'}"),
    ("version that nobody knows", "{targetVersion: 2.99.0}"),
    (
        "misspelt field",
        "{targetVersion: 2.31.0, maximumParalellReconciles: 3}",
    ),
    ("field of nothing", "{targetVersion: 2.31.0, shell: /bin/sh}"),
    ("limit too low", "{targetVersion: 2.31.0, maximumParallelReconciles: 0}"),
    (
        "limit too high",
        "{targetVersion: 2.31.0, maximumParallelReconciles: 18446744073709551615}",
    ),
    (
        "limit with a fraction",
        "{targetVersion: 2.31.0, maximumParallelReconciles: 2.5}",
    ),
    (
        "limit as a text",
        "{targetVersion: 2.31.0, maximumParallelReconciles: '3'}",
    ),
    ("mode that is none", "{targetVersion: 2.31.0, mode: Sometimes}"),
    (
        "mode null takes the default, edition null does not",
        "{targetVersion: 2.31.0, mode: null, edition: null}",
    ),
    ("pause as a text", "{targetVersion: 2.31.0, paused: 'yes'}"),
    (
        "digest that is none",
        "{targetVersion: 2.31.0, approval: {digests: ['sha256:abc']}}",
    ),
    (
        "digest twice",
        "{targetVersion: 2.31.0, approval: {digests: [&d 'sha256:0000000000000000000000000000000000000000000000000000000000000000', *d]}}",
    ),
    (
        "storage of no kind (CEL)",
        "{targetVersion: 2.31.0, backup: {storage: {}}}",
    ),
    (
        "path that leaves the volume",
        "{targetVersion: 2.31.0, backup: {storage: {persistentVolumeClaim: {claimName: c, path: a/../../b}}}}",
    ),
    (
        "empty name",
        "{targetVersion: 2.31.0, installer: {helmValuesRef: {name: ''}}}",
    ),
    (
        "list that is none",
        "{targetVersion: 2.31.0, installer: {skipCharts: dex}}",
    ),
    (
        "risk without reason",
        "{targetVersion: 2.31.0, acceptedRisks: [{rule: cluster-unhealthy, expirationTime: 2026-12-01T00:00:00Z}]}",
    ),
    (
        "risk without end",
        "{targetVersion: 2.31.0, acceptedRisks: [{rule: cluster-unhealthy, reason: r, expirationTime: soon}]}",
    ),
    (
        "risk of no rule",
        "{targetVersion: 2.31.0, acceptedRisks: [{rule: no-such-rule, reason: r, expirationTime: 2026-12-01T00:00:00Z}]}",
    ),
    (
        "risk that nobody can accept",
        "{targetVersion: 2.31.0, acceptedRisks: [{rule: cluster-unhealthy, reason: r, expirationTime: 2026-12-01T00:00:00Z}, \
         {rule: webhook-not-answering, reason: r, expirationTime: 2026-12-01T00:00:00Z}]}",
    ),
];

#[tokio::test]
async fn every_mistake_is_told_with_its_field_and_a_remedy() {
    let mut table = String::new();
    for (name, spec) in BROKEN {
        let outcome = command(&["lint", "-f", "-", "-o", "json"], &upgrade(spec)).await;
        assert_eq!(outcome.exit, Exit::Blocked, "{name}: {}", outcome.transcript());
        let answer: Value = serde_json::from_str(&outcome.output).unwrap();
        assert_eq!(answer["valid"], false, "{name}");
        writeln!(table, "{name}").unwrap();
        for problem in answer["files"][0]["documents"][0]["problems"].as_array().unwrap() {
            let text = |key: &str| problem[key].as_str().unwrap().to_owned();
            assert!(!text("remedy").is_empty() && !text("problem").is_empty(), "{name}");
            writeln!(table, "  {}: {}: {}", text("field"), text("problem"), text("remedy")).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn the_object_around_the_spec_is_checked_too() {
    let good = upgrade("{targetVersion: 2.31.0}");
    let mut table = String::new();
    for (from, to) in [
        ("upgrade.k8c.io/v1alpha1", "upgrade.k8c.io/v1"),
        ("kind: KKPUpgrade", "kind: KkpUpgrade"),
        ("name: u,", ""),
        ("name: u,", "name: Not_A_Name,"),
        ("namespace: kubermatic", "namespace: a.b"),
        ("spec:", "specs: {}\nspec:"),
        ("spec: {targetVersion: 2.31.0}", "data: {}"),
    ] {
        let outcome = command(&["lint", "-f", "-"], &good.replace(from, to)).await;
        assert_eq!(outcome.exit, Exit::Blocked, "{to}");
        table.push_str(&outcome.output);
    }
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn other_kinds_are_ignored_with_a_note_and_none_of_ours_is_an_error() {
    let good = upgrade("{targetVersion: 2.31.0}\nstatus: {phase: Done}");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let both = command(&["lint", "-f", "-"], &format!("---\n{map}---\n{good}---\n")).await;
    insta::assert_snapshot!(both.transcript());
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {}\n- kind: ConfigMap\n",
        serde_json::to_string(&serde_saphyr::from_str::<Value>(&good).unwrap()).unwrap()
    );
    let list = command(&["lint", "-f", "-"], &list).await;
    assert_eq!(list.exit, Exit::Done, "{}", list.transcript());
    let none = command(&["lint", "-f", "-"], map).await;
    assert_eq!(none.exit, Exit::Blocked);
    assert!(
        none.errors.contains("standard input holds no KKPUpgrade"),
        "{}",
        none.errors
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_no_verdict_and_repeats_nothing() {
    let missing = command(&["lint", "-f", "/no/such/file"], "").await;
    assert_eq!(missing.exit, Exit::Usage);
    assert!(
        missing.errors.contains("/no/such/file cannot be read"),
        "{}",
        missing.errors
    );
    let twice = upgrade("{targetVersion: 2.31.0, targetVersion: 2.31.0}");
    let secret = "kind: Secret\nstringData: {password: geheim\n";
    let bomb = format!(
        "a: &a [{}]\nb: &b [{}]\nc: [{}]\n",
        "x,".repeat(999),
        "*a,".repeat(999),
        "*b,".repeat(999)
    );
    for text in [twice.as_str(), secret, bomb.as_str()] {
        let outcome = command(&["lint", "-f", "-"], text).await;
        assert_eq!(outcome.exit, Exit::Usage, "{}", outcome.transcript());
        assert!(
            outcome.errors.starts_with("error: standard input is no YAML: "),
            "{}",
            outcome.errors
        );
        assert!(!outcome.errors.contains("geheim"), "{}", outcome.errors);
    }
}

#[tokio::test]
async fn rules_that_compare_with_the_object_before_are_named() {
    let outcome = command(&["lint", "-f", "-", "-o", "json"], &upgrade("{targetVersion: 2.31.0}")).await;
    let answer: Value = serde_json::from_str(&outcome.output).unwrap();
    assert_eq!((&answer["valid"], outcome.exit), (&Value::Bool(true), Exit::Done));
    let skipped: Vec<&str> = answer["notChecked"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["field"].as_str().unwrap())
        .collect();
    let mut locked = kkp_upgrade_api::LOCKED_FIELDS.map(|field| format!("spec.{field}"));
    locked.sort();
    assert_eq!(skipped, locked);
}
