//! Two and three operators at once: handovers of every kind, in the middle of every write, and what must be true of them.
//!
//! The whole of it takes minutes and is a program (`kkp-upgrade-testbed handovers`); `tests/leaders.rs` runs parts of it.

pub mod gate;
pub mod judge;
pub mod outcome;
pub mod program;
pub mod replicas;
pub mod series;
pub mod stops;
