//! The plugin's program: kubectl finds it by its name.

use std::process::ExitCode;

fn main() -> ExitCode {
    kkp_upgrade_kubectl_plugin::run(std::env::args_os().collect())
}
