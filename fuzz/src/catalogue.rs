//! Releases and rules as texts, loaded, self-tested and evaluated. Lines `===` part the input: releases (empty = a small
//! usable file), rules for every hop, rules for 2.31.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kkp_upgrade_core::rules::{Catalogue, Evaluation, Hop, Input, Item, ItemKind, Rule, Stage};
use kkp_upgrade_core::version::KkpVersion;
use serde_json::Value;

use crate::{Violation, holds};

const RELEASES: &str = "\
images: {CE: quay.io/kubermatic/kubermatic, EE: quay.io/kubermatic/kubermatic-ee}
minors:
- {minor: '2.30', newestPatch: 6, job: [{since: 0, mode: full}], oneWay: [], automaticUpdates: [], kubernetes: [{since: 0, default: 1.33.5, add: {'1.33': [5]}}]}
- {minor: '2.31', newestPatch: 0, job: [{since: 0, mode: full}], oneWay: [crds], automaticUpdates: [{from: '1.33.*', to: 1.34.1}], kubernetes: [{since: 0, default: 1.34.1, add: {'1.34': [1]}}]}
";

/// A rule that guards: the input may try to replace it.
const COMPILED: &str = r#"[{id: rule, hop: any, stage: preflight, severity: blocker, acceptable: false, title: t, each: platform, when: "true",
  fail: "it.headless", message: "'m'", remedy: r, tests: [{name: a, it: {headless: true}, expect: fail}, {name: b, it: {headless: false}, expect: pass}]}]"#;

const FROM: KkpVersion = KkpVersion::new(2, 30, 6);
const TO: KkpVersion = KkpVersion::new(2, 31, 0);

pub(crate) fn run(input: &[u8]) -> Result<(), Violation> {
    let Ok(text) = std::str::from_utf8(input) else {
        return Ok(());
    };
    let mut parts = text.splitn(3, "===\n");
    let releases = parts.next().filter(|part| !part.trim().is_empty()).unwrap_or(RELEASES);
    let rules = parts.next().unwrap_or("[]");
    let hop_rules = parts.next().unwrap_or("[]");
    let files = [
        ("releases.yaml", releases),
        ("rules/any.yaml", rules),
        ("rules/2.31.yaml", hop_rules),
    ];
    on_top(rules, hop_rules)?;
    let catalogue = match Catalogue::parse(&files) {
        Ok(catalogue) => Arc::new(catalogue),
        Err(refused) => {
            let named = refused
                .0
                .iter()
                .all(|problem| files.iter().any(|(name, _)| *name == problem.file));
            return holds(named && !refused.0.is_empty(), || {
                format!("a refusal names no file: {refused}")
            });
        }
    };
    drop(catalogue.run_tests());
    routed(&catalogue)?;
    let always = always(&[rules, hop_rules]);
    [Stage::Preflight, Stage::Verify]
        .into_iter()
        .try_for_each(|stage| unread(&catalogue, stage, &always))
}

/// The same rules as keys of a ConfigMap: in force, or refused by the name of a key.
fn on_top(rules: &str, hop_rules: &str) -> Result<(), Violation> {
    let keys = [
        ("version", "v1"),
        ("rules.any.yaml", rules),
        ("rules.2.31.yaml", hop_rules),
    ];
    let overlay: BTreeMap<String, String> = keys.map(|(key, text)| (key.to_owned(), text.to_owned())).into();
    let files = [("releases.yaml", RELEASES), ("rules/any.yaml", COMPILED)];
    let Err(refused) = Catalogue::overlaid(&files, &overlay) else {
        return Ok(());
    };
    let named = |file: &str| overlay.contains_key(file) || ["all keys", "the catalogue"].contains(&file);
    let named = refused.0.iter().all(|problem| named(&problem.file));
    holds(named && !refused.0.is_empty(), || {
        format!("a refusal names no key: {refused}")
    })
}

/// Every release has a route to itself, and to the newest of its minor.
fn routed(catalogue: &Catalogue) -> Result<(), Violation> {
    for release in catalogue.releases().iter().take(50) {
        let version = release.version;
        let newest = catalogue
            .releases()
            .newest(version.major, version.minor)
            .unwrap_or(version);
        let to_itself = catalogue.path(version, version, &[]).is_ok_and(|path| path.is_empty());
        let to_newest = catalogue.path(version, newest, &[]).is_ok();
        holds(to_itself && to_newest, || {
            format!("no route from {version} to {newest}")
        })?;
        drop(catalogue.path(version, TO, &[FROM]));
        drop(release.kubernetes_range());
    }
    Ok(())
}

/// A rule that reads a field says "undecided" about an item of which nothing was read; it never passes.
fn unread(catalogue: &Arc<Catalogue>, stage: Stage, always: &BTreeSet<String>) -> Result<(), Violation> {
    let input = Input {
        hops: vec![Hop { from: FROM, to: TO }],
        ..Input::default()
    };
    let mut evaluation = Evaluation::new(catalogue, &[stage], &input);
    let kinds: Vec<ItemKind> = evaluation.kinds().collect();
    for kind in kinds {
        evaluation.item(kind, "master", "it", Item::default());
    }
    let findings = evaluation.finish();
    let concerned = |rule: &&Rule| rule.stage == stage && rule.concerns(TO) && always.contains(&rule.id);
    for rule in catalogue.rules().iter().filter(concerned) {
        let found = findings.iter().find(|finding| finding.rule == rule.id);
        holds(
            rule.reads().is_empty() || found.is_some_and(|finding| finding.unknown),
            || format!("rule {} passes what was not read", rule.id),
        )?;
    }
    Ok(())
}

/// Ids of the rules whose `when` is plainly true: no other condition can keep them from looking at an item.
fn always(files: &[&str]) -> BTreeSet<String> {
    let records = |text: &&str| serde_saphyr::from_str::<Vec<Value>>(text).unwrap_or_default();
    let text = |record: &Value, name: &str| record.get(name).and_then(Value::as_str).map(str::to_owned);
    files
        .iter()
        .flat_map(records)
        .filter(|record| text(record, "when").is_some_and(|when| when.trim() == "true"))
        .filter_map(|record| text(&record, "id"))
        .collect()
}
