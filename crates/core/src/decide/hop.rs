//! The route and the hop that comes now: frozen when a run starts, taken one after the other. Pure.

use super::round::Round;
use crate::facts::{Known, PlatformFacts};
use crate::phase::{Outcome, Phase};
use crate::reason::Reason;
use crate::request::Request;
use crate::rules::RouteError;
use crate::status::{HistoryEntry, Hop, Status};
use crate::version::KkpVersion;

/// The version that the present hop goes to.
pub(super) fn target(status: &Status) -> Option<KkpVersion> {
    status.hop.as_ref()?.to.parse().ok()
}

/// The same as text; empty where there is no hop yet.
pub(super) fn target_text(status: &Status) -> String {
    status.hop.as_ref().map(|hop| hop.to.clone()).unwrap_or_default()
}

/// Hops of the frozen route that come after the present one.
pub(super) fn ahead(status: &Status) -> Vec<(KkpVersion, KkpVersion)> {
    let versions: Vec<KkpVersion> = status.path.iter().filter_map(|text| text.parse().ok()).collect();
    let done = status.hop.as_ref().map_or(1, |hop| hop.index.max(1));
    let hops = versions.iter().copied().zip(versions.iter().copied().skip(1));
    hops.skip(usize::try_from(done).unwrap_or(usize::MAX)).collect()
}

/// Whether the present hop is the last one.
pub(super) fn is_last(status: &Status) -> bool {
    status.hop.as_ref().is_none_or(|hop| hop.index >= hop.total)
}

/// Why `spec.via` cannot be followed.
pub(super) fn wrong_via(platform: &PlatformFacts) -> Option<String> {
    match platform.route.value()? {
        Err(error @ RouteError::ViaOffRoute { .. }) => Some(format!("spec.via: {error}")),
        _ => None,
    }
}

/// Freezes the route: later version fields turn early and must not change it. Where there is none, the step from what
/// runs to what is wanted is the hop, and the rules say what is wrong with it.
pub(super) fn freeze(round: &mut Round<'_>, request: &Request, platform: &PlatformFacts) {
    if !round.status.path.is_empty() {
        return;
    }
    let Some(from) = platform.version else { return };
    let stops = match &platform.route {
        Known::Is(Ok(stops)) if stops.last().is_some_and(|stop| stop.version == request.target) => {
            stops.iter().map(|stop| stop.version).collect()
        }
        _ => vec![request.target],
    };
    let path: Vec<String> = std::iter::once(from)
        .chain(stops)
        .map(|version| version.to_string())
        .collect();
    let status = &mut round.status;
    status.from_version = path.first().cloned();
    status.current_version.get_or_insert_with(|| from.to_string());
    status.target_version = Some(request.target.to_string());
    status.hop = hop(&path, 1);
    status.path = path;
}

/// The hop with this number, from 1.
fn hop(path: &[String], index: usize) -> Option<Hop> {
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    Some(Hop {
        index: number(index),
        total: number(path.len().saturating_sub(1)),
        from: path.get(index.checked_sub(1)?)?.clone(),
        to: path.get(index)?.clone(),
    })
}

/// The work of the hop begins.
pub(super) fn begin_work(round: &mut Round<'_>) {
    let now = round.time();
    round.status.hop_start_time.get_or_insert(now);
}

/// The hop is proven: how long it took is what the next plan expects.
pub(super) fn end_work(round: &mut Round<'_>) {
    let now = round.now();
    if let Some(began) = round.status.hop_start_time.take() {
        let seconds = i64::try_from(began.elapsed(now).as_secs()).unwrap_or(i64::MAX);
        round.status.hop_seconds.push(seconds);
        round.status.hop_seconds.truncate(16);
    }
}

/// How long the hops of earlier runs took that ended well, in seconds.
#[must_use]
pub fn hop_seconds(history: &[HistoryEntry]) -> Vec<i64> {
    let done = history.iter().filter(|entry| entry.result == Phase::Done.to_string());
    done.flat_map(|entry| entry.hop_seconds.iter().copied()).collect()
}

/// Goes on to the Preflight of the next hop, after the present one was seen done. What belongs to one hop alone starts
/// anew: stages, attempts, backups, the baseline, consent, the point of no return.
pub(super) fn begin_next(round: &mut Round<'_>) {
    let done = round.status.hop.clone().unwrap_or_default();
    let next = usize::try_from(done.index).unwrap_or(0).saturating_add(1);
    end_work(round);
    round.advance(Outcome::NextHop);
    let status = &mut round.status;
    status.current_version = Some(done.to.clone());
    status.hop = hop(&status.path, next);
    status.targets.clear();
    status.unhealthy_before.clear();
    status.findings.clear();
    status.progress = None;
    status.throttle = None;
    status.point_of_no_return = None;
    if let Some(plan) = status.plan.as_mut() {
        plan.approved_by = None;
        plan.awaiting = None;
    }
    let now = round.now();
    round.status.reset_stages(Reason::NextHop, now);
    let text = format!(
        "hop {} of {} is done: the platform runs {}; next {}",
        done.index,
        done.total,
        done.to,
        target_text(&round.status)
    );
    round.event(false, Reason::NextHop, text);
}

/// Whether a run cannot lead to `target` any more although the spec went back to it: KKP does not go back.
pub(super) fn out_of_reach(status: &Status, target: KkpVersion) -> bool {
    let passed = status
        .point_of_no_return
        .as_ref()
        .is_some_and(|point| point.state == "Passed");
    let moved = status.hop.as_ref().is_some_and(|hop| hop.index > 1);
    passed || (moved && status.current_version.as_deref() != Some(target.to_string().as_str()))
}
