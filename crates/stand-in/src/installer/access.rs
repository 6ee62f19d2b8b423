//! Clients of the installer and the deadline of each call.
//!
//! The trap of the real program: Helm uses `--kubeconfig`, the installer's own client `$KUBECONFIG` and without it the Pod's
//! ServiceAccount (KKP source, `cmd/kubermatic-installer/cmd_deploy.go`).

use std::time::Duration;

use anyhow::{Context, anyhow};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::arguments::Environment;

/// How long one call may take.
const CALL: Duration = Duration::from_secs(30);

/// Runs one API call within the deadline.
///
/// # Errors
/// The call's error, or that it took too long; both name `what`.
pub async fn within<T>(what: &str, call: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => answer.with_context(|| format!("failed to {what}")),
        Err(_) => Err(anyhow!("failed to {what}: no answer for {} s", CALL.as_secs())),
    }
}

/// Whether the API server answered that there is no such object.
#[must_use]
pub fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == 404)
}

/// `None` for an object that is not there.
///
/// # Errors
/// Every other error.
pub fn optional<T>(answer: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A client from the text of a kubeconfig.
///
/// # Errors
/// When the text is no usable kubeconfig.
pub async fn client_from(kubeconfig: &str, context: Option<&str>) -> anyhow::Result<kube::Client> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let parsed = Kubeconfig::from_yaml(kubeconfig)?;
    client(Config::from_custom_kubeconfig(parsed, &options).await?)
}

/// A client from a kubeconfig file.
///
/// # Errors
/// When the file can't be read or used.
pub async fn client_from_file(path: &str, context: Option<&str>) -> anyhow::Result<kube::Client> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    // Reads relative paths of certificates next to the file, which the text alone does not tell.
    let parsed = Kubeconfig::read_from(path).with_context(|| format!("failed to load kubeconfig {path}"))?;
    client(Config::from_custom_kubeconfig(parsed, &options).await?)
}

fn client(mut config: Config) -> anyhow::Result<kube::Client> {
    // Go's client waits and asks again on 429 with Retry-After, for example while a new CRD's storage starts.
    config.default_retry = true;
    config.connect_timeout = Some(Duration::from_secs(10));
    Ok(kube::Client::try_from(config)?)
}

/// The client of the installer itself: `$KUBECONFIG`, or the Pod's ServiceAccount. Never the flag.
///
/// # Errors
/// When neither is usable.
pub async fn own_client(environment: &Environment, context: Option<&str>) -> anyhow::Result<kube::Client> {
    match environment.get("KUBECONFIG").filter(|path| !path.is_empty()) {
        Some(path) => client_from_file(path, context).await.context("failed to get config"),
        None => client(Config::incluster().context("failed to get config")?),
    }
}
