//! ConfigMaps for people: the plan, and what stays changed after a KKPUpgrade is gone. Talks to the cluster; never
//! writes over a ConfigMap of another KKPUpgrade or of a person.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kkp_upgrade_api::KKPUpgradeObject;
use kube::api::ObjectMeta;
use kube::{Api, Resource, ResourceExt};

use super::post;
use crate::call::{CallError, call};
use crate::context::{CONTENT_ANNOTATION, FIELD_MANAGER, UPGRADE_LABEL};

/// Key of the plan.
pub const PLAN_KEY: &str = "plan.yaml";
/// Key of the plan as a page.
pub const PAGE_KEY: &str = "plan.md";
/// Key of the note about what stays changed.
pub const LEFTOVERS_KEY: &str = "leftovers.txt";
/// A ConfigMap holds 1 MiB with its metadata; of each of at most two texts more than this is cut.
const LIMIT: usize = 450 * 1024;
/// Last line of a text that was cut.
const CUT: &str = "# cut here: the rest does not fit into a ConfigMap\n";

/// The plan's ConfigMap (YAML, page, and the digest of both); it goes when the KKPUpgrade goes.
#[must_use]
pub fn plan(
    namespace: &str,
    object: &KKPUpgradeObject,
    name: &str,
    (plan, page): (&str, &str),
    digest: &str,
) -> ConfigMap {
    let mut wanted = manifest(namespace, object, name, &[(PLAN_KEY, plan), (PAGE_KEY, page)]);
    wanted.metadata.annotations = Some(BTreeMap::from([(CONTENT_ANNOTATION.to_owned(), digest.to_owned())]));
    wanted.metadata.owner_references = Some(vec![OwnerReference {
        api_version: KKPUpgradeObject::api_version(&()).into_owned(),
        kind: KKPUpgradeObject::kind(&()).into_owned(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    wanted
}

/// The note about what stays changed; it outlives the KKPUpgrade.
#[must_use]
pub fn leftovers(namespace: &str, object: &KKPUpgradeObject, name: &str, text: &str) -> ConfigMap {
    manifest(namespace, object, name, &[(LEFTOVERS_KEY, text)])
}

fn manifest(namespace: &str, object: &KKPUpgradeObject, name: &str, texts: &[(&str, &str)]) -> ConfigMap {
    let texts = texts.iter().map(|(key, text)| ((*key).to_owned(), fitting(text)));
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([
                (UPGRADE_LABEL.to_owned(), object.uid().unwrap_or_default()),
                ("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned()),
            ])),
            ..ObjectMeta::default()
        },
        data: Some(texts.collect()),
        ..ConfigMap::default()
    }
}

/// The text, cut at the end of a line where it is too long.
fn fitting(text: &str) -> String {
    if text.len() <= LIMIT {
        return text.to_owned();
    }
    let start = text.get(..text.floor_char_boundary(LIMIT)).unwrap_or_default();
    let lines = start.rfind('\n').and_then(|end| start.get(..=end));
    // A single line longer than the limit is cut inside.
    lines.map_or_else(|| format!("{start}\n{CUT}"), |lines| format!("{lines}{CUT}"))
}

/// Creates the ConfigMap, or replaces the one that is ours.
///
/// # Errors
/// When a ConfigMap of that name is not this KKPUpgrade's, somebody else wrote first, or the server refuses.
pub async fn write(config_maps: &Api<ConfigMap>, mut wanted: ConfigMap) -> Result<(), CallError> {
    let name = wanted.name_any();
    let what = format!("write ConfigMap {}/{name}", wanted.namespace().unwrap_or_default());
    let Some(existing) = call(what.clone(), config_maps.get_opt(&name)).await? else {
        return call(what, config_maps.create(&post(), &wanted)).await.map(drop);
    };
    if existing.labels().get(UPGRADE_LABEL) != wanted.labels().get(UPGRADE_LABEL) {
        let problem = "one of that name exists and does not belong to this KKPUpgrade: remove it";
        return Err(CallError::unusable(what, problem));
    }
    let same = |key: &str| existing.annotations().get(key) == wanted.annotations().get(key);
    if existing.data == wanted.data
        && existing.metadata.owner_references == wanted.metadata.owner_references
        && same(CONTENT_ANNOTATION)
    {
        return Ok(());
    }
    wanted.metadata.resource_version = existing.resource_version();
    call(what, config_maps.replace(&name, &post(), &wanted)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_long_ends_with_a_line_that_says_so() {
        let line = "ä".repeat(500) + "\n";
        let cut = fitting(&line.repeat(2000));
        assert!(cut.len() <= LIMIT + CUT.len());
        assert!(cut.len() > LIMIT - line.len());
        assert!(cut.ends_with(&format!("{line}{CUT}")));
        let one_line = fitting(&"ä".repeat(LIMIT));
        assert!(one_line.ends_with(&format!("ä\n{CUT}")) && one_line.len() <= LIMIT + 1 + CUT.len());
        assert_eq!(fitting("short\n"), "short\n");
    }
}
