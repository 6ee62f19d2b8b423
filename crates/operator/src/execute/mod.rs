//! Carries out one effect that was decided and recorded. Talks to the cluster; decides nothing.
//!
//! Every effect is safe to repeat: by a deterministic name, by the resourceVersion or UID that was observed, or by being
//! create-only. A lost precondition is a conflict, and everything is decided again. Must never be called without the
//! fenced status write just before it.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::effect::Effect;
use kkp_upgrade_core::facts::Facts;
use kkp_upgrade_kkp::types::KubermaticConfiguration;
use kube::Api;
use kube::api::PostParams;

use crate::call::CallError;
use crate::context::{Context, FIELD_MANAGER};

pub mod backup;
pub mod backup_key;
mod backup_storage;
pub mod check;
pub mod config_map;
pub mod etcd;
pub mod fence;
pub mod finalizer;
pub mod fix;
pub mod installer;
pub mod job;
pub mod lease;
pub mod restore;
mod retention;
pub mod send;
pub mod throttle;
pub mod values;

#[cfg(test)]
pub(crate) mod tests;

/// Carries out `effect`. `object` is the KKPUpgrade as the status write returned it.
///
/// # Errors
/// When the API server refuses or does not answer, a precondition is lost, or an object of that name is not ours.
pub async fn run(
    context: &Context,
    object: &KKPUpgradeObject,
    facts: &Facts,
    effect: &Effect,
) -> Result<(), CallError> {
    let client = || context.client.clone();
    let namespace = context.namespace.as_str();
    match effect {
        Effect::AddFinalizer => finalizer::set(client(), object, true).await,
        Effect::RemoveFinalizer => finalizer::set(client(), object, false).await,
        Effect::WritePlan {
            name,
            plan,
            page,
            digest,
        } => {
            let wanted = config_map::plan(namespace, object, name, (plan, page), digest);
            config_map::write(&Api::<ConfigMap>::namespaced(client(), namespace), wanted).await
        }
        Effect::Leave { name, text } => {
            let wanted = config_map::leftovers(namespace, object, name, text);
            config_map::write(&Api::<ConfigMap>::namespaced(client(), namespace), wanted).await?;
            finalizer::set(client(), object, false).await
        }
        Effect::AcquireLease { resource_version } => {
            let leases = Api::<Lease>::namespaced(client(), namespace);
            lease::acquire(&leases, namespace, object, facts.now, resource_version.clone()).await
        }
        Effect::ReleaseLease { resource_version } => {
            let leases = Api::<Lease>::namespaced(client(), namespace);
            lease::release(&leases, namespace, resource_version).await
        }
        Effect::CreateBackupKey => backup_key::create(&Api::<Secret>::namespaced(client(), namespace), namespace).await,
        Effect::CreateJob(intent) => job::create(context, object, intent).await,
        Effect::DeleteJob { name, uid } => job::delete(&Api::namespaced(client(), namespace), name, uid).await,
        Effect::DeleteWaitingPod {
            name,
            uid,
            resource_version,
        } => job::delete_waiting_pod(&Api::namespaced(client(), namespace), name, uid, resource_version).await,
        Effect::TakeFence { job } => {
            let fences = Api::<ConfigMap>::namespaced(client(), namespace);
            fence::take_for_operator(&fences, namespace, &facts.object.uid, job).await
        }
        Effect::CreateEtcdBackups(intent) => etcd::run(context, facts, intent).await,
        Effect::WriteFix(intent) => fix::write(context, facts, intent).await,
        Effect::SetThrottle { mark, resource_version } => {
            let body = throttle::set_body(mark, resource_version)?;
            throttle::patch(client(), facts, &body).await
        }
        Effect::RestoreThrottle {
            original,
            write_value,
            resource_version,
        } => {
            let body = throttle::restore_body(*original, *write_value, resource_version);
            throttle::patch(client(), facts, &body).await
        }
    }
}

/// Parameters of a create or replace, with our name as field manager.
pub(crate) fn post() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// The API of the KubermaticConfiguration.
fn configurations(client: kube::Client, namespace: &str) -> Api<KubermaticConfiguration> {
    Api::namespaced(client, namespace)
}
