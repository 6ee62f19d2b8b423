//! What the login issuer says of itself, as facts. Asks the issuer, where a rule asks for it.

use k8s_openapi::api::core::v1::ConfigMap;
use kkp_upgrade_core::rules::{Field, PlatformFacts};
use kube::Api;
use serde_json::Value;

use super::observer::Observer;
use crate::call::call;
use crate::outside::{Answer, Document, Outcome, Trust};

/// Facts that come from the issuer's answer.
pub(super) const FIELDS: [&str; 8] = [
    "loginIssuer",
    "issuerAnswered",
    "issuerObjection",
    "issuerStatus",
    "issuerNamed",
    "issuerScopes",
    "issuerGrantTypes",
    "issuerChallengeMethods",
];
/// `ConfigMap` with KKP's CA bundle where `.spec.caBundle` names none, and its key (KKP `pkg/resources/certificates/ca_bundle.go`).
const BUNDLE: (&str, &str) = ("ca-bundle", "ca-bundle.pem");

/// Asks the issuer and fills the facts.
pub(super) async fn fill(
    observer: &Observer<'_>,
    namespace: &str,
    configuration: &Result<Value, String>,
    platform: &mut PlatformFacts,
) {
    let issuer = configuration.as_ref().map(issuer).map_err(Clone::clone);
    let outcome = match (&issuer, configuration) {
        (Ok(issuer), Ok(configuration)) if !issuer.is_empty() => {
            let trust = trust(observer, namespace, configuration).await;
            observer.outside.discovery(issuer, &trust).await
        }
        (Ok(_), _) => Outcome::Refused("the configuration has neither an issuer nor a domain".to_owned()),
        (Err(why), _) => Outcome::Silent(why.clone()),
    };
    platform.login_issuer = Field::from_result(issuer);
    tell(platform, outcome);
}

/// Under which address tokens are issued; empty = the configuration says nothing (KKP `pkg/defaulting/configuration.go`).
fn issuer(configuration: &Value) -> String {
    let text = |path: &str| configuration.pointer(path).and_then(Value::as_str).unwrap_or_default();
    match (text("/spec/auth/tokenIssuer"), text("/spec/ingress/domain")) {
        ("", "") => String::new(),
        ("", domain) => format!("https://{domain}/dex"),
        (issuer, _) => issuer.to_owned(),
    }
}

/// The authorities that KKP itself believes, beside those of the system.
async fn trust(observer: &Observer<'_>, namespace: &str, configuration: &Value) -> Trust {
    let named = configuration.pointer("/spec/caBundle/name").and_then(Value::as_str);
    let name = named.filter(|name| !name.is_empty()).unwrap_or(BUNDLE.0);
    let api = Api::<ConfigMap>::namespaced(observer.client.clone(), namespace);
    match call(format!("ConfigMap {name}"), api.get_opt(name)).await {
        Ok(found) => Trust {
            bundle: found.and_then(|map| map.data?.remove(BUNDLE.1)),
            unread: None,
        },
        Err(error) => Trust {
            bundle: None,
            unread: Some(format!("the CA bundle was not read: {error}")),
        },
    }
}

fn tell(platform: &mut PlatformFacts, outcome: Outcome) {
    let (answer, objection, silent) = match outcome {
        Outcome::Answered(answer) => (Some(answer), String::new(), None),
        Outcome::Refused(why) => (None, why, None),
        Outcome::Silent(why) => (None, String::new(), Some(why)),
    };
    platform.issuer_answered = answer.is_some().into();
    platform.issuer_status = answer.as_ref().map(|answer| i64::from(answer.status)).into();
    let without = match (&answer, &silent) {
        (Some(Answer { status, .. }), _) => format!("the issuer answers {status} without a discovery document"),
        (None, Some(why)) => format!("the issuer does not answer: {why}"),
        (None, None) => objection.clone(),
    };
    platform.issuer_objection = match silent {
        Some(_) => Field::NotRead(without.clone()),
        None => objection.into(),
    };
    let document = answer.and_then(|answer| answer.document);
    platform.issuer_named = document.as_ref().and_then(|document| document.issuer.clone()).into();
    let list = |of: fn(&Document) -> &Option<Vec<String>>| match &document {
        Some(document) => Field::Known(of(document).clone()),
        None => Field::NotRead(without.clone()),
    };
    platform.issuer_scopes = list(|document| &document.scopes);
    platform.issuer_grant_types = list(|document| &document.grants);
    platform.issuer_challenge_methods = list(|document| &document.challenges);
}

