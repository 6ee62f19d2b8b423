//! Faults between the operator's programs and the API server: one crash per effect and side of its commit, each class of error,
//! each way in which a connection breaks, each lie of a watch. Every run ends as one without faults, with the same
//! effects. The whole matrix is `cargo campaign`.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use kkp_upgrade_tests::campaign::baseline::Baseline;
use kkp_upgrade_tests::campaign::lane::Lane;
use kkp_upgrade_tests::campaign::matrix::{CODES, LIES, points};
use kkp_upgrade_tests::campaign::verdict::verdict;
use kkp_upgrade_tests::campaign::workload::Workload;
use kkp_upgrade_tests::fault::{Call, Fault, Plan, Point, Strike, Verb, WatchDoes, WatchFault};
use tokio::sync::Mutex;

/// Platforms at the same time, and clean runs to compare with. A run waits more than it works.
const LANES: usize = 4;
/// Crashes in one run: a Pod that crashes often is started again ever later.
const CRASHES: usize = 7;

/// Faults that do not disturb each other, in one run.
struct Round {
    title: String,
    faults: Vec<Fault>,
}

fn round(title: &str, faults: Vec<Fault>) -> Round {
    Round {
        title: title.to_owned(),
        faults,
    }
}

fn at(call: &Call, strike: Strike) -> Fault {
    Fault {
        at: Point::exactly(call, 1),
        strike,
        times: 1,
    }
}

/// One call per effect: what is written to the platform or to our own objects, each once.
fn effects(points: &[(Call, usize)]) -> Vec<Call> {
    let mut effects = BTreeMap::new();
    for (call, _) in points {
        let told = call.resource == "events" || call.subresource == "status" || call.resource.contains("reviews");
        if call.peer == "master" && call.verb.is_write() && !told {
            // The same object in another phase is another effect: the limit is set and put back.
            effects.entry(call.clone()).or_insert_with(|| call.clone());
        }
    }
    effects.into_values().collect()
}

/// Status writes, one per place of the run.
fn intents(points: &[(Call, usize)]) -> Vec<Call> {
    let writes = points
        .iter()
        .map(|(call, _)| call)
        .filter(|call| call.resource == "kkpupgrades" && call.subresource == "status" && call.peer == "master");
    let mut intents: Vec<Call> = writes.cloned().collect();
    intents.dedup();
    intents
}

fn reads(points: &[(Call, usize)]) -> Vec<Call> {
    let is_read = |call: &&Call| matches!(call.verb, Verb::Get | Verb::List) && call.peer == "master";
    points.iter().map(|(call, _)| call).filter(is_read).cloned().collect()
}

/// A crash before and one after the commit of every effect, and by turns of every intent, a few in each run.
fn crashes(points: &[(Call, usize)]) -> Vec<Round> {
    let crash = |call: &Call, committed| at(call, Strike::Crash { committed });
    let mut rounds = Vec::new();
    for committed in [false, true] {
        for calls in effects(points).chunks(CRASHES) {
            let title = if committed {
                "crashes after effects"
            } else {
                "crashes before effects"
            };
            rounds.push(round(title, calls.iter().map(|call| crash(call, committed)).collect()));
        }
    }
    let by_turns = intents(points).into_iter().enumerate();
    let faults: Vec<Fault> = by_turns.map(|(number, call)| crash(&call, number % 2 == 0)).collect();
    rounds.extend(
        faults
            .chunks(CRASHES)
            .map(|faults| round("crashes at intents", faults.to_vec())),
    );
    rounds
}

/// Each class of error at an effect and at a read.
fn errors(points: &[(Call, usize)]) -> Vec<Round> {
    let errors = || CODES.map(|code| Strike::Error { code, committed: false });
    let spread = |calls: Vec<Call>| {
        let calls = calls.into_iter().cycle();
        let mut times: BTreeMap<Call, usize> = BTreeMap::new();
        let fault = |(strike, call): (Strike, Call)| {
            let occurrence = times.entry(call.clone()).or_default();
            *occurrence += 1;
            Fault {
                at: Point::exactly(&call, *occurrence),
                strike,
                times: 1,
            }
        };
        errors().into_iter().zip(calls).map(fault).collect::<Vec<_>>()
    };
    let mut faults = spread(effects(points));
    faults.extend(spread(reads(points)));
    vec![
        round("errors of effects and reads", faults),
        round("errors of intents", spread(intents(points))),
    ]
}

/// Each way in which it stays open whether a call was carried out.
fn ambiguous(points: &[(Call, usize)]) -> Vec<Round> {
    let strikes = [
        Strike::Error {
            code: 500,
            committed: true,
        },
        Strike::Error {
            code: 503,
            committed: true,
        },
        Strike::Error {
            code: 504,
            committed: true,
        },
        Strike::Page { committed: true },
        Strike::Page { committed: false },
        Strike::Silence { committed: true },
        Strike::Silence { committed: false },
        Strike::Reset { committed: true },
        Strike::Reset { committed: false },
        Strike::Truncated,
        Strike::Duplicate,
        Strike::Delay { milliseconds: 600 },
    ];
    let faults = |calls: Vec<Call>, turn: usize| {
        let strikes = strikes.iter().cycle().skip(turn);
        calls
            .iter()
            .zip(strikes)
            .map(|(call, strike)| at(call, strike.clone()))
            .collect()
    };
    vec![
        round("ambiguous effects", faults(effects(points), 0)),
        round("ambiguous intents", faults(intents(points), 0)),
    ]
}

