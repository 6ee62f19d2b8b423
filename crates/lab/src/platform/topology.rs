//! What a platform consists of, as data. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::field::slot;

/// Name of the control plane that is the master.
pub const MASTER: &str = "master";
/// The only Seed that the Community Edition reconciles.
pub const COMMUNITY_SEED: &str = "kubermatic";
/// A version of Kubernetes that both KKP 2.30.6 and 2.31.0 accept (KKP source, `pkg/defaulting`).
const KUBERNETES: &str = "1.34.10";

/// A KKP platform. The default is one control plane that is master and seed, with three user clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Topology {
    /// KKP's version, without `v`.
    pub version: String,
    /// Enterprise Edition.
    #[serde(default)]
    pub enterprise: bool,
    /// Neither API nor dashboard.
    #[serde(default = "yes")]
    pub headless: bool,
    /// `spec.seedController.maximumParallelReconciles`; unset = KKP's own value.
    #[serde(default)]
    pub maximum_parallel_reconciles: Option<u32>,
    /// More Helm values.
    #[serde(default)]
    pub helm_values: Value,
    /// The seeds.
    #[serde(default)]
    pub seeds: Vec<SeedSpec>,
}

/// One seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeedSpec {
    /// Name of the Seed, and of its control plane unless it shares the master's.
    pub name: String,
    /// The master's control plane is this seed's as well.
    #[serde(default)]
    pub shared: bool,
    /// How many user clusters.
    #[serde(default)]
    pub clusters: usize,
    /// Their versions of Kubernetes, by turns.
    #[serde(default)]
    pub kubernetes_versions: Vec<String>,
    /// Addons of each user cluster.
    #[serde(default)]
    pub addons: Vec<String>,
    /// Names of user clusters that are paused.
    #[serde(default)]
    pub paused: Vec<String>,
}

fn yes() -> bool {
    true
}

impl SeedSpec {
    /// Name of the control plane.
    #[must_use]
    pub fn plane(&self) -> &str {
        if self.shared { MASTER } else { &self.name }
    }

    /// Names of the user clusters: `<seed>-001` and so on.
    pub fn cluster_names(&self) -> impl Iterator<Item = String> + '_ {
        (1..=self.clusters).map(|number| format!("{}-{number:03}", self.name))
    }

    /// Version of Kubernetes of the n-th user cluster, counted from 0.
    #[must_use]
    pub fn kubernetes_version(&self, index: usize) -> &str {
        let count = self.kubernetes_versions.len().max(1);
        self.kubernetes_versions
            .get(index % count)
            .map_or(KUBERNETES, String::as_str)
    }
}

impl Topology {
    /// A platform of this version without seeds yet.
    #[must_use]
    pub fn master(version: &str) -> Self {
        Self {
            version: version.trim_start_matches('v').to_owned(),
            enterprise: false,
            headless: true,
            maximum_parallel_reconciles: None,
            helm_values: Value::Null,
            seeds: Vec::new(),
        }
    }

    /// The platform of most tests: one control plane, Seed `kubermatic`, three user clusters.
    #[must_use]
    pub fn small(version: &str) -> Self {
        Self::master(version).shared_seed(COMMUNITY_SEED, 3)
    }

