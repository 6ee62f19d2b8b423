//! The plainest way to read a cluster: lists the kinds of a backup in pages of 500, as kubectl asks for them, one page after the
//! other, and throws them away. What `cargo bench-run backup` holds a backup against, built as the operator is.
//! `cargo run --release -p kkp-upgrade-backup --example plain_list -- --kubeconfig FILE --manifest FILE`

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use http_body_util::BodyExt as _;
use kkp_upgrade_backup::{KindRecord, Manifest};
use kkp_upgrade_connection::{Connector, Peer};
use kube::Config;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;
use serde_json::json;

/// Objects per page, as kubectl and every pager of Kubernetes' own client ask for.
const PAGE: u32 = 500;
/// Where the items of a list begin, and where its metadata does.
const ITEMS: &[u8] = b"\"items\":";
const METADATA: &[u8] = b"\"metadata\":";

#[derive(Parser)]
struct Program {
    /// The cluster.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Manifest of a backup, whose kinds are listed.
    #[arg(long)]
    manifest: PathBuf,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let program = Program::parse();
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(program.manifest)?)?;
    let kubeconfig = Kubeconfig::read_from(program.kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Connector::default().connect(&Peer::Backup, config)?;
    let (begin, mut bytes, mut pages) = (Instant::now(), 0, 0);
    for kind in manifest.kinds.iter().map(KindRecord::resource) {
        let mut next = String::new();
        loop {
            let address = format!("{}?limit={PAGE}{next}", kind.collection_path());
            let answer = client.send(http::Request::get(address).body(Body::empty())?).await?;
            if !answer.status().is_success() {
                return Err(format!("{}: {}", kind.label(), answer.status()).into());
            }
            let text = answer.into_body().collect().await?.to_bytes();
            bytes += text.len();
            pages += 1;
            match next_token(&text)? {
                Some(token) => next = format!("&continue={token}"),
                None => break,
            }
        }
    }
    let listed = json!({"seconds": begin.elapsed().as_secs_f64(), "bytes": bytes, "pages": pages});
    writeln!(std::io::stdout().lock(), "{listed}")?;
    Ok(())
}

/// The token of the next page. It stands before the items or, in lists of custom resources, behind them; the items are not even
/// looked at.
fn next_token(text: &[u8]) -> Result<Option<String>, Box<dyn std::error::Error>> {
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(rename = "continue", default)]
        next: String,
    }
    let items = text.windows(ITEMS.len()).position(|window| window == ITEMS);
    let head = text.get(..items.unwrap_or(text.len())).unwrap_or_default();
    let before = head.windows(METADATA.len()).position(|window| window == METADATA);
    let last = || text.windows(METADATA.len()).rposition(|window| window == METADATA);
    let start = before.or_else(last).ok_or("it is no list")?;
    let rest = text.get(start + METADATA.len()..).unwrap_or_default();
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Metadata>();
    let metadata = values.next().ok_or("it has no metadata")??;
    Ok(Some(metadata.next).filter(|next| !next.is_empty()))
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
