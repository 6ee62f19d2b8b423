//! Fixes: what a record is refused for, what is proposed for which object, and which entries of `spec.fixes` are none.

use serde_json::json;

use super::*;
use crate::facts::Known;
use crate::fix::FIX_ANNOTATION;

const RELEASES: &str = include_str!("../../../../../catalogue/releases.yaml");
const FACTS: &str = include_str!("../../../../../catalogue/facts.yaml");

const RULE: &str = r#"
- id: sample
  hop: any
  stage: preflight
  severity: warning
  acceptable: true
  title: A sample
  each: cluster
  when: "true"
  fail: "it.paused"
  message: "'is paused'"
  remedy: Unpause it.
  fix:
    title: Unpause it.
    path: .spec.pause
    value: "false"
  tests:
    - {name: bad, it: {paused: true}, expect: fail, fixed: false}
    - {name: good, it: {paused: false}, expect: pass}
"#;

fn parse(rules: &str) -> Result<Catalogue, CatalogueError> {
    Catalogue::parse(&[
        ("releases.yaml", RELEASES),
        ("facts.yaml", FACTS),
        ("rules/any.yaml", rules),
    ])
}

#[test]
fn the_sample_is_in_order() {
    assert_eq!(parse(RULE).unwrap().run_tests(), Vec::new());
}

#[test]
fn what_a_fix_is_refused_for() {
    for (old, new, reason) in [
        (".spec.pause", ".spec.pause[]", "is not the path of a single value"),
        (".spec.pause", ".spec.cloud.token", "is not the path of a single value"),
        (
            ".spec.pause",
            ".spec.oidc.issuerURL",
            "is not the path of a single value",
        ),
        ("value: \"false\"", "remove: false", "exactly one of value and remove"),
        (
            "value: \"false\"",
            "value: \"false\"\n    remove: true",
            "exactly one of value and remove",
        ),
        ("value: \"false\"", "value: \"it.pasued\"", "value: `it.pasued`"),
        ("    value:", "    when: \"it.pasued\"\n    value:", "when: `it.pasued`"),
        (
            "    value:",
            "    unless: \"it.pasued\"\n    value:",
            "unless: `it.pasued`",
        ),
        ("    value:", "    wenn: \"true\"\n    value:", "unknown field `wenn`"),
        (", fixed: false", "", "no test says what it becomes"),
        ("title: Unpause it.", "title: ''", "title is empty"),
        ("stage: preflight", "stage: verify", "stage verify is not asked before"),
    ] {
        let error = parse(&RULE.replacen(old, new, 1)).unwrap_err().to_string();
        assert!(error.contains(reason), "{new}: {error}");
    }
    let pod = RULE.replace("each: cluster", "each: pod").replace("paused", "ready");
    assert!(
        parse(&pod).unwrap_err().to_string().contains("no single object"),
        "{pod}"
    );
    let none = RULE.replace(
        "  fix:\n    title: Unpause it.\n    path: .spec.pause\n    value: \"false\"\n",
        "",
    );
    assert!(parse(&none).unwrap_err().to_string().contains("there is none"));
}

#[test]
fn a_test_notices_a_fix_that_does_not_mend() {
    for (old, new, words) in [
        ("value: \"false\"", "value: \"true\"", "the fix true"),
        ("value: \"false\"", "value: \"'no'\"", "not of type boolean"),
        ("expect: pass}", "expect: pass, fixed: false}", "no fix"),
        ("fixed: false", "fixed: null", "the fix false"),
        ("    value:", "    when: \"!it.paused\"\n    value:", "no fix"),
        ("    value:", "    unless: \"'never'\"\n    value:", "no fix: never"),
    ] {
        let failures = parse(&RULE.replacen(old, new, 1)).unwrap().run_tests();
        assert!(
            failures.len() == 1 && failures[0].got.contains(words),
            "{new}: {failures:?}"
        );
    }
    let more = "it: {paused: true}, expect: fail}\n    - {name: bad";
    let failures = parse(&RULE.replace(
        "it: {paused: true}, expect",
        &format!("{more}, it: {{paused: true}}, expect"),
    ))
    .unwrap()
    .run_tests();
    assert!(failures[0].got.contains("the fix false"), "{failures:?}");
    let still = RULE.replace(
        "fail: \"it.paused\"",
        "fail: \"it.paused || it.containerRuntime == 'x'\"",
    );
    let still = still
        .replace("{paused: true}", "{paused: true, containerRuntime: x}")
        .replace("{paused: false}", "{paused: false, containerRuntime: docker}");
    let failures = parse(&still).unwrap().run_tests();
    assert!(
        failures[0].got.contains("does not pass once it is fixed"),
        "{failures:?}"
    );
}

