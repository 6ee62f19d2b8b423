//! Tests of the whole crate against an API server in memory and real folders.

mod altered;
mod fake_api;
mod reading;
mod running;
mod volumes;
