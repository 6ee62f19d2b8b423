//! `handovers`: everything that takes too long for `cargo test`, with its figures.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Parser;

use super::gate::Gate;
use super::judge::Judgement;
use super::outcome;
use super::replicas::SOAK;
use super::series::{Loss, Took, handovers, median_and_maximum, took};
use super::stops::{Stop, Stops, Writes, stop_at};
use crate::bed::{Bed, upgrade};

/// Most runs until every write was stopped at.
const RUNS: usize = 6;

/// Operators that change places in the middle of a run, and what comes of it.
#[derive(Debug, Parser)]
#[command(name = "handovers")]
struct Arguments {
    /// How many handovers there are in the series.
    #[arg(long, default_value_t = 50)]
    count: usize,
    /// Only the series, without the stops at every write.
    #[arg(long)]
    series_only: bool,
}

/// Runs what the command line says.
///
/// # Errors
/// When a promise is broken, with what was seen.
pub fn run(arguments: &[std::ffi::OsString]) -> anyhow::Result<ExitCode> {
    let name = std::ffi::OsString::from("handovers");
    let arguments = Arguments::try_parse_from(std::iter::once(&name).chain(arguments))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if !arguments.series_only {
            stops().await?;
        }
        series(arguments.count).await
    })?;
    Ok(ExitCode::SUCCESS)
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

/// Runs are made until every write that was seen in any has been stopped at once: while others take over, theirs pass.
async fn stops() -> anyhow::Result<()> {
    let mut all = Stops::default();
    for run in 1..=RUNS {
        let mut gate = Gate::new().await?;
        let bed = Bed::with_operators(std::env::current_exe()?, 1, Some(&gate)).await?;
        let (before, reported) = (
            all.stops.len(),
            Box::pin(stopped_run(&bed, &mut gate, Writes::All, &mut all)).await,
        );
        drop(gate);
        bed.running.lab.stop()?;
        for stop in all.stops.iter().skip(before) {
            say(&line(stop))?;
        }
        let judgement = reported?;
        let (refused, stale) = (judgement.refused.len(), judgement.stale.len());
        say(&format!(
            "run {run}: {} stops, stale writes: {stale} accepted, {refused} refused or without effect",
            all.stops.len() - before
        ))?;
        if all.missed().is_empty() {
            break;
        }
    }
    let overtaken = all.stops.iter().filter(|stop| stop.others > 0).count();
    say(&format!(
        "stopped at {} of {} writes, overtaken at {overtaken}",
        all.stopped_at.len(),
        all.seen.len()
    ))?;
    ensure!(all.missed().is_empty(), "nobody was stopped at {:#?}", all.missed());
    Ok(())
}

fn line(stop: &Stop) -> String {
    let (milliseconds, answer) = (stop.lasted.as_millis(), stop.answer);
    let what: String = stop.what.chars().take(100).collect();
    format!(
        "{milliseconds:>6} ms, others began {} writes, answered {answer}: {what}",
        stop.others
    )
}

/// A run by three operators whose leaders are stopped at these writes; what the audit log says.
///
/// # Errors
/// When the run does not end, or a promise is broken.
pub async fn stopped_run(bed: &Bed, gate: &mut Gate, writes: Writes, stops: &mut Stops) -> anyhow::Result<Judgement> {
    bed.scale(3).await?;
    bed.apply(&upgrade(SOAK)).await?;
    stop_at(bed, gate, writes, stops).await?;
    gate.open();
    outcome::one_of_everything(bed).await
}

async fn series(count: usize) -> anyhow::Result<()> {
    let bed = Bed::with_operators(std::env::current_exe()?, 3, None).await?;
    let result = Box::pin(series_on(&bed, count)).await;
    bed.running.lab.stop()?;
    let (times, judgement) = result?;
    for loss in [Loss::Asked, Loss::Killed, Loss::Stopped] {
        say(&figures(loss, &times))?;
    }
    let (refused, stale) = (judgement.refused.len(), judgement.stale.len());
    say(&format!(
        "{} handovers; stale writes: {stale} accepted, {refused} refused",
        times.len()
    ))
}

fn figures(loss: Loss, times: &[Took]) -> String {
    let of = |time: fn(&Took) -> std::time::Duration| {
        let all = times.iter().filter(|took| took.loss == loss).map(time).collect();
        let (median, maximum) = median_and_maximum(all);
        format!("{} / {} ms", median.as_millis(), maximum.as_millis())
    };
    let (lease, acting) = (of(|took| took.lease), of(|took| took.acting));
    format!("{loss:?}: new leader after {lease} (median / maximum), its first write after {acting}")
}

/// So many handovers in one run; how long they took, and what the audit log says.
///
/// # Errors
/// When a promise is broken.
pub async fn series_on(bed: &Bed, count: usize) -> anyhow::Result<(Vec<Took>, Judgement)> {
    let platform = &bed.running.platform;
    platform.script("seed: {clusters: {'*': {neverConverges: true}}}")?;
    bed.apply(&upgrade(SOAK)).await?;
    let all = handovers(bed, count).await?;
    platform.script("{}")?;
    let judgement = outcome::one_of_everything(bed).await?;
    let times = took(&all, &judgement);
    ensure!(
        times.len() == count,
        "{} of {count} handovers are in the audit log",
        times.len()
    );
    Ok((times, judgement))
}
