//! Model check of the pure core: every reachable state of a small world around the *real* `needs` and `decide`.
//!
//! ```text
//!   state ── operator looks ──► needs + decide (the shipped functions) ──► in flight
//!     ▲         status write commits, or was overtaken ──► intent ──► effect, or crash
//!     └──────── installer, Jobs, roll-outs, people, time ◄───────────────┘
//! ```
//!
//! Holds tests only and talks to nothing. What is modelled, the bounds and what is left out: `docs/verification.md`.
//! Must never contain a copy of a decision: only the world around it, and what must be true of it.

#[cfg(test)]
mod actions;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod continuation;
#[cfg(test)]
mod effects;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod facts;
#[cfg(test)]
mod mind;
#[cfg(test)]
mod people;
#[cfg(test)]
mod platform;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod state;
