//! What would take long or much memory is refused: by its size, before it is worked on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::*;

/// Few rules: a bound is no matter of what is compiled in.
const FILES: [(&str, &str); 1] = [("releases.yaml", "images: {CE: a, EE: b}\nminors: []")];

const RULE: &str = r#"{id: sample, hop: any, stage: preflight, severity: info, acceptable: true, title: t, each: platform, when: "true",
  fail: "it.headless", message: "'m'", remedy: r, tests: [{name: a, it: {headless: true}, expect: fail}, {name: b, it: {headless: false}, expect: pass}]}"#;

const MINOR: &str = r#"{minor: "2.32", newestPatch: 0, job: [{since: 0, mode: full}], oneWay: [], automaticUpdates: [], kubernetes: [{since: 0, default: 1.35.7, add: {"1.35": [7]}}], lists: {}}"#;

fn refusal(key: &str, text: &str) -> Problem {
    let keys = [("version", "v1"), (key, text)].map(|(key, text)| (key.to_owned(), text.to_owned()));
    let error = Catalogue::overlaid(&FILES, &BTreeMap::from(keys)).unwrap_err();
    assert!(
        error.0.len() <= 100 && error.to_string().len() < 100 * 2048,
        "{}",
        error.0.len()
    );
    error.0[0].clone()
}

fn rules(number: usize) -> String {
    (0..number).fold(String::new(), |mut text, index| {
        writeln!(text, "- {}", RULE.replace("id: sample", &format!("id: sample-{index}"))).unwrap();
        text
    })
}

#[test]
fn junk_of_a_mebibyte_is_refused() {
    let full = 1024 * 1024 - 40;
    for junk in [
        "x".repeat(full),
        "[".repeat(full),
        "{a: ".repeat(full / 4),
        "- ".repeat(full / 2),
        "- 1\n".repeat(full / 4),
        "a: b\n".repeat(full / 5),
        "\u{fffd}".repeat(full / 3),
        format!("- {{id: \"{}\"}}", "x".repeat(full - 20)),
    ] {
        let problem = refusal("rules.any.yaml", &junk);
        assert_eq!(problem.file, "rules.any.yaml");
        assert!(problem.to_string().len() < 2048, "{}", problem.to_string().len());
    }
    let problem = refusal("rules.any.yaml", &"x".repeat(1024 * 1024));
    assert!(problem.reason.contains("more than 1048576"), "{problem}");
}

#[test]
fn a_text_that_means_a_longer_one_is_refused() {
    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (one, next) in "abcdefghij".chars().zip("bcdefghijk".chars()) {
        let nine = [format!("*{one}"), String::new()].concat();
        writeln!(bomb, "{next}: &{next} [{}]", vec![nine; 9].join(", ")).unwrap();
    }
    for text in [bomb.as_str(), "- &one {id: a}\n- *one\n", "- {<<: {id: a}}\n"] {
        let problem = refusal("rules.any.yaml", text);
        assert!(problem.reason.len() < 600, "{problem}");
    }
    let problem = refusal("rules.any.yaml", "- &one {id: a}\n- *one\n");
    assert_eq!((problem.line, problem.rule.as_deref()), (Some(1), None), "{problem}");
    assert!(problem.reason.to_lowercase().contains("anchor"), "{problem}");
}

#[test]
fn more_records_than_anybody_writes_are_refused() {
    assert!(
        refusal("rules.any.yaml", &rules(1001))
            .reason
            .contains("1001 rules, more than 1000")
    );
    let patches = |newest: u32| MINOR.replace("newestPatch: 0", &format!("newestPatch: {newest}"));
    let two = format!("minors: [{}, {}]", patches(999), patches(0).replace("2.32", "2.33"));
    assert!(
        refusal("releases.yaml", &two)
            .reason
            .contains("there are more than 1000 releases")
    );
    assert!(
        refusal("releases.yaml", &format!("minors: [{}]", patches(1000)))
            .reason
            .contains("newestPatch is larger than 999")
    );
    let many = vec!["7"; 301].join(", ");
    let versions = format!("minors: [{}]", MINOR.replace("[7]", &format!("[{many}]")));
    assert!(
        refusal("releases.yaml", &versions)
            .reason
            .contains("more than 300 Kubernetes versions")
    );
}

#[test]
fn tests_and_conditions_that_would_run_for_long_are_refused() {
    let rule = |right: &str, wrong: &str| format!("- {}", RULE.replace(right, wrong));
    let long = "x".repeat(1025);
    let fail = "fail: \"it.headless\"";
    for (text, reason) in [
        (
            rule("{headless: true}", &format!("{{headless: true, edition: {long}}}")),
            "a text of more than 1024 bytes",
        ),
        (
            rule(
                "{headless: true}",
                &format!("{{headless: true, loginRedirectUris: [{}]}}", vec!["x"; 65].join(", ")),
            ),
            "more than 64 entries",
        ),
        (
            rule(
                "tests: [",
                &format!(
                    "tests: [{}",
                    "{name: c, it: {headless: true}, expect: fail}, ".repeat(99)
                ),
            ),
            "more than 100 tests",
        ),
        (
            rule(
                fail,
                &format!("fail: \"it.headless && size([{}]) > 0\"", vec!["1"; 66].join(",")),
            ),
            "more than 64 commas",
        ),
        (
            rule(
                fail,
                &format!("fail: \"it.headless && '{}' != ''\"", "x".repeat(500_000)),
            ),
            "more than 1024 bytes",
        ),
        (
            rule("remedy: r", &format!("remedy: {}", "x".repeat(257))),
            "longer than 256 bytes",
        ),
        (
            rule("remedy: r", &format!("remedy: r, docs: {}", "x".repeat(513))),
            "longer than 512 bytes",
        ),
    ] {
        let problem = refusal("rules.any.yaml", &text);
        assert_eq!(problem.rule.as_deref(), Some("sample"), "{problem}");
        assert!(problem.reason.contains(reason), "{reason}: {problem}");
    }
}

/// The most that is allowed does not take the operator down.
#[test]
fn a_catalogue_at_the_limit_is_loaded() {
    let keys = [("version", "v1".to_owned()), ("rules.any.yaml", rules(1000))];
    let overlay = BTreeMap::from(keys.map(|(key, text)| (key.to_owned(), text)));
    assert_eq!(Catalogue::overlaid(&FILES, &overlay).unwrap().rules().len(), 1000);
}
