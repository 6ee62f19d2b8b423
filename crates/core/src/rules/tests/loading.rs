//! What a catalogue is refused for, and how that is said.

use super::*;

const RELEASES: &str = include_str!("../../../../../catalogue/releases.yaml");

/// A rule that is in order; tests change one line of it.
const RULE: &str = r#"
- id: sample
  hop: any
  stage: preflight
  severity: warning
  acceptable: true
  title: A sample
  each: cluster
  when: "!it.deleting"
  fail: "it.paused"
  message: "'is paused'"
  remedy: Unpause it.
  tests:
    - {name: bad, it: {deleting: false, paused: true}, expect: fail}
    - {name: good, it: {deleting: false, paused: false}, expect: pass}
    - {name: other, it: {deleting: true}, expect: notApplicable}
"#;

fn refusal(rules: &str) -> Problem {
    let error = Catalogue::parse(&[("releases.yaml", RELEASES), ("rules/any.yaml", rules)]).unwrap_err();
    assert_eq!(error.0.len(), 1, "{error}");
    let problem = error.0[0].clone();
    assert_eq!(problem.file, "rules/any.yaml");
    problem
}

#[test]
fn the_sample_is_in_order() {
    let catalogue = Catalogue::parse(&[("releases.yaml", RELEASES), ("rules/any.yaml", RULE)]).unwrap();
    assert_eq!(catalogue.run_tests(), Vec::new());
    assert_eq!(catalogue.rules()[0].reads(), ["deleting", "paused"]);
}

#[test]
fn what_is_refused_names_file_rule_and_reason() {
    let cases = [
        (
            "it.paused\"",
            "it.pasued\"",
            "`it.pasued` is not in the schema of cluster",
        ),
        (
            "it.paused\"",
            "it.phase == 'Paused'\"",
            "`it.phase` is not in the schema of cluster",
        ),
        ("it.paused\"", "has(it.paused)\"", "has() is refused"),
        ("it.paused\"", "it.?paused.orValue(false)\"", "is no CEL expression"),
        ("it.paused\"", "it[?'paused'].orValue(false)\"", "is no CEL expression"),
        ("it.paused\"", "it['paused']\"", "`it` may only be used with a field"),
        ("it.paused\"", "size(it) > 0\"", "`it` may only be used with a field"),
        (
            "it.paused\"",
            "it.version.major > 1\"",
            "of something that has no fields",
        ),
        (
            "it.paused\"",
            "it.unhealthyParts.exists(it, it == 'etcd')\"",
            "must not be called `it`",
        ),
        ("it.paused\"", "hop.minor > 1\"", "`hop.minor` does not exist"),
        (
            "it.paused\"",
            "release.to.versions == null\"",
            "`release.to.versions` does not exist",
        ),
        ("it.paused\"", "release.next.known\"", "of something that has no fields"),
        (
            "it.paused\"",
            "it.accepts(it.version)\"",
            "accepts() belongs to release",
        ),
        ("it.paused\"", "spec.secret == ''\"", "`spec.secret` does not exist"),
        (
            "it.paused\"",
            "clusters.exists(c, c.paused)\"",
            "unknown name `clusters`",
        ),
        ("it.paused\"", "paused\"", "unknown name `paused`"),
        (
            "it.paused\"",
            "timestamp(it.version) > 1\"",
            "unknown function `timestamp`",
        ),
        ("it.paused\"", "it.paused &&\"", "is no CEL expression"),
        ("!it.deleting\"", "!it.deletng\"", "when: `!it.deletng`"),
        ("'is paused'", "it.pausedBy", "message: `it.pausedBy`"),
        (
            "each: cluster",
            "each: clusters",
            "each `clusters` is not a kind of item",
        ),
        ("hop: any", "hop: \"2.31\"", "does not belong into the file"),
        ("stage: preflight", "stage: before", "unknown variant `before`"),
        ("severity: warning", "severity: fatal", "unknown variant `fatal`"),
        ("  acceptable: true\n", "", "missing field `acceptable`"),
        ("title: A sample", "titel: A sample", "unknown field `titel`"),
        ("remedy: Unpause it.", "remedy: \"\"", "remedy is empty"),
        ("expect: fail", "expect: pass", "no test expects `fail`"),
        ("expect: pass", "expect: fail", "no test expects `pass`"),
        (
            "expect: notApplicable",
            "expect: pass",
            "no test expects `notApplicable`",
        ),
        (
            "it: {deleting: true}",
            "it: {deleted: true}",
            "test `other`: `deleted` is not in the schema",
        ),
        (
            "it: {deleting: true}",
            "it: {deleting: \"yes\"}",
            "test `other`: `deleting` is not of type boolean",
        ),
        (
            "it: {deleting: true}",
            "it: {deleting: null}",
            "test `other`: `deleting` is not of type boolean",
        ),
    ];
    for (right, wrong, reason) in cases {
        let rules = RULE.replace(right, wrong);
        assert_ne!(rules, RULE, "{right}");
        let problem = refusal(&rules);
        assert_eq!(problem.rule.as_deref(), Some("sample"), "{wrong}");
        assert!(problem.reason.contains(reason), "{wrong}: {}", problem.reason);
        assert!(
            problem
                .to_string()
                .starts_with("rules/any.yaml line 2: rule `sample`: ")
        );
    }
}

