//! ConfigMaps and Secrets that a Pod refers to.

use std::collections::BTreeMap;
use std::path::Path;

use super::cluster::{CallError, Cluster};

/// Name of the ConfigMap with the cluster's certificate authority in every namespace.
const AUTHORITY: &str = "kube-root-ca.crt";

/// Why a container can't be started yet; tried again until it can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// Reason of the waiting state.
    pub reason: &'static str,
    /// For the user.
    pub message: String,
}

impl Problem {
    pub(super) fn config(message: impl Into<String>) -> Self {
        Self {
            reason: "CreateContainerConfigError",
            message: message.into(),
        }
    }

    pub(super) fn volume(message: impl Into<String>) -> Self {
        Self {
            reason: "ContainerCreating",
            message: message.into(),
        }
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        Self::config(error.to_string())
    }
}

/// Reads the objects of one namespace.
pub(super) struct Sources<'a> {
    pub cluster: &'a Cluster,
    pub namespace: &'a str,
    pub authority: &'a Path,
}

impl Sources<'_> {
    /// Keys and values of a ConfigMap; empty if it is optional and missing.
    pub(super) async fn config_map(&self, name: &str, optional: bool) -> Result<BTreeMap<String, Vec<u8>>, Problem> {
        let Some(found) = self.cluster.config_map(self.namespace, name).await? else {
            // In a new namespace the controller manager needs a moment to publish it; its content is known here.
            if name == AUTHORITY
                && let Ok(authority) = tokio::fs::read(self.authority).await
            {
                return Ok(BTreeMap::from([("ca.crt".to_owned(), authority)]));
            }
            return missing("configmap", name, optional);
        };
        let text = found
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key, value.into_bytes()));
        let binary = found
            .binary_data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key, value.0));
        Ok(text.chain(binary).collect())
    }

    /// Keys and values of a Secret; empty if it is optional and missing.
    pub(super) async fn secret(&self, name: &str, optional: bool) -> Result<BTreeMap<String, Vec<u8>>, Problem> {
        match self.cluster.secret(self.namespace, name).await? {
            Some(found) => Ok(found
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(key, value)| (key, value.0))
                .collect()),
            None => missing("secret", name, optional),
        }
    }
}

fn missing(kind: &str, name: &str, optional: bool) -> Result<BTreeMap<String, Vec<u8>>, Problem> {
    if optional {
        Ok(BTreeMap::new())
    } else {
        Err(Problem::config(format!("{kind} {name:?} not found")))
    }
}
