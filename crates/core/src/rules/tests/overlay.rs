//! What a ConfigMap may add and replace, and that anything broken refuses all of it, with the place and the reason.

use std::collections::BTreeMap;

use super::*;

/// The files that most tests put something on: fewer than all, to be quick.
const FILES: [(&str, &str); 3] = [
    ("releases.yaml", include_str!("../../../../../catalogue/releases.yaml")),
    ("facts.yaml", include_str!("../../../../../catalogue/facts.yaml")),
    (
        "rules/any.yaml",
        include_str!("../../../../../catalogue/rules/any.yaml"),
    ),
];

/// A new rule in order.
const RULE: &str = r#"
- id: sample
  hop: any
  stage: preflight
  severity: blocker
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

fn overlaid(keys: &[(&str, &str)]) -> Result<Catalogue, CatalogueError> {
    let mut overlay = BTreeMap::from([("version".to_owned(), "v1".to_owned())]);
    overlay.extend(keys.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())));
    Catalogue::overlaid(&FILES, &overlay)
}

fn refusal(keys: &[(&str, &str)]) -> Problem {
    overlaid(keys).unwrap_err().0.remove(0)
}

/// The text of a compiled-in record, from its first line to the next empty one.
fn record(file: &str, first: &str) -> String {
    let start = file.find(first).unwrap();
    let rest = &file[start..];
    rest[..rest.find("\n\n").map_or(rest.len(), |end| end + 1)].to_owned()
}

#[test]
fn a_rule_is_added_and_the_others_stay() {
    let catalogue = Arc::new(overlaid(&[("rules.any.yaml", RULE)]).unwrap());
    assert_eq!(catalogue.rules().len(), core_rules().rules().len() + 1);
    assert_eq!(catalogue.rule("sample").unwrap().severity, Severity::Blocker);
    let mut evaluation = Evaluation::new(&catalogue, &[Stage::Preflight], &input());
    cluster_item(
        &mut evaluation,
        "eu",
        &ClusterFacts {
            paused: true.into(),
            ..cluster("1.33.5")
        },
    );
    let findings = evaluation.finish();
    let found = findings.iter().find(|finding| finding.rule == "sample").unwrap();
    assert!(
        found.blocks() && !found.unknown && found.message == "is paused",
        "{found:?}"
    );
    // Without a key but the version there is nothing to add.
    assert_eq!(overlaid(&[]).unwrap().rules().len(), core_rules().rules().len());
    let hop = RULE.replace("hop: any", "hop: \"2.31\"");
    let catalogue = overlaid(&[("rules.2.31.yaml", &hop)]).unwrap();
    assert_eq!(catalogue.rule("sample").unwrap().hop.as_deref(), Some("2.31"));
}

#[test]
fn a_rule_of_the_same_id_is_replaced_whole_and_in_its_place() {
    let rule = RULE.replace("id: sample", "id: newest-patch-first");
    let catalogue = overlaid(&[("rules.any.yaml", &rule)]).unwrap();
    let ids = |catalogue: &Catalogue| catalogue.rules().iter().map(|rule| rule.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&catalogue), ids(core_rules()));
    let replaced = catalogue.rule("newest-patch-first").unwrap();
    assert_eq!((replaced.each, replaced.docs.as_deref()), (ItemKind::Cluster, None));
}

