//! The models that are checked, and what all of them together must have shown.

use std::sync::Arc;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use crate::actions::World;
use crate::bounds::Bounds;
use crate::explain::explain;
use crate::mind::Mind;
use crate::people::Edit;
use crate::properties::{EVENTS, SITUATIONS};
use crate::state::Spent;

/// Fewer states than this in all say too little.
const ENOUGH: usize = 1_000_000;

fn bounds(name: &'static str) -> Bounds {
    Bounds {
        name,
        upgrades: 1,
        operators: 1,
        seeds: 1,
        limit: Some(3),
        original: Some(20),
        inherited: false,
        most: Spent::default(),
        nearest: None,
        edits: &[],
    }
}

/// What people do besides following messages.
const PEOPLE: [Edit; 9] = [
    Edit::Pause,
    Edit::Revert,
    Edit::SpecLimit,
    Edit::Abort,
    Edit::Retry,
    Edit::Release,
    Edit::Delete,
    Edit::Limit,
    Edit::RepairReleases,
];

fn none() -> Spent {
    Spent::default()
}

fn models() -> Vec<Bounds> {
    vec![
        Bounds {
            most: Spent {
                crashes: 2,
                failures: 1,
                ..none()
            },
            ..bounds("crashes")
        },
        Bounds {
            most: Spent {
                removals: 1,
                failures: 2,
                ..none()
            },
            nearest: Some(250_000),
            ..bounds("jobs")
        },
        Bounds {
            most: Spent {
                blinks: 1,
                flaps: 1,
                hours: 1,
                ..none()
            },
            nearest: Some(200_000),
            ..bounds("sight")
        },
        Bounds {
            most: Spent { edits: 2, ..none() },
            edits: &PEOPLE,
            nearest: Some(300_000),
            ..bounds("people")
        },
        Bounds {
            most: Spent {
                edits: 2,
                crashes: 1,
                ..none()
            },
            edits: &[Edit::RemoveNote, Edit::Limit, Edit::Abort, Edit::Delete],
            nearest: Some(200_000),
            ..bounds("note")
        },
        Bounds {
            most: Spent {
                edits: 1,
                failures: 1,
                ..none()
            },
            edits: &PEOPLE,
            limit: None,
            original: None,
            seeds: 0,
            ..bounds("people and failures")
        },
        Bounds {
            most: Spent { crashes: 1, ..none() },
            inherited: true,
            ..bounds("inherited")
        },
        Bounds {
            most: Spent { flaps: 2, ..none() },
            seeds: 0,
            ..bounds("flaps")
        },
        Bounds {
            most: Spent {
                edits: 1,
                failures: 1,
                ..none()
            },
            edits: &[Edit::Delete, Edit::Release, Edit::Retry, Edit::Limit],
            seeds: 0,
            ..bounds("held")
        },
        Bounds {
            operators: 2,
            seeds: 0,
            most: Spent { edits: 1, ..none() },
            edits: &[Edit::Abort, Edit::Delete, Edit::Limit],
            nearest: Some(400_000),
            ..bounds("two operators")
        },
        Bounds {
            upgrades: 2,
            seeds: 0,
            most: Spent { edits: 1, ..none() },
            edits: &[Edit::Abort, Edit::Delete, Edit::Pause],
            nearest: Some(200_000),
            ..bounds("two upgrades")
        },
    ]
}

fn check(bounds: Bounds) -> (usize, Arc<Mind>) {
    let (name, mind, began) = (bounds.name, Arc::new(Mind::default()), Instant::now());
    let world = World {
        bounds,
        mind: Arc::clone(&mind),
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let nearest = world.bounds.nearest;
    let mut checker = world
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::AnyFailures);
    if let Some(nearest) = nearest {
        // The checker counts states as often as they are reached, about three times each.
        checker = checker.target_state_count(nearest * 3);
    }
    let checker = checker.spawn_bfs().join();
    let states = checker.unique_state_count();
    println!(
        "{name}: {}{states} states, depth {}, {} decisions, {} ends, {:.1} s",
        if nearest.is_some() { "the nearest " } else { "all " },
        checker.max_depth(),
        mind.decisions(),
        mind.ends.len(),
        began.elapsed().as_secs_f64()
    );
    for (property, path) in checker.discoveries() {
        println!("BROKEN in {name}: {property}");
        println!("{}", explain(checker.model(), &path));
    }
    assert!(checker.is_done() || nearest.is_some(), "{name} was not finished");
    assert!(checker.discoveries().is_empty(), "{name} is broken");
    (states, mind)
}

#[test]
fn every_state_of_every_model() {
    let only = std::env::var("MODEL").ok();
    let mut total = 0;
    let mut minds = Vec::new();
    for bounds in models() {
        if only.as_deref().is_none_or(|only| only == bounds.name) {
            let (states, mind) = check(bounds);
            total += states;
            minds.push(mind);
        }
    }
    println!("{total} states in all");
    let missed: Vec<&str> = (SITUATIONS.iter().enumerate())
        .filter(|(number, _)| !minds.iter().any(|mind| mind.has_reached(*number)))
        .map(|(_, (name, _))| *name)
        .chain(
            EVENTS
                .iter()
                .filter(|(_, seen)| !minds.iter().any(|mind| mind.has_seen(*seen)))
                .map(|(name, _)| *name),
        )
        .collect();
    println!("never seen: {missed:?}");
    if only.is_none() {
        assert!(missed.is_empty(), "the models never show: {missed:?}");
        assert!(total >= ENOUGH, "{total} states are too few");
    }
}
