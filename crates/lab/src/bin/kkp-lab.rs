//! The lab by hand, and the program that the lab's own tests execute as a lab.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = kkp_lab::stage_main(&arguments) {
        return code;
    }
    kkp_lab::cli::run(&arguments).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr().lock(), "kkp-lab: {error:#}");
        ExitCode::FAILURE
    })
}
