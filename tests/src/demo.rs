//! `cargo demo`: a platform of 40 user clusters on real API servers is upgraded from 2.30.6 to 2.31.0, line by line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use kkp_lab::platform::Topology;
use kkp_upgrade_core::phase::Phase;
use kkp_upgrade_core::status::Status;
use serde_json::Value;

use crate::bed::{Bed, BedOptions, NAMESPACE};
use crate::observer::Observer;

const FROM: &str = "2.30.6";
const TO: &str = "2.31.0";
/// Longest that the upgrade itself may take.
const DEADLINE: Duration = Duration::from_mins(3);

/// Shows a whole upgrade on real control planes.
#[derive(Parser)]
#[command(name = "cargo demo")]
struct Arguments {
    /// Leave the platform running at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// A folder with the real programs in place of a stand-in, for example
    /// quay.io/kubermatic/kubermatic-ee:v2.31.0=/images/kkp; may be given several times.
    #[arg(long, value_name = "NAME=DIR", value_parser = image)]
    image: Vec<(String, PathBuf)>,
}

fn image(text: &str) -> Result<(String, PathBuf), String> {
    let (name, folder) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not NAME=DIR"))?;
    Ok((name.to_owned(), PathBuf::from(folder)))
}

/// Runs the demo.
///
/// # Errors
/// When anything of it did not work.
pub fn run(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    let program = OsString::from("cargo demo");
    let arguments = Arguments::parse_from(std::iter::once(&program).chain(arguments));
    // Started by the test bed's own runtime; the operator's process installs its own provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(Box::pin(show(&arguments)))
}

/// Prints a line with the time since the start in front.
struct Teller(Instant);

impl Teller {
    fn say(&self, text: &str) {
        let elapsed = self.0.elapsed().as_secs_f64();
        // A closed pipe must not end the upgrade half way.
        let _ = writeln!(std::io::stdout().lock(), "{elapsed:7.1}s  {text}");
    }
}

async fn show(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let tell = Teller(start);
    tell.say(&format!(
        "starting a master and two seeds with KKP {FROM}, 40 user clusters (the first start builds the control planes)"
    ));
    let topology = topology();
    let options = BedOptions {
        program: std::env::current_exe()?,
        versions: vec![TO.to_owned()],
        overrides: arguments.image.clone(),
        snapshot: false,
    };
    let bed = Bed::start(&topology, &options).await?;
    tell.say(&format!(
        "platform ready: KKP {FROM}, limit on parallel reconciles {}",
        limit(&bed).await?
    ));
    bed.install_operator().await?;
    tell.say("operator installed: kubectl apply -k deploy/");
    let observer = Observer::start(bed.upgrades(), narrator(start));
    let reconciling = bed.running.platform.most_reconciling_at_once();
    reconciling.started().await;
    bed.apply(UPGRADE).await?;
    tell.say(&format!(
        "KKPUpgrade to-2-31 applied: {FROM} → {TO}, maximumParallelReconciles 3"
    ));
    let ended = bed.until("to-2-31", DEADLINE, Status::has_ended).await?;
    let at_rest = bed
        .wait("lease and finalizer given back", Duration::from_secs(30), || async {
            let upgrade = bed.upgrades().get("to-2-31").await.ok()?;
            let status = upgrade.status.filter(|status| status.step.is_none())?;
            upgrade
                .metadata
                .finalizers
                .unwrap_or_default()
                .is_empty()
                .then_some(status)
        })
        .await?;
    report(&bed, &tell, &at_rest, &reconciling.highest()).await?;
    let mut violations = observer.seen.violations();
    let (events, broken) = bed.judged(&bed.expectations())?;
    violations.extend(broken.iter().map(ToString::to_string));
    tell.say(&format!(
        "monitor: {events} writes and installer records judged, {} promises broken",
        violations.len()
    ));
    if arguments.keep {
        keep(&bed, &tell).await?;
    }
    tell.say("stopping everything");
    bed.running.lab.stop()?;
    if ended.phase() != Some(Phase::Done) {
        bail!("the upgrade ended as {}", ended.phase.unwrap_or_default());
    }
    if !violations.is_empty() {
        bail!("promises were broken:\n{}", violations.join("\n"));
    }
    tell.say("done");
    Ok(ExitCode::SUCCESS)
}

fn topology() -> Topology {
    let mut topology = Topology::master(FROM).seed("eu", 20).seed("us", 20).enterprise();
    topology.maximum_parallel_reconciles = Some(10);
    topology
}

