//! The programs of a control plane, built from pinned Go modules at first use.
//!
//! A registry of binaries would be one more thing to trust and to reach; the Go module proxy with `go.sum` is enough.
//! Never talks to a cluster. Must never run in a build script: compiling the lab must not need Go.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::log_tail::log_tail;

const GO_MOD: &str = include_str!("../../control-plane/go.mod");
const GO_SUM: &str = include_str!("../../control-plane/go.sum");

/// Program name and Go package, cheapest first so that a broken setup fails early.
const PACKAGES: [(&str, &str); 4] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    (
        "kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
    ),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
];

/// How often a running build says that it is alive.
const TICK: Duration = Duration::from_secs(15);

/// Why the programs of a control plane are not available.
#[derive(Debug, thiserror::Error)]
pub enum ProgramsError {
    /// `KUBEBUILDER_ASSETS` names a folder that lacks a program.
    #[error("{folder} (from KUBEBUILDER_ASSETS) has no program {name}: add it or unset the variable to have it built")]
    AssetMissing {
        /// The folder that the variable names.
        folder: PathBuf,
        /// The program.
        name: &'static str,
    },
    /// There is no usable Go toolchain.
    #[error(
        "cannot run `go version`: {0}; install Go {needed} or newer, or set KUBEBUILDER_ASSETS",
        needed = needed_go()
    )]
    NoGo(io::Error),
    /// The Go toolchain is older than the pinned modules need.
    #[error(
        "{found} is too old for the control plane's modules: install Go {needed} or newer, or set KUBEBUILDER_ASSETS"
    )]
    OldGo {
        /// What `go version` says.
        found: String,
        /// The version that go.mod asks for.
        needed: &'static str,
    },
    /// One program did not build.
    #[error("building {name} failed, log {log}:\n{tail}")]
    Build {
        /// The program.
        name: &'static str,
        /// The whole log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// Neither `KKP_LAB_CACHE`, `XDG_CACHE_HOME` nor `HOME` is set.
    #[error("no folder for built programs: set KKP_LAB_CACHE, XDG_CACHE_HOME or HOME")]
    NoCache,
    /// A file of the cache cannot be used.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Where the programs of a control plane are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Finds the programs or builds them; several processes at once build only once.
    ///
    /// Blocks, for minutes when nothing is built yet; progress goes to standard error.
    ///
    /// # Errors
    /// See [`ProgramsError`].
    pub fn ensure() -> Result<Self, ProgramsError> {
        if let Some(folder) = std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty()) {
            return Self::from_assets(PathBuf::from(folder));
        }
        let go_version = go_version()?;
        check_go(&go_version)?;
        Self::ensure_in(&cache_folder()?, &go_version)
    }

    /// The folder that holds all programs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The etcd server.
    #[must_use]
    pub fn etcd(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    /// The API server.
    #[must_use]
    pub fn kube_apiserver(&self) -> PathBuf {
        self.folder.join("kube-apiserver")
    }

    /// The built-in controllers.
    #[must_use]
    pub fn kube_controller_manager(&self) -> PathBuf {
        self.folder.join("kube-controller-manager")
    }

    /// The command line client.
    #[must_use]
    pub fn kubectl(&self) -> PathBuf {
        self.folder.join("kubectl")
    }

    fn from_assets(folder: PathBuf) -> Result<Self, ProgramsError> {
        match PACKAGES.iter().find(|(name, _)| !folder.join(name).is_file()) {
            Some(&(name, _)) => Err(ProgramsError::AssetMissing { folder, name }),
            None => Ok(Self { folder }),
        }
    }

    fn ensure_in(cache: &Path, go_version: &str) -> Result<Self, ProgramsError> {
        let folder = cache.join(format!("control-plane-{}", key(go_version)));
        if is_complete(&folder) {
            return Ok(Self { folder });
        }
        fs::create_dir_all(&folder).map_err(|source| file_error(&folder, source))?;
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).map_err(|source| file_error(&lock_path, source))?;
        lock.lock().map_err(|source| file_error(&lock_path, source))?;
        let module = write_module(&folder)?;
        let started = Instant::now();
        for (index, (name, package)) in PACKAGES.iter().enumerate() {
            // Another process may have built it while this one waited for the lock.
            if !folder.join(name).is_file() {
                progress(&format!("building {name} ({} of {}), once", index + 1, PACKAGES.len()));
                build(&folder, &module, name, package, started)?;
            }
        }
        Ok(Self { folder })
    }
}

fn is_complete(folder: &Path) -> bool {
    PACKAGES.iter().all(|(name, _)| folder.join(name).is_file())
}

fn file_error(path: &Path, source: io::Error) -> ProgramsError {
    ProgramsError::File {
        path: path.to_owned(),
        source,
    }
}

/// Progress is comfort: a closed standard error must not stop the build.
fn progress(line: &str) {
    let _ = writeln!(io::stderr().lock(), "kkp-lab: {line}");
}

fn cache_folder() -> Result<PathBuf, ProgramsError> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("KKP_LAB_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("kkp-lab")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/kkp-lab")))
        .ok_or(ProgramsError::NoCache)
}

