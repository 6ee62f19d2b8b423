//! `kkp-lab up | down | list`: a lab by hand.
//!
//! Talks to no cluster itself. With `--keep` a keeper process owns the lab; `down` ends the keeper, and the lab with it.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::image_view::{ImageOverride, image_view};
use crate::lab::folder;
use crate::{ClusterSpec, Lab, LabSummary, Topology};

/// How long `down` waits for a lab to be gone.
const DOWN: Duration = Duration::from_secs(30);
/// First argument of the process that owns a kept lab.
const KEEPER: &str = "keeper";

#[derive(Parser)]
#[command(
    name = "kkp-lab",
    about = "Real control planes on this machine, gone when you are",
    version
)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start a lab and keep it until Ctrl-C, or until `down` with --keep
    Up(Up),
    /// End labs that were started with --keep
    Down {
        /// Names as shown by `list`; all kept labs without
        names: Vec<String>,
    },
    /// Show running labs
    List,
    /// Own a kept lab
    #[command(name = KEEPER, hide = true)]
    Keeper(Up),
}

/// What to start.
#[derive(Args, Clone, Debug)]
pub struct Up {
    /// Leave the lab running and return
    #[arg(long)]
    pub keep: bool,
    /// Names of the clusters
    #[arg(long, value_delimiter = ',', default_value = "master", value_name = "NAME,…")]
    pub clusters: Vec<String>,
    /// Folder with the images that Pods may run
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Use this folder (config.json and rootfs/) for an image, in place of what the image folder has
    #[arg(long = "image", value_name = "NAME=DIR")]
    pub overrides: Vec<ImageOverride>,
    /// Start from a snapshot
    #[arg(long, value_name = "DIR")]
    pub data_from: Option<PathBuf>,
    /// Write audit logs
    #[arg(long)]
    pub audit: bool,
}

/// Runs the command line; `arguments` come without the program name.
///
/// # Errors
/// When the lab cannot be started or ended.
pub fn run(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    let program = std::iter::once(OsString::from("kkp-lab"));
    match Cli::try_parse_from(program.chain(arguments.iter().cloned())) {
        Ok(Cli { command: Task::Up(up) }) if up.keep => start_keeper(arguments),
        Ok(Cli { command: Task::Up(up) }) => block_on(hold(up, &mut |summary| show(summary))),
        Ok(Cli {
            command: Task::Keeper(up),
        }) => block_on(hold(up, &mut |summary| {
            writeln!(io::stdout().lock(), "{}", serde_json::to_string(summary)?)?;
            Ok(io::stdout().lock().flush()?)
        })),
        Ok(Cli {
            command: Task::Down { names },
        }) => down(&names),
        Ok(Cli { command: Task::List }) => list(),
        Err(error) => {
            error.print()?;
            Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)))
        }
    }
}

fn block_on(future: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

/// Starts a lab, tells where it is and holds it until a signal.
async fn hold(up: Up, tell: &mut dyn FnMut(&LabSummary) -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    // Signals are taken before the start: Ctrl-C during a start must tidy up as well.
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    // Lives as long as the lab; what a killed process leaves of it is a folder of links.
    let view = match up.overrides.as_slice() {
        [] => None,
        overrides => Some(image_view(up.images.as_deref(), overrides)?),
    };
    let topology = Topology {
        clusters: up.clusters.iter().map(ClusterSpec::named).collect(),
        images: view.as_ref().map(|view| view.path().to_owned()).or(up.images),
        data_from: up.data_from,
        audit: up.audit,
        ..Topology::default()
    };
    let lab = tokio::select! {
        lab = Lab::start(topology) => lab?,
        _ = terminate.recv() => return Ok(ExitCode::from(143)),
        _ = interrupt.recv() => return Ok(ExitCode::from(130)),
    };
    tell(lab.summary())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    lab.stop()?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what one needs to use a lab.
///
/// # Errors
/// When standard output is closed.
pub fn show(summary: &LabSummary) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "lab {}", name(&summary.folder))?;
    for cluster in &summary.clusters {
        let milliseconds = cluster.start_time.as_millis();
        writeln!(
            out,
            "  {}  {}  ready after {milliseconds} ms",
            cluster.name, cluster.server
        )?;
        writeln!(out, "    export KUBECONFIG={}", cluster.kubeconfig_path.display())?;
    }
    writeln!(out, "  kubectl: {}", summary.programs.join("kubectl").display())?;
    Ok(out.flush()?)
}

fn name(folder: &Path) -> String {
    folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Executes this program again as the owner of the lab and returns when the lab is up.
fn start_keeper(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find the running program")?;
    let mut keeper = Command::new(program)
        .arg(KEEPER)
        .args(arguments.get(1..).unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Not in this terminal's foreground group: its Ctrl-C is not for the keeper.
        .process_group(0)
        .spawn()
        .context("cannot start the keeper of the lab")?;
    let stdout = keeper.stdout.take().context("the keeper has no stdout")?;
    let stderr = keeper.stderr.take().context("the keeper has no stderr")?;
    let relay = std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
    });
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.is_empty() {
        keeper.wait()?;
        // It has said why on its error output.
        let _ = relay.join();
        return Ok(ExitCode::FAILURE);
    }
    show(&serde_json::from_str(&line).context("the keeper of the lab said something unexpected")?)?;
    Ok(ExitCode::SUCCESS)
}

fn list() -> anyhow::Result<ExitCode> {
    for (folder, _) in folder::alive().context("cannot read the temporary folder")? {
        match LabSummary::read(&folder) {
            Ok(summary) => show(&summary)?,
            Err(_) => writeln!(io::stdout().lock(), "lab {} is starting", name(&folder))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn down(names: &[String]) -> anyhow::Result<ExitCode> {
    let alive = folder::alive().context("cannot read the temporary folder")?;
    if let Some(unknown) = names
        .iter()
        .find(|wanted| !alive.iter().any(|(folder, _)| name(folder) == **wanted))
    {
        bail!("there is no running lab {unknown}: see `kkp-lab list`");
    }
    for (folder, owner) in alive {
        let wanted = names.is_empty() || names.contains(&name(&folder));
        // A test's lab is not ours to end.
        if !wanted || !is_keeper(owner.pid) {
            continue;
        }
        let pid = Pid::from_raw(i32::try_from(owner.pid)?);
        match kill(pid, Signal::SIGTERM) {
            // Another user's lab, and nobody asked for it by name.
            Err(Errno::EPERM) if names.is_empty() => continue,
            other => other.with_context(|| format!("cannot end the keeper of {}", name(&folder)))?,
        }
        let deadline = Instant::now() + DOWN;
        while folder.exists() {
            if Instant::now() >= deadline {
                bail!("lab {} did not end within {} s", name(&folder), DOWN.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        writeln!(io::stdout().lock(), "lab {} is gone", name(&folder))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a process was started by [`start_keeper`].
fn is_keeper(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == KEEPER.as_bytes()))
}