const UPGRADE: &str = "\
apiVersion: upgrade.k8c.io/v1alpha1
kind: KKPUpgrade
metadata: {name: to-2-31, namespace: kubermatic}
spec:
  targetVersion: \"2.31.0\"
  maximumParallelReconciles: 3
  verification: {soakSeconds: 3}
";

/// Prints each step once, as status shows it.
fn narrator(start: Instant) -> impl Fn(&str, &Status) + Send + 'static {
    let last = Mutex::new(String::new());
    move |_, status| {
        let ready = status.conditions.iter().find(|condition| condition.r#type == "Ready");
        let message = ready.map_or("", |ready| ready.message.as_str());
        let progress = status
            .progress
            .as_ref()
            .map_or_else(String::new, |progress| format!("  [{}]", progress.summary));
        let line = format!("{:<10} {message}{progress}", status.phase.as_deref().unwrap_or("-"));
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *last != line {
            last.clone_from(&line);
            Teller(start).say(&line);
        }
    }
}

async fn limit(bed: &Bed) -> anyhow::Result<String> {
    let path = "jsonpath={.items[0].spec.seedController.maximumParallelReconciles}";
    let text = bed
        .kubectl(&["get", "kubermaticconfigurations", "-n", NAMESPACE, "-o", path])
        .await?;
    Ok(if text.is_empty() { "unset".to_owned() } else { text })
}

async fn report(bed: &Bed, tell: &Teller, status: &Status, highest: &BTreeMap<String, usize>) -> anyhow::Result<()> {
    let table = bed.kubectl(&["get", "kkpu", "-n", NAMESPACE, "-o", "wide"]).await?;
    tell.say("kubectl get kkpu -o wide");
    for line in table.lines() {
        tell.say(&format!("  {line}"));
    }
    for run in installer_runs(&bed.running.platform.ledger()?, &format!("v{TO}")) {
        tell.say(&format!("installer run (ledger): {run}"));
    }
    for (seed, most) in highest {
        tell.say(&format!(
            "seed {seed}: at most {most} user clusters reconciling at once"
        ));
    }
    tell.say(&format!("limit on parallel reconciles is {} again", limit(bed).await?));
    for target in &status.targets {
        if let Some(backup) = &target.backup {
            let text = format!(
                "backup of {}: {} objects, {} bytes in {} on claim kkp-upgrade-backups",
                target.name, backup.objects, backup.bytes, backup.location
            );
            tell.say(&text);
        }
    }
    let rss = resident().context("memory of the operator")?;
    tell.say(&format!("operator: {} MiB resident", rss / 1024));
    Ok(())
}

/// One line for each run of the installer of this version.
fn installer_runs(ledger: &[Value], version: &str) -> Vec<String> {
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let of = |kind: &str, run: &str| {
        ledger
            .iter()
            .find(|entry| text(entry, "event") == kind && text(entry, "runId") == run)
            .cloned()
    };
    let starts = ledger
        .iter()
        .filter(|entry| text(entry, "event") == "start" && text(entry, "version") == version);
    starts
        .map(|start| {
            let run = text(start, "runId");
            let code = of("end", &run).and_then(|end| end.get("exitCode").and_then(Value::as_i64));
            let code = code.map_or_else(|| "no end".to_owned(), |code| format!("exit code {code}"));
            format!(
                "{} {} of {version}, {code}",
                text(start, "stack"),
                text(start, "hostname")
            )
        })
        .collect()
}

/// Resident memory of the operator's process in KiB: the process of this machine that runs as `kkp-upgrade-operator`
/// below this demo.
fn resident() -> Option<u64> {
    let entries = std::fs::read_dir("/proc").ok()?;
    entries
        .flatten()
        .filter_map(|entry| {
            let folder = entry.path();
            let command = std::fs::read(folder.join("cmdline")).ok()?;
            let mut words = command.split(|byte| *byte == 0);
            let operator = words.next()?.ends_with(b"kkp-upgrade-operator") && words.next()? == b"run";
            let status = std::fs::read_to_string(folder.join("status"))
                .ok()
                .filter(|_| operator)?;
            let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse().ok()
        })
        .max()
}

async fn keep(bed: &Bed, tell: &Teller) -> anyhow::Result<()> {
    for cluster in bed.running.lab.clusters() {
        tell.say(&format!(
            "{}: KUBECONFIG={}",
            cluster.name,
            cluster.kubeconfig_path.display()
        ));
    }
    tell.say(&format!(
        "kubectl is in {}; everything stays until Ctrl-C",
        bed.running.lab.summary().programs.display()
    ));
    Ok(tokio::signal::ctrl_c().await?)
}
