//! Rule engine: what must hold before, during and after a hop, as data. Pure.
//!
//! ```text
//!  catalogue/*.yaml ──► Catalogue ──► Evaluation ◄── objects, page by page (vocabulary.rs says which fields)
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
mod fix;
mod functions;
mod judgement;
mod kind;
mod kubernetes;
mod markdown;
mod object;
mod overlay;
mod path;
mod problem;
mod record;
mod records;
mod release_file;
mod releases;
mod rule;
mod schema;
mod selftest;
mod tally;
mod vocabulary;

pub use accept::{AcceptedRisk, RiskProblem, accept, risk_problems};
pub use catalogue::Catalogue;
pub use evaluation::{Evaluation, Input};
pub use facts::{
    AccountFacts, ClusterFacts, DeploymentFacts, Facts, ItemFacts, ObjectFacts, PlatformFacts, PodFacts, ReleaseFacts,
    RingFacts, SeedFacts, SpecFacts, TlsSecretFacts, UserClusterFacts, WebhookFacts,
};
pub use finding::{Acceptance, Finding, Hop};
pub use fix::{Fix, FixProblem, fix_problems, request_fixes};
pub use functions::ConfiguredVersions;
pub use kind::{ItemKind, MASTER, Places};
pub use object::Object;
pub use path::{Documents, Path, Take};
pub use problem::{CatalogueError, Problem};
pub use record::{Expectation, Severity, Stage};
pub use releases::{AutomaticUpdate, JobMode, Release, Releases, RouteError};
pub use rule::Rule;
pub use schema::{FactValue, Field, FieldSpec, FieldType, Item};
pub use selftest::TestFailure;
pub use tally::Tally;
pub use vocabulary::{PathField, Vocabulary};

#[cfg(test)]
mod tests;
