//! What a lab consists of, as data. Pure.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One control plane of a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// Name of the cluster; a DNS label, because its Node is named after it.
    pub name: String,
}

impl ClusterSpec {
    /// A cluster of that name.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

/// What to start. The default is one control plane called `master`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    /// The control planes.
    pub clusters: Vec<ClusterSpec>,
    /// The image folder; without one the lab has an empty one of its own.
    pub images: Option<PathBuf>,
    /// A snapshot that [`super::Lab::snapshot`] made; every cluster that is in it starts from there.
    pub data_from: Option<PathBuf>,
    /// Whether the API servers write audit logs.
    pub audit: bool,
    /// Whether Pods are run.
    pub pod_runner: bool,
    /// The program that is executed again as the lab; its `main` must call [`crate::stage_main`] first. Without it the
    /// running program is taken, which is wrong for test programs of cargo.
    pub program: Option<PathBuf>,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            clusters: vec![ClusterSpec::named("master")],
            images: None,
            data_from: None,
            audit: false,
            pod_runner: true,
            program: None,
        }
    }
}

impl Topology {
    /// Control planes of these names.
    #[must_use]
    pub fn of(names: &[&str]) -> Self {
        Self {
            clusters: names.iter().map(|name| ClusterSpec::named(*name)).collect(),
            ..Self::default()
        }
    }

    /// Names that cannot be used as folder and Node names, or that come twice.
    pub(super) fn bad_name(&self) -> Option<&str> {
        let label = |name: &str| {
            !name.is_empty()
                && name.len() <= 40
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                && !name.starts_with('-')
                && !name.ends_with('-')
        };
        let mut seen = std::collections::BTreeSet::new();
        self.clusters
            .iter()
            .map(|cluster| cluster.name.as_str())
            .find(|name| !label(name) || !seen.insert(*name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_must_be_labels_and_unique() {
        assert_eq!(Topology::of(&["master", "eu-1"]).bad_name(), None);
        assert_eq!(Topology::of(&["master", "../x"]).bad_name(), Some("../x"));
        assert_eq!(Topology::of(&["master", "master"]).bad_name(), Some("master"));
        assert_eq!(Topology::of(&[""]).bad_name(), Some(""));
    }
}
