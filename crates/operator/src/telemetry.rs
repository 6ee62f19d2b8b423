//! Logs, to standard error. Talks to no cluster, and must never be given a Secret's content.

use std::io::IsTerminal;

use anyhow::{Context as _, anyhow};
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// What is logged unless a flag says otherwise.
pub const DEFAULT_FILTER: &str = "info,kube_client=warn,kube_runtime=warn,tower=warn,hyper_util=warn";

/// kube's client logs an answer that it cannot parse, whole: it may be a Secret, or a hostile server's 32 MiB.
const NEVER: &str = "kube_client::client=error";

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line, for log collectors.
    #[default]
    Json,
    /// For people; coloured on a terminal.
    Text,
}

/// Starts logging. To be called once per process.
///
/// # Errors
/// When `filter` cannot be parsed, or logging has been started before.
pub fn init(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("log filter {filter:?}: not of the form info,kkp_upgrade_operator=debug"))?
        .add_directive(NEVER.parse()?);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).try_init(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
    }
    .map_err(|problem| anyhow!("logging: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_parsed_is_named() {
        let problem = init(LogFormat::Json, "kube=loudly").unwrap_err();
        assert!(problem.to_string().contains("kube=loudly"), "{problem}");
    }

    #[test]
    fn the_default_filter_can_be_parsed() {
        EnvFilter::try_new(DEFAULT_FILTER)
            .unwrap()
            .add_directive(NEVER.parse().unwrap());
    }

    #[test]
    fn formats_have_the_names_of_the_flag() {
        assert_eq!(LogFormat::from_str("text", false), Ok(LogFormat::Text));
        assert_eq!(LogFormat::from_str("json", false), Ok(LogFormat::default()));
    }
}
