//! The object as it is watched: metadata typed, spec and status as they came. Talks to no cluster.
//!
//! A list that holds one object which does not deserialize fails as a whole, and with it the watch of every other
//! object. So the watch reads this type, which takes anything, and each object is parsed by itself.

use kkp_upgrade_core::status::Status;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::spec::{KKPUpgrade, KKPUpgradeSpec};

/// A `KKPUpgrade` whose spec and status may be anything.
#[derive(Resource, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[resource(inherit = "KKPUpgrade")]
pub struct KKPUpgradeObject {
    /// Standard metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// The spec as it came.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub spec: Value,
    /// The status as it came.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub status: Value,
}

/// An object that this program cannot read, normally because the CRD in the cluster is of another release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The spec cannot be read: a person has to change it.
    #[error("spec of KKPUpgrade {name}: {problem}; apply the CRD of this operator's release and correct the spec")]
    Spec {
        /// Namespace and name of the object.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The status cannot be read: it must not be written over, because it may record what has to be put back.
    #[error("status of KKPUpgrade {name}: {problem}; run the operator release that wrote it, or a newer one")]
    Status {
        /// Namespace and name of the object.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

impl KKPUpgradeObject {
    /// The object with spec and status read.
    ///
    /// # Errors
    ///
    /// [`ParseError::Status`] or [`ParseError::Spec`], in this order: what a run remembers counts for more.
    pub fn parse(&self) -> Result<KKPUpgrade, ParseError> {
        let status = self.parse_status()?;
        let spec = self.parse_spec()?;
        Ok(KKPUpgrade {
            metadata: self.metadata.clone(),
            spec,
            status,
        })
    }

    /// The spec.
    ///
    /// # Errors
    ///
    /// [`ParseError::Spec`] with the first thing that does not fit.
    pub fn parse_spec(&self) -> Result<KKPUpgradeSpec, ParseError> {
        read(&self.spec).map_err(|problem| ParseError::Spec {
            name: self.full_name(),
            problem,
        })
    }

    /// The status; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`ParseError::Status`].
    pub fn parse_status(&self) -> Result<Option<Status>, ParseError> {
        read(&self.status).map_err(|problem| ParseError::Status {
            name: self.full_name(),
            problem,
        })
    }

    /// Namespace and name.
    fn full_name(&self) -> String {
        let [namespace, name] =
            [&self.metadata.namespace, &self.metadata.name].map(|part| part.as_deref().unwrap_or_default());
        format!("{namespace}/{name}")
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_object_that_cannot_be_read_does_not_fail_the_list_of_the_others() {
        let list: kube::core::ObjectList<KKPUpgradeObject> = serde_json::from_value(json!({
            "apiVersion": "upgrade.k8c.io/v1alpha1", "kind": "KKPUpgradeList", "metadata": {"resourceVersion": "7"},
            "items": [
                {"metadata": {"name": "bad", "namespace": "kubermatic"}, "spec": {"targetVersion": 2.31}},
                {"metadata": {"name": "none"}},
                {"metadata": {"name": "foreign"}, "spec": {"targetVersion": "2.31.0"}, "status": {"hop": 7}},
                {"metadata": {"name": "good"}, "spec": {"targetVersion": "2.31.0"}, "status": {"observedGeneration": -1}},
            ],
        }))
        .unwrap();
        let said: Vec<String> = list
            .items
            .iter()
            .map(|object| {
                object
                    .parse()
                    .map_or_else(|error| error.to_string(), |good| good.spec.target_version)
            })
            .collect();
        assert!(
            said[0].starts_with("spec of KKPUpgrade kubermatic/bad: invalid type: floating point"),
            "{}",
            said[0]
        );
        assert!(said[1].starts_with("spec of KKPUpgrade /none: "), "{}", said[1]);
        assert!(
            said[2].starts_with("status of KKPUpgrade /foreign: invalid type: integer `7`"),
            "{}",
            said[2]
        );
        assert_eq!(said[3], "2.31.0");
    }

    #[test]
    fn it_is_watched_under_the_name_of_the_resource() {
        assert_eq!(KKPUpgradeObject::plural(&()), "kkpupgrades");
        assert_eq!(KKPUpgradeObject::api_version(&()), "upgrade.k8c.io/v1alpha1");
        assert_eq!(KKPUpgradeObject::kind(&()), crate::KIND);
    }
}
