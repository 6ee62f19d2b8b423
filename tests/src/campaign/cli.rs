//! `cargo campaign`: the whole matrix for so many minutes, in lanes; `cargo campaign replay FILE`: one plan.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::sync::Mutex;

use super::lane::Lane;
use super::learned::{CLEAN_RUNS, Learned, Lessons, learn};
use super::matrix;
use super::report::{Stretch, report};
use super::state::{Finished, State};
use super::verdict::verdict;
use super::workload::{WORKLOADS, Workload};
use crate::fault::Plan;

/// Learns clean runs and strikes every one of their calls with every fault.
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo campaign")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// No run is begun after so many minutes.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Platforms at the same time; a run waits more than it works.
    #[arg(long)]
    lanes: Option<usize>,
    /// Decides the order of the plans.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these workloads, for example w1,w6.
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,
    /// Only plans whose fault has this in its text, for example `crash` or `kubermaticconfigurations`.
    #[arg(long)]
    only: Option<String>,
    /// Write the report to this file too.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Runs one plan file and says what came of it.
    Replay {
        /// The plan.
        file: PathBuf,
    },
    /// Runs workloads without faults and says what they have in common.
    Learn,
}

/// Runs the campaign.
///
/// # Errors
/// When the lab does not work, or a clean run is not clean.
pub fn run(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    let program = OsString::from("cargo campaign");
    let arguments = Arguments::parse_from(std::iter::once(&program).chain(arguments));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(Box::pin(async {
        match arguments.command.clone() {
            None => campaign(&arguments).await,
            Some(Command::Replay { file }) => replay(&file).await,
            Some(Command::Learn) => show(&arguments).await,
        }
    }))
}

fn say(text: &str) {
    // A closed pipe must not end the campaign.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

impl Arguments {
    fn workloads(&self) -> anyhow::Result<Vec<&'static Workload>> {
        if self.workloads.is_empty() {
            return Ok(WORKLOADS.iter().collect());
        }
        self.workloads.iter().map(|name| Workload::named(name)).collect()
    }

    fn lanes(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.lanes.unwrap_or(cores * 2).max(1)
    }
}

async fn open_lanes(count: usize) -> anyhow::Result<Vec<Arc<Lane>>> {
    let program = std::env::current_exe()?;
    // The first one makes the snapshot of the platform that the others start from.
    let first = Box::pin(Lane::open(&program)).await?;
    let rest = (1..count).map(|_| Box::pin(Lane::open(&program)));
    let mut lanes = vec![Arc::new(first)];
    for lane in futures::future::join_all(rest).await {
        lanes.push(Arc::new(lane?));
    }
    Ok(lanes)
}

