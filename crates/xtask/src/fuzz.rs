//! `cargo xtask fuzz`: runs the fuzz targets under AFL++, guided by coverage, from the kept corpus on.
//!
//! AFL++ is built from source by `cargo-afl`, once, outside of the checkout; that needs a C compiler and make. The toolchain is
//! the stable one: its code generator can count the places that an input reaches. Talks to no cluster. Must never write into the kept corpus: an input that breaks
//! something stays where AFL++ puts it until a person takes it in.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, ensure};
use clap::Args;

/// Version of `cargo afl`, and so of AFL++.
const CARGO_AFL: &str = "0.18.2";
/// Where AFL++ works: below the checkout's target folder.
const FOLDER: &str = "target/fuzz";
/// What the instrumented program is linked with, in the folder of AFL++.
const RUNTIME: &str = "afl-llvm/afl-compiler-rt.o";
/// The program that drives it.
const FUZZER: &str = "afl/bin/afl-fuzz";
/// Longest run of one input that AFL++ waits for, in milliseconds. The targets themselves count processor time, which a busy
/// machine does not stretch; this is for what never ends.
const PATIENCE: &str = "5000";
/// Most address space of the program, in MiB: the targets' own bound and room for the program.
const ADDRESS_SPACE: &str = "1024";

/// Run the fuzz targets, guided by coverage.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How long each target runs.
    #[arg(long, default_value_t = 12)]
    seconds: u64,
    /// Targets; without any, all of them.
    targets: Vec<String>,
}

/// Tools and folders of one machine.
struct Afl {
    root: PathBuf,
    tools: PathBuf,
    output: PathBuf,
}

