//! Helm as far as the installer uses it: releases in Secrets, install, upgrade, roll-back, uninstall.

mod client;
mod manifest;
mod release;

pub use client::{Helm, Installation, Middle};
pub use release::{Chart, Release, SECRET_TYPE, Status};
