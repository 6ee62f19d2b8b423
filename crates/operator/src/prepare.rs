//! The init container of an installer Job: asks once more whether this very Job may run, takes its fence, and writes what the
//! installer needs. Talks to the cluster.
//!
//! Must never end well unless the fence is this Pod's: behind it the installer starts at once.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::ConfigMap;
use kkp_upgrade_api::{KKPUpgradeObject, ParseError};
use kkp_upgrade_connection::{Connector, Peer};
use kkp_upgrade_core::phase::Phase;
use kube::{Api, Client, Config, ResourceExt};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::call::{CallError, call};
use crate::context::FENCE_OWNER_ANNOTATION;
use crate::execute::fence::{self, FENCE_POD_ANNOTATION, OWNER_POD};
use crate::execute::post;
pub use crate::execute::values::{EffectiveValues, chart_version, effective_values, values_digest};

/// How long an API server that does not answer is asked again; the whole Job would fail otherwise.
const PATIENCE: Duration = Duration::from_mins(2);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_secs(2);
/// Folder of the mounted ServiceAccount.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Check whether an installer Job may run, take its fence, and write kubeconfig and values for it.
#[derive(Debug, Clone, Args)]
pub struct PrepareArguments {
    /// Name of the KKPUpgrade.
    #[arg(long)]
    pub upgrade: String,
    /// UID of the KKPUpgrade.
    #[arg(long)]
    pub upgrade_uid: String,
    /// Name of this Job.
    #[arg(long)]
    pub job: String,
    /// Digest of the intent that this Job was made for.
    #[arg(long)]
    pub intent: String,
    /// Digest of the Helm values that were planned.
    #[arg(long)]
    pub values_digest: String,
    /// Secret with the Helm values; without it, those of the live release.
    #[arg(long, requires = "values_key")]
    pub values_secret: Option<String>,
    /// Key in that Secret.
    #[arg(long, requires = "values_secret")]
    pub values_key: Option<String>,
    /// Repository that the platform's images come from.
    #[arg(long)]
    pub running_repository: String,
    /// Namespace of this Pod and of KKP.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: String,
    /// UID of this Pod.
    #[arg(long, env = "POD_UID")]
    pub pod_uid: String,
    /// Folder to write to.
    #[arg(long, default_value = "/work")]
    pub output: PathBuf,
    /// Host of the API server.
    #[arg(long, env = "KUBERNETES_SERVICE_HOST")]
    pub server_host: String,
    /// Port of the API server.
    #[arg(long, env = "KUBERNETES_SERVICE_PORT")]
    pub server_port: u16,
}

/// Why the installer may not start.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// There is no usable ServiceAccount in this Pod.
    #[error("no access to the API server from this Pod: {0}")]
    Access(String),
    /// The API server did not answer, or not usably.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The status of the KKPUpgrade cannot be read.
    #[error(transparent)]
    Status(#[from] ParseError),
    /// The KKPUpgrade does not want this Job any more.
    #[error("KKPUpgrade {name} does not want Job {job} (any more): {problem}; the installer was not started")]
    Unwanted {
        /// Name of the KKPUpgrade.
        name: String,
        /// Name of the Job.
        job: String,
        /// What differs.
        problem: String,
    },
    /// Somebody else has the fence.
    #[error("fence {fence} was taken by {holder}; the installer was not started here")]
    FenceTaken {
        /// Name of the fence.
        fence: String,
        /// Who has it.
        holder: String,
    },
    /// The values are not those of the plan.
    #[error("the Helm values changed since the plan: they are {found} now, planned were {planned}; retry to plan anew")]
    ValuesChanged {
        /// Digest now.
        found: String,
        /// Digest of the plan.
        planned: String,
    },
    /// A file or folder cannot be written.
    #[error("write {path}: {source}", path = path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
}

/// Lets the installer start, or fails.
///
/// # Errors
/// [`PrepareError`]; then the installer must not start.
pub async fn run(args: PrepareArguments, connector: &Connector) -> Result<(), PrepareError> {
    let config = Config::incluster().map_err(|error| PrepareError::Access(error.to_string()))?;
    let client = connector
        .connect(&Peer::Preparation, config)
        .map_err(|error| PrepareError::Access(error.to_string()))?;
    let_through(&client, &args).await
}

/// The values come first: between the check of the KKPUpgrade and the fence nothing may take long.
pub(crate) async fn let_through(client: &Client, args: &PrepareArguments) -> Result<(), PrepareError> {
    let secret = args.values_secret.clone().zip(args.values_key.clone());
    let values =
        patiently(async || effective_values(client, &args.namespace, secret.clone(), &args.running_repository).await)
            .await?;
    if values.digest != args.values_digest {
        return Err(PrepareError::ValuesChanged {
            found: values.digest,
            planned: args.values_digest.clone(),
        });
    }
    let upgrades = Api::<KKPUpgradeObject>::namespaced(client.clone(), &args.namespace);
    let what = format!("read KKPUpgrade {}/{}", args.namespace, args.upgrade);
    let upgrade = patiently(async || call(what.clone(), upgrades.get(&args.upgrade)).await).await?;
    check(&upgrade, args)?;
    take_fence(client, args).await?;
    write_files(args, &values.yaml)?;
    tracing::info!(job = args.job, "the installer may start");
    Ok(())
}

