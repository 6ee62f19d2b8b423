//! Orders for etcd backups: one-shot `EtcdBackupConfig`s on a seed. Create-only; never writes one that is there, and never
//! deletes one, because KKP deletes its backups with it.

use kkp_upgrade_core::effect::EtcdIntent;
use kkp_upgrade_core::etcd::{EtcdCluster, REQUESTED_ANNOTATION, RUN_LABEL, config_name, run_label};
use kkp_upgrade_core::facts::Facts;
use kkp_upgrade_core::rules::ItemKind;
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::fix::seed_client;
use super::post;
use crate::call::{CallError, call};
use crate::context::{Context, UPGRADE_LABEL};
use crate::observe::kinds::resources;

/// Label of KKP with the project that an object belongs to; its dashboard lists backups by it.
pub(crate) const PROJECT_LABEL: &str = "project-id";

/// Creates what the intent names, on its seed.
///
/// # Errors
/// See [`create()`]; also when the seed is not the one that was read.
pub async fn run(context: &Context, facts: &Facts, intent: &EtcdIntent) -> Result<(), CallError> {
    let client = seed_client(context, facts, &intent.seed).await;
    let client = client.map_err(|problem| CallError::unusable("create EtcdBackupConfigs", problem))?;
    create(&client, intent).await
}

/// Creates each config; one that this run has made before stays as it is. One that is refused does not hold up the others.
///
/// # Errors
/// The first refusal, after all were tried: by the server, or because an object of that name is not of this run.
pub async fn create(client: &Client, intent: &EtcdIntent) -> Result<(), CallError> {
    let mut outcome = Ok(());
    for (cluster, attempt) in &intent.backups {
        let created = create_one(client, intent, cluster, *attempt).await;
        outcome = outcome.and(created);
    }
    outcome
}

async fn create_one(
    client: &Client,
    intent: &EtcdIntent,
    cluster: &EtcdCluster,
    attempt: i32,
) -> Result<(), CallError> {
    let name = config_name(&intent.uid, intent.run, attempt);
    let what = format!(
        "create EtcdBackupConfig {}/{name} on seed {}",
        cluster.namespace, intent.seed
    );
    let kinds = resources(ItemKind::EtcdBackup);
    let kind = kinds
        .first()
        .ok_or_else(|| CallError::unusable(&what, "its resource is not known"))?;
    let resource = kind.api_resource();
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &cluster.namespace, &resource);
    let config = config(DynamicObject::new(&name, &resource), intent, cluster);
    match call(what.clone(), api.create(&post(), &config)).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_conflict() => {
            let there = call(what.clone(), api.get(&name)).await?;
            let ours = there.labels().get(RUN_LABEL) == Some(&run_label(&intent.uid, intent.run));
            let foreign = || CallError::unusable(what, "it exists and was not made by this run: remove it");
            if ours { Ok(()) } else { Err(foreign()) }
        }
        Err(error) => Err(error),
    }
}

/// No schedule: KKP makes one backup at once. No `keep`: nothing is rotated away.
fn config(named: DynamicObject, intent: &EtcdIntent, cluster: &EtcdCluster) -> DynamicObject {
    let name = named.name_any();
    let mut config = named.data(json!({"spec": {
        "name": name,
        "cluster": {
            "apiVersion": "kubermatic.k8c.io/v1", "kind": "Cluster", "name": cluster.name, "uid": cluster.uid,
        },
        "destination": intent.destination,
    }}));
    let labels = config.labels_mut();
    labels.insert(RUN_LABEL.to_owned(), run_label(&intent.uid, intent.run));
    labels.insert(UPGRADE_LABEL.to_owned(), intent.uid.clone());
    if let Some(project) = &cluster.project {
        labels.insert(PROJECT_LABEL.to_owned(), project.clone());
    }
    let requested = intent.requested.to_string();
    config
        .annotations_mut()
        .insert(REQUESTED_ANNOTATION.to_owned(), requested);
    config.metadata.namespace = Some(cluster.namespace.clone());
    config
}
