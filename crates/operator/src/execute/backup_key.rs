//! The key pair for backups whose recipients nobody named: made once, create-only, and kept in a Secret. Talks to the cluster; the
//! private half goes into that Secret and nowhere else.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kkp_upgrade_backup::{KEY_SECRET, KeyPair};
use kube::Api;
use kube::api::ObjectMeta;
use secrecy::ExposeSecret as _;

use super::post;
use crate::call::{CallError, call};
use crate::context::FIELD_MANAGER;

/// Key of the private half in the Secret, as `age --identity` reads it; whoever keeps it elsewhere removes it there.
pub const IDENTITY: &str = "identity";
/// Key of the public half.
pub const RECIPIENT: &str = "recipient";

/// The Secret of a pair. It belongs to no KKPUpgrade: the backups that it opens outlive all of them.
fn manifest(namespace: &str, pair: &KeyPair) -> Secret {
    let private = pair.identity_file.expose_secret().as_bytes().to_vec();
    let public = pair.recipient.as_bytes().to_vec();
    Secret {
        metadata: ObjectMeta {
            name: Some(KEY_SECRET.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([(
                "app.kubernetes.io/managed-by".to_owned(),
                FIELD_MANAGER.to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([
            (IDENTITY.to_owned(), ByteString(private)),
            (RECIPIENT.to_owned(), ByteString(public)),
        ])),
        ..Secret::default()
    }
}

/// Makes a pair and keeps it. One that is there stays, and the new one is forgotten: no backup was encrypted with it.
///
/// # Errors
/// When the server refuses or does not answer.
pub async fn create(secrets: &Api<Secret>, namespace: &str) -> Result<(), CallError> {
    let secret = manifest(namespace, &KeyPair::generate());
    match call(
        format!("create Secret {namespace}/{KEY_SECRET}"),
        secrets.create(&post(), &secret),
    )
    .await
    {
        Err(error) if error.is_conflict() => Ok(()),
        answer => answer.map(drop),
    }
}
