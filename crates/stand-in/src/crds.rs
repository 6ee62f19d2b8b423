//! KKP's CRDs of one release as objects. Pure: installer (master) and kubermatic-operator (seeds) write them.
//!
//! The schema is open: what counts for an upgrade is scope, status subresource and the two annotations.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionNames, CustomResourceDefinitionSpec,
    CustomResourceDefinitionVersion, CustomResourceSubresourceStatus, CustomResourceSubresources,
    CustomResourceValidation, JSONSchemaProps,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::release::{CustomResource, Location, Release};

/// Annotation with the version of the program that wrote the CRD (KKP 2.31.0, measured).
pub const VERSION_ANNOTATION: &str = "app.kubernetes.io/version";
/// Annotation with the comma separated locations of a CRD (KKP 2.31 source, pkg/crd).
pub const LOCATION_ANNOTATION: &str = "kubermatic.k8c.io/location";

/// The CRDs of a release that belong to `location`.
#[must_use]
pub fn definitions(release: &Release, location: Location) -> Vec<CustomResourceDefinition> {
    release
        .custom_resources
        .iter()
        .filter(|resource| resource.location.contains(&location))
        .map(|resource| definition(resource, &release.version))
        .collect()
}

fn definition(resource: &CustomResource, version: &str) -> CustomResourceDefinition {
    let locations: Vec<&str> = resource
        .location
        .iter()
        .map(|location| location_name(*location))
        .collect();
    CustomResourceDefinition {
        metadata: ObjectMeta {
            name: Some(format!("{}.{}", resource.plural, resource.group)),
            annotations: Some(BTreeMap::from([
                (VERSION_ANNOTATION.to_owned(), version.to_owned()),
                (LOCATION_ANNOTATION.to_owned(), locations.join(",")),
            ])),
            ..ObjectMeta::default()
        },
        spec: CustomResourceDefinitionSpec {
            group: resource.group.clone(),
            names: CustomResourceDefinitionNames {
                kind: resource.kind.clone(),
                list_kind: Some(format!("{}List", resource.kind)),
                plural: resource.plural.clone(),
                singular: Some(resource.kind.to_lowercase()),
                short_names: (!resource.short_names.is_empty()).then(|| resource.short_names.clone()),
                ..CustomResourceDefinitionNames::default()
            },
            scope: resource.scope.clone(),
            versions: vec![served_version(resource)],
            ..CustomResourceDefinitionSpec::default()
        },
        status: None,
    }
}

fn served_version(resource: &CustomResource) -> CustomResourceDefinitionVersion {
    CustomResourceDefinitionVersion {
        name: resource.version.clone(),
        served: true,
        storage: true,
        schema: Some(CustomResourceValidation {
            open_api_v3_schema: Some(JSONSchemaProps {
                type_: Some("object".to_owned()),
                x_kubernetes_preserve_unknown_fields: Some(true),
                ..JSONSchemaProps::default()
            }),
        }),
        subresources: resource.status.then(|| CustomResourceSubresources {
            status: Some(CustomResourceSubresourceStatus(serde_json::json!({}))),
            scale: None,
        }),
        ..CustomResourceDefinitionVersion::default()
    }
}

const fn location_name(location: Location) -> &'static str {
    match location {
        Location::Master | Location::Operator => "master",
        Location::Seed => "seed",
        Location::UserCluster => "usercluster",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Edition;

    fn names(location: Location) -> Vec<String> {
        let release = Release::of("2.31.0", Edition::Community).unwrap();
        definitions(&release, location)
            .into_iter()
            .filter_map(|crd| crd.metadata.name)
            .collect()
    }

    #[test]
    fn locations_decide_where_a_definition_goes() {
        assert_eq!((names(Location::Master).len(), names(Location::Seed).len()), (32, 27));
        assert_eq!(
            names(Location::UserCluster),
            ["applicationinstallations.apps.kubermatic.k8c.io"]
        );
        assert_eq!(
            names(Location::Operator),
            ["applicationcatalogs.applicationcatalog.k8c.io"]
        );
        assert!(!names(Location::Seed).contains(&"kubermaticsettings.kubermatic.k8c.io".to_owned()));
    }

    #[test]
    fn status_is_a_subresource_only_where_kkp_has_one() {
        let release = Release::of("2.31.0", Edition::Community).unwrap();
        let mut with_status: Vec<String> = definitions(&release, Location::Master)
            .into_iter()
            .filter(|crd| crd.spec.versions.iter().any(|version| version.subresources.is_some()))
            .map(|crd| crd.spec.names.plural)
            .collect();
        with_status.sort();
        let expected = [
            "addons",
            "alertmanagers",
            "clusterbackupstoragelocations",
            "clusters",
            "etcdbackupconfigs",
            "etcdrestores",
            "kubermaticconfigurations",
            "policybindings",
            "projects",
            "resourcequotas",
            "seeds",
            "users",
        ];
        assert_eq!(with_status, expected);
    }

    #[test]
    fn each_definition_carries_version_and_location() {
        let release = Release::of("2.31.0", Edition::Community).unwrap();
        let clusters = definitions(&release, Location::Seed)
            .into_iter()
            .find(|crd| crd.spec.names.kind == "Cluster")
            .unwrap();
        let annotations = clusters.metadata.annotations.unwrap();
        assert_eq!(annotations.get(VERSION_ANNOTATION).map(String::as_str), Some("v2.31.0"));
        assert_eq!(
            annotations.get(LOCATION_ANNOTATION).map(String::as_str),
            Some("master,seed")
        );
        assert_eq!(clusters.spec.scope, "Cluster");
    }
}
