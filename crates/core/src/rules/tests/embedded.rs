//! The catalogue that is compiled in: it loads, its own tests hold, and it has the rules that must never get lost.

use super::*;
use std::collections::BTreeSet;

#[test]
fn every_rule_keeps_what_its_own_tests_say() {
    let failures: Vec<String> = embedded().run_tests().iter().map(ToString::to_string).collect();
    assert_eq!(failures, Vec::<String>::new());
    let tests: usize = embedded().rules().iter().map(|rule| rule.tests.len()).sum();
    assert!(tests >= 2 * embedded().rules().len(), "{tests}");
}

#[test]
fn every_rule_shows_its_failure_and_its_success() {
    for rule in embedded().rules() {
        let expected: BTreeSet<String> = rule.tests.iter().map(|test| test.expect.to_string()).collect();
        assert!(expected.contains("fail") && expected.contains("pass"), "{}", rule.id);
    }
}

#[test]
fn a_wrong_expectation_is_reported() {
    let any = include_str!("../../../../../catalogue/rules/any.yaml").replace(
        "{name: two, it: {configurations: 2}, expect: fail}",
        "{name: two, it: {configurations: 2}, expect: pass}",
    );
    let catalogue = Catalogue::parse(&[
        ("releases.yaml", include_str!("../../../../../catalogue/releases.yaml")),
        ("facts.yaml", include_str!("../../../../../catalogue/facts.yaml")),
        ("rules/any.yaml", &any),
    ])
    .unwrap();
    let failures = catalogue.run_tests();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(
        (failures[0].rule.as_str(), failures[0].test.as_str()),
        ("configuration-not-unique", "two")
    );
}

#[test]
fn the_rules_that_guard_the_platform_are_there() {
    let expected = [
        ("one-minor-at-a-time", Severity::Blocker, false),
        ("no-downgrade", Severity::Blocker, false),
        ("release-unknown", Severity::Blocker, false),
        ("edition-changed", Severity::Blocker, true),
        ("version-signals-differ", Severity::Blocker, false),
        ("configuration-not-unique", Severity::Blocker, false),
        ("gitops-managed", Severity::Blocker, false),
        ("master-kubernetes-too-old", Severity::Blocker, false),
        ("storage-class-missing", Severity::Blocker, true),
        ("image-tag-pinned", Severity::Blocker, false),
        ("backup-skipped", Severity::Blocker, true),
        ("backup-storage-missing", Severity::Blocker, false),
        ("deployment-not-rolled-out", Severity::Blocker, true),
        ("pod-not-healthy", Severity::Blocker, true),
        ("helm-release-not-deployed", Severity::Blocker, false),
        ("webhook-not-answering", Severity::Blocker, false),
        ("seed-unreachable", Severity::Blocker, true),
        ("seed-not-healthy", Severity::Blocker, true),
        ("seed-reconciling-skipped", Severity::Blocker, true),
        ("seed-version-differs", Severity::Blocker, false),
        ("throttle-deadlock", Severity::Blocker, false),
        ("cluster-version-unsupported", Severity::Blocker, false),
        ("cluster-docker-runtime", Severity::Blocker, false),
        ("cluster-unhealthy", Severity::Warning, true),
        ("cluster-paused", Severity::Warning, true),
        ("gateway-domain-missing", Severity::Blocker, false),
    ];
    for (id, severity, acceptable) in expected {
        let rule = embedded().rule(id).unwrap_or_else(|| panic!("{id}"));
        assert_eq!((rule.severity, rule.acceptable), (severity, acceptable), "{id}");
    }
}

#[test]
fn a_field_is_asked_for_by_rules_of_the_stage_the_hop_and_the_kind() {
    let asks = |stage, to: [u32; 3], kind, field: &str| {
        let to = KkpVersion::new(to[0], to[1], to[2]);
        embedded().asks_for(&[stage], &[KkpVersion::new(2, 29, 9), to], kind, &["unheardOf", field])
    };
    assert!(asks(Stage::Verify, [2, 31, 0], ItemKind::Platform, "issuerStatus"));
    assert!(!asks(Stage::Preflight, [2, 31, 0], ItemKind::Platform, "issuerStatus"));
    assert!(!asks(Stage::Verify, [2, 31, 0], ItemKind::Seed, "issuerStatus"));
    assert!(!asks(Stage::Verify, [2, 31, 0], ItemKind::Platform, "unheardOf"));
    assert!(asks(Stage::Preflight, [2, 31, 0], ItemKind::Platform, "issuerScopes"));
    assert!(!asks(Stage::Preflight, [2, 30, 6], ItemKind::Platform, "issuerScopes"));
    assert!(
        asks(Stage::Post, [2, 31, 0], ItemKind::Platform, "gatewayAddresses"),
        "by its message or condition"
    );
}

/// A kind that no rule and no tally looks at has no place in the vocabulary.
#[test]
fn every_kind_of_item_is_looked_at() {
    let vocabulary = embedded().vocabulary();
    for kind in ItemKind::iter() {
        let judged = embedded().rules().iter().any(|rule| rule.each == kind);
        assert!(
            judged || vocabulary.tallies.iter().any(|tally| tally.each == kind),
            "{kind}"
        );
    }
}

#[test]
fn typed_facts_and_schema_have_the_same_fields() {
    fn same<F: ItemFacts + Default>(facts: &F) {
        let item = facts.item();
        let written: BTreeSet<String> = item.fields.keys().chain(item.not_read.keys()).cloned().collect();
        let declared = Vocabulary::default()
            .schema(F::KIND)
            .into_iter()
            .map(|field| field.name);
        let by_itself: BTreeSet<String> = ObjectFacts::schema().into_iter().map(|field| field.name).collect();
        let own: BTreeSet<String> = declared
            .filter(|name| !F::KIND.is_object() || !by_itself.contains(name))
            .collect();
        assert_eq!(written, own);
        assert!(
            F::default().item().fields.is_empty(),
            "a field that nobody filled is not read"
        );
    }
    same(&platform());
    same(&seed());
    same(&cluster("1.33.5"));
    same(&ReleaseFacts::default());
    same(&DeploymentFacts::default());
    same(&PodFacts::default());
    same(&RingFacts::default());
    same(&TlsSecretFacts::default());
    same(&UserClusterFacts::default());
    same(&WebhookFacts::default());
    assert!(
        embedded()
            .vocabulary()
            .schema(ItemKind::Platform)
            .iter()
            .any(|field| field.name == "valuesHttpRouteDomain" && field.nullable && !field.docs.is_empty())
    );
}

#[test]
fn the_page_lists_every_rule_fact_and_release() {
    let page = embedded().to_markdown();
    for rule in embedded().rules() {
        assert!(page.contains(&format!("| `{}` |", rule.id)), "{}", rule.id);
    }
    for kind in ItemKind::iter() {
        assert!(
            embedded()
                .vocabulary()
                .schema(kind)
                .iter()
                .all(|field| page.contains(&format!("| `{}` |", field.name))),
            "{kind}"
        );
    }
    assert!(page.contains("| 2.31.0 | 1.33.0 to 1.36.3 | 1.35.7 | full |"));
}