/// The Go version that the pinned modules ask for.
fn needed_go() -> &'static str {
    GO_MOD
        .lines()
        .find_map(|line| line.strip_prefix("go "))
        .unwrap_or("1.26")
        .trim()
}

/// The Kubernetes version that the pinned modules are.
fn kubernetes_version() -> &'static str {
    let prefix = "k8s.io/kubernetes v";
    GO_MOD
        .lines()
        .find_map(|line| line.trim().strip_prefix(prefix))
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or("0.0.0")
}

fn go_version() -> Result<String, ProgramsError> {
    let output = Command::new("go")
        .arg("version")
        .env("GOTOOLCHAIN", "local")
        .output()
        .map_err(ProgramsError::NoGo)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(ProgramsError::NoGo(io::Error::other(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )))
    }
}

/// `go version go1.26.8 linux/amd64` against `1.26.0`; a development version passes, the build will tell.
fn check_go(go_version: &str) -> Result<(), ProgramsError> {
    let found = go_version
        .split_whitespace()
        .find_map(|word| word.strip_prefix("go1."))
        .map(|rest| format!("1.{rest}"));
    match found {
        Some(found) if numbers(&found) < numbers(needed_go()) => Err(ProgramsError::OldGo {
            found: go_version.to_owned(),
            needed: needed_go(),
        }),
        _ => Ok(()),
    }
}

fn numbers(version: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = version
        .split('.')
        .map(|part| {
            part.chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
                .parse()
                .unwrap_or(0)
        })
        .collect();
    numbers.resize(3, 0);
    numbers
}

fn linker_flags() -> String {
    let version = kubernetes_version();
    let minor = version.split('.').nth(1).unwrap_or("0");
    let mut flags = String::from("-s -w");
    // Without these the server calls itself v0.0.0 and clients that look at its version are misled.
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        let _ = write!(
            flags,
            " -X {package}.gitVersion=v{version} -X {package}.gitMajor=1 -X {package}.gitMinor={minor} \
             -X {package}.gitTreeState=archive"
        );
    }
    flags
}

fn key(go_version: &str) -> String {
    let mut hash = Sha256::new();
    for part in [GO_MOD, GO_SUM, go_version, &linker_flags()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(10).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn write_module(folder: &Path) -> Result<PathBuf, ProgramsError> {
    let module = folder.join("module");
    fs::create_dir_all(&module).map_err(|source| file_error(&module, source))?;
    for (name, content) in [("go.mod", GO_MOD), ("go.sum", GO_SUM)] {
        let path = module.join(name);
        fs::write(&path, content).map_err(|source| file_error(&path, source))?;
    }
    Ok(module)
}

fn build(
    folder: &Path,
    module: &Path,
    name: &'static str,
    package: &str,
    started: Instant,
) -> Result<(), ProgramsError> {
    let unfinished = folder.join(format!("{name}.unfinished"));
    let log = folder.join(format!("{name}.log"));
    let log_file = File::create(&log).map_err(|source| file_error(&log, source))?;
    let log_copy = log_file.try_clone().map_err(|source| file_error(&log, source))?;
    let mut child = Command::new("go")
        .args([
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            &linker_flags(),
            "-o",
        ])
        .arg(&unfinished)
        .arg(package)
        .current_dir(module)
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .stdout(log_copy)
        .stderr(log_file)
        .spawn()
        .map_err(ProgramsError::NoGo)?;
    let mut next_tick = Instant::now() + TICK;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|source| file_error(&unfinished, source))? {
            break status;
        }
        if Instant::now() >= next_tick {
            progress(&format!("building {name}, {} s so far", started.elapsed().as_secs()));
            next_tick += TICK;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    if !status.success() {
        return Err(ProgramsError::Build {
            name,
            tail: log_tail(&log),
            log,
        });
    }
    progress(&format!("built {name} after {} s", started.elapsed().as_secs()));
    let finished = folder.join(name);
    fs::rename(&unfinished, &finished).map_err(|source| file_error(&finished, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_go_is_refused_and_named() {
        let error = check_go("go version go1.25.9 linux/amd64").unwrap_err().to_string();
        assert!(error.contains("go1.25.9") && error.contains(needed_go()), "{error}");
        check_go("go version go1.26.8 linux/amd64").unwrap();
        check_go("go version go1.100.1 linux/amd64").unwrap();
        check_go("go version devel go-tip linux/amd64").unwrap();
    }

    #[test]
    fn key_depends_on_the_toolchain() {
        assert_ne!(
            key("go version go1.26.8 linux/amd64"),
            key("go version go1.26.9 linux/amd64")
        );
    }

    #[test]
    fn pinned_kubernetes_version_is_found() {
        assert!(
            numbers(kubernetes_version()) >= vec![1, 36, 0],
            "{}",
            kubernetes_version()
        );
        assert!(linker_flags().contains("gitMinor=36"), "{}", linker_flags());
    }

    #[test]
    fn assets_without_controller_manager_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["etcd", "kube-apiserver", "kubectl"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let error = Programs::from_assets(folder.path().to_owned()).unwrap_err().to_string();
        assert!(error.contains("kube-controller-manager"), "{error}");
    }
}
