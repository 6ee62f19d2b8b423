//! The operator's program.

use std::process::ExitCode;

use kkp_upgrade_connection::Connector;

fn main() -> ExitCode {
    kkp_upgrade_operator::operator::run(std::env::args_os().collect(), Connector::default())
}
