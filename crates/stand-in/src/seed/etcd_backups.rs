//! The etcd backup controller, as far as one-shot configs go: an `EtcdBackupConfig` without a schedule gets one backup, which is
//! Running for a while and then Completed or Failed. Without destinations on the Seed, or while KKP leaves the user cluster
//! alone, nothing happens, silently (KKP 2.31 source, pkg/controller/seed-controller-manager/etcdbackup).

use std::sync::Arc;
use std::time::Duration;

use kube::api::{DynamicObject, ListParams};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::context::{Context, namespace_of};
use crate::Error;
use crate::apply::merge_status;
use crate::cluster_access::call;
use crate::condition;
use crate::objects::{etcd_backup_resource, field, seeds, text};
use crate::script::{EtcdBackupScript, Script};

/// How often a user cluster is looked at for new configs: this controller watches nothing of its own.
const LOOK: Duration = Duration::from_millis(500);

/// Looks after the one-shot configs of one user cluster.
pub(super) async fn reconcile(cluster: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, Error> {
    if cluster.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let set_up =
        text(&cluster, "/status/namespaceName").is_some() && text(&cluster, "/status/versions/controlPlane").is_some();
    if !context.is_ours(&cluster) || !set_up {
        return Ok(Action::requeue(LOOK));
    }
    let client = context.process.client.clone();
    let api = Api::<DynamicObject>::namespaced_with(client, &namespace_of(&cluster), &etcd_backup_resource());
    let configs = call("list EtcdBackupConfigs", api.list(&ListParams::default())).await?;
    if configs.items.is_empty() {
        return Ok(Action::requeue(LOOK));
    }
    let destinations = destinations(&context).await?;
    let script = Script::load().seed.cluster(&cluster.name_any()).etcd_backup;
    for config in &configs.items {
        if let Some(status) = next(config, &destinations, &script) {
            merge_status(&api, config, status).await?;
        }
    }
    Ok(Action::requeue(LOOK))
}

/// Names of the destinations of this cluster's Seeds.
async fn destinations(context: &Context) -> Result<Vec<String>, Error> {
    let api = seeds(&context.process.client, &context.process.namespace);
    let all = call("list Seeds", api.list(&ListParams::default())).await?;
    let names = all
        .items
        .iter()
        .filter_map(|seed| field(seed, "/spec/etcdBackupRestore/destinations")?.as_object());
    Ok(names.flat_map(|names| names.keys().cloned()).collect())
}

/// The status that comes next, where one does.
fn next(config: &DynamicObject, destinations: &[String], script: &EtcdBackupScript) -> Option<Value> {
    let known = text(config, "/spec/destination").is_some_and(|name| destinations.iter().any(|other| other == name));
    if text(config, "/spec/schedule").is_some() || config.metadata.deletion_timestamp.is_some() || !known {
        return None;
    }
    if script
        .never
        .iter()
        .any(|suffix| config.name_any().ends_with(suffix.as_str()))
    {
        return None;
    }
    let failed = script
        .failed
        .iter()
        .any(|suffix| config.name_any().ends_with(suffix.as_str()));
    let (phase, message) = match text(config, "/status/currentBackups/0/backupPhase") {
        None => ("Running", ""),
        Some("Running") if failed => ("Failed", "the bucket does not answer"),
        Some("Running") => ("Completed", ""),
        Some(_) => return None,
    };
    let backup = json!({"backupName": format!("{}.db.gz", config.name_any()), "backupPhase": phase,
        "backupMessage": message, "scheduledTime": condition::now()});
    Some(json!({ "currentBackups": [backup] }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(spec: &Value, status: &Value) -> DynamicObject {
        DynamicObject::new("kkpu-1", &etcd_backup_resource()).data(json!({"spec": spec, "status": status}))
    }

    fn phase(config: &DynamicObject, script: &EtcdBackupScript) -> Option<Value> {
        let status = next(config, &["s3".to_owned()], script)?;
        status.pointer("/currentBackups/0/backupPhase").cloned()
    }

    #[test]
    fn a_one_shot_config_runs_and_is_completed_once() {
        let plain = EtcdBackupScript::default();
        let spec = || json!({"destination": "s3"});
        let at = |phase: &str| json!({"currentBackups": [{"backupPhase": phase}]});
        assert_eq!(phase(&config(&spec(), &json!({})), &plain), Some(json!("Running")));
        assert_eq!(
            phase(&config(&spec(), &at("Running")), &plain),
            Some(json!("Completed"))
        );
        assert_eq!(phase(&config(&spec(), &at("Completed")), &plain), None);
        let faulty = EtcdBackupScript {
            failed: vec!["-1".to_owned()],
            never: Vec::new(),
        };
        assert_eq!(phase(&config(&spec(), &at("Running")), &faulty), Some(json!("Failed")));
        assert_eq!(phase(&config(&spec(), &at("Failed")), &plain), None);
        let never = EtcdBackupScript {
            failed: Vec::new(),
            never: vec!["-1".to_owned()],
        };
        assert_eq!(phase(&config(&spec(), &json!({})), &never), None);
    }

    #[test]
    fn schedules_and_unknown_destinations_are_left_alone() {
        let plain = EtcdBackupScript::default();
        assert_eq!(
            phase(
                &config(&json!({"destination": "s3", "schedule": "@every 20m"}), &json!({})),
                &plain
            ),
            None
        );
        assert_eq!(
            phase(&config(&json!({"destination": "other"}), &json!({})), &plain),
            None
        );
        assert_eq!(phase(&config(&json!({}), &json!({})), &plain), None);
    }
}
