//! What KKP runs on one cluster: Deployments and the stamp on its CRDs. Reading only.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kkp_upgrade_kkp::evidence::{CLUSTER_CRD, Observed};
use kube::api::{ListParams, ObjectMeta};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::call::{CallError, call};

/// Objects per page: bounds what one answer can take.
const PAGE: u32 = 500;
/// Most objects of one list: a server whose list has no end is not believed. It is ten addons for each of 10,000 user
/// clusters.
pub(crate) const OBJECTS: u32 = 100_000;
/// Longest name of a Kubernetes object: a longer one is no API server's, and would break a status that repeats it.
pub(crate) const NAME: usize = 253;

/// What KKP runs on one cluster.
pub(super) struct Survey {
    pub(super) deployments: Result<Vec<Deployment>, String>,
    pub(super) crd: Result<Option<ObjectMeta>, String>,
}

impl Survey {
    pub(super) async fn read(client: &Client, namespace: &str, place: &str) -> Self {
        let crds = Api::<CustomResourceDefinition>::all(client.clone());
        let (deployments, crd) = tokio::join!(
            list::<Deployment>(
                Api::namespaced(client.clone(), namespace),
                format!("Deployments of {place}"),
                ListParams::default()
            ),
            call(
                format!("CRD {CLUSTER_CRD} of {place}"),
                crds.get_metadata_opt(CLUSTER_CRD)
            ),
        );
        Self {
            deployments: deployments.map_err(|error| error.to_string()),
            crd: crd
                .map(|crd| crd.map(|crd| crd.metadata))
                .map_err(|error| error.to_string()),
        }
    }

    /// Nothing could be read, for one reason.
    pub(super) fn unreadable(why: &str) -> Self {
        Self {
            deployments: Err(why.to_owned()),
            crd: Err(why.to_owned()),
        }
    }

    /// Why something of it could not be read.
    pub(super) fn problem(&self) -> Option<&String> {
        self.deployments.as_ref().err().or_else(|| self.crd.as_ref().err())
    }

    pub(super) fn observed_deployments(&self) -> Observed<&[Deployment]> {
        match &self.deployments {
            Ok(deployments) => Observed::Found(deployments),
            Err(why) => Observed::Unreadable(why.clone()),
        }
    }

    pub(super) fn observed_crd(&self) -> Observed<&ObjectMeta> {
        match &self.crd {
            Ok(Some(metadata)) => Observed::Found(metadata),
            Ok(None) => Observed::Absent,
            Err(why) => Observed::Unreadable(why.clone()),
        }
    }

    pub(super) fn deployment(&self, name: &str) -> Result<Option<&Deployment>, String> {
        let deployments = self.deployments.as_ref().map_err(Clone::clone)?;
        Ok(deployments
            .iter()
            .find(|deployment| deployment.metadata.name.as_deref() == Some(name)))
    }
}

/// A whole list.
pub(super) async fn list<K>(api: Api<K>, what: String, parameters: ListParams) -> Result<Vec<K>, CallError>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut items = Vec::new();
    each(api, what, parameters.limit(PAGE), |item| items.push(item)).await?;
    Ok(items)
}

/// Shows each object of a list, page by page; the parameters say how long a page is.
pub(super) async fn each<K>(
    api: Api<K>,
    what: String,
    mut parameters: ListParams,
    mut show: impl FnMut(K),
) -> Result<(), CallError>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let pages = OBJECTS.div_ceil(parameters.limit.unwrap_or(PAGE));
    for _ in 0..pages {
        let page = call(what.clone(), api.list(&parameters)).await?;
        let absurd = |item: &K| item.meta().name.as_ref().is_some_and(|name| name.len() > NAME);
        if page.items.iter().any(absurd) {
            return Err(CallError::unusable(
                what,
                "the answer holds a name that no object can have",
            ));
        }
        page.items.into_iter().for_each(&mut show);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            None => return Ok(()),
            Some(token) => parameters = parameters.continue_token(&token),
        }
    }
    Err(CallError::endless(what, pages))
}
