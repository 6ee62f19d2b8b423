//! The plan's ConfigMap. Reading only.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};

use super::observer::Observer;
use crate::call::{CallError, call};
use crate::context::{CONTENT_ANNOTATION, UPGRADE_LABEL};

/// Digest of the text in this KKPUpgrade's ConfigMap; `None` = it is not there, or belongs to somebody else.
pub(super) async fn read_digest(observer: &Observer<'_>, name: &str, uid: &str) -> Result<Option<String>, CallError> {
    let config_maps = Api::<ConfigMap>::namespaced(observer.client.clone(), observer.namespace);
    let found = call(format!("ConfigMap {name}"), config_maps.get_opt(name)).await?;
    let ours = found.filter(|found| found.labels().get(UPGRADE_LABEL).map(String::as_str) == Some(uid));
    Ok(ours.and_then(|found| found.annotations().get(CONTENT_ANNOTATION).cloned()))
}
