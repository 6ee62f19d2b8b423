//! `cargo bench-run`: what the operator costs and how fast it follows, as a table of figures. Programs that print figures, not
//! timed tests. The shipped binary is measured, in a Pod of the lab.

pub mod audit;
pub mod backup;
pub mod figures;
pub mod fleet;
pub mod objects;
pub mod overhead;
pub mod player;
pub mod reaction;
pub mod record;
pub mod rest;
pub mod scenario;
pub mod seed_api;
pub mod shipped;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

use crate::bed::repository;
use figures::Report;
use fleet::Shape;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Subject {
    /// From the last change that was needed to the edge in status.
    Reaction,
    /// Resident memory.
    Memory,
    /// Writes while nothing happens.
    Rest,
    /// API calls of each phase of an upgrade.
    Calls,
    /// An upgrade against what the platform alone needs for it.
    Overhead,
    /// Size of the binary.
    Size,
    /// From a KKPUpgrade in mode Plan to its plan, on a large platform.
    Rules,
    /// A backup of a large seed against a plain list of the same objects and against kubectl, and the way back.
    Backup,
}

/// Measures the shipped operator and prints a table.
#[derive(Parser)]
#[command(name = "cargo bench-run")]
pub struct Options {
    /// What to measure; everything if nothing is named. Reaction, memory, rest and calls come out of the same runs.
    #[arg(value_enum)]
    subjects: Vec<Subject>,
    /// Number of seeds, instead of the usual shapes.
    #[arg(long)]
    seeds: Option<usize>,
    /// User clusters of each seed, where the number of seeds is given (default 200), and of the backup (default 10,000).
    #[arg(long)]
    clusters: Option<usize>,
    /// How often blockers and aborts are repeated for each shape (default 8), and the backup beside what it is compared with
    /// (default 3).
    #[arg(long)]
    repeat: Option<usize>,
    /// Only take backups: leave out the way back into an empty cluster, which takes longer than all others together.
    #[arg(long)]
    without_restore: bool,
    /// Seconds that all user clusters together take to converge.
    #[arg(long, default_value_t = 60)]
    convergence: u64,
    /// Seconds of each window at rest.
    #[arg(long, default_value_t = 60)]
    rest: u64,
    /// Writes the figures as JSON into this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measures this program instead of building one: to compare two versions.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

impl Options {
    fn wants(&self, subject: Subject) -> bool {
        self.subjects.is_empty() || self.subjects.contains(&subject)
    }

    fn wants_reaction(&self) -> bool {
        self.wants(Subject::Reaction)
    }

    fn clusters(&self) -> usize {
        self.clusters.unwrap_or(200)
    }

    /// How often blockers and aborts are repeated for each shape.
    fn repeat(&self) -> usize {
        self.repeat.unwrap_or(8)
    }

    fn rest(&self) -> Duration {
        Duration::from_secs(self.rest)
    }

    fn convergence(&self) -> Duration {
        Duration::from_secs(self.convergence)
    }

    fn shape_of_rules(&self) -> Shape {
        match self.seeds {
            Some(seeds) => Shape {
                seeds,
                clusters: self.clusters(),
            },
            None => Shape {
                seeds: 3,
                clusters: 10_000,
            },
        }
    }

    fn shapes(&self) -> BTreeSet<Shape> {
        let mut shapes = BTreeSet::new();
        let mut add = |seeds, clusters| {
            shapes.insert(Shape { seeds, clusters });
        };
        let fleets = [Subject::Reaction, Subject::Rest, Subject::Calls];
        let moving = fleets.iter().any(|subject| self.wants(*subject));
        match self.seeds {
            Some(seeds) if moving || self.wants(Subject::Memory) => add(seeds, self.clusters()),
            Some(_) => {}
            None => {
                if moving {
                    add(1, 200);
                }
                if self.wants(Subject::Memory) {
                    add(1, 0);
                    add(10, 200);
                }
                if moving || self.wants(Subject::Memory) {
                    add(50, 200);
                }
            }
        }
        shapes
    }
}

/// Says what is going on, on standard error: standard output is for the table.
pub struct Teller(Instant);

impl Teller {
    /// Says it.
    pub fn say(&self, text: &str) {
        let elapsed = self.0.elapsed().as_secs_f64();
        let _ = writeln!(std::io::stderr().lock(), "{elapsed:7.1}s  {text}");
    }
}

/// Runs the measurements.
///
/// # Errors
/// When something cannot be measured; a missed target is only said.
pub fn run(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    let program = OsString::from("cargo bench-run");
    let options = Options::parse_from(std::iter::once(&program).chain(arguments));
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(Box::pin(measure(&options)))
}

async fn measure(options: &Options) -> anyhow::Result<ExitCode> {
    let tell = Teller(Instant::now());
    let mut report = Report::begin(&repository());
    let operator = if let Some(program) = &options.program {
        program.clone()
    } else {
        tell.say("building the operator for release");
        shipped::build(&repository())?
    };
    if options.wants(Subject::Size) {
        report.figures.push(shipped::size(&operator)?);
    }
    if options.wants(Subject::Overhead) {
        report
            .figures
            .extend(Box::pin(overhead::measure(&operator, &tell)).await?);
    }
    let mut code = ExitCode::SUCCESS;
    if options.wants(Subject::Rules) {
        let figures = &mut report.figures;
        let shape = options.shape_of_rules();
        if let Err(error) = Box::pin(scenario::measure_rules(shape, &operator, &tell, figures)).await {
            tell.say(&format!("{shape}: rules not measured: {error:#}"));
            code = ExitCode::FAILURE;
        }
    }
    if options.wants(Subject::Backup) {
        let figures = &mut report.figures;
        let extent = backup::Extent {
            clusters: options.clusters.unwrap_or(10_000),
            repeat: options.repeat.unwrap_or(3),
            restore: !options.without_restore,
        };
        tell.say("building the plain list for release");
        let plain_list = shipped::build_plain_list(&repository())?;
        let programs = backup::Programs {
            operator: &operator,
            plain_list: &plain_list,
        };
        if let Err(error) = Box::pin(backup::measure(programs, &extent, &tell, figures)).await {
            tell.say(&format!("backup not measured to its end: {error:#}"));
            code = ExitCode::FAILURE;
        }
    }
    for shape in options.shapes() {
        let figures = &mut report.figures;
        if let Err(error) = Box::pin(scenario::measure(shape, &operator, options, &tell, figures)).await {
            tell.say(&format!("{shape}: not measured to its end: {error:#}"));
            code = ExitCode::FAILURE;
        }
    }
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    std::io::stdout().lock().write_all(report.table().as_bytes())?;
    Ok(code)
}
