//! The test bed: real control planes, a pod runner, platforms to upgrade. Knows nothing of the operator.
//!
//! A lab and its containers are the running program executed again, so the `main` of every program that uses this
//! crate calls [`stage_main`] before anything else.

use std::ffi::OsString;
use std::process::ExitCode;

pub mod cli;
pub mod control_plane;
pub mod image_folder;
mod image_view;
mod lab;
pub mod platform;
pub mod pod_runner;
pub mod relay;
pub mod sandbox;

pub use self::lab::{ClusterHandle, ClusterSpec, Lab, LabError, LabSummary, Topology};

/// Runs one of the lab's own processes if `arguments` (without the program name) ask for one, otherwise gives `None`.
///
/// Must be called before the program starts a thread or a runtime.
#[must_use]
pub fn stage_main(arguments: &[OsString]) -> Option<ExitCode> {
    let stage = arguments.first()?.to_str()?;
    if stage.starts_with("sandbox-stage") {
        return Some(sandbox::stage1(arguments));
    }
    lab::stages::stage_main(arguments)
}
