//! `rules`, on the compiled-in catalogue.

use kkp_upgrade_core::rules::Catalogue;
use serde_json::Value;

use super::command;
use crate::exit::Exit;

#[tokio::test]
async fn one_rule_is_explained() {
    let acceptable = command(&["rules", "cluster-unhealthy"], "").await;
    insta::assert_snapshot!(acceptable.transcript());
    let never = command(&["rules", "webhook-not-answering"], "").await;
    assert!(never.output.contains("It cannot be accepted"), "{}", never.output);
    assert!(!never.output.contains("acceptedRisks"), "{}", never.output);
}

#[tokio::test]
async fn every_rule_of_the_catalogue_is_listed_with_its_keys() {
    let outcome = command(&["rules", "-o", "json"], "").await;
    let rules: Vec<Value> = serde_json::from_str(&outcome.output).unwrap();
    assert_eq!(rules.len(), Catalogue::embedded().unwrap().rules().len());
    for rule in &rules {
        let keys: Vec<&String> = rule.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["acceptable", "hop", "id", "severity", "stage", "title"]);
    }
    let yaml = command(&["rules", "-o", "yaml"], "").await;
    let same: Vec<Value> = serde_saphyr::from_str(&yaml.output).unwrap();
    assert_eq!(same, rules);
    let table = command(&["rules"], "").await;
    assert!(table.output.starts_with(" ID"), "{}", table.output);
    assert!(table.output.contains("cluster-unhealthy"));
}

#[tokio::test]
async fn a_hop_and_a_severity_choose() {
    let list = async |arguments: &[&str]| -> Vec<Value> {
        let arguments = [&["rules", "-o", "json"], arguments].concat();
        serde_json::from_str(&command(&arguments, "").await.output).unwrap()
    };
    let all = list(&[]).await.len();
    let general = list(&["--hop", "any"]).await;
    let minor = list(&["--hop", "2.31"]).await;
    assert!(general.iter().all(|rule| rule["hop"] == "any"));
    assert!(minor.iter().any(|rule| rule["hop"] == "2.31") && minor.iter().any(|rule| rule["hop"] == "any"));
    assert!(general.len() < minor.len() && minor.len() <= all);
    assert_eq!(list(&["--hop", "v2.31.0"]).await, minor);
    let blockers = list(&["--severity", "blocker"]).await;
    assert!(!blockers.is_empty() && blockers.iter().all(|rule| rule["severity"] == "blocker"));
    let wrong = command(&["rules", "--hop", "9.9"], "").await;
    assert_eq!(wrong.exit, Exit::Usage);
    assert!(wrong.errors.contains("hint: choose any, or one of"), "{}", wrong.errors);
}

#[tokio::test]
async fn an_id_that_does_not_exist_is_answered_with_those_like_it() {
    let typo = command(&["rules", "cluster-unhealty"], "").await;
    assert_eq!(typo.exit, Exit::NotFound);
    assert!(
        typo.errors.contains("did you mean cluster-unhealthy"),
        "{}",
        typo.errors
    );
    let part = command(&["rules", "webhook", "-o", "json"], "").await;
    let error: Value = serde_json::from_str(&part.errors).unwrap();
    assert!(
        error["error"]["hint"]
            .as_str()
            .unwrap()
            .contains("webhook-not-answering"),
        "{error}"
    );
    let nothing = command(&["rules", "zzzz"], "").await;
    assert!(nothing.errors.contains("lists all of them"), "{}", nothing.errors);
}