#[test]
fn a_release_is_added_and_becomes_known_with_the_route_to_it() {
    let (from, to) = (version("2.31.0"), version("2.32.0"));
    assert!(core_rules().release(to).is_none());
    let minor = record(FILES[0].1, "  - minor: \"2.31\"").replace("\"2.31\"", "\"2.32\"");
    // Facts as well: the tests of compiled-in rules say that nobody knows 2.32.0, and stay right.
    let facts = "tallies: [{\"on\": platform, name: seedsHere, each: seed, where: \"true\", as: count, docs: seeds}]";
    let catalogue = overlaid(&[("releases.yaml", &format!("minors:\n{minor}")), ("facts.yaml", facts)]);
    let catalogue = Arc::new(catalogue.unwrap());
    assert_eq!(catalogue.release(to).unwrap().version, to);
    assert_eq!(catalogue.path(from, to, &[]).unwrap(), [to]);
    let known = |catalogue: &Arc<Catalogue>| {
        let input = Input {
            hops: vec![hop("2.31.0", "2.32.0")],
            ..input()
        };
        let mut evaluation = Evaluation::new(catalogue, &[Stage::Preflight], &input);
        platform_item(&mut evaluation, &platform());
        let unknown = |finding: &Finding| finding.rule == "release-unknown";
        !evaluation.finish().iter().any(unknown)
    };
    assert!(known(&catalogue) && !known(core_rules()));
    let hint = core_rules().releases().hint(to);
    assert!(
        hint.contains("add minor 2.32 to releases.yaml of ConfigMap kkp-upgrade-catalogue"),
        "{hint}"
    );
}

#[test]
fn a_minor_is_replaced_whole() {
    let minor = record(FILES[0].1, "  - minor: \"2.31\"").replace("newestPatch: 0", "newestPatch: 2");
    let catalogue = overlaid(&[("releases.yaml", &format!("minors:\n{minor}"))]).unwrap();
    assert_eq!(catalogue.releases().newest(2, 31), Some(version("2.31.2")));
    assert_eq!(
        catalogue.releases().newest(2, 30),
        core_rules().releases().newest(2, 30)
    );
    let without = minor.replace("      removedCni:", "      somethingElse:");
    let problem = refusal(&[("releases.yaml", &format!("minors:\n{without}"))]);
    assert!(
        problem.reason.contains("minor 2.31: list `removedCni` is missing from"),
        "{problem}"
    );
}

#[test]
fn facts_are_added_and_replaced_by_kind_and_name() {
    let facts = r#"
kinds:
  cluster:
    fields:
      - {name: cniType, type: count, path: ".spec.cniPlugin", docs: "replaced"}
      - {name: proxyMode, type: string, path: ".spec.clusterNetwork.proxyMode", docs: "new"}
tallies:
  - {"on": platform, name: pausedHere, each: cluster, where: "it.paused && it.proxyMode == null", as: count, docs: "new"}
"#;
    let rule = RULE
        .replace(
            "it.paused\"",
            "it.paused && it.proxyMode == 'ipvs' && it.cniType == 0\"",
        )
        .replace("paused: true}", "paused: true, proxyMode: ipvs, cniType: 0}");
    let rule = rule.replace("paused: false}", "paused: false, proxyMode: null, cniType: 1}");
    let catalogue = overlaid(&[("facts.yaml", facts), ("rules.any.yaml", &rule)]).unwrap();
    let schema = catalogue.vocabulary().schema(ItemKind::Cluster);
    let kinds = |name: &str| {
        schema
            .iter()
            .filter(|field| field.name == name)
            .map(|field| field.field_type)
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds("cniType"), [FieldType::Integer]);
    assert_eq!(kinds("proxyMode"), [FieldType::String]);
    let computed = facts.replace("name: proxyMode", "name: paused");
    let problem = refusal(&[("facts.yaml", &computed)]);
    assert_eq!((problem.file.as_str(), problem.line), ("facts.yaml", Some(6)));
    assert!(
        problem.reason.contains("cluster: field `paused`: the name is taken"),
        "{problem}"
    );
}

#[test]
fn a_fact_that_a_compiled_in_rule_cannot_live_with_is_refused() {
    let facts = "kinds: {cluster: {fields: [{name: cniType, type: count, path: \".spec.cniPlugin\", docs: no text}]}}";
    let error = Catalogue::overlaid(
        Catalogue::embedded_files(),
        &BTreeMap::from(
            [("version", "v1"), ("facts.yaml", facts)].map(|(key, text)| (key.to_owned(), text.to_owned())),
        ),
    )
    .unwrap_err();
    assert!(
        error
            .0
            .iter()
            .all(|problem| problem.file.starts_with("compiled-in rules/")),
        "{error}"
    );
    assert!(
        error.to_string().contains("`cniType` is not of type integer"),
        "{error}"
    );
}

