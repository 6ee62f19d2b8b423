//! The monitor's program: judges audit logs and a ledger, or watches a live platform. Reads only.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use kkp_upgrade_monitor::{Expectations, History, Sources, judge};

/// Watches an upgrade of KKP and names every promise of the operator that is broken.
#[derive(Parser)]
#[command(name = "kkp-upgrade-monitor", version)]
struct Arguments {
    /// Audit log of an API server, as CLUSTER=FILE, where CLUSTER is `master` or the name of a seed; may be given several times
    #[arg(long, value_name = "CLUSTER=FILE", value_parser = audit_log, required = true)]
    audit_log: Vec<(String, PathBuf)>,
    /// Ledger of the installers (test bed only)
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Namespace of KKP and of the operator
    #[arg(long, default_value = "kubermatic")]
    namespace: String,
}

fn audit_log(text: &str) -> Result<(String, PathBuf), String> {
    let (cluster, file) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not CLUSTER=FILE, for example master=audit.log"))?;
    Ok((cluster.to_owned(), PathBuf::from(file)))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match offline(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Judges files; how many violations there are.
fn offline(arguments: &Arguments) -> Result<usize, Box<dyn std::error::Error>> {
    let logs: Vec<(&str, &Path)> = arguments
        .audit_log
        .iter()
        .map(|(cluster, file)| (cluster.as_str(), file.as_path()))
        .collect();
    let history = History::read(logs, arguments.ledger.as_deref())?;
    let expectations = Expectations {
        namespace: arguments.namespace.clone(),
        sources: Sources {
            writers: true,
            ledger: arguments.ledger.is_some(),
        },
        ..Expectations::default()
    };
    let violations = judge(&history, &expectations);
    let mut out = std::io::stdout().lock();
    for violation in &violations {
        writeln!(out, "{violation}")?;
    }
    writeln!(
        out,
        "{} events, {} torn lines, {} violations",
        history.events.len(),
        history.torn_lines,
        violations.len()
    )?;
    Ok(violations.len())
}
