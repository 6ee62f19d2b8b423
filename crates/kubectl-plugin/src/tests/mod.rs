//! Tests of whole commands: what is printed, how they end, and what an API server sees of them.

mod backups;
mod downloading;
mod fake_api;
mod linting;
mod planning;
mod platform;
mod showing_rules;
mod verifying;

use std::ffi::OsString;
use std::time::Duration;

use clap::Parser as _;
use kube::Client;

use crate::arguments::{Arguments, BackupCommand, Command};
use crate::backup::{Place, carry_out, check_all, download_all};
use crate::console::{Capture, Console};
use crate::exit::Exit;

/// What a command left.
pub(super) struct Outcome {
    pub(super) exit: Exit,
    pub(super) output: String,
    pub(super) errors: String,
}

impl Outcome {
    /// Both streams and the exit code, as a person would note them.
    pub(super) fn transcript(&self) -> String {
        let errors = if self.errors.is_empty() {
            String::new()
        } else {
            format!("--- standard error\n{}", self.errors)
        };
        format!("{}{errors}--- exit {}\n", self.output, self.exit.code())
    }

    fn of(exit: Exit, output: &Capture, errors: &Capture) -> Self {
        Self {
            exit,
            output: output.take(),
            errors: errors.take(),
        }
    }
}

/// Runs a command line with a text on standard input.
pub(super) async fn command(arguments: &[&str], input: &str) -> Outcome {
    let (mut console, output, errors) = Console::capturing(input, 120);
    let program = std::iter::once("kubectl-kkp_upgrade");
    let arguments: Vec<OsString> = program.chain(arguments.iter().copied()).map(OsString::from).collect();
    let exit = Box::pin(crate::execute(arguments, &mut console)).await;
    Outcome::of(exit, &output, &errors)
}

/// Runs a command of `backup` that makes Jobs, on any cluster; the answer is what a person types.
pub(super) async fn backup(client: Client, line: &[&str], answer: &str) -> Outcome {
    let line = ["kubectl-kkp_upgrade", "backup"].iter().chain(line);
    let Command::Backup(command) = Arguments::try_parse_from(line).unwrap().command else {
        panic!("not `backup`")
    };
    let (mut console, output, errors) = Console::capturing(answer, 300);
    let place = Place {
        client,
        namespace: "kubermatic".to_owned(),
        pause: Duration::from_millis(1),
    };
    let outcome = match &command {
        BackupCommand::Restore(arguments) => carry_out(&place, arguments, &mut console).await,
        BackupCommand::Verify(arguments) => check_all(&place, arguments, &mut console).await,
        BackupCommand::Download(arguments) => download_all(&place, arguments, &mut console).await,
        other => panic!("{other:?} makes no Job"),
    };
    let exit = outcome.unwrap_or_else(|failure| {
        failure.tell(&mut console, false);
        failure.exit
    });
    Outcome::of(exit, &output, &errors)
}

#[tokio::test]
async fn help_version_and_usage_errors_go_where_they_belong() {
    let help = command(&["-h"], "").await;
    assert_eq!((help.exit, help.errors.as_str()), (Exit::Done, ""));
    assert!(help.output.contains("kubectl kkp-upgrade"), "{}", help.output);
    let version = command(&["--version"], "").await;
    assert!(version.output.contains(env!("CARGO_PKG_VERSION")), "{}", version.output);
    for wrong in [&["plan"][..], &["plant"], &["lint"], &["rules", "-o", "xml"]] {
        let outcome = command(wrong, "").await;
        assert_eq!((outcome.exit, outcome.output.as_str()), (Exit::Usage, ""), "{wrong:?}");
        assert!(outcome.errors.starts_with("error: "), "{}", outcome.errors);
    }
}

#[tokio::test]
async fn a_kubeconfig_that_is_none_is_told_without_its_text() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "users: [{name: a, user: {token: [geheim}}]").unwrap();
    let path = file.path().to_str().unwrap();
    let outcome = command(&["plan", "a", "--kubeconfig", path, "-o", "json"], "").await;
    assert_eq!((outcome.exit, outcome.output.as_str()), (Exit::Unexpected, ""));
    assert!(!outcome.errors.contains("geheim"), "{}", outcome.errors);
    let error: serde_json::Value = serde_json::from_str(&outcome.errors).unwrap();
    assert_eq!(error["error"]["exitCode"], 1);
}