/// Each lie of a watch: at watches of different kinds in one run, then one of all.
fn watches(points: &[(Call, usize)]) -> Vec<Round> {
    let watches: Vec<&Call> = points
        .iter()
        .map(|(call, _)| call)
        .filter(|call| call.verb == Verb::Watch)
        .collect();
    let lie = |does| {
        Strike::Watch(WatchFault {
            does,
            after: 0,
            events: 2,
        })
    };
    let each = |turn: usize| {
        let lies = LIES.into_iter().cycle().skip(turn);
        let faults = watches.iter().filter(|call| !is_of_upgrades(call)).zip(lies);
        faults.map(|(call, does)| at(call, lie(does))).collect::<Vec<_>>()
    };
    let mut each_but_one = each(0);
    // A KKPUpgrade that the watch keeps back is seen by the next one, after up to five minutes.
    let of_upgrades = watches.iter().filter(|call| is_of_upgrades(call));
    each_but_one.extend(of_upgrades.map(|call| at(call, lie(WatchDoes::Expires))));
    let frozen = each(0).into_iter().map(|fault| Fault {
        strike: lie(WatchDoes::Freezes),
        times: 1_000,
        ..fault
    });
    vec![
        round("no watch but that of KKPUpgrades ever says anything", frozen.collect()),
        round("lies of watches", each_but_one),
    ]
}

fn is_of_upgrades(call: &Call) -> bool {
    call.resource == "kkpupgrades"
}

/// What is in a Job may fail; it is done once more or the run says so.
fn jobs(points: &[(Call, usize)]) -> Vec<Round> {
    let first = |peer: &str, write: bool| {
        let calls = points.iter().map(|(call, _)| call);
        calls
            .filter(|call| call.peer == peer && call.verb.is_write() == write)
            .take(1)
            .cloned()
            .collect::<Vec<_>>()
    };
    let fault =
        |calls: Vec<Call>, strike: Strike| calls.iter().map(|call| at(call, strike.clone())).collect::<Vec<_>>();
    let crash = |committed| Strike::Crash { committed };
    let busy = Strike::Error {
        code: 503,
        committed: true,
    };
    let mut once = fault(first("backup", false), crash(false));
    once.extend(fault(first("preparation", true), busy));
    vec![
        round("a backup crashes, and the answer to a fence is lost", once),
        round(
            "an installer's preparation crashes before its fence",
            fault(first("preparation", true), crash(false)),
        ),
        round(
            "an installer's preparation crashes behind its fence",
            fault(first("preparation", true), crash(true)),
        ),
    ]
}

async fn clean(lanes: &[Arc<Lane>], workload: &'static Workload) -> anyhow::Result<(Baseline, Vec<(Call, usize)>)> {
    let runs = lanes.iter().enumerate().map(|(number, lane)| {
        let plan = Plan {
            record: format!("clean-{number}"),
            ..Plan::default()
        };
        async move { lane.run(workload, &plan).await }
    });
    let (mut evidence, mut calls) = (Vec::new(), Vec::new());
    for run in futures::future::join_all(runs).await {
        let run = run?;
        ensure!(
            run.evidence.wrong.is_empty(),
            "without faults: {:#?}",
            run.evidence.wrong
        );
        evidence.push(run.evidence);
        calls.push(run.calls);
    }
    Ok((Baseline::of(&evidence), points(&calls)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_faults_ends_as_one_without_and_with_the_same_effects() -> anyhow::Result<()> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_kkp-upgrade-testbed"));
    let workload = Workload::named("w1")?;
    let mut lanes = vec![Arc::new(Box::pin(Lane::open(&program)).await?)];
    let more = (1..LANES).map(|_| Box::pin(Lane::open(&program)));
    for lane in futures::future::join_all(more).await {
        lanes.push(Arc::new(lane?));
    }
    let (baseline, points) = Box::pin(clean(&lanes, workload)).await?;
    ensure!(effects(&points).len() >= 9, "effects: {:#?}", effects(&points));
    // The longest first: the others go on beside it.
    let rounds = [watches, crashes, errors, ambiguous, jobs]
        .into_iter()
        .flat_map(|make| make(&points));
    let rounds: VecDeque<(usize, Round)> = rounds.enumerate().collect();
    let queue = Arc::new(Mutex::new(rounds));
    let baseline = Arc::new(baseline);
    let workers = lanes.iter().map(|lane| {
        let (lane, queue, baseline) = (lane.clone(), queue.clone(), baseline.clone());
        tokio::spawn(async move {
            let mut failed = Vec::new();
            loop {
                let Some((number, round)) = queue.lock().await.pop_front() else {
                    return anyhow::Ok(failed);
                };
                let plan = Plan {
                    record: format!("round-{number}"),
                    workload: None,
                    faults: round.faults,
                };
                let run = Box::pin(lane.run(workload, &plan)).await.context(round.title.clone())?;
                let mut wrong = verdict(&baseline, &plan, &run);
                if run.struck.iter().all(|count| *count == 0) {
                    wrong.push(format!("no fault struck: {:?}", run.struck));
                }
                // Whatever does not happen is followed by all that depends on it.
                wrong.truncate(20);
                eprintln!(
                    "{}: {:?}, struck {:?}, wrong {wrong:#?}",
                    round.title, run.times, run.struck
                );
                if !wrong.is_empty() {
                    let struck = run.struck;
                    failed.push(format!(
                        "{}: {wrong:#?}\nstruck {struck:?}\n{}",
                        round.title,
                        plan.to_yaml()?
                    ));
                }
            }
        })
    });
    let mut failed = Vec::new();
    for worker in futures::future::join_all(workers).await {
        failed.extend(worker??);
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    for lane in lanes {
        Arc::into_inner(lane).context("a lane is still in use")?.close()?;
    }
    Ok(())
}
