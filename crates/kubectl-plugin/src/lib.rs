//! `kubectl kkp-upgrade`: what an upgrade would do, what is checked, and whether a `KKPUpgrade` is right, before anything is
//! applied.
//!
//! Talks to the API servers of a platform with the rights of whoever calls it, by GET alone: its clients refuse everything
//! else, but for `backup verify`, `backup download` and `backup restore`, whose clients create Jobs. The plan is made by the operator's own code. Must never print a byte of
//! a Secret.

pub mod arguments;
mod backup;
mod cluster;
pub mod console;
pub mod exit;
mod failure;
mod lint;
mod permission;
mod plan;
mod rules;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, BackupCommand, Command};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;

/// Worker threads: the work is waiting for API servers.
const WORKERS: usize = 2;

/// Runs what the command line says, on this process's streams.
#[must_use]
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let mut console = Console::of_this_process();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build();
    let exit = match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(Box::pin(execute(arguments, &mut console)));
            // Whoever interrupts does not wait for answers.
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            Failure::new(
                Exit::Unexpected,
                format!("the program cannot start its threads: {error}"),
            )
            .tell(&mut console, false);
            Exit::Unexpected
        }
    };
    exit.into()
}

/// Runs what the command line says. Only `backup verify`, `backup download` and `backup restore` write anything but to the console.
pub async fn execute(arguments: Vec<OsString>, console: &mut Console) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are errors to clap, with code 0.
            let good = error.exit_code() == 0;
            console.raw(&error.render().to_string(), good);
            return if good { Exit::Done } else { Exit::Usage };
        }
    };
    console.colour(arguments.color);
    // One TLS provider in the whole process; a second installation is refused and harmless.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let json = arguments.command.wants_json();
    let result = tokio::select! {
        result = Box::pin(command(&arguments.command, console)) => result,
        _ = tokio::signal::ctrl_c() => Err(interrupted(&arguments.command)),
    };
    result.unwrap_or_else(|failure| {
        failure.tell(console, json);
        failure.exit
    })
}

fn interrupted(command: &Command) -> Failure {
    match command {
        Command::Backup(BackupCommand::Restore(_)) => Failure::new(
            Exit::Interrupted,
            "interrupted; a Job that was started goes on, and only one with --confirm changes anything",
        )
        .hint("see it with: kubectl get jobs -A -l app.kubernetes.io/name=kkp-upgrade-restore"),
        Command::Backup(BackupCommand::Verify(_)) => Failure::new(
            Exit::Interrupted,
            "interrupted; a Job that was started goes on, and changes nothing",
        )
        .hint("see it with: kubectl get jobs -A -l app.kubernetes.io/name=kkp-upgrade-check"),
        Command::Backup(BackupCommand::Download(_)) => Failure::new(
            Exit::Interrupted,
            "interrupted; what was not whole is not there, and a Job that was started goes away by itself",
        ),
        _ => Failure::new(Exit::Interrupted, "interrupted; nothing was changed"),
    }
}

async fn command(command: &Command, console: &mut Console) -> Result<Exit, Failure> {
    match command {
        Command::Plan(arguments) => plan::run(arguments, console).await,
        Command::Rules(arguments) => rules::run(arguments, console),
        Command::Lint(arguments) => lint::run(arguments, console),
        Command::Backup(command) => backup::run(command, console).await,
    }
}
