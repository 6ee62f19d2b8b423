//! The operator's shell: observe → decide (in the core) → record the intent → execute → observe again.

pub mod arguments;
pub mod call;
pub mod catalogue;
mod certificate;
mod cluster_views;
pub mod context;
pub mod deadline;
pub mod execute;
pub mod http;
pub mod kubeconfig;
pub mod leader;
pub mod metrics;
pub mod observe;
pub mod operator;
pub mod outside;
pub mod permissions;
pub mod prepare;
pub mod reconcile;
pub mod record;
pub mod refusals;
pub mod retention;
pub mod seeds;
pub mod telemetry;
pub mod watches;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What several tasks share: one that panicked while it held it has left it whole, every change being a single step.
pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
