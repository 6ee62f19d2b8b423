//! The suite's own test: known mistakes are planted one after the other into a copy of the code, and the part of the suite
//! that is there for them must fail. A mistake that nobody notices is a defect of the suite.
//!
//! Works in a copy below `target/`, never in the checkout.

mod bug;
mod report;
mod suite;
mod tree;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};

use bug::{Bug, Suite};
use report::{Finding, Verdict};
use suite::Ended;
use tree::Tree;

/// Which bugs, and how.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Arguments {
    /// Ids, for example `SB01`; `SB10` also means its variants `SB10a`, `SB10b`. Default: all.
    ids: Vec<String>,
    /// Lists the bugs and runs nothing.
    #[arg(long)]
    list: bool,
    /// Goes on after a bug that is not caught.
    #[arg(long)]
    keep_going: bool,
    /// Copies the checkout as it is, instead of what is committed.
    #[arg(long)]
    uncommitted: bool,
    /// Leaves the copy of the code where it is, so that the next run compiles less.
    #[arg(long)]
    keep_copy: bool,
}

/// Ends with 1 unless every bug that can be made was caught.
pub(crate) fn run(root: &Path, arguments: &Arguments, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let bugs = chosen(bug::all(root)?, &arguments.ids)?;
    if arguments.list {
        report::list(&bugs, out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tree = Tree::make(root, arguments.uncommitted, arguments.keep_copy)?;
    let findings = runtime.block_on(async {
        tokio::select! {
            findings = all(&tree, bugs, arguments.keep_going, out) => findings,
            () = told_to_stop() => Err(anyhow::anyhow!("told to stop")),
        }
    })?;
    report::table(&findings, out)?;
    let caught = findings.iter().all(|finding| finding.verdict.is_good());
    Ok(if caught { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(bugs: Vec<Bug>, ids: &[String]) -> anyhow::Result<Vec<Bug>> {
    let names = |bug: &Bug, id: &String| {
        let variant = bug.id.strip_prefix(id.as_str());
        variant.is_some_and(|rest| rest.chars().all(|letter| letter.is_ascii_lowercase()))
    };
    if let Some(id) = ids.iter().find(|id| !bugs.iter().any(|bug| names(bug, id))) {
        bail!("there is no seeded bug {id}: `cargo xtask seeded-bugs --list` shows all");
    }
    let wanted = |bug: &Bug| ids.is_empty() || ids.iter().any(|id| names(bug, id));
    Ok(bugs.into_iter().filter(wanted).collect())
}

/// SIGTERM or Ctrl-C.
async fn told_to_stop() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

async fn all(tree: &Tree, mut bugs: Vec<Bug>, keep_going: bool, out: &mut dyn Write) -> anyhow::Result<Vec<Finding>> {
    let count = bugs.len();
    let controls = controls(tree, &bugs, out).await?;
    bugs.sort_by_key(|bug| (bug.place(), bug.id.clone()));
    let mut findings = Vec::new();
    for bug in bugs {
        let began = Instant::now();
        let verdict = judge(tree, &bug, &controls).await?;
        let finding = Finding {
            bug,
            verdict,
            duration: began.elapsed(),
        };
        writeln!(out, "{}/{count} {finding}", findings.len() + 1)?;
        out.flush()?;
        let stop = !finding.verdict.is_good() && !keep_going;
        findings.push(finding);
        if stop {
            break;
        }
    }
    findings.sort_by(|one, other| one.bug.id.cmp(&other.bug.id));
    Ok(findings)
}

/// What each part of the suite says without any bug; an entry is what is wrong with it.
type Controls = BTreeMap<Suite, Option<String>>;

async fn controls(tree: &Tree, bugs: &[Bug], out: &mut dyn Write) -> anyhow::Result<Controls> {
    let mut controls = Controls::new();
    for suite in bugs.iter().flat_map(|bug| &bug.caught_by) {
        if controls.contains_key(suite) {
            continue;
        }
        let began = Instant::now();
        let problem = match suite::compile(tree, suite).await? {
            Err(errors) => Some(format!("does not compile without a bug: {errors}")),
            Ok(()) => match suite::run(tree, suite).await? {
                Ended::Passed(_) => None,
                Ended::Failed(tests) => Some(format!("fails without a bug: {}", tests.join(", "))),
                Ended::Hung => Some("does not end without a bug".to_owned()),
                Ended::NoTests => Some("has no test".to_owned()),
            },
        };
        let said = problem.as_deref().unwrap_or("passes");
        writeln!(out, "control: {suite}: {said} ({:.0} s)", began.elapsed().as_secs_f64())?;
        out.flush()?;
        controls.insert(suite.clone(), problem);
    }
    Ok(controls)
}

async fn judge(tree: &Tree, bug: &Bug, controls: &Controls) -> anyhow::Result<Verdict> {
    if let Some(reason) = &bug.not_built {
        return Ok(Verdict::NotBuilt(reason.clone()));
    }
    let unusable = bug.caught_by.iter().find_map(|suite| {
        let problem = controls.get(suite)?.as_ref()?;
        Some(format!("{suite} {problem}"))
    });
    if let Some(problem) = unusable {
        return Ok(Verdict::NoControl(problem));
    }
    let changed = match bug.changed(tree.code()) {
        Ok(changed) => changed,
        Err(problem) => return Ok(Verdict::DoesNotApply(problem)),
    };
    let before = tree.plant(&changed)?;
    let verdict = with_bug(tree, bug).await;
    tree.plant(&before)?;
    verdict
}

async fn with_bug(tree: &Tree, bug: &Bug) -> anyhow::Result<Verdict> {
    let mut noticed = Vec::new();
    for suite in &bug.caught_by {
        if let Err(errors) = suite::compile(tree, suite).await? {
            return Ok(Verdict::DoesNotCompile(errors));
        }
        match suite::run(tree, suite).await? {
            Ended::Failed(tests) => noticed.extend(tests),
            Ended::Hung => noticed.push(format!("{suite} does not end")),
            Ended::Passed(_) | Ended::NoTests => return Ok(Verdict::Survived(suite.to_string())),
        }
    }
    Ok(Verdict::Caught(noticed))
}
