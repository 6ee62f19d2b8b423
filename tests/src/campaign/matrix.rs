//! The matrix: every point that clean runs have in common, times every fault that makes sense there. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::fault::{Call, Fault, Line, Plan, Point, Strike, Verb, WatchDoes, WatchFault};

/// Every class of error that an API server answers with.
pub const CODES: [u16; 11] = [401, 403, 404, 409, 410, 422, 429, 500, 502, 503, 504];
/// Errors that leave open whether the call was carried out.
const AMBIGUOUS: [u16; 3] = [500, 503, 504];
/// Every way in which a watch lies.
pub const LIES: [WatchDoes; 6] = [
    WatchDoes::Freezes,
    WatchDoes::Reorders,
    WatchDoes::Drops,
    WatchDoes::Duplicates,
    WatchDoes::Expires,
    WatchDoes::Closes,
];
/// Calls of the leader election come by the clock: only the first ones are the same in every run.
const ELECTION: &str = "leader-election";

/// Points of one workload: every write, and the first of each read, that all clean runs made.
#[must_use]
pub fn points(runs: &[Vec<Line>]) -> Vec<(Call, usize)> {
    let mut counts = runs.iter().map(|lines| counted(lines));
    let Some(mut common) = counts.next() else {
        return Vec::new();
    };
    for other in counts {
        common.retain(|call, count| {
            let there = other.get(call).copied().unwrap_or(0);
            *count = (*count).min(there);
            there > 0
        });
    }
    let every = |(call, count): (Call, usize)| {
        let last = if call.verb.is_write() && call.peer != ELECTION {
            count
        } else {
            1
        };
        (1..=last).map(move |occurrence| (call.clone(), occurrence))
    };
    common.into_iter().flat_map(every).collect()
}

fn counted(lines: &[Line]) -> BTreeMap<Call, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        if let Line::Call { call, .. } = line {
            *counts.entry(call.clone()).or_default() += 1;
        }
    }
    counts
}

/// What can happen to a call.
#[must_use]
pub fn strikes(call: &Call) -> Vec<Strike> {
    if call.verb == Verb::Watch {
        let lie = |does| [0, 1].map(|after| Strike::Watch(WatchFault { does, after, events: 2 }));
        let mut strikes: Vec<Strike> = LIES.into_iter().flat_map(lie).collect();
        strikes.extend([410, 429, 500].map(|code| Strike::Error { code, committed: false }));
        return strikes;
    }
    let mut strikes = vec![
        Strike::Crash { committed: false },
        Strike::Page { committed: false },
        Strike::Silence { committed: false },
        Strike::Reset { committed: false },
        Strike::Reset { committed: true },
        Strike::Truncated,
        Strike::Delay { milliseconds: 600 },
    ];
    strikes.extend(CODES.map(|code| Strike::Error { code, committed: false }));
    if call.verb.is_write() {
        strikes.extend(AMBIGUOUS.map(|code| Strike::Error { code, committed: true }));
        strikes.extend([
            Strike::Crash { committed: true },
            Strike::Page { committed: true },
            Strike::Silence { committed: true },
            Strike::Duplicate,
        ]);
    }
    strikes
}

/// A short name of a fault, for tables.
#[must_use]
pub fn label(strike: &Strike) -> String {
    let done = |committed: bool| if committed { " after commit" } else { "" };
    match strike {
        Strike::Crash { committed: false } => "crash before send".to_owned(),
        Strike::Crash { committed: true } => "crash after commit".to_owned(),
        Strike::Error { code, committed } => format!("{code}{}", done(*committed)),
        Strike::Page { committed } => format!("502 page{}", done(*committed)),
        Strike::Silence { committed } => format!("no answer{}", done(*committed)),
        Strike::Reset { committed: false } => "reset before send".to_owned(),
        Strike::Reset { committed: true } => "reset mid-body".to_owned(),
        Strike::Truncated => "truncated body".to_owned(),
        Strike::Duplicate => "sent twice".to_owned(),
        Strike::Delay { .. } => "delay".to_owned(),
        Strike::Hold => "hold".to_owned(),
        Strike::Watch(fault) => format!("watch {:?}", fault.does).to_lowercase(),
    }
}

/// All plans of a workload, one fault each.
#[must_use]
pub fn plans(workload: &str, points: &[(Call, usize)]) -> Vec<Plan> {
    let plan = |call: &Call, occurrence: usize, strike: Strike| {
        let at = Point::exactly(call, occurrence);
        let mut hasher = DefaultHasher::new();
        (&at, &strike).hash(&mut hasher);
        Plan {
            record: format!("{workload}-{:016x}", hasher.finish()),
            workload: Some(workload.to_owned()),
            faults: vec![Fault { at, strike, times: 1 }],
        }
    };
    points
        .iter()
        .flat_map(|(call, occurrence)| {
            strikes(call)
                .into_iter()
                .map(move |strike| plan(call, *occurrence, strike))
        })
        .collect()
}

/// The same plans in an order that a seed decides, each once; writes and watches, which are fewer and matter more, four times
/// as early as reads.
#[must_use]
pub fn ordered(plans: Vec<Plan>, seed: u64) -> Vec<Plan> {
    let place = |plan: &Plan| {
        let mut hasher = DefaultHasher::new();
        (seed, &plan.record).hash(&mut hasher);
        let verb = plan.faults.first().and_then(|fault| fault.at.verb);
        let matters = verb.is_some_and(|verb| verb.is_write() || verb == Verb::Watch);
        hasher.finish() / if matters { 4 } else { 1 }
    };
    let mut taken = BTreeSet::new();
    let mut plans: Vec<Plan> = plans
        .into_iter()
        .filter(|plan| taken.insert(plan.record.clone()))
        .collect();
    plans.sort_by_key(place);
    plans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(verb: Verb, name: &str) -> Line {
        let call = Call {
            peer: "master".to_owned(),
            verb,
            resource: "jobs".to_owned(),
            name: name.to_owned(),
            subresource: String::new(),
            during: String::new(),
        };
        Line::Call {
            number: 1,
            call,
            raw: name.to_owned(),
            occurrence: 1,
            place: None,
            fault: None,
        }
    }

    #[test]
    fn points_are_what_all_clean_runs_have_in_common() {
        let one = vec![
            line(Verb::Get, "a"),
            line(Verb::Get, "a"),
            line(Verb::Create, "b"),
            line(Verb::Create, "b"),
        ];
        let two = vec![line(Verb::Get, "a"), line(Verb::Create, "b"), line(Verb::Get, "c")];
        let found: Vec<_> = points(&[one.clone(), two])
            .into_iter()
            .map(|(call, count)| (call.verb, count))
            .collect();
        assert_eq!(found, [(Verb::Get, 1), (Verb::Create, 1)]);
        assert_eq!(points(&[one.clone(), one]).len(), 3);
    }

    #[test]
    fn the_order_depends_on_the_seed_alone() {
        let plans = plans("w1", &points(&[vec![line(Verb::Create, "b")]]));
        assert_eq!(
            plans.len(),
            strikes(&Call {
                verb: Verb::Create,
                ..call_of(&line(Verb::Create, "b"))
            })
            .len()
        );
        let (one, again, other) = (ordered(plans.clone(), 1), ordered(plans.clone(), 1), ordered(plans, 2));
        assert_eq!(one, again);
        assert_ne!(one, other);
    }

    fn call_of(line: &Line) -> Call {
        let Line::Call { call, .. } = line else { unreachable!() };
        call.clone()
    }
}
