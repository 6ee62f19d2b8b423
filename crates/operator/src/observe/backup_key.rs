//! The key in the cluster that backups are encrypted with where the spec names no recipients. Reading only, and of the private
//! half only whether it is there.

use k8s_openapi::api::core::v1::Secret;
use kkp_upgrade_backup::{KEY_SECRET, Recipients};
use kkp_upgrade_core::decide::Needs;
use kkp_upgrade_core::facts::{BackupKey, Known};
use kkp_upgrade_core::phase::Phase;
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::rules::Field;
use kkp_upgrade_core::status::Status;
use kube::Api;

use super::observer::Observer;
use crate::call::call;
use crate::execute::backup_key::{IDENTITY, RECIPIENT};

/// The key, in rounds that ask for it: for the rules, and for a backup.
pub(super) async fn read(
    observer: &Observer<'_>,
    request: Option<&Request>,
    status: &Status,
    needs: &Needs,
) -> Known<Option<BackupKey>> {
    let now = needs.rules.is_some() || status.phase() == Some(Phase::Backup);
    if !now || !request.is_some_and(is_asked_for) {
        return Known::NotRead;
    }
    let secrets = Api::<Secret>::namespaced(observer.client.clone(), observer.namespace);
    let what = format!("read Secret {}/{KEY_SECRET}", observer.namespace);
    match call(what.clone(), secrets.get_opt(KEY_SECRET)).await {
        Ok(None) => Known::Is(None),
        Ok(Some(secret)) => match key(&secret) {
            Some(key) => Known::Is(Some(key)),
            None => Known::Unknown(format!(
                "{what}: its key `{RECIPIENT}` is no public key of age: put the right one there (`age1…`)"
            )),
        },
        Err(error) => Known::Unknown(error.to_string()),
    }
}

fn is_asked_for(request: &Request) -> bool {
    request.backup.required && request.backup.recipients.is_empty()
}

fn key(secret: &Secret) -> Option<BackupKey> {
    let data = secret.data.as_ref()?;
    let recipient = String::from_utf8(data.get(RECIPIENT)?.0.clone())
        .ok()?
        .trim()
        .to_owned();
    Recipients::parse(std::slice::from_ref(&recipient)).ok()?;
    Some(BackupKey {
        recipient,
        private: data.get(IDENTITY).is_some_and(|identity| !identity.0.is_empty()),
    })
}

/// Whether the private half lies, or will lie, in the cluster.
pub(super) fn is_in_cluster(request: &Request, key: &Known<Option<BackupKey>>) -> Field<bool> {
    match key {
        _ if !is_asked_for(request) => false.into(),
        // The operator is about to make it.
        Known::Is(None) => true.into(),
        Known::Is(Some(key)) => key.private.into(),
        unread => Field::NotRead(unread.why_not().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;
    use kkp_upgrade_api::KKPUpgradeObject;
    use serde_json::json;

    use super::*;

    fn found(data: &[(&str, &str)]) -> Option<BackupKey> {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let data: BTreeMap<String, ByteString> = data
            .iter()
            .map(|(name, text)| ((*name).to_owned(), bytes(text)))
            .collect();
        key(&Secret {
            data: Some(data),
            ..Secret::default()
        })
    }

    fn request(policy: &str, recipients: &[&str]) -> Request {
        let object = json!({"metadata": {"name": "up"}, "spec": {"targetVersion": "2.31.0",
            "backup": {"policy": policy, "encryption": {"recipients": recipients}}}});
        let object: KKPUpgradeObject = serde_json::from_value(object).unwrap();
        Request::try_from(&object.parse_spec().unwrap()).unwrap()
    }

    #[test]
    fn only_a_whole_public_key_is_one() {
        let pair = kkp_upgrade_backup::KeyPair::generate();
        let public = format!("{}\n", pair.recipient);
        let known = |private| {
            let recipient = pair.recipient.clone();
            Some(BackupKey { recipient, private })
        };
        assert_eq!(found(&[(RECIPIENT, &public), (IDENTITY, "x")]), known(true));
        assert_eq!(found(&[(RECIPIENT, &public)]), known(false));
        assert_eq!(found(&[(RECIPIENT, &public), (IDENTITY, "")]), known(false));
        for bad in [&[][..], &[(IDENTITY, "x")], &[(RECIPIENT, "age1x")]] {
            assert_eq!(found(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_private_key_is_in_the_cluster_where_a_backup_relies_on_the_operators_own() {
        let found = |private| {
            Known::Is(Some(BackupKey {
                recipient: "age1".to_owned(),
                private,
            }))
        };
        let unread = |why: &str| Field::NotRead(why.to_owned());
        let unknown = Known::Unknown("read Secret: 403".to_owned());
        let public = kkp_upgrade_backup::KeyPair::generate().recipient;
        let (none, own): (&[&str], &[&str]) = (&[], &[&public]);
        for (policy, recipients, key, expected) in [
            // The operator is about to make it.
            ("Required", none, Known::Is(None), true.into()),
            ("Required", none, found(true), true.into()),
            ("Required", none, found(false), false.into()),
            ("Required", none, Known::NotRead, unread("not read in this round")),
            ("Required", none, unknown.clone(), unread("read Secret: 403")),
            ("Required", own, Known::Is(None), false.into()),
            ("Required", own, found(true), false.into()),
            ("Required", own, unknown, false.into()),
            ("Skip", none, Known::Is(None), false.into()),
            ("Skip", none, found(true), false.into()),
            ("Skip", own, Known::NotRead, false.into()),
        ] {
            let told = is_in_cluster(&request(policy, recipients), &key);
            assert_eq!(told, expected, "{policy} {recipients:?} {key:?}");
        }
    }
}
