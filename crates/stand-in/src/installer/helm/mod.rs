//! Helm as far as the installer uses it: releases in Secrets, install, upgrade, roll-back, uninstall.

mod client;
mod manifest;
mod release;

pub use client::{Helm, Installation};
pub use release::{Chart, Release, Status};
