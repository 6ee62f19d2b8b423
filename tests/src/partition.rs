//! What tests do to the way between the master and a seed: kubeconfigs that lead elsewhere, relays that cut it, and what
//! the operator's process spends on it.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use kkp_lab::relay::Relay;
use serde_json::json;

use crate::bed::{Bed, NAMESPACE};

impl Bed {
    /// The administrator's kubeconfig of a seed's control plane.
    ///
    /// # Errors
    /// When there is no such control plane.
    pub fn kubeconfig(&self, seed: &str) -> anyhow::Result<String> {
        let plane = self.running.platform.plane(seed);
        Ok(plane
            .with_context(|| format!("no control plane {seed}"))?
            .kubeconfig
            .clone())
    }

    /// Writes a kubeconfig into the Secret of a Seed.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn set_kubeconfig(&self, seed: &str, text: &str) -> anyhow::Result<()> {
        let secret = format!("kubeconfig-{seed}");
        let patch = json!({"stringData": {"kubeconfig": text}}).to_string();
        self.kubectl(&[
            "patch",
            "secret",
            &secret,
            "-n",
            NAMESPACE,
            "--type=merge",
            "-p",
            &patch,
        ])
        .await?;
        Ok(())
    }

    /// Puts a relay between a seed's API server and everybody who takes its kubeconfig from the Seed.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn relay(&self, seed: &str) -> anyhow::Result<Relay> {
        let cluster = self.running.lab.cluster(seed)?;
        let relay = Relay::start(SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.port))).await?;
        let kubeconfig = relay.kubeconfig(&self.kubeconfig(seed)?, &cluster.server);
        self.set_kubeconfig(seed, &kubeconfig).await?;
        Ok(relay)
    }

    /// The most memory that the operator's process has had until now, in KiB.
    ///
    /// # Errors
    /// When the process cannot be found.
    pub fn operator_memory(&self) -> anyhow::Result<u64> {
        let lab = self.running.lab.pid();
        let processes = std::fs::read_dir("/proc")?.flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let most = numbers
            .filter(|process| is_operator(*process) && descends(*process, lab))
            .filter_map(|process| field(process, "VmHWM:"))
            .max();
        most.context("no process of the operator runs in this lab")
    }
}

fn is_operator(process: u32) -> bool {
    let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    let named = words
        .next()
        .is_some_and(|program| program.ends_with(b"kkp-upgrade-operator"));
    named && words.any(|word| word == b"run")
}

fn field(process: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn descends(process: u32, ancestor: u32) -> bool {
    let mut next = process;
    // No chain of parents is that long.
    for _ in 0..64 {
        if next == ancestor {
            return true;
        }
        match field(next, "PPid:").and_then(|parent| u32::try_from(parent).ok()) {
            Some(parent) if parent > 1 => next = parent,
            _ => return false,
        }
    }
    false
}
