//! Whether a program of the control plane serves. Talks to it, reading only.

use std::path::Path;
use std::time::Duration;

use super::Component;

/// How long one look at a program may take.
const LOOK: Duration = Duration::from_secs(5);

/// What a start waits for.
#[derive(Clone, Copy)]
pub(super) enum Ready {
    /// It listens.
    Etcd,
    /// It says that it is ready.
    ApiServer,
    /// They made the first ServiceAccount, without which no Pod can be created.
    Controllers,
}

impl Ready {
    pub(super) fn component(self) -> Component {
        match self {
            Self::Etcd => Component::Etcd,
            Self::ApiServer => Component::ApiServer,
            Self::Controllers => Component::ControllerManager,
        }
    }

    /// One look; an error says what is not there yet. The folder is the control plane's.
    pub(super) async fn look(self, folder: &Path, client: &kube::Client) -> Result<(), String> {
        tokio::time::timeout(LOOK, self.answers(folder, client))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", LOOK.as_secs())))
    }

    async fn answers(self, folder: &Path, client: &kube::Client) -> Result<(), String> {
        let path = match self {
            Self::Etcd => {
                let connection = tokio::net::UnixStream::connect(folder.join("etcd.sock")).await;
                return connection.map(drop).map_err(|error| error.to_string());
            }
            Self::ApiServer => "/readyz",
            Self::Controllers => "/api/v1/namespaces/default/serviceaccounts/default",
        };
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        client
            .request_text(request)
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

/// A client for a kubeconfig file, without retries of its own: a lab must show what the server answered.
///
/// # Errors
/// What is wrong with the file, as text.
pub(crate) async fn client_from(kubeconfig: &Path) -> Result<kube::Client, String> {
    let config = kube::config::Kubeconfig::read_from(kubeconfig).map_err(|error| error.to_string())?;
    let mut config = kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default())
        .await
        .map_err(|error| error.to_string())?;
    config.default_retry = false;
    // Loopback: a server that takes longer to accept is down.
    config.connect_timeout = Some(LOOK);
    kube::Client::try_from(config).map_err(|error| error.to_string())
}
