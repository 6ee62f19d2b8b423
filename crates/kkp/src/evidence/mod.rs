//! Placeholder while the rest is checked.
