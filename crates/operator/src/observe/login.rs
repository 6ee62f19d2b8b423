//! What the Helm values say about the client that people log in with, beside what the configuration says. Pure.
//!
//! Secrets are compared here and leave as one word. Source: KKP 2.31 `pkg/install/stack/kubermatic-master`, charts/dex
//! (`dex.config.staticClients`).

use kkp_upgrade_core::rules::Field;
use serde_json::Value;

/// Client of the dashboard where `.spec.auth.issuerClientID` is not set (KKP `pkg/defaulting/configuration.go`).
const CLIENT: &str = "kubermaticIssuer";

/// What is said of the client.
pub(super) struct Login {
    pub(super) clients: Field<i64>,
    pub(super) public: Field<bool>,
    pub(super) secret: Field<String>,
    pub(super) redirect_uris: Field<Vec<String>>,
}

impl Login {
    /// Reads it from the configuration and the values for the installer.
    pub(super) fn read(configuration: &Result<Value, String>, values: &Result<Value, String>) -> Self {
        match (configuration, values) {
            (Ok(configuration), Ok(values)) => Self::known(configuration, values),
            (Err(why), _) | (_, Err(why)) => Self {
                clients: Field::NotRead(why.clone()),
                public: Field::NotRead(why.clone()),
                secret: Field::NotRead(why.clone()),
                redirect_uris: Field::NotRead(why.clone()),
            },
        }
    }

    fn known(configuration: &Value, values: &Value) -> Self {
        let auth = |key: &str| text(configuration.pointer(&format!("/spec/auth/{key}")));
        let id = auth("issuerClientID").unwrap_or(CLIENT);
        let entries = values.pointer("/dex/config/staticClients").and_then(Value::as_array);
        let mine: Vec<&Value> = entries
            .into_iter()
            .flatten()
            .filter(|client| client.get("id").and_then(Value::as_str) == Some(id))
            .collect();
        let first = mine.first();
        let of = |key: &str| first.and_then(|client| client.get(key));
        // Dex reads its configuration without regard to case here; KKP's own examples write `RedirectURIs`.
        let uris = first.and_then(|client| client.as_object()).into_iter().flatten();
        let uris = uris.filter(|(key, _)| key.eq_ignore_ascii_case("redirectURIs"));
        let uris = uris.filter_map(|(_, uris)| uris.as_array()).flatten();
        Self {
            clients: i64::try_from(mine.len()).unwrap_or(i64::MAX).into(),
            public: (of("public") == Some(&Value::Bool(true))).into(),
            secret: compared(text(of("secret")), auth("issuerClientSecret"))
                .to_owned()
                .into(),
            redirect_uris: uris
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect::<Vec<_>>()
                .into(),
        }
    }
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn compared(one: Option<&str>, other: Option<&str>) -> &'static str {
    match (one, other) {
        (Some(one), Some(other)) if one == other => "same",
        (Some(_), Some(_)) => "different",
        _ => "unreadable",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn login(auth: &Value, clients: &Value) -> Login {
        Login::read(
            &Ok(json!({"spec": {"auth": auth}})),
            &Ok(json!({"dex": {"config": {"staticClients": clients}}})),
        )
    }

    #[test]
    fn the_client_of_the_issuer_is_found_and_its_secret_compared() {
        let client = json!({"id": "kubermaticIssuer", "secret": "a", "RedirectURIs": ["https://x/api/v1/kubeconfig"]});
        let found = login(
            &json!({"issuerClientSecret": "a"}),
            &json!([{"id": "kubermatic"}, client]),
        );
        assert_eq!(found.clients, 1.into());
        assert_eq!(found.public, false.into());
        assert_eq!(found.secret, "same".to_owned().into());
        assert_eq!(
            found.redirect_uris,
            vec!["https://x/api/v1/kubeconfig".to_owned()].into()
        );
        let other = login(&json!({"issuerClientSecret": "b"}), &json!([client]));
        assert_eq!(other.secret, "different".to_owned().into());
        let named = login(&json!({"issuerClientID": "own"}), &json!([client]));
        assert_eq!(
            (named.clients, named.secret),
            (0.into(), "unreadable".to_owned().into())
        );
        let public = login(&json!({}), &json!([{"id": "kubermaticIssuer", "public": true}]));
        assert_eq!(public.public, true.into());
        assert_eq!(login(&json!({}), &Value::Null).clients, 0.into());
    }

    #[test]
    fn what_was_not_read_is_not_known() {
        let login = Login::read(&Err("forbidden".to_owned()), &Ok(json!({})));
        assert_eq!(login.secret, Field::NotRead("forbidden".to_owned()));
    }
}
