//! The operator's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    kkp_upgrade_operator::operator::run(std::env::args_os().collect())
}