fn cluster_object(version: &str) -> serde_json::Value {
    let note = json!([{"owner": "u", "rule": "r", "path": ".spec.pause", "original": null, "applied": true,
        "temporary": true, "throttled": false}]);
    json!({"metadata": {"name": "x", "resourceVersion": "7", "creationTimestamp": "2026-05-01T00:00:00Z",
            "annotations": {FIX_ANNOTATION: note.to_string()}},
        "spec": {"version": version}, "status": {"versions": {"oldestNodeVersion": "1.31.0"}}})
}

fn judged(version: &str, hops: Vec<Hop>, fixes: &[&str]) -> Vec<Finding> {
    let fixes: Vec<String> = fixes.iter().map(|rule| (*rule).to_owned()).collect();
    let mut evaluation = Evaluation::new(core_rules(), &[Stage::Preflight], &Input { hops, ..input() });
    let object = cluster_object(version);
    evaluation.object(&Object::new(ItemKind::Cluster, "eu", &object).with(&cluster(version)));
    let found = request_fixes(evaluation.finish(), &fixes);
    found
        .into_iter()
        .filter(|finding| finding.rule == "cluster-version-unsupported" && finding.target == "eu/x")
        .collect()
}

#[test]
fn a_finding_proposes_the_version_and_what_was_seen() {
    let found = judged("1.32.13", input().hops, &["cluster-version-unsupported"]);
    let [finding] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert!(finding.message.ends_with("; raise it to 1.33.0"), "{}", finding.message);
    let fix = finding.fix.as_ref().unwrap();
    assert_eq!(
        (fix.path.as_str(), &fix.value),
        (".spec.version", &Some(json!("1.33.0")))
    );
    assert!(fix.throttled && !fix.temporary && fix.requested && finding.is_to_be_fixed() && !finding.blocks());
    let seen = fix.seen.as_ref().unwrap();
    assert_eq!(seen.resource_version, "7");
    assert_eq!(seen.values.get(".spec.version"), Some(&Some(json!("1.32.13"))));
    assert!(matches!(&seen.marks, Known::Is(marks) if marks[0].path == ".spec.pause"));
}

#[test]
fn without_consent_it_blocks_and_proposes_all_the_same() {
    let found = judged("1.32.13", input().hops, &[]);
    assert!(found[0].blocks() && found[0].message.ends_with("; raise it to 1.33.0"));
    assert_eq!(found[0].fix.as_ref().unwrap().refused, None);
}

#[test]
fn a_fix_that_cannot_be_made_blocks_and_says_why() {
    let found = judged("1.30.9", input().hops, &["cluster-version-unsupported"]);
    assert!(
        found[0].blocks()
            && found[0]
                .message
                .contains("(not fixed: no version that the route lists can be reached)"),
        "{found:?}"
    );
}

#[test]
fn of_a_longer_route_the_version_that_serves_all_hops_is_proposed() {
    let route = vec![hop("2.29.5", "2.30.6"), hop("2.30.6", "2.31.0")];
    let first = judged("1.31.1", route.clone(), &[]);
    let value = |finding: &Finding| finding.fix.as_ref().unwrap().value.clone().unwrap();
    let all = ["2.29.5", "2.30.6", "2.31.0"].map(|release| embedded().release(version(release)).unwrap().clone());
    let way: Vec<semver::Version> = first[0]
        .message
        .split("raise it to ")
        .nth(1)
        .unwrap()
        .split(", ")
        .map(|stop| stop.parse().unwrap())
        .collect();
    assert_eq!(value(&first[0]), json!(way[0].to_string()));
    let goal = way.last().unwrap();
    assert!(all.iter().all(|release| release.kubernetes.contains(goal)), "{goal}");
    assert!(way.windows(2).all(|pair| pair[1].minor - pair[0].minor <= 1));
}

#[test]
fn entries_that_are_no_fix_name_the_rules_that_have_one() {
    let fixes = |ids: &[&str]| {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        fix_problems(embedded(), &ids)
    };
    assert_eq!(fixes(&["cluster-version-unsupported", "cluster-paused"]), Vec::new());
    for (id, words) in [("no-such-rule", "there is no rule"), ("no-downgrade", "has no fix")] {
        let problem = fixes(&[id])[0].to_string();
        assert!(
            problem.contains(words) && problem.contains("cluster-version-unsupported"),
            "{problem}"
        );
    }
}

#[test]
fn the_fixes_that_users_rely_on_are_there() {
    let with_fix: Vec<(&str, bool)> = embedded()
        .rules()
        .iter()
        .filter_map(|rule| Some((rule.id.as_str(), rule.fix.as_ref()?.temporary)))
        .collect();
    for expected in [
        ("cluster-version-unsupported", false),
        ("cluster-paused", true),
        ("cluster-osm-switched-off", false),
        ("template-version-unsupported", false),
        ("template-osm-switched-off", false),
        ("seed-reconciling-skipped", false),
        ("versions-default-unlisted", false),
        ("gateway-sync-off", false),
        ("login-clients-differ", false),
    ] {
        assert!(with_fix.contains(&expected), "{expected:?}");
    }
}
