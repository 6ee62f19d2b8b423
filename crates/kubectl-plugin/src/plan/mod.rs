//! `plan`: what the operator would do and say, made by its own code from a live look at the platform. Reads only.

mod ask;
mod look;
mod report;
mod screen;
mod verdict;

use jiff::Timestamp;
use kkp_upgrade_connection::Connector;
use kkp_upgrade_operator::seeds::SeedConnections;

use crate::arguments::{PlanArguments, PlanOutput};
use crate::cluster;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;

pub(crate) use ask::Asked;
pub(crate) use look::{Platform, look};
pub(crate) use report::Report;
#[cfg(test)]
pub(crate) use verdict::State;

/// Makes and shows the plan.
pub(crate) async fn run(arguments: &PlanArguments, console: &mut Console) -> Result<Exit, Failure> {
    let asked = Asked::read(arguments, console)?;
    let looking = async {
        let client = cluster::connect(&arguments.cluster).await?;
        let seeds = SeedConnections::new(Connector::reader());
        let platform = Platform {
            client: &client,
            seeds: &seeds,
            namespace: arguments.cluster.namespace.as_deref(),
        };
        look(&platform, &asked, Timestamp::now()).await
    };
    let limit = arguments.cluster.timeout;
    let report = tokio::time::timeout(limit, Box::pin(looking))
        .await
        .unwrap_or_else(|_| {
            let text = format!("no verdict within {} s; nothing was changed", limit.as_secs());
            Err(Failure::new(Exit::Timeout, text).hint("give more time with --timeout"))
        })?;
    show(&report, arguments, console)?;
    Ok(report.exit(arguments.detailed_exitcode, arguments.exit_on_wait))
}

/// The report in the form that was asked for.
pub(crate) fn show(report: &Report, arguments: &PlanArguments, console: &mut Console) -> Result<(), Failure> {
    let broken = |error: String| Failure::new(Exit::Unexpected, format!("the plan cannot be written: {error}"));
    match arguments.output {
        PlanOutput::Table => {
            let screen = screen::screen(report, console);
            console.print(&screen);
        }
        PlanOutput::Json => {
            let text = serde_json::to_string_pretty(report).map_err(|error| broken(error.to_string()))?;
            console.data(&text);
        }
        PlanOutput::Yaml => {
            let text = serde_saphyr::to_string(report).map_err(|error| broken(error.to_string()))?;
            console.data(&text);
        }
        PlanOutput::Markdown => console.data(&screen::page(report)),
    }
    Ok(())
}
