//! Evaluation over items: what is found, what is undecided, and in which order it is shown.

use super::*;

#[test]
fn a_platform_in_order_has_only_the_notice_of_what_is_for_good() {
    let findings = healthy(&input()).finish();
    assert_eq!(found(&findings), [("one-way-change", "platform")]);
    assert_eq!(findings[0].severity, Severity::Info);
    assert!(!findings[0].blocks());
}

#[test]
fn two_minors_ahead_is_one_clear_blocker_that_names_the_way() {
    let mut input = input();
    input.hops = vec![hop("2.29.10", "2.31.0")];
    let mut evaluation = Evaluation::new(core_rules(), &[Stage::Preflight], &input);
    platform_item(&mut evaluation, &platform());
    let findings = evaluation.finish();
    let finding = findings
        .iter()
        .find(|finding| finding.rule == "one-minor-at-a-time")
        .unwrap();
    assert!(finding.blocks() && !finding.unknown);
    assert_eq!(
        finding.message,
        "2.29.10 to 2.31.0 is more than one minor; the way is: 2.30.6, then 2.31.0"
    );
}

#[test]
fn a_field_that_was_not_read_is_undecided_and_says_why() {
    let mut evaluation = healthy(&input());
    let mut facts = seed();
    facts.configured_limit = Field::NotRead("configurations is forbidden".to_owned());
    seed_item(&mut evaluation, "eu", &facts);
    let findings = evaluation.finish();
    assert_eq!(
        found(&findings),
        [("throttle-deadlock", "eu"), ("one-way-change", "platform")]
    );
    assert!(findings[0].unknown && findings[0].blocks());
    assert_eq!(
        findings[0].message,
        "cannot be decided: it.configuredLimit was not read: configurations is forbidden"
    );
}

#[test]
fn a_null_where_the_schema_has_none_and_a_wrong_type_are_undecided() {
    for value in [serde_json::Value::Null, serde_json::json!(7), serde_json::json!(true)] {
        let mut item = cluster("1.33.5").item();
        item.fields.insert("containerRuntime".to_owned(), serde_json::json!(7));
        item.fields.insert("version".to_owned(), value);
        let mut evaluation = healthy(&input());
        evaluation.item(ItemKind::Cluster, "eu", "eu/b", item);
        let findings: Vec<Finding> = evaluation
            .finish()
            .into_iter()
            .filter(|finding| finding.rule == "cluster-version-unsupported")
            .collect();
        assert_eq!(found(&findings)[0], ("cluster-version-unsupported", "eu/b"));
        assert!(
            findings[0].unknown && findings[0].message.contains("not of type string"),
            "{}",
            findings[0].message
        );
    }
}

#[test]
fn a_request_that_was_not_read_is_undecided() {
    let mut input = input();
    input.spec.backup_storage = Field::default();
    let findings = healthy(&input).finish();
    assert_eq!(found(&findings)[0], ("backup-storage-missing", "platform"));
    assert_eq!(
        findings[0].message,
        "cannot be decided: spec.backupStorage was not read: nobody looked"
    );
}

#[test]
fn an_unreadable_place_leaves_every_rule_of_the_kind_undecided() {
    let mut evaluation = healthy(&input());
    evaluation.unreadable(ItemKind::Cluster, "ap", "connection refused");
    let findings = evaluation.finish();
    let rules: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.target == "ap")
        .map(|finding| finding.rule.as_str())
        .collect();
    assert_eq!(
        rules,
        [
            "cluster-docker-runtime",
            "cluster-version-unsupported",
            "cluster-paused",
            "cluster-unhealthy"
        ]
    );
    assert!(
        findings
            .iter()
            .filter(|finding| finding.target == "ap")
            .all(|finding| finding.unknown && finding.message.contains("connection refused"))
    );
}

#[test]
fn a_kind_that_nobody_looked_at_is_no_pass() {
    let mut evaluation = Evaluation::new(core_rules(), &[Stage::Preflight], &input());
    platform_item(&mut evaluation, &platform());
    let findings = evaluation.finish();
    for rule in core_rules()
        .rules()
        .iter()
        .filter(|rule| rule.each != ItemKind::Platform)
    {
        assert!(
            findings
                .iter()
                .any(|finding| finding.rule == rule.id && finding.unknown),
            "{}",
            rule.id
        );
    }
}