#[test]
fn macros_over_lists_are_allowed() {
    let rules = RULE.replace(
        "it.paused\"",
        "it.paused && it.unhealthyParts.exists(part, part.startsWith('et'))\"",
    );
    let catalogue = Catalogue::parse(&[("releases.yaml", RELEASES), ("rules/any.yaml", &rules)]).unwrap();
    assert_eq!(catalogue.rules()[0].reads(), ["deleting", "paused", "unhealthyParts"]);
}

#[test]
fn an_id_is_used_once_and_kebab_case() {
    assert!(refusal(&format!("{RULE}{RULE}")).reason.contains("used twice"));
    for id in ["Sample", "sample_one", &"a".repeat(65)] {
        assert!(
            refusal(&RULE.replace("id: sample", &format!("id: {id}")))
                .reason
                .contains("kebab-case")
        );
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let rules = RULE.replace("it.paused\"", "it.x\"")
        + &RULE
            .replace("id: sample", "id: second")
            .replace("each: cluster", "each: x");
    let error = Catalogue::parse(&[("rules/any.yaml", &rules), ("notes.txt", "")]).unwrap_err();
    let text = error.to_string();
    for part in [
        "rule `sample`",
        "rule `second`",
        "notes.txt: is neither",
        "releases.yaml: is missing",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn text_that_is_no_yaml_names_the_file() {
    assert_eq!(refusal("- id: [").rule, None);
}

#[test]
fn releases_that_contradict_themselves_are_refused() {
    let cases = [
        (
            "default: 1.35.7",
            "default: 1.35.99",
            "minor 2.31: default 1.35.99 is not in the list",
        ),
        ("to: 1.24.8", "to: 1.24.7", "minor 2.23: automatic update to 1.24.7"),
        ("minor: \"2.30\"", "minor: \"2.31\"", "stands in the file twice"),
        ("minor: \"2.30\"", "minor: \"2.x\"", "minor 2.x"),
        (
            "  EE: quay.io/kubermatic/kubermatic-ee\n",
            "",
            "no repository for edition EE",
        ),
        (">= 1.25.0, < 1.25.4", "about 1.25", "is not a range"),
    ];
    for (right, wrong, reason) in cases {
        let releases = RELEASES.replace(right, wrong);
        assert_ne!(releases, RELEASES, "{right}");
        let error = Catalogue::parse(&[("releases.yaml", &releases)]).unwrap_err();
        assert!(error.to_string().contains(reason), "{wrong}: {error}");
    }
}

#[test]
fn an_expression_that_the_parser_might_not_survive_is_refused_before_it_is_parsed() {
    let most = |source: &str| RULE.replace("it.paused\"", &format!("{source}\""));
    for (source, expected) in [
        (
            format!("it.paused{}", " ".repeat(1024)),
            "fail: has more than 1024 bytes",
        ),
        (
            format!("it.paused{}", " || true".repeat(32)),
            "fail: has more than 64 operators",
        ),
        (
            format!("{}it.paused{}", "(".repeat(7), ")".repeat(7)),
            "fail: has more than 6 brackets",
        ),
        (
            "[1].all(a, [1].all(b, [1].all(c, it.paused)))".to_owned(),
            "more than 2 loops in each other",
        ),
        ("'\\\\' == ''".to_owned(), "backslashes and triple quotes are refused"),
        ("'''a''' == ''".to_owned(), "backslashes and triple quotes are refused"),
        ("-size('') == 0".to_owned(), "negation is refused"),
    ] {
        let reason = refusal(&most(&source)).reason;
        assert!(reason.contains(expected), "{reason}");
    }
    for source in [
        format!("it.paused{}", " || true".repeat(31)),
        format!("{}it.paused{}", "(".repeat(6), ")".repeat(6)),
        "[1].all(a, [1].all(b, it.paused)) && -1 < 0".to_owned(),
        format!("it.paused && '{}' != ''", "((((((((".repeat(50)),
    ] {
        Catalogue::parse(&[("releases.yaml", RELEASES), ("rules/any.yaml", &most(&source))]).unwrap();
    }
}

#[test]
fn a_minor_with_more_patches_than_anybody_releases_is_refused_before_it_is_expanded() {
    let releases = RELEASES.replacen("newestPatch: 19", "newestPatch: 4294967295", 1);
    let error = Catalogue::parse(&[("releases.yaml", releases.as_str())]).unwrap_err();
    assert_eq!(error.0[0].reason, "minor 2.23: newestPatch is larger than 999");
}
