//! What a backup of a large platform costs: takes, compares and reads back a backup of made-up objects that are made as they
//! are asked for, and prints times, sizes and the peak of this process's memory.
//! `cargo run --release -p kkp-upgrade-backup --example footprint -- --clusters 2130 --kibibytes 32 --destination DIR`

use std::convert::Infallible;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use jiff::Timestamp;
use kkp_upgrade_backup::{
    AttemptFolder, KeyPair, Reach, ReadLimits, Recipients, SnapshotRequest, Source, compare_at_revision, identify,
    read_back, write_snapshot,
};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// Secrets of one user cluster, as KKP 2.30 has them.
const SECRETS: usize = 30;
/// Revisions of Helm releases in KKP's namespace.
const RELEASES: usize = 100;
const REVISION: &str = "1000";

type Answer = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Parser)]
struct Program {
    /// User clusters, each with a namespace of 30 Secrets and 15 ConfigMaps.
    #[arg(long, default_value_t = 1000)]
    clusters: usize,
    /// Size of each Secret of a user cluster, in KiB.
    #[arg(long, default_value_t = 4)]
    kibibytes: usize,
    /// Existing folder for the backup.
    #[arg(long)]
    destination: PathBuf,
}

/// Text that hardly compresses, like keys and certificates.
fn noise(seed: usize, bytes: usize) -> String {
    let blocks = (0..=bytes / 64).map(|step| kkp_upgrade_backup::digest(format!("{seed}-{step}").as_bytes()));
    let mut text: String = blocks
        .flat_map(|block| block.chars().skip(7).collect::<Vec<_>>())
        .collect();
    text.truncate(bytes);
    text
}

/// What is made up.
#[derive(Clone, Copy)]
struct Shape {
    clusters: usize,
    /// Of each Secret.
    kibibytes: usize,
}

/// The object at this place of a list; `None` behind the last one.
fn object(shape: Shape, path: &str, index: usize) -> Option<Value> {
    let Shape { clusters, kibibytes } = shape;
    let named = |namespace: String, name: String, data: Value| json!({"metadata": {"namespace": namespace, "name": name, "uid": noise(index, 36), "resourceVersion": "7"}, "data": data});
    match path {
        "/api/v1/namespaces" => {
            let name = if index == clusters {
                "kubermatic".to_owned()
            } else {
                format!("cluster-{index:06}")
            };
            (index <= clusters).then(|| json!({"metadata": {"name": name}}))
        }
        "/apis/kubermatic.k8c.io/v1/clusters" => (index < clusters).then(|| {
            let status = json!({"namespaceName": format!("cluster-{index:06}"), "noise": noise(index, 8 << 10)});
            json!({"metadata": {"name": format!("{index:06}"), "resourceVersion": "7"}, "status": status})
        }),
        "/api/v1/secrets" if index < clusters * SECRETS => Some(named(
            format!("cluster-{:06}", index / SECRETS),
            format!("secret-{:02}", index % SECRETS),
            json!({"key": noise(index, kibibytes << 10)}),
        )),
        "/api/v1/secrets" if index < clusters * SECRETS + RELEASES => Some(named(
            "kubermatic".to_owned(),
            format!("sh.helm.release.v1.kubermatic-operator.v{index}"),
            json!({"release": noise(index, 900 << 10)}),
        )),
        "/api/v1/configmaps" if index < clusters * 15 => Some(named(
            format!("cluster-{:06}", index / 15),
            format!("map-{:02}", index % 15),
            json!({"key": noise(index, 2 << 10)}),
        )),
        _ => None,
    }
}

fn answer(shape: Shape, request: &Request<Body>) -> Answer {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let parameter = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(found, _)| *found == name)
            .find_map(|(_, text)| text.parse::<usize>().ok())
    };
    let resources =
        json!([{"name": "clusters", "kind": "Cluster", "namespaced": false, "singularName": "", "verbs": ["list"]}]);
    let version = json!({"groupVersion": "kubermatic.k8c.io/v1", "version": "v1"});
    let document = match path {
        "/api/v1/namespaces/kube-system" | "/api/v1/namespaces/kubermatic" => json!({"metadata": {"uid": "one"}}),
        "/version" => json!({"gitVersion": "v1.36.0"}),
        "/apis" => {
            json!({"groups": [{"name": "kubermatic.k8c.io", "versions": [version], "preferredVersion": version}]})
        }
        "/apis/kubermatic.k8c.io/v1" => json!({"groupVersion": "kubermatic.k8c.io/v1", "resources": resources}),
        list => {
            let (from, limit) = (parameter("continue").unwrap_or(0), parameter("limit").unwrap_or(500));
            return page(shape, list.to_owned(), from, from + limit);
        }
    };
    Full::from(document.to_string()).boxed_unsync()
}

/// A list from one place to another. An object at a time is made while it is read: what the server holds is not to be measured.
fn page(shape: Shape, path: String, from: usize, end: usize) -> Answer {
    let next = object(shape, &path, end).map_or_else(String::new, |_| end.to_string());
    let metadata = json!({"resourceVersion": REVISION, "continue": next});
    let items = (from..end).map_while(move |index| {
        let comma = if index == from { "" } else { "," };
        object(shape, &path, index).map(|object| format!("{comma}{object}"))
    });
    // As the API server does it for custom resources: metadata behind the items.
    let pieces = std::iter::once(r#"{"items":["#.to_owned())
        .chain(items)
        .chain(std::iter::once(format!(r#"],"metadata":{metadata}}}"#)));
    let frames = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
    StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
}

/// Highest resident memory of this process so far, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes: u64 = line
        .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0);
    kibibytes >> 10
}

fn say(line: &str) {
    // Figures that cannot be shown are of no use to anybody; nothing else depends on them.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Program {
        clusters,
        kibibytes,
        destination,
    } = Program::parse();
    let shape = Shape { clusters, kibibytes };
    let service = tower::service_fn(move |request: Request<Body>| async move {
        Ok::<_, Infallible>(Response::new(answer(shape, &request)))
    });
    let limits = ReadLimits {
        deadline: Duration::from_mins(10),
        ..ReadLimits::default()
    };
    let source = Source::new(Client::new(service, "default"), limits);
    let request = SnapshotRequest {
        name: "footprint".to_owned(),
        target: "seed".to_owned(),
        platform_version: String::new(),
        namespace: "kubermatic".to_owned(),
        reach: Reach::Everywhere,
        recipients: Recipients::parse(&[KeyPair::generate().recipient])?,
        cluster: identify(&source).await?,
        started: Timestamp::now(),
    };
    let folder = AttemptFolder::claim(&destination, &request.name, &request.target)?;
    let begin = Instant::now();
    let snapshot = write_snapshot(&source, &request, &folder).await?;
    let manifest = &snapshot.written.manifest;
    say(&format!(
        "written: {} objects, archive of {} MiB, {:.1?}, peak {} MiB",
        manifest.objects,
        manifest.archive.bytes >> 20,
        begin.elapsed(),
        peak()
    ));
    compare_at_revision(&source, manifest, &snapshot.ledger).await?;
    say(&format!("compared: {:.1?}, peak {} MiB", begin.elapsed(), peak()));
    read_back(&folder, &snapshot).await?;
    say(&format!("read back: {:.1?}, peak {} MiB", begin.elapsed(), peak()));
    Ok(())
}