#[test]
fn what_is_broken_is_refused_with_key_line_rule_and_reason() {
    for (right, wrong, reason) in [
        ("it.paused\"", "it.paused &&\"", "is no CEL expression"),
        (
            "it.paused\"",
            "it.pasued\"",
            "`it.pasued` is not in the schema of cluster",
        ),
        (
            "name: bad, it: {deleting: false, paused: true}, expect: fail",
            "name: bad, it: {deleting: true}, expect: notApplicable",
            "no test expects `fail`",
        ),
        (
            "name: good, it: {deleting: false, paused: false}, expect: pass",
            "name: good, it: {deleting: true}, expect: notApplicable",
            "no test expects `pass`",
        ),
        ("it.paused\"", "!it.paused\"", "test `bad`: expected fail, got Pass"),
        ("  remedy: Unpause it.\n", "", "missing field `remedy`"),
        (
            "hop: any",
            "hop: \"2.31\"",
            "does not belong into the file of hop `any`",
        ),
    ] {
        let rules = format!(
            "# A comment.\n{RULE}{}",
            RULE.replace("id: sample", "id: second").replace(right, wrong)
        );
        assert!(rules.contains(wrong));
        let error = overlaid(&[("rules.any.yaml", &rules)]).unwrap_err();
        let problem = &error.0[0];
        assert_eq!(
            (problem.file.as_str(), problem.line, problem.rule.as_deref()),
            ("rules.any.yaml", Some(19), Some("second")),
            "{error}"
        );
        assert!(problem.reason.contains(reason), "{wrong}: {error}");
        assert!(
            error.summary().starts_with("rules.any.yaml line 19: rule `second`: "),
            "{error}"
        );
    }
}

#[test]
fn text_that_is_no_yaml_is_refused_in_one_line_that_names_it() {
    let problem = refusal(&[("rules.any.yaml", "- id: a\n- id: [\n")]);
    assert!(problem.line.is_some_and(|line| line >= 2), "{problem}");
    assert!(!problem.to_string().contains('\n') && !problem.reason.is_empty());
    for junk in [
        "",
        "null",
        "true",
        "{}",
        "- 1\n- [2]\n- {id: 3}",
        "\u{0}",
        "--- []\n--- []",
    ] {
        let error = overlaid(&[("rules.any.yaml", junk)]).unwrap_err();
        assert!(
            error.0.iter().all(|problem| problem.file == "rules.any.yaml"),
            "{junk}: {error}"
        );
    }
    assert!(refusal(&[("releases.yaml", "minors: 7")]).file == "releases.yaml");
    assert!(
        refusal(&[("facts.yaml", "kinds: {ship: {fields: []}}")])
            .reason
            .contains("`ship` is not a kind")
    );
}

#[test]
fn keys_and_versions_that_nobody_knows_are_refused_by_name() {
    for key in [
        "rules.yaml",
        "rules.2.x.yaml",
        "rules.any.yml",
        "notes.txt",
        "rules/any.yaml",
        "Version",
    ] {
        let problem = refusal(&[(key, "[]")]);
        assert_eq!(problem.file, key);
        assert!(problem.reason.starts_with("the key is neither"), "{problem}");
    }
    let overlay = |text: &str| {
        BTreeMap::from([
            ("version".to_owned(), text.to_owned()),
            ("new".to_owned(), String::new()),
        ])
    };
    let error = Catalogue::overlaid(&FILES, &overlay("v2")).unwrap_err();
    assert_eq!(
        error.0.len(),
        1,
        "what another version means by its keys is not judged: {error}"
    );
    assert_eq!(
        error.summary(),
        "version: `v2` is not known: this operator understands v1"
    );
    let error = Catalogue::overlaid(&FILES, &BTreeMap::new()).unwrap_err();
    assert_eq!(error.summary(), "version: is missing: this operator understands v1");
    assert!(
        refusal(&[("releases.yaml", "images: {CE: evil.example/x}\nminors: []")])
            .reason
            .contains("images are refused")
    );
}

