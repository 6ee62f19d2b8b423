//! One catalogue a round: made once for each version of the ConfigMap, refused whole, and never guessed.

use jiff::Timestamp;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::rules::AcceptedRisk;
use serde_json::{Value, json};

use super::*;
use crate::execute::tests::fake_api::FakeApi;
use crate::execute::tests::recording::context;

const PATH: &str = "/api/v1/namespaces/kubermatic/configmaps/kkp-upgrade-catalogue";

const RULE: &str = r#"
- id: frozen
  hop: any
  stage: preflight
  severity: blocker
  acceptable: true
  title: Frozen
  each: platform
  when: "true"
  fail: "it.headless"
  message: "'frozen'"
  remedy: Wait.
  tests:
    - {name: set, it: {headless: true}, expect: fail}
    - {name: unset, it: {headless: false}, expect: pass}
"#;

fn put(api: &FakeApi, rules: &str) {
    api.put(
        PATH,
        json!({"metadata": {"name": CONFIG_MAP, "namespace": "kubermatic", "uid": "c"},
            "data": {"version": "v1", "rules.any.yaml": rules}}),
    );
}

/// Events that were written: a repeated one is a patch of the first.
fn events(requests: &[String]) -> usize {
    requests.iter().filter(|request| request.contains("/events")).count()
}

#[tokio::test]
async fn without_a_config_map_the_compiled_in_catalogue_counts() {
    let api = FakeApi::default();
    let context = context(&api);
    let snapshot = read(&context).await.unwrap();
    assert!(Arc::ptr_eq(&snapshot.catalogue, &context.catalogues.compiled));
    assert_eq!(snapshot.refused, None);
    assert_eq!(api.requests(), [format!("GET {PATH}")]);
}

#[tokio::test]
async fn one_version_is_loaded_once_and_the_next_one_anew() {
    let api = FakeApi::default();
    let context = context(&api);
    put(&api, RULE);
    let first = read(&context).await.unwrap();
    assert_eq!(first.refused, None);
    assert!(first.catalogue.rule("frozen").is_some());
    assert_eq!(first.catalogue.identity().source, "ConfigMap");
    assert_eq!(events(&api.requests()), 1);
    let again = read(&context).await.unwrap();
    assert!(Arc::ptr_eq(&first.catalogue, &again.catalogue));
    assert_eq!(api.requests(), [format!("GET {PATH}")], "not even read again");
    put(&api, &RULE.replace("Wait.", "Wait for the end."));
    let next = read(&context).await.unwrap();
    assert_ne!(next.catalogue.identity().digest, first.catalogue.identity().digest);
    // The round that began before goes on with what it has.
    assert_eq!(first.catalogue.rule("frozen").unwrap().remedy, "Wait.");
    api.remove(PATH);
    let without = read(&context).await.unwrap();
    assert!(Arc::ptr_eq(&without.catalogue, &context.catalogues.compiled));
}

#[tokio::test]
async fn a_broken_one_is_refused_whole_and_said_until_it_is_mended() {
    let api = FakeApi::default();
    let context = context(&api);
    let refused = |page: &str| page.contains("kkp_upgrade_catalogue_refused 1\n");
    put(&api, RULE);
    read(&context).await.unwrap();
    assert!(!refused(&context.metrics.encode()));
    api.requests();
    put(&api, &RULE.replace("it.headless\"", "it.headles\""));
    let broken = read(&context).await.unwrap();
    assert!(
        Arc::ptr_eq(&broken.catalogue, &context.catalogues.compiled),
        "not the last good one"
    );
    let why = broken.refused.unwrap();
    assert!(why.starts_with("rules.any.yaml line 2: rule `frozen`: fail: "), "{why}");
    assert!(refused(&context.metrics.encode()));
    assert_eq!(events(&api.requests()), 1);
    let still = read(&context).await.unwrap();
    assert_eq!(still.refused, Some(why));
    assert_eq!(events(&api.requests()), 0, "told once");
    put(&api, RULE);
    assert_eq!(read(&context).await.unwrap().refused, None);
    assert!(!refused(&context.metrics.encode()));
}

#[tokio::test]
async fn junk_and_binary_data_are_refused_by_name() {
    let api = FakeApi::default();
    let context = context(&api);
    let metadata = json!({"name": CONFIG_MAP, "namespace": "kubermatic", "uid": "c"});
    for (body, expected) in [
        (json!({}), "version: is missing"),
        (
            json!({"data": {"version": "v1", "junk": "x".repeat(1_000_000)}}),
            "junk: the key is neither",
        ),
        (
            json!({"data": {"version": "v1", "rules.any.yaml": "[".repeat(1_000_000)}}),
            "rules.any.yaml",
        ),
        (
            json!({"data": {"version": "v1"}, "binaryData": {"rules.any.yaml": "AAAA"}}),
            "rules.any.yaml: binary data is refused",
        ),
    ] {
        let mut object: Value = body;
        object["metadata"] = metadata.clone();
        api.put(PATH, object);
        let snapshot = read(&context).await.unwrap();
        let why = snapshot.refused.unwrap();
        assert!(why.starts_with(expected) && why.len() < 2048, "{why}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_neither_in_force_nor_absent() {
    let api = FakeApi::default();
    let context = context(&api);
    put(&api, RULE);
    let unread = |error: CallError| error.to_string().starts_with("ConfigMap kkp-upgrade-catalogue: ");
    api.refuse(&[500]);
    assert!(unread(read(&context).await.unwrap_err()));
    // Its version is told, the ConfigMap itself is not.
    api.refuse_second(403);
    assert!(unread(read(&context).await.unwrap_err()));
    assert!(read(&context).await.unwrap().catalogue.rule("frozen").is_some());
}

/// A request that accepts the findings of one rule.
fn accepting(rule: &str) -> Request {
    let object = json!({"metadata": {"name": "up"}, "spec": {"targetVersion": "2.31.0"}});
    let object: KKPUpgradeObject = serde_json::from_value(object).unwrap();
    let mut request = Request::try_from(&object.parse_spec().unwrap()).unwrap();
    request.accepted_risks.push(AcceptedRisk {
        rule: rule.to_owned(),
        targets: Vec::new(),
        reason: "agreed".to_owned(),
        expiration_time: Timestamp::MAX,
    });
    request
}

#[tokio::test]
async fn accepted_risks_name_rules_of_the_catalogue_that_counts() {
    let api = FakeApi::default();
    let context = context(&api);
    let problem = |rule: &str, catalogue: &Known<Snapshot>| {
        check_rules(accepting(rule), catalogue)
            .err()
            .map(|error| error.to_string())
    };
    let compiled = Known::Is(read(&context).await.unwrap());
    assert!(problem("frozen", &compiled).is_some_and(|text| text.contains("there is no rule `frozen`")));
    assert_eq!(problem("pod-not-healthy", &compiled), None);
    put(&api, RULE);
    assert_eq!(problem("frozen", &Known::Is(read(&context).await.unwrap())), None);
    put(&api, "junk");
    let refused = Known::Is(read(&context).await.unwrap());
    assert_eq!(
        problem("frozen", &refused),
        None,
        "it accepts nothing, and nobody can say that it is wrong"
    );
    assert!(problem("no-downgrade", &refused).is_some_and(|text| text.contains("cannot be accepted")));
    for unread in [Known::Unknown("403".to_owned()), Known::NotRead] {
        assert_eq!(problem("frozen", &unread), None);
    }
}