#[test]
fn versions_of_the_configuration_replace_the_list_of_the_release() {
    let unsupported = |configured: Field<ConfiguredVersions>, kubernetes: &str| {
        let mut evaluation = healthy(&Input { configured, ..input() });
        evaluation.item(ItemKind::Cluster, "us", "us/bbbb", cluster(kubernetes).item());
        let findings = evaluation.finish();
        let of = |finding: &&Finding| finding.rule == "cluster-version-unsupported" && finding.target == "us/bbbb";
        findings.iter().find(of).map(|finding| finding.unknown)
    };
    let list = |versions: &[&str]| ConfiguredVersions {
        versions: Some(versions.iter().map(ToString::to_string).collect()),
        ..Default::default()
    };
    let updates = |from: &str| ConfiguredVersions {
        automatic_updates: Some(vec![from.to_owned()]),
        ..Default::default()
    };
    assert_eq!(unsupported(ConfiguredVersions::default().into(), "1.33.5"), None);
    assert_eq!(unsupported(list(&["v1.30.1"]).into(), "1.33.5"), Some(false));
    assert_eq!(unsupported(list(&["v1.30.1"]).into(), "1.30.1"), None);
    assert_eq!(unsupported(list(&[]).into(), "1.33.5"), None);
    assert_eq!(unsupported(list(&["newest"]).into(), "1.33.5"), Some(true));
    assert_eq!(unsupported(updates("1.32.*").into(), "1.32.9"), None);
    assert_eq!(
        unsupported(updates(">= 1.32.0, < 1.32.9").into(), "1.32.9"),
        Some(false)
    );
    assert_eq!(unsupported(updates("1.32.8").into(), "1.32.9"), Some(false));
    assert_eq!(unsupported(updates("1.31.0 || 1.32.9").into(), "1.32.9"), None);
    assert_eq!(unsupported(updates("soon").into(), "1.32.9"), Some(true));
    assert_eq!(unsupported(Field::NotRead("timeout".to_owned()), "1.33.5"), Some(true));
}

#[test]
fn a_finding_that_later_hops_repeat_is_shown_once_and_hop_rules_only_for_their_hop() {
    let mut input = input();
    input.hops = vec![hop("2.29.10", "2.30.6"), hop("2.30.6", "2.31.0")];
    input.started = true;
    let mut evaluation = healthy(&input);
    let mut facts = platform();
    facts.storage_class_fast = false.into();
    platform_item(&mut evaluation, &facts);
    let findings = evaluation.finish();
    let of = |rule: &str| {
        findings
            .iter()
            .filter(|finding| finding.rule == rule)
            .map(|finding| finding.hop)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("storage-class-missing"), [hop("2.29.10", "2.30.6")]);
    assert_eq!(
        of("one-way-change"),
        [hop("2.30.6", "2.31.0")],
        "2.30 changes nothing for good"
    );
}

#[test]
fn worst_first_and_the_same_whatever_the_order_of_reading() {
    let clusters = [("eu/c", "1.33.4"), ("eu/a", "1.32.1"), ("us/b", "1.35.7")];
    let evaluate = |order: &[usize]| {
        let mut evaluation = healthy(&input());
        for &index in order {
            let (target, kubernetes) = clusters[index];
            let mut facts = cluster(kubernetes);
            facts.paused = true.into();
            evaluation.item(ItemKind::Cluster, "eu", target, alive(&facts));
        }
        evaluation.finish()
    };
    let findings = evaluate(&[0, 1, 2]);
    assert_eq!(findings, evaluate(&[2, 0, 1]));
    assert_eq!(
        found(&findings),
        [
            ("cluster-version-unsupported", "eu/a"),
            ("cluster-version-unsupported", "eu/c"),
            ("cluster-paused", "eu/a"),
            ("cluster-paused", "eu/c"),
            ("cluster-paused", "us/b"),
            ("one-way-change", "platform"),
        ]
    );
    assert_eq!(findings[0].subject(), "cluster eu/a");
}

#[test]
fn texts_from_objects_are_made_visible_and_cut_at_a_letter() {
    let mut facts = seed();
    facts.phase = Some(format!("\u{1b}[31m\n\u{202e}{}", "ä".repeat(400))).into();
    let mut evaluation = healthy(&input());
    seed_item(&mut evaluation, "a\u{7}b", &facts);
    let findings = evaluation.finish();
    assert_eq!(found(&findings)[0], ("seed-not-healthy", "a\\u{7}b"));
    let message = &findings[0].message;
    assert!(message.starts_with("phase \\u{1b}[31m\\n\\u{202e}ä"), "{message}");
    assert!(
        message.len() <= 256 && message.len() > 250 && message.ends_with('…'),
        "{message}"
    );
}

/// Facts about a cluster that is not being deleted and up to date.
fn alive(facts: &ClusterFacts) -> Item {
    let mut item = facts.item();
    item.fields.insert("deleting".to_owned(), false.into());
    item.fields.insert("upToDate".to_owned(), "True".into());
    item
}

#[test]
fn a_lost_seed_says_so_once() {
    let mut evaluation = healthy(&input());
    evaluation.lost("ap", "connection refused");
    let mut facts = seed();
    facts.reachable = false.into();
    facts.reach_error = Some("connection refused".to_owned()).into();
    facts.controller_version = Field::NotRead("connection refused".to_owned());
    seed_item(&mut evaluation, "ap", &facts);
    let findings = evaluation.finish();
    assert_eq!(
        found(&findings),
        [("seed-unreachable", "ap"), ("one-way-change", "platform")]
    );
}

#[test]
fn a_lost_seed_that_nothing_else_reports_stays_undecided() {
    let mut evaluation = healthy(&input());
    evaluation.lost("ap", "connection refused");
    let mut facts = seed();
    facts.controller_version = Field::NotRead("connection refused".to_owned());
    seed_item(&mut evaluation, "ap", &facts);
    let findings = evaluation.finish();
    let undecided = findings
        .iter()
        .filter(|finding| finding.target == "ap" && finding.unknown && finding.blocks());
    assert_eq!(undecided.count(), 2, "{:?}", found(&findings));
}
