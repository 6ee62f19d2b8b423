//! A process that is measured from its start to its end, from outside.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::process::Command;

use super::super::shipped::mebibytes;

/// Between two looks at its memory: what it takes in its last moments may be missed.
const LOOK: Duration = Duration::from_millis(50);
/// Nothing here takes longer.
const LONGEST: Duration = Duration::from_hours(2);
/// Clock ticks per second, as Linux tells user programs.
const TICKS: f64 = 100.0;

/// What a process took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) elapsed: Duration,
    /// Highest resident memory, in MiB.
    pub(super) memory: f64,
    /// User and system time, in seconds.
    pub(super) processor: f64,
}

/// Runs it to its end, with its output in `output` and what it says beside it.
pub(super) async fn run(mut command: Command, output: &Path) -> anyhow::Result<Taken> {
    let said = output.with_extension("err");
    command
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(output)?)
        .stderr(std::fs::File::create(&said)?)
        .kill_on_drop(true);
    let name = command.as_std().get_program().to_owned();
    let begin = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{}", name.display()))?;
    let folder = format!("/proc/{}", child.id().context("it has ended already")?);
    let (mut memory, mut processor) = (0.0, 0.0);
    loop {
        match tokio::time::timeout(LOOK, child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => {
                let elapsed = begin.elapsed();
                return Ok(Taken {
                    elapsed,
                    memory,
                    processor,
                });
            }
            Ok(status) => {
                let text = std::fs::read_to_string(&said).unwrap_or_default();
                let last = text.lines().last().unwrap_or_default();
                bail!("{} ended with {}: {last}", name.display(), status?)
            }
            Err(_) if begin.elapsed() > LONGEST => bail!("{} does not end", name.display()),
            Err(_) => {
                memory = highest(&folder).unwrap_or(memory);
                processor = time(&folder).unwrap_or(processor);
            }
        }
    }
}

fn highest(folder: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("{folder}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(mebibytes(kibibytes * 1024))
}

/// User and system time of a process so far, in seconds.
fn time(folder: &str) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("{folder}/stat")).ok()?;
    // The name in brackets may hold spaces; user and system time are the 12th and 13th field behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    Some(f64::from(ticks.filter_map(|text| text.parse::<u32>().ok()).sum::<u32>()) / TICKS)
}
