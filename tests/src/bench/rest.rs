//! What the operator writes while nothing happens.

use std::time::Duration;

use jiff::Timestamp;
use kkp_lab::platform::MASTER;

use super::audit;
use super::figures::{Figure, load};
use super::scenario::Scenario;
use super::shipped::{self, Memory};

/// How long the end of an upgrade may still be worked on: lease and finalizer go back after the last status.
const SETTLE: Duration = Duration::from_secs(10);

/// Watches a window in which nothing happens; adds the figures and returns the memory at its end.
///
/// # Errors
/// When the audit log or the process cannot be read.
pub async fn writes(
    scenario: &Scenario,
    window: Duration,
    when: &str,
    figures: &mut Vec<Figure>,
) -> anyhow::Result<Memory> {
    // The window is what is measured, not something that is waited for.
    tokio::time::sleep(SETTLE).await;
    let began = Timestamp::now();
    tokio::time::sleep(window).await;
    let folder = &scenario.bed().running.lab.cluster(MASTER)?.folder;
    let requests = audit::requests(folder)?;
    let inside: Vec<_> = requests
        .iter()
        .filter(|request| request.time >= began && !request.is_leader_lease())
        .collect();
    let writes: Vec<_> = inside.iter().filter(|request| request.writes()).collect();
    // A light seed stores nothing, so every PATCH that it sees counts, dry or not.
    let calls: Vec<_> = scenario
        .fleet
        .seeds
        .iter()
        .flat_map(|seed| seed.api.store.calls())
        .filter(|call| call.time >= began)
        .collect();
    let minutes = window.as_secs_f64() / 60.0;
    let shape = scenario.fleet.shape;
    let names: Vec<String> = audit::tally(
        writes
            .iter()
            .map(|request| (request.verb.as_str(), request.resource.as_str())),
    )
    .into_iter()
    .map(|(name, count)| format!("{count} {name}"))
    .collect();
    let conditions = format!(
        "{shape} light seeds, {when}, {} s, {}; {}",
        window.as_secs(),
        load(),
        names.join(", ")
    );
    figures.push(
        Figure::new(
            "writes per minute at rest",
            per(writes.len(), minutes),
            "/min",
            conditions,
        )
        .at_most(0.0),
    );
    let conditions = format!(
        "{shape} light seeds, {when}: {} on the master, {} on seeds",
        inside.len(),
        calls.len()
    );
    figures.push(Figure::new(
        "requests per minute at rest",
        per(inside.len() + calls.len(), minutes),
        "/min",
        conditions,
    ));
    shipped::memory(scenario.bed())
}

#[expect(clippy::cast_precision_loss, reason = "a count")]
fn per(count: usize, minutes: f64) -> f64 {
    count as f64 / minutes
}