#[test]
fn a_record_that_stands_there_twice_is_refused() {
    let other = RULE.replace("hop: any", "hop: \"2.31\"");
    let problem = refusal(&[("rules.any.yaml", RULE), ("rules.2.31.yaml", &other)]);
    assert!(problem.reason.contains("twice"), "{problem}");
}

#[test]
fn a_rule_that_guards_keeps_guarding() {
    let compiled = record(FILES[2].1, "- id: no-downgrade");
    overlaid(&[(
        "rules.any.yaml",
        &compiled.replace("  title: The", "  title: Surely the"),
    )])
    .unwrap();
    for (right, wrong, reason) in [
        (
            "severity: blocker",
            "severity: warning",
            "severity has to stay \"blocker\"",
        ),
        ("acceptable: false", "acceptable: true", "acceptable has to stay false"),
        ("stage: preflight", "stage: post", "stage has to stay \"preflight\""),
    ] {
        let problem = refusal(&[("rules.any.yaml", &compiled.replace(right, wrong))]);
        assert_eq!(problem.rule.as_deref(), Some("no-downgrade"));
        assert!(problem.reason.contains(reason), "{problem}");
    }
    let moved = compiled.replace("hop: any", "hop: \"2.99\"");
    let problem = refusal(&[("rules.2.99.yaml", &moved)]);
    assert!(problem.reason.contains("hop has to stay \"any\""), "{problem}");
    // One that may be accepted may be lowered.
    let acceptable = record(FILES[2].1, "- id: storage-class-missing").replace("severity: blocker", "severity: info");
    let catalogue = overlaid(&[("rules.any.yaml", &acceptable)]).unwrap();
    assert_eq!(
        catalogue.rule("storage-class-missing").unwrap().severity,
        Severity::Info
    );
}

#[test]
fn the_digest_names_exactly_this_catalogue() {
    let one = overlaid(&[("rules.any.yaml", RULE)]).unwrap();
    let again = overlaid(&[("rules.any.yaml", RULE)]).unwrap();
    let other = overlaid(&[("rules.any.yaml", &RULE.replace("Unpause it.", "Unpause it!"))]).unwrap();
    assert_eq!(one.identity(), again.identity());
    assert_ne!(one.identity().digest, other.identity().digest);
    assert_ne!(one.identity().digest, overlaid(&[]).unwrap().identity().digest);
    assert_eq!(
        (one.identity().version.as_str(), one.identity().source.as_str()),
        ("v1", "ConfigMap")
    );
    assert_eq!(embedded().identity().source, "Compiled");
    assert!(embedded().identity().digest.starts_with("sha256:"));
}

/// The page for administrators shows what it says.
#[test]
fn the_example_of_the_documentation_is_in_order() {
    let page = include_str!("../../../../../docs/how-to/catalogue.md");
    let example = page
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let map: serde_json::Value = serde_saphyr::from_str(example).unwrap();
    let data: BTreeMap<String, String> = serde_json::from_value(map["data"].clone()).unwrap();
    let catalogue = Catalogue::overlaid(Catalogue::embedded_files(), &data).unwrap();
    assert!(catalogue.rule("acme-freeze").is_some() && catalogue.release(version("2.32.0")).is_some());
    assert_eq!(catalogue.rules().len(), embedded().rules().len() + 1);
    let typo = data["rules.any.yaml"].replace("fail: \"it.freezeUntil", "fail: \"it.freezUntil");
    let mut broken = data;
    broken.insert("rules.any.yaml".to_owned(), typo);
    let error = Catalogue::overlaid(Catalogue::embedded_files(), &broken).unwrap_err();
    assert!(page.contains(&format!("\n{}\n", error.summary())), "{error}");
}
