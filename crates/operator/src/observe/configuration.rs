//! The `KubermaticConfiguration`: where the platform is, and the limit with our note on it. Reading only.

use kkp_upgrade_core::facts::{ConfigurationFacts, Known, ThrottleMark};
use kkp_upgrade_kkp::types::{Field, KubermaticConfiguration};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::observer::Observer;
use crate::call::{CallError, call};
use crate::context::THROTTLE_ANNOTATION;

/// The one `KubermaticConfiguration`, and how many there are.
pub(super) struct Found {
    pub(super) configuration: KubermaticConfiguration,
    pub(super) count: usize,
    pub(super) namespace: String,
}

/// Finds it in the operator's own namespace, which is KKP's: the object holds secrets inline, so no other namespace is read.
/// Where there are several, the first by name stands for the platform and a rule reports the others.
pub(super) async fn find(observer: &Observer<'_>) -> Result<Found, CallError> {
    let api = Api::<KubermaticConfiguration>::namespaced(observer.client.clone(), observer.namespace);
    let mut items = call("list of KubermaticConfigurations", api.list(&ListParams::default()))
        .await?
        .items;
    let count = items.len();
    items.sort_by_key(ResourceExt::name_any);
    let Some(configuration) = items.into_iter().next() else {
        return Err(CallError::unusable(
            "KubermaticConfiguration",
            format!(
                "there is none in namespace {}: is KKP installed there?",
                observer.namespace
            ),
        ));
    };
    let namespace = configuration.namespace().unwrap_or_default();
    Ok(Found {
        configuration,
        count,
        namespace,
    })
}

/// What the core needs of it.
pub(super) fn facts(configuration: &KubermaticConfiguration) -> ConfigurationFacts {
    let limit = &configuration.spec.seed_controller.maximum_parallel_reconciles;
    ConfigurationFacts {
        namespace: configuration.namespace().unwrap_or_default(),
        name: configuration.name_any(),
        uid: configuration.uid().unwrap_or_default(),
        resource_version: configuration.resource_version().unwrap_or_default(),
        maximum_parallel_reconciles: limit.get().copied(),
        throttle_mark: match (limit, configuration.annotations().get(THROTTLE_ANNOTATION)) {
            (Field::Unreadable { found }, _) => Known::Unknown(format!("maximumParallelReconciles is of type {found}")),
            (_, None) => Known::Is(None),
            (_, Some(text)) => match serde_json::from_str::<ThrottleMark>(text) {
                Ok(mark) => Known::Is(Some(mark)),
                Err(error) => Known::Unknown(format!("it is not a note of ours: {error}")),
            },
        },
    }
}
