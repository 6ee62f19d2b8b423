//! Copies what a seed needs: the kubeconfig Secret, the `KubermaticConfiguration` and the Seed, specification only
//! (KKP 2.31 source, pkg/controller/master-controller-manager/seed-sync). A skip annotation does not stop it. On a cluster
//! that is master and seed the copy is the original, which is left alone.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::Error;
use crate::apply::Applier;
use crate::cluster_access::{SeedAccess, call};
use crate::objects::{MANAGED_BY_LABEL, configuration_resource, configurations, seed_resource, seeds};
use crate::start::Process;

const MANAGER: &str = "kkp-seed-sync-controller";

/// Brings all copies up to date.
pub(super) async fn copy(process: &Process, access: &SeedAccess, seed: &DynamicObject) -> Result<(), Error> {
    if seed.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let namespaces: Api<Namespace> = Api::all(access.client.clone());
    let action = format!("create namespace {} on the seed", process.namespace);
    if call(&action, namespaces.get_opt(&process.namespace)).await?.is_none() {
        let metadata = ObjectMeta {
            name: Some(process.namespace.clone()),
            ..ObjectMeta::default()
        };
        call(
            &action,
            namespaces.create(
                &PostParams::default(),
                &Namespace {
                    metadata,
                    ..Namespace::default()
                },
            ),
        )
        .await?;
    }
    copy_secret(access).await?;
    let originals = configurations(&process.client, &process.namespace);
    for configuration in call("list KubermaticConfigurations", originals.list(&ListParams::default()))
        .await?
        .items
    {
        let mut copy = DynamicObject::new(&configuration.name_any(), &configuration_resource());
        copy.data = json!({ "spec": configuration.data.get("spec") });
        copy_object(
            &configurations(&access.client, &process.namespace),
            &configuration,
            copy,
        )
        .await?;
    }
    let mut copy = DynamicObject::new(&seed.name_any(), &seed_resource());
    copy.data = json!({ "spec": seed.data.get("spec") });
    copy_object(&seeds(&access.client, &process.namespace), seed, copy).await
}

async fn copy_secret(access: &SeedAccess) -> Result<(), Error> {
    let original = &access.secret;
    let namespace = original.namespace().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(access.client.clone(), &namespace);
    let live = call("read the seed's kubeconfig Secret", api.get_opt(&original.name_any())).await?;
    if live
        .as_ref()
        .is_some_and(|live| live.uid() == original.uid() || live.data == original.data)
    {
        return Ok(());
    }
    let metadata = ObjectMeta {
        name: original.metadata.name.clone(),
        namespace: Some(namespace),
        ..ObjectMeta::default()
    };
    let copy = Secret {
        metadata,
        data: original.data.clone(),
        type_: original.type_.clone(),
        ..Secret::default()
    };
    Applier::new(access.client.clone(), MANAGER).namespaced(&copy).await?;
    Ok(())
}

/// Creates the copy, or replaces its specification if that differs.
async fn copy_object(api: &Api<DynamicObject>, original: &DynamicObject, mut copy: DynamicObject) -> Result<(), Error> {
    let name = original.name_any();
    let action = format!("copy {name} to the seed");
    copy.metadata.namespace.clone_from(&original.metadata.namespace);
    copy.labels_mut()
        .insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
    match call(&action, api.get_opt(&name)).await? {
        None => call(&action, api.create(&PostParams::default(), &copy)).await.map(drop),
        Some(live) if live.uid() == original.uid() || spec(&live) == spec(original) => Ok(()),
        Some(mut live) => {
            // The resource version of what was read: a concurrent change is not written over.
            if let (Some(fields), Some(wanted)) = (live.data.as_object_mut(), spec(original)) {
                fields.insert("spec".to_owned(), wanted.clone());
            }
            call(&action, api.replace(&name, &PostParams::default(), &live))
                .await
                .map(drop)
        }
    }
}

fn spec(object: &DynamicObject) -> Option<&Value> {
    object.data.get("spec")
}