/// Runs the targets one after the other; ends with 1 when an input broke one.
///
/// # Errors
/// When AFL++ or the program cannot be built or run.
pub(crate) fn run(root: &Path, arguments: &Arguments, report: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let root = root.canonicalize().context("find the checkout")?;
    let afl = Afl {
        tools: tools()?,
        output: root.join(FOLDER),
        root,
    };
    let known = afl.targets()?;
    let unknown = arguments.targets.iter().find(|target| !known.contains(target));
    ensure!(
        unknown.is_none(),
        "there is no target {unknown:?}, only {}",
        known.join(", ")
    );
    let chosen = if arguments.targets.is_empty() {
        &known
    } else {
        &arguments.targets
    };
    afl.install()?;
    afl.build()?;
    let mut code = ExitCode::SUCCESS;
    for target in chosen {
        if afl.fuzz(target, arguments.seconds, report)? > 0 {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// The folder that `.ci/run` keeps its tools in.
fn tools() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    Ok(cache
        .or(home)
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("kkp-upgrade-ci"))
}

impl Afl {
    /// Each target has a folder with its kept corpus.
    fn targets(&self) -> anyhow::Result<Vec<String>> {
        let corpus = self.root.join("fuzz/corpus");
        let entries = fs::read_dir(&corpus).with_context(|| format!("read {}", corpus.display()))?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<anyhow::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn install(&self) -> anyhow::Result<()> {
        if self.built().is_some() {
            return Ok(());
        }
        // Its build script builds AFL++, into the folder that XDG_DATA_HOME names.
        let target = self.tools.join("target-afl");
        let mut install = Command::new("cargo");
        install
            .args([
                "install",
                "cargo-afl",
                "--quiet",
                "--debug",
                "--locked",
                "--force",
                "--version",
                CARGO_AFL,
            ])
            .arg("--root")
            .arg(self.tools.join(format!("cargo-afl-{CARGO_AFL}")))
            .arg("--target-dir")
            .arg(&target)
            .env("XDG_DATA_HOME", self.tools.join("afl"))
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_INCREMENTAL", "0");
        done(&mut install)?;
        drop(fs::remove_dir_all(&target));
        Ok(())
    }

    /// Folder of AFL++ as it was built; it does not depend on the version of Rust that built it.
    fn built(&self) -> Option<PathBuf> {
        let versions = fs::read_dir(self.tools.join("afl/afl.rs")).ok()?;
        versions
            .filter_map(|entry| Some(entry.ok()?.path().join(format!("afl.rs-{CARGO_AFL}"))))
            .find(|folder| folder.join(RUNTIME).exists() && folder.join(FUZZER).exists())
    }

    /// The program with its own crates instrumented. Dependencies are those of every other build.
    fn build(&self) -> anyhow::Result<()> {
        let tools = self
            .built()
            .context("AFL++ was not built: does the machine have make and a C compiler?")?;
        let mut build = Command::new("cargo");
        build
            .args([
                "build",
                "--quiet",
                "--locked",
                "--package",
                "kkp-upgrade-fuzz",
                "--features",
                "afl",
            ])
            .current_dir(&self.root)
            .env("RUSTC_WORKSPACE_WRAPPER", self.root.join("fuzz/instrument"))
            .env("AFL_RUNTIME", tools.join(RUNTIME))
            .env("CARGO_INCREMENTAL", "0");
        done(&mut build)
    }

    /// Runs one target and returns how many inputs broke it.
    fn fuzz(&self, target: &str, seconds: u64, report: &mut dyn Write) -> anyhow::Result<u64> {
        let output = self.output.join(target);
        if output.exists() {
            fs::remove_dir_all(&output).with_context(|| format!("remove {}", output.display()))?;
        }
        fs::create_dir_all(&output).with_context(|| format!("make {}", output.display()))?;
        let log = output.join("log");
        let file = fs::File::create(&log).with_context(|| format!("write {}", log.display()))?;
        let built = self.built().context("AFL++ is gone")?;
        let mut fuzz = Command::new(built.join(FUZZER));
        fuzz.arg("-i")
            .arg(self.root.join("fuzz/corpus").join(target))
            .arg("-o")
            .arg(&output);
        fuzz.args(["-V", &seconds.to_string(), "-t", PATIENCE, "-m", ADDRESS_SPACE, "--"]);
        fuzz.arg(self.program()).arg(target);
        for setting in [
            "AFL_NO_UI",
            "AFL_SKIP_CPUFREQ",
            "AFL_NO_AFFINITY",
            "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES",
        ] {
            fuzz.env(setting, "1");
        }
        let status = fuzz
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()?;
        ensure!(
            status.success(),
            "AFL++ ended with {status} for target {target}: see {}",
            log.display()
        );
        let found = Found::read(&output.join("default/fuzzer_stats"))?;
        writeln!(report, "{target}: {found}")?;
        if found.broken() > 0 {
            self.tell(target, &output.join("default"), report)?;
        }
        Ok(found.broken())
    }

    /// Says of each input that broke the target what broke, and quotes the input, so that the output alone is enough to find
    /// the cause: the machine may be gone with its files.
    fn tell(&self, target: &str, folder: &Path, report: &mut dyn Write) -> anyhow::Result<()> {
        for kind in ["crashes", "hangs"] {
            let entries = fs::read_dir(folder.join(kind)).with_context(|| format!("read {kind} of {target}"))?;
            for entry in entries {
                let path = entry?.path();
                // AFL++ puts a text for people beside its inputs.
                if path.ends_with("README.txt") {
                    continue;
                }
                let input = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
                let said = if kind == "crashes" {
                    let mut again = Command::new(self.program());
                    let again = again.arg(target).stdin(fs::File::open(&path)?).output()?;
                    String::from_utf8_lossy(&again.stderr).into_owned()
                } else {
                    "never ended".to_owned()
                };
                writeln!(
                    report,
                    "{target}: {}: {}: {}",
                    path.display(),
                    said.trim(),
                    input.escape_ascii()
                )?;
            }
        }
        Ok(())
    }

    fn program(&self) -> PathBuf {
        self.root.join("target/debug/kkp-upgrade-fuzz")
    }
}

fn done(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// What AFL++ says of a run.
struct Found(BTreeMap<String, String>);

impl Found {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Self(
            pairs
                .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
                .collect(),
        )
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("?", String::as_str)
    }

    /// Inputs that crashed the target or never ended; a count that is missing is no zero.
    fn broken(&self) -> u64 {
        let count = |key| self.text(key).parse::<u64>().unwrap_or(1);
        count("saved_crashes") + count("saved_hangs")
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{} executions ({} per second), {} inputs kept, coverage {}, {} crashes, {} hangs",
            self.text("execs_done"),
            self.text("execs_per_sec"),
            self.text("corpus_count"),
            self.text("bitmap_cvg"),
            self.text("saved_crashes"),
            self.text("saved_hangs"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_counts_as_broken() {
        let whole = "execs_done        : 42\nsaved_crashes     : 0\nsaved_hangs       : 0\n";
        assert_eq!(Found::parse(whole).broken(), 0);
        assert!(Found::parse(whole).to_string().starts_with("42 executions"));
        assert_eq!(
            Found::parse(&whole.replace("saved_crashes     : 0", "saved_crashes     : 3")).broken(),
            3
        );
        assert_eq!(Found::parse("").broken(), 2);
    }
}
