//! One fix: values and the notes about them in one PATCH to one object of KKP. Talks to master or seed; must never write against
//! another version of the object than the one that was observed.

use kkp_upgrade_core::facts::{Facts, Known};
use kkp_upgrade_core::fix::FixIntent;
use kkp_upgrade_core::rules::ItemKind;
use kkp_upgrade_kkp::types::{Cluster, KubermaticConfiguration, Seed};
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};

use crate::call::{CallError, call};
use crate::context::{Context, FIELD_MANAGER};
use crate::observe::kinds::resources;

/// Sends the patch to the object that was observed.
///
/// # Errors
/// A conflict when somebody else wrote it first; otherwise when the server refuses or does not answer, or the object's seed is
/// not the one that was read.
pub async fn write(context: &Context, facts: &Facts, intent: &FixIntent) -> Result<(), CallError> {
    let what = format!("patch {}", intent.target.subject());
    let unusable = |problem: &str| CallError::unusable(&what, problem);
    let platform = facts
        .platform
        .value()
        .ok_or_else(|| unusable("the platform was not read"))?;
    let namespace = platform.configuration.namespace.as_str();
    let master = context.client.clone();
    let name = intent.target.object_name();
    match intent.target.kind {
        ItemKind::Platform => {
            let api = namespaced(master, namespace, &ApiResource::erase::<KubermaticConfiguration>(&()));
            send(&api, &platform.configuration.name, what, intent).await
        }
        ItemKind::Seed => {
            let api = namespaced(master, namespace, &ApiResource::erase::<Seed>(&()));
            send(&api, name, what, intent).await
        }
        ItemKind::Template => {
            let kinds = resources(ItemKind::Template);
            let template = kinds.first().ok_or_else(|| unusable("its resource is not known"))?;
            let api = Api::all_with(master, &template.api_resource());
            send(&api, name, what, intent).await
        }
        ItemKind::Cluster => {
            let client = seed_client(context, facts, intent.target.place()).await;
            let client = client.map_err(|problem| unusable(&problem))?;
            let api = Api::all_with(client, &ApiResource::erase::<Cluster>(&()));
            send(&api, name, what, intent).await
        }
        _ => Err(unusable("objects of its kind are never written")),
    }
}

fn namespaced(client: Client, namespace: &str, resource: &ApiResource) -> Api<DynamicObject> {
    Api::namespaced_with(client, namespace, resource)
}

/// The client of a seed that answered in this round, and whose cluster is the one that the run is about.
pub(super) async fn seed_client(context: &Context, facts: &Facts, seed: &str) -> Result<Client, String> {
    let seeds = facts.platform.value().map_or(&[][..], |platform| &platform.seeds);
    let read = seeds.iter().find(|read| read.name == seed);
    let read = read.ok_or_else(|| format!("there is no Seed {seed}"))?;
    if let Known::Unknown(why) = &read.reachable {
        return Err(format!("seed {seed}: {why}"));
    }
    let connection = context.seeds.known().await.remove(seed);
    connection
        .filter(|connection| read.cluster_uid.as_ref() == Some(&connection.cluster_uid))
        .map(|connection| connection.client)
        .ok_or_else(|| format!("seed {seed} is another cluster by now"))
}

/// The PATCH itself.
///
/// # Errors
/// See [`write()`].
pub async fn send(api: &Api<DynamicObject>, name: &str, what: String, intent: &FixIntent) -> Result<(), CallError> {
    let body = intent.patch().map_err(|problem| CallError::unusable(&what, problem))?;
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    call(what, api.patch(name, &parameters, &Patch::Merge(&body)))
        .await
        .map(drop)
}
