//! A light API server of one seed: serves what the operator reads of a seed, from memory, over TLS and in JSON.
//!
//! Not real: no etcd, no RBAC, no admission; lists are not pinned to a revision, any token is good, and a PATCH is answered
//! with the unchanged object (the operator's only write to seeds is a dry run). Real: HTTP, TLS, the size and the form of the
//! objects, pages, watches with history and 410.

mod server;
pub mod store;

pub use server::SeedApi;
pub use store::{CLUSTER, Template};
