//! Persistent volume claims: a folder per claim, bound when the first Pod uses it (like `WaitForFirstConsumer`).
//!
//! The folder is `<work_folder>/claims/<UID of the claim>`, with a link `<work_folder>/claims/<namespace>/<name>` to it.
//! A `PersistentVolume` that refers to the claim is made too, so that the controller manager's binder agrees. The data
//! of a deleted claim stays in its folder until the lab is gone.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::cluster::Cluster;
use super::sources::Problem;

/// Where tests find the data of a claim.
#[must_use]
pub fn claim_folder(work_folder: &Path, namespace: &str, name: &str) -> PathBuf {
    work_folder.join("claims").join(namespace).join(name)
}

/// The folder of a claim; binds the claim if it is not bound.
pub(super) async fn provide(
    cluster: &Cluster,
    work_folder: &Path,
    namespace: &str,
    name: &str,
) -> Result<PathBuf, Problem> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client(), namespace);
    let found = cluster
        .call(|| format!("read claim {namespace}/{name}"), claims.get_opt(name))
        .await?;
    let claim = found.ok_or_else(|| Problem::volume(format!("persistentvolumeclaim {name:?} not found")))?;
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(Problem::volume(format!(
            "persistentvolumeclaim {name:?} is being deleted"
        )));
    }
    let uid = claim.uid().unwrap_or_default();
    let folder = work_folder.join("claims").join(&uid);
    make_folder(&folder, &claim_folder(work_folder, namespace, name))
        .map_err(|error| Problem::volume(format!("cannot make the folder of claim {name:?}: {error}")))?;
    let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    if !bound {
        bind(cluster, &claims, &claim, &folder).await?;
    }
    Ok(folder)
}

fn make_folder(folder: &Path, link: &Path) -> std::io::Result<()> {
    if !folder.exists() {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o777))?;
    }
    if fs::read_link(link).is_ok_and(|present| present == folder) {
        return Ok(());
    }
    if let Some(parent) = link.parent() {
        fs::create_dir_all(parent)?;
    }
    let _ = fs::remove_file(link);
    symlink(folder, link)
}

async fn bind(
    cluster: &Cluster,
    claims: &Api<PersistentVolumeClaim>,
    claim: &PersistentVolumeClaim,
    folder: &Path,
) -> Result<(), Problem> {
    let (name, uid) = (claim.name_any(), claim.uid().unwrap_or_default());
    let volume_name = format!("lab-{uid}");
    let spec = claim.spec.clone().unwrap_or_default();
    let capacity = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.clone())
        .unwrap_or_default();
    let volume = volume_for(claim, &volume_name, folder)?;
    let volumes: Api<PersistentVolume> = Api::all(cluster.client());
    let create = PostParams::default();
    match cluster
        .call(
            || format!("create PersistentVolume {volume_name}"),
            volumes.create(&create, &volume),
        )
        .await
    {
        Err(error) if !error.is_conflict() => return Err(error.into()),
        _ => {}
    }
    let parameters = PatchParams::default();
    let mark = Patch::Merge(json!({
        "metadata": {"uid": uid, "annotations": {"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"}},
        "spec": {"volumeName": volume_name},
    }));
    cluster
        .call(|| format!("bind claim {name}"), claims.patch(&name, &parameters, &mark))
        .await?;
    let status = Patch::Merge(json!({
        "metadata": {"uid": uid},
        "status": {"phase": "Bound", "capacity": capacity, "accessModes": spec.access_modes},
    }));
    cluster
        .call(
            || format!("bind claim {name}"),
            claims.patch_status(&name, &parameters, &status),
        )
        .await?;
    let status = Patch::Merge(json!({"status": {"phase": "Bound"}}));
    cluster
        .call(
            || format!("bind PersistentVolume {volume_name}"),
            volumes.patch_status(&volume_name, &parameters, &status),
        )
        .await?;
    Ok(())
}

/// The `PersistentVolume` of a claim's folder; it belongs to that claim only.
fn volume_for(claim: &PersistentVolumeClaim, volume_name: &str, folder: &Path) -> Result<PersistentVolume, Problem> {
    let (name, spec) = (claim.name_any(), claim.spec.clone().unwrap_or_default());
    let resources = spec.resources.unwrap_or_default();
    serde_json::from_value(json!({
        "metadata": {"name": volume_name, "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
        "spec": {
            "capacity": resources.requests.unwrap_or_default(),
            "accessModes": spec.access_modes,
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": spec.storage_class_name.unwrap_or_default(),
            "hostPath": {"path": folder},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.namespace(), "name": name, "uid": claim.uid()},
        },
    }))
    .map_err(|error| Problem::volume(format!("cannot describe a volume for claim {name:?}: {error}")))
}
