//! One line of an installer's ledger to what happened. Pure.

use jiff::Timestamp;
use serde::Deserialize;

use crate::event::{Event, InstallerRecord, What};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    time: Timestamp,
    run_id: String,
    event: String,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    server: String,
    #[serde(default)]
    stack: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    step: String,
    exit_code: Option<i64>,
}

/// What a line tells.
pub(crate) fn parse_line(line: &str) -> Result<Event, serde_json::Error> {
    let line: Line = serde_json::from_str(line)?;
    Ok(Event {
        time: line.time,
        what: What::Installer(InstallerRecord {
            run: line.run_id,
            event: line.event,
            pod: line.hostname,
            server: line.server,
            stack: line.stack,
            version: line.version.trim_start_matches('v').to_owned(),
            step: line.step,
            exit_code: line.exit_code,
        }),
    })
}
