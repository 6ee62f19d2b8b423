//! The campaign's report, as Markdown. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use super::learned::Lessons;
use super::matrix::label;
use super::state::Finished;
use super::workload::WORKLOADS;

/// What one stretch of the campaign did.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    /// Runs in it, clean ones and repetitions too.
    pub runs: usize,
    /// How long it ran, without the start of the lanes.
    pub elapsed: Duration,
    /// Lanes.
    pub lanes: usize,
    /// Plans of the whole matrix.
    pub plans: usize,
    /// Seed of the order.
    pub seed: u64,
}

impl Stretch {
    /// Lab runs in an hour, at this speed.
    #[must_use]
    pub fn runs_per_hour(&self) -> f64 {
        let runs = u32::try_from(self.runs).map_or(f64::MAX, f64::from);
        runs * 3600.0 / self.elapsed.as_secs_f64().max(1.0)
    }
}

/// The report.
#[must_use]
pub fn report(
    stretch: &Stretch,
    lessons: &Lessons,
    unlearned: &[String],
    finished: &BTreeMap<String, Finished>,
) -> String {
    let mut text = String::from("# Campaign\n\n");
    let violations: Vec<&Finished> = finished.values().filter(|run| !run.wrong.is_empty()).collect();
    let confirmed = violations
        .iter()
        .filter(|run| run.again.as_ref().is_some_and(|again| !again.is_empty()));
    let missed = finished.values().filter(|run| !run.struck).count();
    let _ = writeln!(
        text,
        "| | |\n|---|---|\n| plans of the matrix | {} |\n| run so far | {} |\n| of them the fault never struck | {missed} |\n| violations | {} |\n| of them seen again at once | {} |\n| this stretch | {} runs in {:.1} min with {} lanes: {:.0} lab runs/h (seed {}) |\n",
        stretch.plans,
        finished.len(),
        violations.len(),
        confirmed.count(),
        stretch.runs,
        stretch.elapsed.as_secs_f64() / 60.0,
        stretch.lanes,
        stretch.runs_per_hour(),
        stretch.seed,
    );
    times(&mut text, finished);
    workloads(&mut text, lessons, finished);
    for workload in unlearned {
        let short: String = workload
            .lines()
            .take(3)
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(400)
            .collect();
        let _ = writeln!(text, "\nLeft out, not clean without faults: {short}");
    }
    variants(&mut text, finished);
    if !violations.is_empty() {
        text.push_str("\n## Violations\n\n");
    }
    for run in violations {
        let again = match &run.again {
            Some(again) if again.is_empty() => "not seen again at once",
            Some(_) => "seen again at once",
            None => "not repeated",
        };
        let point = run.plan.faults.first();
        let point = point.map_or_else(String::new, |fault| {
            let name = fault.at.name.clone().unwrap_or_default();
            let resource = fault.at.resource.clone().unwrap_or_default();
            let during = fault.at.during.clone().unwrap_or_default();
            format!("{} at {resource}/{name} during {during}", label(&fault.strike))
        });
        let _ = writeln!(text, "- `{}.yaml` ({again}): {point}", run.plan.record);
        for line in run.wrong.iter().take(6) {
            let short: String = line.lines().next().unwrap_or_default().chars().take(240).collect();
            let _ = writeln!(text, "  - {short}");
        }
    }
    text
}

fn times(text: &mut String, finished: &BTreeMap<String, Finished>) {
    let count = u32::try_from(finished.len()).map_or(1.0, f64::from).max(1.0);
    let mean = |part: fn(&Finished) -> f64| finished.values().map(part).sum::<f64>() / count;
    let _ = writeln!(
        text,
        "Mean time of a run: {:.1} s put back, {:.1} s workload, {:.1} s until quiet, {:.1} s oracles.\n",
        mean(|run| run.times.restore),
        mean(|run| run.times.workload),
        mean(|run| run.times.settle),
        mean(|run| run.times.oracles),
    );
}

fn workloads(text: &mut String, lessons: &Lessons, finished: &BTreeMap<String, Finished>) {
    text.push_str("## Workloads\n\n| | | points | masked objects, fields, effects | run | violations |\n|---|---|---|---|---|---|\n");
    for workload in WORKLOADS {
        let of = || {
            finished
                .values()
                .filter(|run| run.plan.workload.as_deref() == Some(workload.name))
        };
        let lesson = lessons.get(workload.name);
        let (objects, fields, effects) = lesson.map_or((0, 0, 0), |lesson| lesson.baseline.masked());
        let _ = writeln!(
            text,
            "| {} | {} | {} | {objects}, {fields}, {effects} | {} | {} |",
            workload.name,
            workload.title,
            lesson.map_or(0, |lesson| lesson.points.len()),
            of().count(),
            of().filter(|run| !run.wrong.is_empty()).count(),
        );
    }
}

/// Runs per fault and kind of call: `runs` or `runs (violations)`.
fn variants(text: &mut String, finished: &BTreeMap<String, Finished>) {
    let mut cells: BTreeMap<(String, String), (usize, usize)> = BTreeMap::new();
    for run in finished.values() {
        for fault in &run.plan.faults {
            let verb = fault.at.verb.map_or_else(String::new, |verb| verb.to_string());
            let peer = fault.at.peer.clone().unwrap_or_default();
            let peer = peer.split('/').next().unwrap_or_default();
            let cell = cells
                .entry((label(&fault.strike), format!("{peer} {verb}")))
                .or_default();
            cell.0 += 1;
            cell.1 += usize::from(!run.wrong.is_empty());
        }
    }
    let columns: BTreeSet<&String> = cells.keys().map(|(_, column)| column).collect();
    let rows: BTreeSet<&String> = cells.keys().map(|(row, _)| row).collect();
    text.push_str("\n## Faults by call\n\nRuns, violations in brackets.\n\n| |");
    for column in &columns {
        let _ = write!(text, " {column} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(columns.len()));
    for row in rows {
        let _ = write!(text, "\n| {row} |");
        for column in &columns {
            let _ = match cells.get(&(row.clone(), (*column).clone())) {
                None => write!(text, " |"),
                Some((runs, 0)) => write!(text, " {runs} |"),
                Some((runs, wrong)) => write!(text, " {runs} ({wrong}) |"),
            };
        }
    }
    text.push('\n');
}
