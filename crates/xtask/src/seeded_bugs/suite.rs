//! Runs parts of the test suite with cargo, in the copy of the code. Talks to no cluster itself.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;

use super::bug::Suite;
use super::tree::Tree;

/// Longest that compiling may take, with everything else that goes on on the machine.
const COMPILING: Duration = Duration::from_mins(30);
/// Longest that tests may take: what has not ended then never will.
const TESTING: Duration = Duration::from_mins(15);
/// How many lines of the compiler are shown.
const ERRORS: usize = 4;

/// How tests ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// So many passed, and none failed.
    Passed(usize),
    /// These failed.
    Failed(Vec<String>),
    /// They did not end.
    Hung,
    /// The words of the filter name no test.
    NoTests,
}

/// Compiles the tests; what the compiler says where it cannot.
///
/// # Errors
/// When cargo cannot be started.
pub(super) async fn compile(tree: &Tree, suite: &Suite) -> anyhow::Result<Result<(), String>> {
    let output = cargo(tree, suite, &["--no-run"], &[], COMPILING).await?;
    Ok(match output {
        Some(output) if output.success => Ok(()),
        Some(output) => Err(errors(&output.stderr)),
        None => Err(format!("not compiled after {} min", COMPILING.as_secs() / 60)),
    })
}

/// Runs the tests, which are compiled already.
///
/// # Errors
/// When cargo cannot be started, or fails before any test.
pub(super) async fn run(tree: &Tree, suite: &Suite) -> anyhow::Result<Ended> {
    let words: Vec<&str> = suite.filter.split_whitespace().collect();
    let Some(output) = cargo(tree, suite, &["--no-fail-fast"], &words, TESTING).await? else {
        return Ok(Ended::Hung);
    };
    let (passed, failed) = results(&output.stdout);
    Ok(if !failed.is_empty() {
        Ended::Failed(failed)
    } else if !output.success {
        // The test program itself died: a stack overflow or an abort.
        Ended::Failed(vec!["the test program ended early".to_owned()])
    } else if passed == 0 {
        Ended::NoTests
    } else {
        Ended::Passed(passed)
    })
}

struct Output {
    success: bool,
    stdout: String,
    stderr: String,
}

/// `None` = not ended in time.
async fn cargo(
    tree: &Tree,
    suite: &Suite,
    options: &[&str],
    words: &[&str],
    longest: Duration,
) -> anyhow::Result<Option<Output>> {
    let mut command = Command::new("cargo");
    command.args(["test", "--locked", "--color=never", "--package", &suite.package]);
    if suite.target == "lib" {
        command.arg("--lib");
    } else {
        command.args(["--test", &suite.target]);
    }
    command.arg("--target-dir").arg(tree.build()).args(options);
    command.arg("--").args(words);
    let output = tokio::time::timeout(longest, ended(command, tree.code())).await;
    output.ok().transpose()
}

async fn ended(mut command: Command, folder: &Path) -> anyhow::Result<Output> {
    command
        // Nobody looks into these programs with a debugger, and without it they link faster.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = command
        .spawn()
        .with_context(|| format!("cannot run {:?}", command.as_std()))?;
    let mut group = Group(child.id());
    let output = child.wait_with_output().await?;
    group.0 = None;
    Ok(Output {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Cargo and everything that it has started: ends with us, also when nobody waits for it any more.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            // One that has ended meanwhile is what is wanted.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// How many tests passed, and which failed.
fn results(stdout: &str) -> (usize, Vec<String>) {
    let (mut passed, mut failed) = (0, Vec::new());
    for line in stdout.lines() {
        let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) else {
            continue;
        };
        match result {
            "ok" => passed += 1,
            _ if result.starts_with("FAILED") => failed.push(name.to_owned()),
            _ => {}
        }
    }
    (passed, failed)
}

/// The first errors of the compiler, each with its place.
fn errors(stderr: &str) -> String {
    let lines = stderr.lines().map(str::trim);
    let telling = lines.filter(|line| line.starts_with("error") || line.starts_with("--> "));
    telling.take(ERRORS).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_from_what_libtest_prints() {
        let said = "running 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\ntest a::d ... ignored\n\nfailures:\n";
        assert_eq!(results(said), (1, vec!["a::c".to_owned()]));
        assert_eq!(results("running 0 tests\n"), (0, vec![]));
    }

    #[test]
    fn the_compilers_errors_are_short() {
        let said = "warning: x\nerror[E0308]: mismatched types\n   --> crates/a.rs:1:2\n    |\nerror: aborting\n";
        assert_eq!(
            errors(said),
            "error[E0308]: mismatched types; --> crates/a.rs:1:2; error: aborting"
        );
    }
}