#[cfg(test)]
mod tests {
    use kkp_upgrade_core::facts::Known;
    use serde_json::json;

    use super::*;
    use crate::execute::tests::fake_api::FakeApi;
    use crate::execute::tests::recording::context;
    use crate::outside::tests::{DOCUMENT, http, server};

    #[tokio::test]
    async fn the_issuer_is_asked_with_the_bundle_of_the_platform() {
        let server = server(http("200 OK", DOCUMENT)).await;
        let api = FakeApi::default();
        let filled = async |name: Value| {
            let context = context(&api);
            let spec = json!({"auth": {"tokenIssuer": server.issuer()}, "caBundle": {"name": name}});
            let mut platform = PlatformFacts::default();
            let observer = context.observer(&Known::NotRead);
            fill(&observer, "kubermatic", &Ok(json!({ "spec": spec })), &mut platform).await;
            assert_eq!(platform.login_issuer, server.issuer().into());
            platform
        };
        let bundle = |name: &str| {
            api.put(
                &format!("/api/v1/namespaces/kubermatic/configmaps/{name}"),
                json!({"metadata": {"name": name}, "data": {"ca-bundle.pem": server.bundle}}),
            );
        };
        let unread = filled("own".into()).await;
        assert_eq!(unread.issuer_answered, false.into(), "nobody vouches for it");
        bundle("own");
        let named = Some("https://kkp.example.test/dex".to_owned());
        assert_eq!(filled("own".into()).await.issuer_named, named.clone().into());
        assert_eq!(filled(Value::Null).await.issuer_named, None.into());
        bundle("ca-bundle");
        assert_eq!(filled(Value::Null).await.issuer_named, named.into());
    }

    fn told(outcome: Outcome) -> PlatformFacts {
        let mut platform = PlatformFacts::default();
        tell(&mut platform, outcome);
        platform
    }

    #[test]
    fn the_issuer_is_the_one_of_the_configuration_or_dex_of_the_domain() {
        for (spec, expected) in [
            (
                json!({"auth": {"tokenIssuer": "https://login.example.test"}, "ingress": {"domain": "kkp.example.test"}}),
                "https://login.example.test",
            ),
            (
                json!({"auth": {"tokenIssuer": ""}, "ingress": {"domain": "kkp.example.test"}}),
                "https://kkp.example.test/dex",
            ),
            (json!({}), ""),
        ] {
            assert_eq!(issuer(&json!({ "spec": spec })), expected);
        }
    }

    #[test]
    fn an_answer_is_told_with_what_it_has() {
        let document = Document {
            issuer: Some("https://login.example.test".to_owned()),
            scopes: Some(vec!["openid".to_owned()]),
            grants: Some(vec!["password".to_owned()]),
            challenges: None,
        };
        let facts = told(Outcome::Answered(Answer {
            status: 200,
            document: Some(document),
        }));
        assert_eq!(
            (facts.issuer_answered, facts.issuer_objection),
            (true.into(), String::new().into())
        );
        assert_eq!(facts.issuer_status, Some(200).into());
        assert_eq!(facts.issuer_named, Some("https://login.example.test".to_owned()).into());
        assert_eq!(facts.issuer_scopes, Some(vec!["openid".to_owned()]).into());
        assert_eq!(facts.issuer_grant_types, Some(vec!["password".to_owned()]).into());
        assert_eq!(facts.issuer_challenge_methods, None.into());
    }

    #[test]
    fn without_a_document_its_lists_are_not_known() {
        let broken = told(Outcome::Answered(Answer {
            status: 404,
            document: None,
        }));
        assert_eq!(
            (broken.issuer_answered, broken.issuer_status),
            (true.into(), Some(404).into())
        );
        assert_eq!(broken.issuer_named, None.into());
        let why = "the issuer answers 404 without a discovery document".to_owned();
        assert_eq!(broken.issuer_scopes, Field::NotRead(why));

        let refused = told(Outcome::Refused("it answers 302".to_owned()));
        assert_eq!(refused.issuer_answered, false.into());
        assert_eq!(refused.issuer_objection, "it answers 302".to_owned().into());
        assert_eq!(refused.issuer_grant_types, Field::NotRead("it answers 302".to_owned()));

        let silent = told(Outcome::Silent("no route".to_owned()));
        let why = "the issuer does not answer: no route".to_owned();
        assert_eq!(silent.issuer_answered, false.into());
        assert_eq!(silent.issuer_objection, Field::NotRead(why.clone()));
        assert_eq!(silent.issuer_challenge_methods, Field::NotRead(why));
    }
}
