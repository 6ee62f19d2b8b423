//! `spec.checks`: what is looked at before the upgrade beyond what always is. Pure data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is checked beyond what is always checked. May change at any time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Checks {
    /// Which user clusters are looked into before the upgrade, with the kubeconfig that KKP keeps for each, reading only: their
    /// nodes, Pods, webhooks and aggregated APIs, and the Pods of their control planes. `None` looks into none, `Sample` into ten
    /// of each seed, always the same, `All` into up to 500 of each seed.
    pub inside_user_clusters: InsideUserClusters,
    /// Whether the room on each seed is computed before the upgrade. `Requests` adds up what all Pods of the seed ask for and what
    /// its nodes have, which reads every Pod; `None` does not.
    pub seed_capacity: SeedCapacity,
}

/// Whether the room on each seed is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SeedCapacity {
    /// It is not.
    #[default]
    None,
    /// From the requests of Pods and what nodes have.
    Requests,
}

/// Which user clusters are looked into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InsideUserClusters {
    /// None.
    #[default]
    None,
    /// Ten of each seed, always the same.
    Sample,
    /// Up to 500 of each seed.
    All,
}
