//! What the cluster offers around an object: whether its kind is served, and which of its owners live under which UID.
//!
//! Talks to the cluster, reading only. Keeps what it has seen of kinds and of owners that live; a UID never changes.

use std::collections::HashMap;

use serde_json::Value;

use super::archive::StoredObject;
use super::error::RestoreError;
use super::object::{deleted_since, list, text};
use super::target::{Target, object_address};
use crate::discovery::Resource;
use crate::manifest::Manifest;

/// Whether a kind is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It is.
    Served {
        /// Whether its status has an address of its own.
        has_status: bool,
    },
    /// Not at this version; the group has these.
    Gone {
        /// Versions of the group that are served.
        others: Vec<String>,
    },
}

/// An owner that does not live (yet).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AbsentOwner {
    /// Kind and name.
    pub(crate) label: String,
    /// Where it would be; empty where nobody knows the kind.
    pub(crate) address: String,
}

/// What is known of the cluster.
#[derive(Default)]
pub(crate) struct Around {
    documents: HashMap<String, Option<Value>>,
    uids: HashMap<String, String>,
}

impl Around {
    /// Whether this kind is served at its version.
    pub(crate) async fn offer(&mut self, target: &Target, resource: &Resource) -> Result<Offer, RestoreError> {
        let document = self.discovery(target, &resource.api_version()).await?;
        let named = |name: &str| {
            document.is_some_and(|document| list(document, "/resources").iter().any(|offer| offer["name"] == name))
        };
        if named(&resource.plural) {
            let has_status = named(&format!("{}/status", resource.plural));
            return Ok(Offer::Served { has_status });
        }
        if resource.group.is_empty() {
            return Ok(Offer::Gone { others: Vec::new() });
        }
        let group = format!("/apis/{}", resource.group);
        let versions = self.document(target, &group).await?;
        let others = versions.map(|versions| list(versions, "/versions")).unwrap_or_default();
        Ok(Offer::Gone {
            others: others
                .iter()
                .map(|version| text(version, "/version").to_owned())
                .collect(),
        })
    }

    /// The owners of an object with the UIDs under which they live now, and those that do not live.
    pub(crate) async fn owners(
        &mut self,
        target: &Target,
        manifest: &Manifest,
        object: &StoredObject,
    ) -> Result<(Vec<Value>, Vec<AbsentOwner>), RestoreError> {
        let (mut found, mut absent) = (Vec::new(), Vec::new());
        for owner in list(&object.body, "/metadata/ownerReferences") {
            let label = format!("{} {}", text(owner, "/kind"), text(owner, "/name"));
            let resource = self.kind(target, manifest, owner).await?;
            let Some(resource) = resource else {
                let address = String::new();
                absent.push(AbsentOwner { label, address });
                continue;
            };
            // An owner lives in the namespace of what it owns, or in none.
            let namespace = object.namespace.as_deref().filter(|_| resource.namespaced);
            let address = object_address(&resource, namespace, text(owner, "/name"));
            match self.uid(target, &address, &label).await? {
                Some(uid) => {
                    let mut mapped = owner.clone();
                    if let Some(members) = mapped.as_object_mut() {
                        members.insert("uid".to_owned(), uid.into());
                    }
                    found.push(mapped);
                }
                None => absent.push(AbsentOwner { label, address }),
            }
        }
        Ok((found, absent))
    }

    /// Kinds may have come since: CRDs were written.
    pub(crate) fn forget_kinds(&mut self) {
        self.documents.clear();
    }

    async fn uid(&mut self, target: &Target, address: &str, label: &str) -> Result<Option<String>, RestoreError> {
        if let Some(known) = self.uids.get(address) {
            return Ok(Some(known.clone()));
        }
        let live = target.read(address, label).await?;
        // Whoever leans on an owner that is going goes with it.
        let uid = live
            .filter(|owner| deleted_since(owner).is_none())
            .map(|owner| text(&owner, "/metadata/uid").to_owned())
            .filter(|uid| !uid.is_empty());
        if let Some(uid) = &uid {
            self.uids.insert(address.to_owned(), uid.clone());
        }
        Ok(uid)
    }

    /// The kind of an owner: from the backup, else from the API discovery.
    async fn kind(
        &mut self,
        target: &Target,
        manifest: &Manifest,
        owner: &Value,
    ) -> Result<Option<Resource>, RestoreError> {
        let (api_version, kind) = (text(owner, "/apiVersion"), text(owner, "/kind"));
        let recorded = manifest
            .kinds
            .iter()
            .map(|record| Resource {
                within: None,
                ..record.resource()
            })
            .find(|resource| resource.kind == kind && resource.api_version() == api_version);
        if recorded.is_some() {
            return Ok(recorded);
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let document = self.discovery(target, api_version).await?;
        let offers = document
            .map(|document| list(document, "/resources"))
            .unwrap_or_default();
        let offer = offers
            .iter()
            .find(|offer| offer["kind"] == kind && !text(offer, "/name").contains('/'));
        Ok(offer.map(|offer| Resource::new(group, version, text(offer, "/name"), kind, offer["namespaced"] == true)))
    }

    async fn discovery(&mut self, target: &Target, api_version: &str) -> Result<Option<&Value>, RestoreError> {
        let root = if api_version.contains('/') { "/apis" } else { "/api" };
        self.document(target, &format!("{root}/{api_version}")).await
    }

    async fn document(&mut self, target: &Target, address: &str) -> Result<Option<&Value>, RestoreError> {
        if !self.documents.contains_key(address) {
            let document = target.read(address, address).await?;
            self.documents.insert(address.to_owned(), document);
        }
        Ok(self.documents.get(address).and_then(Option::as_ref))
    }
}
