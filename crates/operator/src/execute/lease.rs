//! The platform's lease: one upgrade at a time. Talks to the cluster; compare-and-swap only, so a holder that was not seen
//! is never written over.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kkp_upgrade_api::KKPUpgradeObject;
use kube::api::ObjectMeta;
use kube::{Api, ResourceExt};

use super::post;
use crate::call::{CallError, call};
use crate::context::{ACTIVE_LEASE, FIELD_MANAGER, UPGRADE_LABEL};

/// Annotation on the Lease: name of the KKPUpgrade that holds it, for people.
pub const HOLDER_NAME_ANNOTATION: &str = "upgrade.k8c.io/holder-name";

/// Takes the lease for `object`: creates it, or replaces the version that was observed.
///
/// # Errors
/// A conflict when somebody else was faster; otherwise when the server refuses or does not answer.
pub async fn acquire(
    leases: &Api<Lease>,
    namespace: &str,
    object: &KKPUpgradeObject,
    now: Timestamp,
    resource_version: Option<String>,
) -> Result<(), CallError> {
    let uid = object.uid().unwrap_or_default();
    let mut lease = manifest(namespace, resource_version.clone());
    lease.metadata.labels = Some(BTreeMap::from([
        (UPGRADE_LABEL.to_owned(), uid.clone()),
        ("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned()),
    ]));
    lease.metadata.annotations = Some(BTreeMap::from([(HOLDER_NAME_ANNOTATION.to_owned(), object.name_any())]));
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(uid),
        acquire_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    });
    let what = format!("acquire Lease {namespace}/{ACTIVE_LEASE}");
    if resource_version.is_some() {
        call(what, leases.replace(ACTIVE_LEASE, &post(), &lease))
            .await
            .map(drop)
    } else {
        call(what, leases.create(&post(), &lease)).await.map(drop)
    }
}

/// Gives the lease back. The Lease itself stays: its history of versions makes the next compare-and-swap sound.
///
/// # Errors
/// A conflict when it was written since it was observed; otherwise when the server refuses or does not answer.
pub async fn release(leases: &Api<Lease>, namespace: &str, resource_version: &str) -> Result<(), CallError> {
    let lease = manifest(namespace, Some(resource_version.to_owned()));
    let what = format!("release Lease {namespace}/{ACTIVE_LEASE}");
    call(what, leases.replace(ACTIVE_LEASE, &post(), &lease))
        .await
        .map(drop)
}

fn manifest(namespace: &str, resource_version: Option<String>) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(ACTIVE_LEASE.to_owned()),
            namespace: Some(namespace.to_owned()),
            resource_version,
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec::default()),
    }
}
