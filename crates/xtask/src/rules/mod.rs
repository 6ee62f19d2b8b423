//! Programs about the catalogue of rules: how sharp its tests are, and how much of what is known it covers.

mod analysis;
mod coverage;
mod documents;
pub(crate) mod documents_page;
mod mutant;
mod mutation;
mod paths;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

/// What to do with the rules.
#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Changes every condition of every rule in every small way and prints the changes that no test of the rule notices.
    Mutate {
        /// Only rules whose id contains this text.
        filter: Option<String>,
    },
    /// Prints what of the two checklists no rule, step or field covers: by hop, and by source document.
    Coverage {
        /// Analysis of the source documents: rows of its sections 5 to 7 that no statement names are printed.
        #[arg(long)]
        analysis: Option<PathBuf>,
    },
    /// Compares the paths that facts are read from with the schemas of KKP's releases.
    Paths {
        /// Folder with one `v2.NN.yaml` of schema paths for each minor.
        #[arg(long)]
        fields: Option<PathBuf>,
    },
}

/// Runs the command; fails when there are survivors, or when something of the checklist is missing.
///
/// # Errors
/// When the catalogue does not load.
pub(crate) fn run(command: &RulesCommand, report: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match command {
        RulesCommand::Mutate { filter } => mutation::run(filter.as_deref().unwrap_or_default(), report),
        RulesCommand::Coverage { analysis } => coverage::run(analysis.as_deref(), report),
        RulesCommand::Paths { fields } => {
            let folder = fields
                .clone()
                .or_else(|| std::env::var_os("KKP_FIELDS").map(PathBuf::from));
            paths::run(folder.as_deref(), report)
        }
    }
}