    /// From YAML.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn from_yaml(text: &str) -> Result<Self, String> {
        let topology: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        topology.check()?;
        Ok(topology)
    }

    /// Adds a seed with a control plane of its own.
    #[must_use]
    pub fn seed(self, name: &str, clusters: usize) -> Self {
        self.with_seed(SeedSpec {
            name: name.to_owned(),
            clusters,
            ..SeedSpec::default()
        })
    }

    /// Adds a seed on the master's control plane.
    #[must_use]
    pub fn shared_seed(self, name: &str, clusters: usize) -> Self {
        self.with_seed(SeedSpec {
            name: name.to_owned(),
            clusters,
            shared: true,
            ..SeedSpec::default()
        })
    }

    /// Adds a seed with all its options.
    #[must_use]
    pub fn with_seed(mut self, seed: SeedSpec) -> Self {
        self.seeds.push(seed);
        self
    }

    /// Makes it an Enterprise Edition.
    #[must_use]
    pub fn enterprise(mut self) -> Self {
        self.enterprise = true;
        self
    }

    /// What can't work.
    ///
    /// # Errors
    /// The reason.
    pub fn check(&self) -> Result<(), String> {
        let lost = self
            .seeds
            .iter()
            .find(|seed| !self.enterprise && seed.name != COMMUNITY_SEED);
        if let Some(seed) = lost {
            return Err(format!(
                "the Community Edition reconciles only the Seed {COMMUNITY_SEED}: rename {} or take the Enterprise Edition",
                seed.name
            ));
        }
        if self.seeds.iter().filter(|seed| seed.shared).count() > 1 {
            return Err("only one seed can share the master's control plane".to_owned());
        }
        match self.seeds.iter().find(|seed| !seed.shared && seed.name == MASTER) {
            Some(_) => Err(format!("a seed with its own control plane can't be named {MASTER}")),
            None => Ok(()),
        }
    }

    /// The control planes, the master's first.
    #[must_use]
    pub fn planes(&self) -> Vec<String> {
        let own = self
            .seeds
            .iter()
            .filter(|seed| !seed.shared)
            .map(|seed| seed.name.clone());
        std::iter::once(MASTER.to_owned()).chain(own).collect()
    }

    /// Repository of the KKP image of the edition.
    #[must_use]
    pub fn repository(&self) -> &'static str {
        if self.enterprise {
            "quay.io/kubermatic/kubermatic-ee"
        } else {
            "quay.io/kubermatic/kubermatic"
        }
    }

    /// Reference of the KKP image of a version.
    #[must_use]
    pub fn image(&self, version: &str) -> String {
        format!("{}:v{}", self.repository(), version.trim_start_matches('v'))
    }

    /// The Helm values of the installation. The Enterprise Edition must name its repository: the chart does not.
    #[must_use]
    pub fn values(&self) -> Value {
        let mut values = json!({"kubermaticOperator": {"imagePullSecret": "{\"auths\":{}}"}});
        if self.enterprise {
            *slot(&mut values, &["kubermaticOperator", "image"]) = json!({"repository": self.repository()});
        }
        merge(&mut values, &self.helm_values);
        values
    }
}

fn merge(values: &mut Value, more: &Value) {
    match (values, more) {
        (Value::Object(values), Value::Object(more)) => {
            for (key, value) in more {
                merge(values.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (values, more) => *values = more.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builder_and_yaml_say_the_same() {
        let built = Topology::master("v2.30.6").enterprise().seed("eu", 40).seed("us", 12);
        let text = "{version: 2.30.6, enterprise: true, seeds: [{name: eu, clusters: 40}, {name: us, clusters: 12}]}";
        assert_eq!(Topology::from_yaml(text).unwrap(), built);
        assert_eq!(built.planes(), ["master", "eu", "us"]);
        assert_eq!(built.image("2.31.0"), "quay.io/kubermatic/kubermatic-ee:v2.31.0");
        let us = built.seeds.last().unwrap();
        assert_eq!(us.cluster_names().last().as_deref(), Some("us-012"));
    }

    #[test]
    fn the_small_platform_is_one_control_plane() {
        let small = Topology::small("2.30.6");
        assert_eq!(small.planes(), ["master"]);
        assert_eq!(small.seeds.first().map(SeedSpec::plane), Some("master"));
        assert!(small.check().is_ok());
    }

    #[test]
    fn what_kkp_would_ignore_is_refused() {
        assert!(
            Topology::master("2.30.6")
                .seed("eu", 1)
                .check()
                .unwrap_err()
                .contains("Community")
        );
        let twice = Topology::master("2.30.6")
            .enterprise()
            .shared_seed("a", 1)
            .shared_seed("b", 1);
        assert!(twice.check().is_err());
        assert!(Topology::from_yaml("{version: 2.30.6, sedes: []}").is_err());
    }

    #[test]
    fn the_enterprise_edition_names_its_repository_and_own_values_win() {
        let mut topology = Topology::master("2.30.6").enterprise();
        topology.helm_values = json!({"kubermaticOperator": {"image": {"tag": "v1"}}});
        let image = &topology.values()["kubermaticOperator"]["image"];
        assert_eq!(image["repository"], "quay.io/kubermatic/kubermatic-ee");
        assert_eq!(image["tag"], "v1");
    }
}
