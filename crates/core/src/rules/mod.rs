//! Rule engine: what must hold before, during and after a hop, as data. Pure.
//!
//! ```text
//!  catalogue/*.yaml ──► Catalogue ──► Evaluation ◄── items, page by page (facts.rs says which fields)
//!                                        │
//!                                        └──► Vec<Finding> ──► accept(risks, now)
//! ```
//!
//! A rule looks at one item and says: it fails, it holds, it does not concern this item, or it *cannot be decided*.
//! The last one counts as much as a failure: a field that was not read, an item that was not readable and a kind of
//! item that nobody looked at can never become a pass. Messages carry no Secrets because the schema has none.

mod accept;
mod catalogue;
mod evaluation;
mod expression;
mod facts;
mod finding;
mod functions;
mod markdown;
mod record;
mod release_file;
mod releases;
mod schema;
mod selftest;

pub use accept::{AcceptedRisk, RiskProblem, accept, risk_problems};
pub use catalogue::{Catalogue, CatalogueError, Problem, Rule};
pub use evaluation::{Evaluation, Input};
pub use facts::{
    ClusterFacts, DeploymentFacts, Facts, ItemFacts, PlatformFacts, PodFacts, ReleaseFacts, SeedFacts, SpecFacts,
    WebhookFacts, schema,
};
pub use finding::{Acceptance, Finding, Hop};
pub use functions::ConfiguredVersions;
pub use record::{Expectation, Severity, Stage};
pub use releases::{AutomaticUpdate, JobMode, Release, Releases, RouteError};
pub use schema::{FactValue, Field, FieldSpec, FieldType, Item, ItemKind};
pub use selftest::TestFailure;

#[cfg(test)]
mod tests;
