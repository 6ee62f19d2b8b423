//! Takes Pods off the API of one control plane and runs them as processes.

use std::convert::Infallible;
use std::path::PathBuf;

/// What one pod runner serves, and with what.
#[derive(Clone)]
pub struct PodRunnerConfig {
    /// Client of the control plane, with administrator rights.
    pub client: kube::Client,
    /// Name of the one Node that this runner registers.
    pub node_name: String,
    /// The image folder.
    pub images: PathBuf,
    /// Folder for volumes and logs of the Pods.
    pub work_folder: PathBuf,
    /// Port of the control plane's API on 127.0.0.1.
    pub api_port: u16,
    /// Certificate authority of the control plane, PEM.
    pub ca_pem: PathBuf,
}

/// Why a pod runner ended.
#[derive(Debug, thiserror::Error)]
pub enum PodRunnerError {
    /// The program was built without a pod runner.
    #[error("the pod runner is not part of this program")]
    Missing,
}

/// Serves until an error that it cannot get over.
///
/// # Errors
/// See [`PodRunnerError`].
pub async fn run(_config: PodRunnerConfig) -> Result<Infallible, PodRunnerError> {
    std::future::pending::<()>().await;
    Err(PodRunnerError::Missing)
}
