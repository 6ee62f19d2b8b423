//! `ServiceAccounts` of the managed programs and their bindings. KKP gives most of them cluster-admin (KKP 2.31 source,
//! pkg/controller/operator/{master,seed}/resources/kubermatic/rbac.go).

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::Error;
use crate::apply::Applier;

/// `ServiceAccounts` on the master.
pub(super) const MASTER: [&str; 3] = ["kubermatic-master", "kubermatic-webhook", "kubermatic-api"];
/// `ServiceAccounts` on every seed.
pub(super) const SEED: [&str; 3] = ["kubermatic-seed", "kubermatic-webhook", "nodeport-proxy"];

/// Creates or updates the accounts and their bindings.
pub(super) async fn ensure(applier: &Applier, namespace: &str, accounts: &[&str]) -> Result<(), Error> {
    for account in accounts {
        applier.namespaced(&service_account(account, namespace)).await?;
        applier.cluster_wide(&binding(account, namespace)).await?;
    }
    Ok(())
}

fn service_account(name: &str, namespace: &str) -> ServiceAccount {
    ServiceAccount {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    }
}

fn binding(account: &str, namespace: &str) -> ClusterRoleBinding {
    ClusterRoleBinding {
        metadata: ObjectMeta {
            name: Some(format!("{namespace}:{account}:cluster-admin")),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: "cluster-admin".to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: account.to_owned(),
            namespace: Some(namespace.to_owned()),
            ..Subject::default()
        }]),
    }
}
