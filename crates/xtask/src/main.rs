//! Generates what is generated and checks that the committed files are equal.
//!
//! Talks to no cluster. `check` must never write.

mod api_reference;
mod definition;
mod fuzz;
mod outputs;
mod permissions;
mod plugin;
mod reasons;
mod rules;
#[cfg(test)]
mod samples;
mod seeded_bugs;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::outputs::Output;

#[derive(Parser)]
#[command(
    about = "Generates what is generated (CRD, RBAC, reference pages) and checks that the committed files are equal"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes every generated file.
    Generate,
    /// Ends with 1 when a committed file differs from what would be generated.
    Check,
    /// Runs the fuzz targets under AFL++, guided by coverage.
    Fuzz(fuzz::Arguments),
    /// Looks at the catalogue of rules: are its tests sharp, is everything covered.
    Rules {
        #[command(subcommand)]
        command: rules::RulesCommand,
    },
    /// Plants known mistakes into a copy of the code and sees whether the tests notice.
    SeededBugs(seeded_bugs::Arguments),
}

fn main() -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let outputs = outputs::all()?;
    let mut stdout = std::io::stdout().lock();
    match Arguments::parse().command {
        Command::Generate => generate(&root, &outputs, &mut stdout),
        Command::Check => check(&root, &outputs, &mut stdout),
        Command::Fuzz(arguments) => fuzz::run(&root, &arguments, &mut stdout),
        Command::Rules { command } => rules::run(&command, &mut stdout),
        Command::SeededBugs(arguments) => seeded_bugs::run(&root, &arguments, &mut stdout),
    }
}

fn generate(root: &Path, outputs: &[Output], report: &mut dyn Write) -> anyhow::Result<ExitCode> {
    for Output { path, content } in outputs {
        let file = root.join(path);
        if std::fs::read_to_string(&file).is_ok_and(|old| old == *content) {
            continue;
        }
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder of {path}"))?;
        }
        std::fs::write(&file, content).with_context(|| format!("cannot write {path}"))?;
        writeln!(report, "written: {path}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check(root: &Path, outputs: &[Output], report: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for Output { path, content } in outputs {
        let committed = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        if let Some(difference) = first_difference(&committed, content) {
            writeln!(report, "{path} {difference}")?;
            code = ExitCode::FAILURE;
        }
    }
    if code == ExitCode::FAILURE {
        writeln!(report, "run `cargo xtask generate` and commit the result")?;
    }
    Ok(code)
}

/// Where two texts begin to differ, and how many lines each has; `None` when they are equal.
fn first_difference(committed: &str, generated: &str) -> Option<String> {
    if committed == generated {
        return None;
    }
    let (mut old, mut new) = (committed.split('\n'), generated.split('\n'));
    let mut number = 1;
    loop {
        match (old.next(), new.next()) {
            (Some(old), Some(new)) if old == new => number += 1,
            (old, new) => {
                let [old, new] = [old, new].map(|line| line.unwrap_or("(end)"));
                let lines = [committed, generated].map(|text| text.lines().count());
                let [old_lines, new_lines] = lines;
                return Some(format!(
                    "differs from line {number} on ({old_lines} lines committed, {new_lines} generated)\n  - {old}\n  + {new}"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_with_its_line() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        let shown = first_difference("a\nb\nc\n", "a\nx\nc\n").unwrap();
        assert!(
            shown.starts_with("differs from line 2 on") && shown.ends_with("  - b\n  + x"),
            "{shown}"
        );
        assert!(first_difference("", "a\n").unwrap().ends_with("  - \n  + a"));
        assert!(first_difference("a\n", "a\nb").is_some());
    }

    #[test]
    fn check_sees_a_file_that_differs_and_one_that_is_missing() {
        let root = std::env::temp_dir().join(format!("xtask-check-{}", std::process::id()));
        let outputs = [Output {
            path: "a/b.md",
            content: "text\n".to_owned(),
        }];
        let mut report = Vec::new();
        assert_eq!(check(&root, &outputs, &mut report).unwrap(), ExitCode::FAILURE);
        generate(&root, &outputs, &mut report).unwrap();
        assert_eq!(check(&root, &outputs, &mut report).unwrap(), ExitCode::SUCCESS);
        std::fs::write(root.join("a/b.md"), "other\n").unwrap();
        report.clear();
        assert_eq!(check(&root, &outputs, &mut report).unwrap(), ExitCode::FAILURE);
        let said = String::from_utf8(report).unwrap();
        assert!(
            said.starts_with("a/b.md differs from line 1 on") && said.contains("cargo xtask generate"),
            "{said}"
        );
        std::fs::remove_dir_all(root).unwrap();
    }
}
