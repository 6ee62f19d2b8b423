//! What is wrong with a run with faults, given the clean runs. Pure.

use super::baseline::Baseline;
use super::lane::Run;
use crate::fault::Plan;

/// Programs that run once: what fails there is a failed Job, which the run may answer with another attempt or its end.
const ONCE: [&str; 2] = ["backup", "preparation"];

/// Everything that is wrong; empty = the run is as good as a clean one.
#[must_use]
pub fn verdict(baseline: &Baseline, plan: &Plan, run: &Run) -> Vec<String> {
    let in_job = plan
        .faults
        .iter()
        .any(|fault| fault.at.peer.as_deref().is_some_and(|peer| ONCE.contains(&peer)));
    let mut wrong = run.evidence.wrong.clone();
    if in_job {
        if failed_honestly(run) {
            wrong.retain(|line| !line.starts_with("the run did not get there"));
        } else {
            let differences = baseline.compare(&run.evidence);
            wrong.extend(differences.into_iter().filter(|line| !is_of_attempts(line)));
        }
    } else {
        wrong.extend(baseline.compare(&run.evidence));
    }
    wrong
}

/// The run has ended as Failed and says in which step.
fn failed_honestly(run: &Run) -> bool {
    run.evidence.objects.iter().any(|(key, leaves)| {
        let value = |path: &str| leaves.get(path).map_or("", String::as_str);
        key.starts_with("KKPUpgrade ")
            && value("/status/phase") == "Failed"
            && !value("/status/failedIn/step").is_empty()
            && !value("/status/failedIn/message").is_empty()
    })
}

/// A second attempt has a Job, a fence, a folder and a number of its own.
fn is_of_attempts(difference: &str) -> bool {
    difference.contains("kkpu-") || difference.contains("/status/targets/")
}
