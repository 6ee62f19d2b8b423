//! Pure core of the KKPUpgrade operator.
//!
//! ```text
//!   shell: observe ──► Facts ─┐
//!   spec ──► Request ─────────┼──► decide() ──► Decision { status, effect?, events, requeue }
//!   status (the cursor) ──────┘                     │
//!   shell: fenced status write ◄────────────────────┘ ──► at most one effect ──► observed in the next round
//! ```
//!
//! Nothing in here reads a clock, the environment or the network: time is a fact ([`facts::Facts::now`]), and what
//! could not be read is [`facts::Known::Unknown`], which never counts as success.

pub mod conditions;
pub mod decide;
pub mod effect;
pub mod etcd;
pub mod facts;
pub mod fix;
pub mod phase;
pub mod plan;
pub mod plan_document;
mod plan_markdown;
pub mod reason;
pub mod request;
pub mod retention;
pub mod rules;
pub mod status;
pub mod time;
pub mod timing;
pub mod version;
