//! `backup`: the backups that KKPUpgrades made, and the way back. All but `restore` change nothing; `verify` and `download`
//! start Jobs that read.

mod choice;
mod download;
mod file;
mod job;
mod place;
mod records;
mod restore;
mod verify;

use crate::arguments::{BackupCommand, BackupOutput, ClusterArguments};
use crate::cluster;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;

#[cfg(test)]
pub(crate) use download::download_all;
#[cfg(test)]
pub(crate) use job::Place;
pub(crate) use records::{Record, records};
#[cfg(test)]
pub(crate) use restore::carry_out;
#[cfg(test)]
pub(crate) use verify::check_all;

/// Runs one of its commands.
pub(crate) async fn run(command: &BackupCommand, console: &mut Console) -> Result<Exit, Failure> {
    match command {
        BackupCommand::List(arguments) => {
            let found = look(&arguments.cluster, None).await?;
            show(&found, arguments.output, console)
        }
        BackupCommand::Show(arguments) => {
            let found = look(&arguments.cluster, Some(&arguments.name)).await?;
            show(&found, arguments.output, console)
        }
        BackupCommand::Verify(arguments) => verify::run(arguments, console).await,
        BackupCommand::Download(arguments) => download::run(arguments, console).await,
        BackupCommand::Restore(arguments) => restore::run(arguments, console).await,
    }
}

async fn look(arguments: &ClusterArguments, name: Option<&str>) -> Result<Vec<Record>, Failure> {
    let looking = async {
        let client = cluster::connect(arguments).await?;
        let namespace = cluster::namespace(&client, arguments.namespace.as_deref()).await?;
        records(&client, &namespace, name).await
    };
    let limit = arguments.timeout;
    tokio::time::timeout(limit, looking).await.unwrap_or_else(|_| {
        let text = format!("no answer within {} s; nothing was changed", limit.as_secs());
        Err(Failure::new(Exit::Timeout, text).hint("give more time with --timeout"))
    })
}

/// Prints them in the form that was asked for.
pub(crate) fn show(records: &[Record], output: BackupOutput, console: &mut Console) -> Result<Exit, Failure> {
    match output {
        BackupOutput::Json => {
            let text = serde_json::to_string_pretty(records)
                .map_err(|error| Failure::new(Exit::Unexpected, format!("the list cannot be written: {error}")))?;
            console.data(&text);
        }
        BackupOutput::Table if records.is_empty() => {
            console.say("there is no verified backup in the status of any KKPUpgrade");
        }
        BackupOutput::Table => {
            let titles = [
                "UPGRADE", "TARGET", "CLAIM", "LOCATION", "OBJECTS", "BYTES", "VERIFIED", "DIGEST",
            ];
            let table = console.table(&titles, records.iter().map(Record::row));
            console.print(&table);
        }
    }
    Ok(Exit::Done)
}
