//! Puts a backup back: plan, dry run, then create or update by comparison, in the order in which objects need each other.
//!
//! Talks to the cluster and, reading only, to the store. Must never delete an object, never recreate one, never write without a
//! confirmed plan, and never let the content of an object into a message, a log or the report. How to use it: `docs/how-to/restore.md`.
//!
//! ```text
//! CheckedArchive::check → Session::plan → (confirmed) → Session::execute     (all of it: restore)
//! ```

mod archive;
mod around;
mod error;
mod execute;
mod judge;
mod object;
mod plan;
mod report;
mod run;
mod stage;
mod target;

#[cfg(test)]
mod tests;

pub use error::RestoreError;
pub use report::{Counts, Finding, Listed, RestoreReport, Verdict};
pub use run::{RestoreArguments, restore};
pub use target::WriteLimits;