async fn replay(file: &Path) -> anyhow::Result<ExitCode> {
    let plan = Plan::from_yaml(&std::fs::read_to_string(file).with_context(|| file.display().to_string())?)?;
    let workload = Workload::named(plan.workload.as_deref().unwrap_or("w1"))?;
    let lane = Box::pin(Lane::open(&std::env::current_exe()?)).await?;
    let learned = Box::pin(learn(&lane, workload, CLEAN_RUNS)).await?;
    let run = Box::pin(lane.run(workload, &plan)).await?;
    let wrong = verdict(&learned.baseline, &plan, &run);
    say(&format!("struck {:?} times; {:?}", run.struck, run.times));
    for line in &wrong {
        say(line);
    }
    let folder = lane.bed.running.lab.keep_folder()?.to_owned();
    say(&format!(
        "logs of the last run are kept for a day in {}",
        folder.display()
    ));
    lane.close()?;
    Ok(if wrong.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn show(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let lane = Box::pin(Lane::open(&std::env::current_exe()?)).await?;
    for workload in arguments.workloads()? {
        let learned = match Box::pin(learn(&lane, workload, CLEAN_RUNS)).await {
            Ok(learned) => learned,
            Err(error) => {
                say(&format!("## {}: {error:#}", workload.name));
                continue;
            }
        };
        let plans = matrix::plans(workload.name, &learned.points).len();
        say(&format!(
            "## {} {}: {} points, {plans} plans",
            workload.name,
            workload.title,
            learned.points.len()
        ));
        for line in learned.baseline.mask() {
            say(&format!("masked: {line}"));
        }
        for (call, occurrence) in learned.points.iter().filter(|(call, _)| call.verb.is_write()) {
            say(&format!("{occurrence} {call}"));
        }
    }
    lane.close()?;
    Ok(ExitCode::SUCCESS)
}

/// What the lanes share.
struct Shared {
    lessons: Mutex<Lessons>,
    /// Workloads that went wrong without any fault, and how; nothing can be held against them.
    unlearned: Mutex<Vec<String>>,
    queue: Mutex<VecDeque<Plan>>,
    state: State,
    runs: std::sync::atomic::AtomicUsize,
    end: Instant,
}

async fn campaign(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let state = State::open(&std::env::current_exe()?)?;
    let workloads = arguments.workloads()?;
    say(&format!(
        "starting {} lanes; state in {}",
        arguments.lanes(),
        state.path().display()
    ));
    let lanes = open_lanes(arguments.lanes()).await?;
    let began = Instant::now();
    let shared = Arc::new(Shared {
        lessons: Mutex::default(),
        unlearned: Mutex::default(),
        queue: Mutex::default(),
        state,
        runs: std::sync::atomic::AtomicUsize::new(0),
        end: began + Duration::from_secs(arguments.minutes * 60),
    });
    learn_all(&shared, &lanes, workloads).await?;
    let plans = fill(&shared, arguments).await?;
    say(&format!("{plans} plans, {} left", shared.queue.lock().await.len()));
    let workers = lanes
        .iter()
        .map(|lane| tokio::spawn(work(shared.clone(), lane.clone())));
    for worker in futures::future::join_all(workers).await {
        worker??;
    }
    let stretch = Stretch {
        runs: shared.runs.load(std::sync::atomic::Ordering::Relaxed),
        elapsed: began.elapsed(),
        lanes: lanes.len(),
        plans,
        seed: arguments.seed,
    };
    let finished = shared.state.finished()?;
    let unlearned = std::mem::take(&mut *shared.unlearned.lock().await);
    let text = report(&stretch, &*shared.lessons.lock().await, &unlearned, &finished);
    say(&text);
    std::fs::write(shared.state.path().join("report.md"), &text)?;
    if let Some(file) = &arguments.report {
        std::fs::write(file, &text)?;
    }
    for lane in lanes {
        if let Ok(lane) = Arc::try_unwrap(lane) {
            lane.close()?;
        }
    }
    let clean = unlearned.is_empty() && finished.values().all(|run| run.wrong.is_empty());
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn learn_all(shared: &Arc<Shared>, lanes: &[Arc<Lane>], workloads: Vec<&'static Workload>) -> anyhow::Result<()> {
    let left = Arc::new(Mutex::new(VecDeque::from(workloads)));
    let tasks = lanes.iter().map(|lane| {
        let (left, lane, shared) = (left.clone(), lane.clone(), shared.clone());
        tokio::spawn(async move {
            loop {
                let Some(workload) = left.lock().await.pop_front() else {
                    return;
                };
                let learned: Learned = match Box::pin(learn(&lane, workload, CLEAN_RUNS)).await {
                    Ok(learned) => learned,
                    Err(error) => {
                        say(&format!("{} is left out: {error:#}", workload.name));
                        shared
                            .unlearned
                            .lock()
                            .await
                            .push(format!("{}: {error:#}", workload.name));
                        continue;
                    }
                };
                shared.runs.fetch_add(CLEAN_RUNS, std::sync::atomic::Ordering::Relaxed);
                say(&format!("{}: {} points", workload.name, learned.points.len()));
                shared.lessons.lock().await.insert(workload.name, learned);
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task?;
    }
    Ok(())
}

/// Puts all plans into the queue that have not been run; how many there are in all.
async fn fill(shared: &Shared, arguments: &Arguments) -> anyhow::Result<usize> {
    let lessons = shared.lessons.lock().await;
    let plans = lessons
        .iter()
        .flat_map(|(name, learned)| matrix::plans(name, &learned.points))
        .collect();
    let plans: Vec<Plan> = matrix::ordered(plans, arguments.seed)
        .into_iter()
        .filter(|plan| {
            let text = serde_json::to_string(&plan.faults).unwrap_or_default();
            arguments.only.as_ref().is_none_or(|only| text.contains(only.as_str()))
        })
        .collect();
    let finished = shared.state.finished()?;
    let count = plans.len();
    let left = plans.into_iter().filter(|plan| !finished.contains_key(&plan.record));
    shared.queue.lock().await.extend(left);
    Ok(count)
}

async fn work(shared: Arc<Shared>, lane: Arc<Lane>) -> anyhow::Result<()> {
    while Instant::now() < shared.end {
        let Some(plan) = shared.queue.lock().await.pop_front() else {
            return Ok(());
        };
        let name = plan.workload.clone().unwrap_or_default();
        let workload = Workload::named(&name)?;
        let baseline = shared
            .lessons
            .lock()
            .await
            .get(workload.name)
            .context("not learned")?
            .baseline
            .clone();
        let run = Box::pin(lane.run(workload, &plan)).await?;
        let mut finished = Finished {
            wrong: verdict(&baseline, &plan, &run),
            struck: run.struck.iter().all(|count| *count > 0),
            again: None,
            times: run.times,
            plan,
        };
        let mut runs = 1;
        if !finished.wrong.is_empty() {
            let again = Box::pin(lane.run(workload, &finished.plan)).await?;
            finished.again = Some(verdict(&baseline, &finished.plan, &again));
            runs += 1;
        }
        shared.state.keep(&finished)?;
        let total = runs + shared.runs.fetch_add(runs, std::sync::atomic::Ordering::Relaxed);
        tell(&finished, total);
    }
    Ok(())
}

fn tell(run: &Finished, total: usize) {
    let verdict = match (&run.wrong.first(), &run.again) {
        (None, _) if !run.struck => "not struck".to_owned(),
        (None, _) => "ok".to_owned(),
        (Some(first), Some(again)) if again.is_empty() => format!("ONCE {first}"),
        (Some(first), _) => format!("WRONG {first}"),
    };
    let verdict: String = verdict.lines().next().unwrap_or_default().chars().take(200).collect();
    let fault = run.plan.faults.first();
    let fault = fault.map_or_else(String::new, |fault| {
        let at = serde_json::to_string(&fault.at).unwrap_or_default();
        format!("{} {at}", matrix::label(&fault.strike))
    });
    say(&format!("{total:5} {} {fault}: {verdict}", run.plan.record));
}
