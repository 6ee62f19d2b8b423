//! The program as it is shipped: built for release, its size, and the memory of its process.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::figures::Figure;
use crate::bed::Bed;

const NAME: &str = "kkp-upgrade-operator";
/// Clock ticks per second, as Linux tells user programs on every architecture that it is built for here.
const TICKS: f64 = 100.0;

/// Builds the operator for release and says where the program is.
///
/// # Errors
/// When it does not build.
pub fn build(repository: &Path) -> anyhow::Result<PathBuf> {
    release(repository, NAME, "--bin", NAME)
}

/// The same for the program that lists what a backup reads.
///
/// # Errors
/// When it does not build.
pub fn build_plain_list(repository: &Path) -> anyhow::Result<PathBuf> {
    release(repository, "kkp-upgrade-backup", "--example", "plain_list")
}

fn release(repository: &Path, package: &str, kind: &str, name: &str) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(repository)
        .args(["build", "--release", "--package", package, kind, name])
        .arg("--message-format=json-render-diagnostics")
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("{name} does not build for release");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut executables = text.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let path = message.get("executable")?.as_str()?;
        (message.pointer("/target/name")?.as_str()? == name).then(|| PathBuf::from(path))
    });
    executables.next_back().context("cargo named no program")
}

/// Size of the program.
///
/// # Errors
/// When it cannot be read.
pub fn size(program: &Path) -> anyhow::Result<Figure> {
    let bytes = std::fs::metadata(program)?.len();
    Ok(Figure::new(
        "release binary",
        mebibytes(bytes),
        "MiB",
        "profile release: thin LTO, one codegen unit, stripped",
    ))
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

/// Resident memory of a process.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Now, MiB.
    pub now: f64,
    /// The highest so far, MiB.
    pub highest: f64,
}

/// Memory of the operator's process in a lab.
///
/// # Errors
/// When it does not run.
pub fn memory(bed: &Bed) -> anyhow::Result<Memory> {
    let status = std::fs::read_to_string(process(bed)?.join("status"))?;
    let read = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace()
            .nth(1)?
            .parse::<u64>()
            .ok()
            .map(|kibibytes| mebibytes(kibibytes * 1024))
    };
    Ok(Memory {
        now: read("VmRSS").context("VmRSS")?,
        highest: read("VmHWM").context("VmHWM")?,
    })
}

/// Processor time of the operator's process so far, in seconds: unlike all else that takes time, it does not depend on what
/// else the machine does.
///
/// # Errors
/// When it does not run.
pub fn processor_time(bed: &Bed) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(process(bed)?.join("stat"))?;
    // The name in brackets may hold spaces; user and system time are the 12th and 13th field behind it.
    let (_, fields) = stat.rsplit_once(')').context("stat of the operator")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u32 = ticks.filter_map(|text| text.parse::<u32>().ok()).sum();
    Ok(f64::from(ticks) / TICKS)
}

fn process(bed: &Bed) -> anyhow::Result<PathBuf> {
    let lab = bed.running.lab.pid();
    std::fs::read_dir("/proc")?
        .flatten()
        .map(|entry| entry.path())
        .find(|folder| is_operator(folder) && descends(folder, lab))
        .context("no process of the operator in the lab")
}

fn is_operator(folder: &Path) -> bool {
    let command = std::fs::read(folder.join("cmdline")).unwrap_or_default();
    let mut words = command.split(|byte| *byte == 0);
    words.next().is_some_and(|word| word.ends_with(NAME.as_bytes())) && words.next() == Some(b"run")
}

/// Other labs may run beside this one.
fn descends(folder: &Path, ancestor: u32) -> bool {
    let mut folder = folder.to_owned();
    loop {
        let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
        let parent = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:")?.trim().parse::<u32>().ok());
        match parent {
            Some(parent) if parent == ancestor => return true,
            Some(parent) if parent > 1 => folder = PathBuf::from(format!("/proc/{parent}")),
            _ => return false,
        }
    }
}
