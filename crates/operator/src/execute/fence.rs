//! The fence of a Job: an immutable ConfigMap of the Job's name that is only ever created. Whoever creates it, the Job's
//! own Pod or the operator, has decided for good whether the main program may start. Talks to the cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ObjectMeta;

use super::post;
use crate::call::{CallError, call};
use crate::context::{FENCE_OWNER_ANNOTATION, FIELD_MANAGER, UPGRADE_LABEL};

/// Annotation on a fence: UID of the Pod that took it.
pub const FENCE_POD_ANNOTATION: &str = "upgrade.k8c.io/fence-pod";
/// Value of [`FENCE_OWNER_ANNOTATION`]: the Job's own Pod.
pub const OWNER_POD: &str = "pod";
/// Value of [`FENCE_OWNER_ANNOTATION`]: the operator.
pub const OWNER_OPERATOR: &str = "operator";

/// The fence of `job`, taken by a Pod, or by the operator where there is no Pod. It has no owner: it outlives the Job.
#[must_use]
pub fn manifest(namespace: &str, upgrade_uid: &str, job: &str, pod_uid: Option<&str>) -> ConfigMap {
    let owner = if pod_uid.is_some() { OWNER_POD } else { OWNER_OPERATOR };
    let mut annotations = BTreeMap::from([(FENCE_OWNER_ANNOTATION.to_owned(), owner.to_owned())]);
    annotations.extend(pod_uid.map(|uid| (FENCE_POD_ANNOTATION.to_owned(), uid.to_owned())));
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(job.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([
                (UPGRADE_LABEL.to_owned(), upgrade_uid.to_owned()),
                ("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned()),
            ])),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

/// Takes the fence so that the Job's main program can never start. That somebody has it already is no error: the next
/// observation tells who.
///
/// # Errors
/// When the server refuses or does not answer.
pub async fn take_for_operator(
    fences: &Api<ConfigMap>,
    namespace: &str,
    upgrade_uid: &str,
    job: &str,
) -> Result<(), CallError> {
    let fence = manifest(namespace, upgrade_uid, job, None);
    match call(format!("take fence {namespace}/{job}"), fences.create(&post(), &fence)).await {
        Err(error) if error.is_conflict() => Ok(()),
        answer => answer.map(drop),
    }
}
