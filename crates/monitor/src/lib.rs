//! The monitor: folds the history of a platform's API and the installers' ledger, and names every promise of the operator
//! that was broken on the way.
//!
//! The fold is pure and knows the operator only by what it leaves behind: objects, users, field managers. It shares with
//! it the vocabulary of the API (status, phases, conditions) and nothing that decides. [`live`] and the program of this
//! crate read a cluster (get, list and watch, never a write).
//!
//! What each property checks, and from which source, is in `docs/reference/monitor.md`.

mod audit;
mod event;
mod expectations;
mod history;
mod ledger;
pub mod live;
mod monitor;
mod names;
mod property;
#[cfg(test)]
mod tests;
mod upgrade;
mod violation;
mod world;

pub use audit::{AuditError, parse_line};
pub use event::{Actor, Event, Identity, InstallerRecord, ObjectKey, Verb, What, Write};
pub use expectations::{Excuse, Expectations, Sources};
pub use history::{History, HistoryError};
pub use monitor::{Monitor, judge};
pub use violation::Violation;
pub use world::World;
