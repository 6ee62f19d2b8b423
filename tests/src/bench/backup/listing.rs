//! What a backup is compared with: the same objects listed page by page and thrown away, and what people are told to dump with kubectl.
//! Reads only.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use http_body_util::BodyExt as _;
use kkp_upgrade_backup::Resource;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use tokio::process::Command;

use super::contender::{self, Taken};
use super::platform::Seed;

/// Where the items of a list begin, and where its metadata does.
const ITEMS: &[u8] = b"\"items\":";
const METADATA: &[u8] = b"\"metadata\":";
/// What the official notes look for in the names of CRDs.
const DUMPED: &str = "kubermatic";
/// Objects per page, as kubectl and every pager of Kubernetes' own client ask for.
const PAGE: u32 = 500;

/// What a list took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Listed {
    pub(super) elapsed: Duration,
    /// Processor time of this process meanwhile, which is compiled without optimisation: no part of what a list costs.
    pub(super) own: Duration,
    pub(super) bytes: u64,
    pub(super) pages: u32,
}

impl Listed {
    /// As if whoever reads it took no time.
    pub(super) fn without_reader(&self) -> Duration {
        self.elapsed.saturating_sub(self.own)
    }
}

/// Lists these kinds, one page after the other, and throws them away.
pub(super) async fn plain(client: &Client, kinds: &[Resource]) -> anyhow::Result<Listed> {
    let (begin, own) = (Instant::now(), contender::time("/proc/self").unwrap_or_default());
    let mut listed = Listed::default();
    for kind in kinds {
        let mut token = None::<String>;
        loop {
            let next = token.map_or_else(String::new, |token| format!("&continue={token}"));
            let address = format!("{}?limit={PAGE}{next}", kind.collection_path());
            let answer = client.send(http::Request::get(address).body(Body::empty())?).await?;
            ensure!(answer.status().is_success(), "{}: {}", kind.label(), answer.status());
            let text = answer.into_body().collect().await?.to_bytes();
            listed.bytes += text.len() as u64;
            listed.pages += 1;
            token = next_token(&text).with_context(|| kind.label())?;
            if token.is_none() {
                break;
            }
        }
    }
    listed.elapsed = begin.elapsed();
    let now = contender::time("/proc/self").unwrap_or_default();
    listed.own = Duration::from_secs_f64((now - own).max(0.0));
    Ok(listed)
}

/// The token of the next page. It stands before the items or, in lists of custom resources, behind them; the items are not even
/// looked at.
fn next_token(text: &[u8]) -> anyhow::Result<Option<String>> {
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(rename = "continue", default)]
        next: String,
    }
    let items = text.windows(ITEMS.len()).position(|window| window == ITEMS);
    let head = text.get(..items.unwrap_or(text.len())).unwrap_or_default();
    let before = head.windows(METADATA.len()).position(|window| window == METADATA);
    let last = || text.windows(METADATA.len()).rposition(|window| window == METADATA);
    let start = before.or_else(last).context("it is no list")?;
    let rest = text.get(start + METADATA.len()..).unwrap_or_default();
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Metadata>();
    let metadata = values.next().context("it has no metadata")??;
    Ok(Some(metadata.next).filter(|next| !next.is_empty()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_without_the_items() {
        let page = br#"{"kind":"List","metadata":{"resourceVersion":"7","continue":"abc","remainingItemCount":3},"items":[{"broken"#;
        assert_eq!(next_token(page).unwrap().as_deref(), Some("abc"));
        let last = br#"{"kind":"List","metadata":{"resourceVersion":"7"},"items":[{"a":1}]}"#;
        assert_eq!(next_token(last).unwrap(), None);
        let behind = br#"{"items":[{"metadata":{"continue":"no"}}],"kind":"List","metadata":{"continue":"abc"}}"#;
        assert_eq!(next_token(behind).unwrap().as_deref(), Some("abc"));
        assert_eq!(next_token(br#"{"metadata":{},"items":null}"#).unwrap(), None);
        assert!(next_token(b"<html>").is_err());
    }
}
