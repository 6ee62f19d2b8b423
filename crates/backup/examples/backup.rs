//! The backup as a program of its own, to try it against any cluster:
//! `cargo run -p kkp-upgrade-backup --example backup -- --kubeconfig FILE --target master --name try --destination DIR --result-file result.json`

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use kkp_upgrade_backup::{BackupArguments, run};

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    arguments: BackupArguments,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = run(
        Program::parse().arguments,
        &kkp_upgrade_connection::Connector::default(),
    )
    .await;
    let (line, code) = match outcome {
        Ok(result) => (format!("verified: {result:?}"), ExitCode::SUCCESS),
        Err(error) => (format!("error: {error}"), ExitCode::FAILURE),
    };
    if writeln!(std::io::stdout().lock(), "{line}").is_err() {
        return ExitCode::FAILURE;
    }
    code
}
