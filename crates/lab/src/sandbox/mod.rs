//! Runs one container process in its own mount and PID namespace, by re-executing the program.

use std::ffi::OsString;
use std::process::ExitCode;

/// Entry point of every re-executed `sandbox-stage…`; `args` starts with the name of the stage.
#[must_use]
pub fn stage1(_args: &[OsString]) -> ExitCode {
    ExitCode::FAILURE
}
