//! CRDs that the operator itself puts on clusters: created, updated, never downgraded (KKP 2.31 source,
//! pkg/controller/operator: it compares the annotation `app.kubernetes.io/version`; "Refusing to downgrade CRD" is only
//! logged).

use std::collections::HashMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use semver::Version;

use crate::Error;
use crate::apply::Applier;
use crate::cluster_access::call;
use crate::crds::{VERSION_ANNOTATION, definitions};
use crate::release::{Location, Release, parse_version};
use crate::script::pause;

/// What to do with one CRD.
#[derive(Debug, Eq, PartialEq)]
enum Verdict {
    Write,
    Keep,
    RefuseDowngrade,
}

/// Brings the CRDs of a location to the version of the release.
pub(super) async fn ensure(
    applier: &Applier,
    release: &Release,
    location: Location,
    latency: u64,
) -> Result<(), Error> {
    let api: Api<CustomResourceDefinition> = Api::all(applier.client.clone());
    let live = call("list CRDs", api.list_metadata(&ListParams::default())).await?;
    let versions: HashMap<String, String> = live
        .items
        .into_iter()
        .filter_map(|crd| Some((crd.name_any(), crd.annotations().get(VERSION_ANNOTATION)?.clone())))
        .collect();
    let mut is_first = true;
    for wanted in definitions(release, location) {
        let name = wanted.name_any();
        match verdict(versions.get(&name).map(String::as_str), &release.semantic_version()) {
            Verdict::Keep => {}
            Verdict::RefuseDowngrade => tracing::warn!(crd = name, "Refusing to downgrade CRD"),
            Verdict::Write => {
                if std::mem::take(&mut is_first) {
                    pause(latency).await;
                }
                applier.cluster_wide(&wanted).await?;
            }
        }
    }
    Ok(())
}

/// `live`: the version annotation; nothing if the CRD or its annotation is absent.
fn verdict(live: Option<&str>, own: &Version) -> Verdict {
    match live.and_then(|text| parse_version(text).ok()) {
        Some(version) if version == *own => Verdict::Keep,
        Some(version) if version > *own => Verdict::RefuseDowngrade,
        _ => Verdict::Write,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_definition_is_never_downgraded() {
        let own = Version::new(2, 30, 6);
        assert_eq!(verdict(Some("v2.31.0"), &own), Verdict::RefuseDowngrade);
        assert_eq!(verdict(Some("v2.30.6"), &own), Verdict::Keep);
        assert_eq!(verdict(Some("v2.30.5"), &own), Verdict::Write);
        assert_eq!(verdict(None, &own), Verdict::Write);
    }
}
