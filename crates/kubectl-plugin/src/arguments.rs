//! The plugin's command line. The reference page is generated from it.

mod backup;

use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use kkp_upgrade_core::rules::Severity;

use crate::console::ColourChoice;

pub use backup::{
    BackupCommand, BackupDownloadArguments, BackupListArguments, BackupOutput, BackupRestoreArguments,
    BackupShowArguments, BackupVerifyArguments, BucketFlags, StoredBackup,
};

/// Looks before an upgrade of the Kubermatic Kubernetes Platform: makes the plan that the operator would make, explains the
/// rules, checks files. Reads only, but for `backup verify` and `backup download`, which start Jobs that
/// read, and `backup restore`, which says what it would change and asks.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-kkp_upgrade",
    bin_name = "kubectl kkp-upgrade",
    version,
    disable_help_subcommand = true
)]
pub struct Arguments {
    /// When colour is used.
    #[arg(long, global = true, value_enum, default_value_t = ColourChoice::Auto)]
    pub color: ColourChoice,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the plan of an upgrade against the live platform, without any write.
    Plan(Box<PlanArguments>),
    /// List the rules, or explain one.
    Rules(RulesArguments),
    /// Check KKPUpgrade manifests offline: schema, admission rules, and what the operator asks beyond them.
    Lint(LintArguments),
    /// Show the backups that KKPUpgrades made, verify and download them, and restore one.
    #[command(subcommand)]
    Backup(BackupCommand),
}

impl Command {
    /// Whether a program reads the answer, and so the error.
    #[must_use]
    pub fn wants_json(&self) -> bool {
        match self {
            Self::Plan(arguments) => arguments.output == PlanOutput::Json,
            Self::Rules(arguments) => arguments.output == RulesOutput::Json,
            Self::Lint(arguments) => arguments.output == LintOutput::Json,
            Self::Backup(
                BackupCommand::List(BackupListArguments { output, .. })
                | BackupCommand::Show(BackupShowArguments { output, .. }),
            ) => *output == BackupOutput::Json,
            Self::Backup(BackupCommand::Verify(arguments)) => arguments.output == BackupOutput::Json,
            Self::Backup(BackupCommand::Download(_) | BackupCommand::Restore(_)) => false,
        }
    }
}

/// How a plan is asked for.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(false))]
#[command(after_help = PLAN_EXAMPLES)]
pub struct PlanArguments {
    /// Name of the KKPUpgrade in the cluster.
    #[arg(group = "what")]
    pub name: Option<String>,
    /// File with a KKPUpgrade that need not be in the cluster; `-` is standard input.
    #[arg(short = 'f', long, value_name = "FILE", group = "what")]
    pub filename: Option<String>,
    /// Version to plan for, with everything else as it is by default.
    #[arg(long, value_name = "VERSION", group = "what")]
    pub target_version: Option<String>,
    /// Where and as whom to look.
    #[command(flatten)]
    pub cluster: ClusterArguments,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = PlanOutput::Table)]
    pub output: PlanOutput,
    /// End with 10 where nothing blocks and there is something to do.
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// End with 5 where the upgrade waits: for approval, because it is paused, or for another one.
    #[arg(long)]
    pub exit_on_wait: bool,
}

const PLAN_EXAMPLES: &str = "Examples:
  kubectl kkp-upgrade plan to-2-31
  kubectl kkp-upgrade plan -f upgrade.yaml -o markdown
  kubectl kkp-upgrade plan --target-version 2.31.0 --detailed-exitcode";

/// Where and as whom to look.
#[derive(Debug, Clone, Args)]
pub struct ClusterArguments {
    /// Namespace of KKP. Default: where the KubermaticConfiguration is.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig. Default: its current one.
    #[arg(long)]
    pub context: Option<String>,
    /// Path of the kubeconfig. Default: as for kubectl.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// User to impersonate.
    #[arg(long = "as", value_name = "USER")]
    pub impersonate: Option<String>,
    /// Group to impersonate, with --as; may be repeated.
    #[arg(long = "as-group", value_name = "GROUP", requires = "impersonate")]
    pub impersonate_groups: Vec<String>,
    /// Longest that the whole look may take.
    #[arg(long, value_name = "SECONDS", default_value = "180", value_parser = seconds)]
    pub timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(number) if number > 0 => Ok(Duration::from_secs(number)),
        _ => Err(format!("`{text}` is not a number of seconds above 0")),
    }
}

/// Form of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanOutput {
    /// For people, as wide as the terminal.
    Table,
    /// One YAML document.
    Yaml,
    /// One JSON object.
    Json,
    /// A page for a ticket or a pull request.
    Markdown,
}

/// Which rules are shown.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kubectl kkp-upgrade rules --hop 2.31 --severity blocker
  kubectl kkp-upgrade rules cluster-unhealthy")]
pub struct RulesArguments {
    /// Id of the rule to explain.
    pub id: Option<String>,
    /// Only the rules of a hop: `any` for those of every hop, or the minor that it leads to, for example `2.31`, which
    /// includes those of every hop.
    #[arg(long, conflicts_with = "id")]
    pub hop: Option<String>,
    /// Only rules of this severity.
    #[arg(long, conflicts_with = "id")]
    pub severity: Option<SeverityChoice>,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = RulesOutput::Table)]
    pub output: RulesOutput,
}

/// Severity of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SeverityChoice {
    /// Nothing goes on until it is solved or accepted.
    Blocker,
    /// Shown; does not stop anything.
    Warning,
    /// For information.
    Info,
}

impl From<SeverityChoice> for Severity {
    fn from(choice: SeverityChoice) -> Self {
        match choice {
            SeverityChoice::Blocker => Self::Blocker,
            SeverityChoice::Warning => Self::Warning,
            SeverityChoice::Info => Self::Info,
        }
    }
}

/// Form of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RulesOutput {
    /// For people, as wide as the terminal.
    Table,
    /// JSON: a list, or one object where one rule is asked for.
    Json,
    /// The same as YAML.
    Yaml,
}

/// What is checked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kubectl kkp-upgrade lint -f upgrade.yaml
  kustomize build . | kubectl kkp-upgrade lint -f -")]
pub struct LintArguments {
    /// File with manifests; `-` is standard input. May be repeated.
    #[arg(short = 'f', long, value_name = "FILE", required = true)]
    pub filename: Vec<String>,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = LintOutput::Text)]
    pub output: LintOutput,
}

/// Form of what a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LintOutput {
    /// For people, a line per problem.
    Text,
    /// One JSON object.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_called_as_kubectl_calls_it() {
        Arguments::command().debug_assert();
        let help = Arguments::command().render_help().to_string();
        assert!(
            help.contains("Usage: kubectl kkp-upgrade [OPTIONS] <COMMAND>"),
            "{help}"
        );
    }

    #[test]
    fn a_plan_is_of_exactly_one_thing() {
        let parse = |arguments: &[&str]| {
            Arguments::try_parse_from(["kubectl-kkp_upgrade", "plan"].iter().chain(arguments)).is_ok()
        };
        for good in [&["a"][..], &["-f", "-"], &["--target-version=2.31.0"]] {
            assert!(parse(good), "{good:?}");
        }
        for bad in [
            &[][..],
            &["a", "-f", "b"],
            &["a", "--target-version=2.31.0"],
            &["a", "--timeout=0"],
            &["a", "--as-group=g"],
        ] {
            assert!(!parse(bad), "{bad:?}");
        }
    }
}
