//! The page of the kubectl plugin: commands, flags and exit codes, from what is compiled. Talks to no cluster.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};
use kkp_upgrade_kubectl_plugin::arguments::Arguments;
use kkp_upgrade_kubectl_plugin::exit::Exit;
use strum::VariantArray as _;

use crate::outputs::PAGE_HEADER;

/// The page.
pub(crate) fn page() -> String {
    let mut command = Arguments::command();
    command.build();
    let mut text = format!("{PAGE_HEADER}# `kubectl kkp-upgrade`\n\n{}\n", about(&command));
    text.push_str(
        "\nPut the program `kubectl-kkp_upgrade` on the `PATH`, and kubectl has the command. Answers go to standard output, \
         everything else to standard error; with `-o json`, errors are JSON too. How it is used: \
         [plan before](../how-to/plan-before.md), [restore](../how-to/restore.md).\n",
    );
    for one in command.get_subcommands().filter(|one| one.get_name() != "help") {
        subcommand(&mut text, "kubectl kkp-upgrade", one);
    }
    text.push_str("\n## Exit codes\n\nA code is never used for anything else.\n\n| Code | Meaning |\n|---|---|\n");
    for exit in Exit::VARIANTS {
        let _ = writeln!(text, "| {} | {} |", exit.code(), exit.meaning());
    }
    text
}

/// Writing to a String cannot fail.
fn subcommand(text: &mut String, above: &str, command: &Command) {
    let name = format!("{above} {}", command.get_name());
    if command.has_subcommands() {
        for one in command.get_subcommands().filter(|one| one.get_name() != "help") {
            subcommand(text, &name, one);
        }
        return;
    }
    let _ = write!(
        text,
        "\n## `{name}`\n\n{}.\n\n| Argument | Default | Meaning |\n|---|---|---|\n",
        about(command)
    );
    for argument in command.get_arguments().filter(|one| one.get_id() != "help") {
        row(text, argument);
    }
    if let Some(examples) = command.get_after_help() {
        let examples = examples.to_string();
        let lines = examples.lines().skip(1).map(str::trim).collect::<Vec<_>>().join("\n");
        let _ = write!(text, "\n```sh\n{lines}\n```\n");
    }
}

fn about(command: &Command) -> String {
    let about = command.get_long_about().or(command.get_about());
    about.map(ToString::to_string).unwrap_or_default()
}

fn row(text: &mut String, argument: &Arg) {
    let value = argument.get_value_names().and_then(|names| names.first());
    let value = value.filter(|_| argument.get_action().takes_values());
    let name = match (argument.get_short(), argument.get_long(), value) {
        (Some(short), Some(long), Some(value)) => format!("`-{short}`, `--{long} {value}`"),
        (None, Some(long), Some(value)) => format!("`--{long} {value}`"),
        (Some(short), Some(long), None) => format!("`-{short}`, `--{long}`"),
        (None, Some(long), None) => format!("`--{long}`"),
        (_, None, value) => format!("`{}`", value.map_or("", |value| value.as_str())),
    };
    let default: Vec<String> = argument
        .get_default_values()
        .iter()
        .filter(|_| argument.get_action().takes_values())
        .map(|default| format!("`{}`", default.to_string_lossy()))
        .collect();
    let mut meaning = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let possible: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| argument.get_action().takes_values())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !possible.is_empty() {
        let _ = write!(meaning, ": {}", possible.join(", "));
    }
    let _ = writeln!(
        text,
        "| {name} | {} | {} |",
        default.join(", "),
        meaning.replace('|', "\\|").replace('\n', " ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_flag_and_exit_code_has_its_place() {
        let page = page();
        for heading in ["plan", "rules", "lint", "backup list", "backup show", "backup restore"] {
            assert!(
                page.contains(&format!("## `kubectl kkp-upgrade {heading}`")),
                "{heading}"
            );
        }
        for flag in [
            "`-f`, `--filename FILE`",
            "`--as USER`",
            "`--detailed-exitcode`",
            "`NAME`",
        ] {
            assert!(page.contains(flag), "{flag}\n{page}");
        }
        for exit in Exit::VARIANTS {
            assert!(
                page.contains(&format!("| {} | {} |", exit.code(), exit.meaning())),
                "{exit}"
            );
        }
        assert!(!page.contains("/root"), "a path of this machine");
    }
}
