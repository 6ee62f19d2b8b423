//! Figures with the conditions that made them, as a table and as JSON.

use std::path::Path;
use std::process::Command;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// One measured figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it must not exceed, where the project has said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// What it must reach, where the project has said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// What made it: shape, number of samples, load of the machine.
    pub conditions: String,
}

impl Figure {
    /// A figure.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str, conditions: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            target: None,
            floor: None,
            conditions: conditions.into(),
        }
    }

    /// With a bound.
    #[must_use]
    pub fn at_most(mut self, target: f64) -> Self {
        self.target = Some(target);
        self
    }

    /// With a bound from below.
    #[must_use]
    pub fn at_least(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self
    }

    /// The bound and whether it is kept, for people.
    fn verdict(&self) -> String {
        let bounds = [
            self.target.map(|target| ("≤", target, self.value <= target)),
            self.floor.map(|floor| ("≥", floor, self.value >= floor)),
        ];
        let words = bounds.into_iter().flatten().map(|(sign, bound, kept)| {
            let word = if kept { "met" } else { "MISSED" };
            format!("{sign} {bound} {} {word}", self.unit)
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Everything that a run of the program found.
#[derive(Serialize)]
pub struct Report {
    /// The machine.
    pub machine: String,
    /// Commit of the sources.
    pub commit: String,
    /// When it began.
    pub time: String,
    /// The command.
    pub command: String,
    /// The figures.
    pub figures: Vec<Figure>,
}

impl Report {
    /// An empty report about this machine.
    #[must_use]
    pub fn begin(repository: &Path) -> Self {
        let arguments: Vec<String> = std::env::args().skip(2).collect();
        Self {
            machine: machine(),
            commit: commit(repository),
            time: jiff::Timestamp::now().to_string(),
            command: format!("cargo bench-run {}", arguments.join(" ")),
            figures: Vec::new(),
        }
    }

    /// As people read it.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::ASCII_MARKDOWN)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["figure", "value", "target", "conditions"]);
        for figure in &self.figures {
            table.add_row([
                figure.name.clone(),
                format!("{} {}", number(figure.value), figure.unit),
                figure.verdict(),
                figure.conditions.clone(),
            ]);
        }
        format!(
            "{}\nmachine: {}\nsources: {}\nbegan: {}\n\n{table}\n",
            self.command, self.machine, self.commit, self.time
        )
    }
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value}")
    } else {
        format!("{value:.1}")
    }
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let memory = read("/proc/meminfo");
    let kibibytes: u64 = memory
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!(
        "{cores} × {}, {} GiB, Linux {}",
        model.map_or("unknown processor", |(_, model)| model.trim()),
        kibibytes / 1024 / 1024,
        read("/proc/sys/kernel/osrelease").trim()
    )
}

fn commit(repository: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(repository)
            .args(arguments)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let dirty = git(&["status", "--porcelain", "--", "crates", "Cargo.lock"]).is_none_or(|text| !text.is_empty());
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown commit".to_owned());
    format!("{commit}{}", if dirty { " with changes" } else { "" })
}

/// Load average over the last minute.
#[must_use]
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("load {}", text.split_whitespace().next().unwrap_or("?"))
}

/// The value below which this share of the samples lies (nearest rank).
#[must_use]
pub fn percentile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small count"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_by_nearest_rank() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&samples, 0.5), Some(50.0));
        assert_eq!(percentile(&samples, 0.99), Some(99.0));
        assert_eq!(percentile(&[7.0], 0.99), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn a_missed_target_is_said() {
        let mut report = Report::begin(Path::new("."));
        report.figures = vec![
            Figure::new("a", 2.0, "s", "x").at_most(1.0),
            Figure::new("b", 1.0, "s", "x").at_most(1.0),
            Figure::new("c", 59.0, "%", "x").at_least(60.0),
            Figure::new("d", 60.0, "%", "x").at_least(50.0),
        ];
        let table = report.table();
        assert!(table.contains("≤ 1 s MISSED") && table.contains("≤ 1 s met"));
        assert!(table.contains("≥ 60 % MISSED") && table.contains("≥ 50 % met"));
    }
}
