//! How large a model is: how many of everything, and how often what may happen.

use crate::people::Edit;
use crate::state::Spent;

/// Bounds of one model.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) name: &'static str,
    pub(crate) upgrades: usize,
    pub(crate) operators: usize,
    /// Seeds of their own, besides the master's.
    pub(crate) seeds: usize,
    /// Limit that the spec asks for.
    pub(crate) limit: Option<i32>,
    /// Limit that stands on the platform.
    pub(crate) original: Option<i64>,
    /// Whether the limit is one that an upgrade left which is gone.
    pub(crate) inherited: bool,
    /// Most of everything that may happen.
    pub(crate) most: Spent,
    /// So many states at most, those that are nearest to the beginning; `None` = all that there are.
    pub(crate) nearest: Option<usize>,
    /// What people do.
    pub(crate) edits: &'static [Edit],
}
