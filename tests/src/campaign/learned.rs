//! Learning: clean runs of every workload, and what they have in common.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};

use super::baseline::Baseline;
use super::lane::Lane;
use super::matrix;
use super::workload::Workload;
use crate::fault::{Call, Plan};

/// How many clean runs a mask rests on.
pub const CLEAN_RUNS: usize = 3;

/// What clean runs of one workload said.
#[derive(Debug, Clone)]
pub struct Learned {
    /// The measure.
    pub baseline: Baseline,
    /// Points at which faults can strike.
    pub points: Vec<(Call, usize)>,
}

/// By name of the workload.
pub type Lessons = BTreeMap<&'static str, Learned>;

/// Runs a workload without faults, `runs` times.
///
/// # Errors
/// When a clean run is not clean.
pub async fn learn(lane: &Lane, workload: &'static Workload, runs: usize) -> anyhow::Result<Learned> {
    let (mut evidence, mut calls) = (Vec::new(), Vec::new());
    for number in 1..=runs {
        let plan = Plan {
            record: format!("{}-clean-{number}", workload.name),
            workload: Some(workload.name.to_owned()),
            faults: Vec::new(),
        };
        let run = lane.run(workload, &plan).await.context(workload.name)?;
        let wrong = &run.evidence.wrong;
        ensure!(
            wrong.is_empty(),
            "a run of {} without faults: {wrong:#?}",
            workload.name
        );
        evidence.push(run.evidence);
        calls.push(run.calls);
    }
    Ok(Learned {
        baseline: Baseline::of(&evidence),
        points: matrix::points(&calls),
    })
}
