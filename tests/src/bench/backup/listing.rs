//! What a backup is compared with: the same objects listed page by page and thrown away, and what people are told to dump with kubectl.
//! Reads only.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tokio::process::Command;

use super::contender::{self, Taken};
use super::platform::Seed;

/// What the official notes look for in the names of CRDs.
const DUMPED: &str = "kubermatic";
/// What a list took, as its program says.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) seconds: f64,
    pub(super) bytes: u64,
    pub(super) pages: u32,
}

/// Lists the kinds of a backup by a program that does nothing else.
pub(super) async fn plain(program: &Path, seed: &Seed, manifest: &Path, output: &Path) -> anyhow::Result<Listed> {
    let mut command = Command::new(program);
    command
        .arg("--kubeconfig")
        .arg(&seed.kubeconfig)
        .arg("--manifest")
        .arg(manifest);
    contender::run(command, output).await?;
    Ok(serde_json::from_slice(&std::fs::read(output)?)?)
}

/// A dump by kubectl.
#[derive(Debug)]
pub(super) struct Dump {
    /// Time of all calls, the highest memory of one, all processor time.
    pub(super) taken: Taken,
    pub(super) bytes: u64,
    /// Objects by `plural.group`.
    pub(super) objects: BTreeMap<String, u64>,
}

/// `kubectl get -o yaml` into a file for each CRD whose name has `kubermatic` in it.
pub(super) async fn dump(seed: &Seed, folder: &Path) -> anyhow::Result<Dump> {
    let cluster = seed.lab.clusters().first().context("no control plane")?;
    let names = ["get", "crd", "--no-headers", "-o", "custom-columns=NAME:.metadata.name"];
    let found = seed.lab.kubectl(&cluster.name, &names).await?;
    ensure!(found.status.success(), "kubectl get crd: {:?}", found.status);
    let mut dump = Dump {
        taken: Taken {
            elapsed: Duration::ZERO,
            memory: 0.0,
            processor: 0.0,
        },
        bytes: 0,
        objects: BTreeMap::new(),
    };
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    for name in found.lines().filter(|name| name.contains(DUMPED)) {
        let file = folder.join(format!("{name}.yaml"));
        let mut command = Command::new(seed.lab.summary().programs.join("kubectl"));
        command
            .args(["get", name, "--all-namespaces", "-o", "yaml"])
            .env("KUBECONFIG", &cluster.kubeconfig_path)
            .env("KUBECACHEDIR", cluster.folder.join("kubectl-cache"));
        let taken = contender::run(command, &file).await?;
        dump.taken = Taken {
            elapsed: dump.taken.elapsed + taken.elapsed,
            memory: dump.taken.memory.max(taken.memory),
            processor: dump.taken.processor + taken.processor,
        };
        dump.bytes += std::fs::metadata(&file)?.len();
        dump.objects.insert(name.to_owned(), count(&file)?);
        std::fs::remove_file(&file)?;
    }
    Ok(dump)
}

/// Objects of a list as YAML.
fn count(file: &Path) -> anyhow::Result<u64> {
    let lines = std::io::BufReader::new(std::fs::File::open(file)?).lines();
    let mut objects = 0;
    for line in lines {
        if line?.starts_with("- apiVersion: ") {
            objects += 1;
        }
    }
    Ok(objects)
}