/// Whether the KKPUpgrade, as it is now, wants this very Job.
///
/// # Errors
/// [`PrepareError::Unwanted`] with the first difference.
pub(crate) fn check(upgrade: &KKPUpgradeObject, args: &PrepareArguments) -> Result<(), PrepareError> {
    let unwanted = |problem: String| {
        let (name, job) = (args.upgrade.clone(), args.job.clone());
        Err(PrepareError::Unwanted { name, job, problem })
    };
    if upgrade.uid().as_deref() != Some(&args.upgrade_uid) {
        return unwanted("it is another object of the same name".to_owned());
    }
    if upgrade.metadata.deletion_timestamp.is_some() {
        return unwanted("it is being deleted".to_owned());
    }
    let status = upgrade.parse_status()?.unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    if phase != Phase::Deploying.to_string() {
        return unwanted(format!("its phase is {phase:?}"));
    }
    if let Some(ending) = status.ending {
        return unwanted(format!("its run is ending as {}", ending.result));
    }
    let step = status.step.unwrap_or_default();
    if step.job.as_deref() != Some(&args.job) {
        return unwanted(format!("its step wants Job {}", step.job.as_deref().unwrap_or("none")));
    }
    if step.intent.as_deref() != Some(&args.intent) {
        return unwanted("its step has another intent".to_owned());
    }
    Ok(())
}

/// Takes the fence, or finds that this very Pod has it: an init container may run again when its sandbox is made anew.
async fn take_fence(client: &Client, args: &PrepareArguments) -> Result<(), PrepareError> {
    let fences = Api::<ConfigMap>::namespaced(client.clone(), &args.namespace);
    let wanted = fence::manifest(&args.namespace, &args.upgrade_uid, &args.job, Some(&args.pod_uid));
    let what = format!("take fence {}/{}", args.namespace, args.job);
    let existing = patiently(
        async || match call(what.clone(), fences.create(&post(), &wanted)).await {
            Ok(_) => Ok(None),
            Err(error) if error.is_conflict() => call(what.clone(), fences.get(&args.job)).await.map(Some),
            Err(error) => Err(error),
        },
    )
    .await?;
    let Some(existing) = existing else { return Ok(()) };
    let annotation = |key: &str| existing.annotations().get(key).map(String::as_str);
    let owner = annotation(FENCE_OWNER_ANNOTATION);
    let pod = annotation(FENCE_POD_ANNOTATION);
    if owner == Some(OWNER_POD) && pod == Some(&args.pod_uid) {
        return Ok(());
    }
    let holder = match (owner, pod) {
        (Some(OWNER_POD), Some(pod)) => format!("Pod {pod}"),
        (Some(owner), _) => format!("the {owner}"),
        (None, _) => "somebody unknown".to_owned(),
    };
    Err(PrepareError::FenceTaken {
        fence: args.job.clone(),
        holder,
    })
}

/// Asks again while the API server does not answer or is overloaded. Everything tried here is safe to repeat.
async fn patiently<T>(attempt: impl AsyncFn() -> Result<T, CallError>) -> Result<T, CallError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Err(error) if is_transient(&error) && Instant::now() < end => {
                tracing::warn!(%error, "asking again");
                sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

/// Whether the same question may have an answer soon.
fn is_transient(error: &CallError) -> bool {
    match error {
        CallError::Deadline { .. } => true,
        CallError::Endless { .. } | CallError::Unusable { .. } => false,
        CallError::Failed { source, .. } => match &**source {
            kube::Error::Api(status) => status.code == 429 || status.code >= 500,
            kube::Error::Service(_) | kube::Error::HyperError(_) => true,
            _ => false,
        },
    }
}

fn write_files(args: &PrepareArguments, values: &str) -> Result<(), PrepareError> {
    for folder in ["run", "home", "tmp", "helm/cache", "helm/config", "helm/data"] {
        let path = args.output.join(folder);
        fs::create_dir_all(&path).map_err(|source| PrepareError::File { path, source })?;
    }
    let kubeconfig = kubeconfig(&args.server_host, args.server_port);
    write_private(&args.output.join("kubeconfig"), &kubeconfig)?;
    write_private(&args.output.join("values.yaml"), values)
}

fn write_private(path: &Path, text: &str) -> Result<(), PrepareError> {
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| PrepareError::File {
        path: path.to_owned(),
        source,
    })
}

/// A kubeconfig for this Pod's ServiceAccount: without one, the installer gives up even inside a cluster (KKP 2.31 source,
/// `cmd/kubermatic-installer/cmd_deploy.go`). The token stays in its file, where the kubelet renews it. JSON is YAML.
pub(crate) fn kubeconfig(host: &str, port: u16) -> String {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "master", "cluster": {
            "server": format!("https://{host}:{port}"),
            "certificate-authority": format!("{ACCOUNT}/ca.crt"),
        }}],
        "users": [{"name": "installer", "user": {"tokenFile": format!("{ACCOUNT}/token")}}],
        "contexts": [{"name": "master", "context": {"cluster": "master", "user": "installer"}}],
        "current-context": "master",
    });
    format!("{kubeconfig:#}\n")
}
