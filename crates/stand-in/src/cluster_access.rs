//! Clients of the own cluster and of seeds, and the deadline that every call to an API server gets. Never writes.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::DynamicObject;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::objects::text;

/// The client waits for ever by itself; a dead seed must not stop the others.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// Runs one API call with a deadline; `action` says what was tried if it fails.
pub(crate) async fn call<T>(action: &str, request: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
    match tokio::time::timeout(CALL_DEADLINE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(Error::Api {
            action: action.to_owned(),
            source: Box::new(source),
        }),
        Err(_) => Err(Error::Deadline {
            action: action.to_owned(),
            deadline: CALL_DEADLINE,
        }),
    }
}

/// The client of the cluster in which this process runs: `KUBECONFIG` if set (tests), else the Pod's ServiceAccount.
pub(crate) async fn own_client() -> Result<Client, Error> {
    let failed = |reason: String| Error::Kubeconfig {
        owner: "this process".to_owned(),
        reason,
    };
    let config = if std::env::var_os("KUBECONFIG").is_some() {
        Config::from_kubeconfig(&KubeConfigOptions::default())
            .await
            .map_err(|error| failed(error.to_string()))?
    } else {
        Config::incluster_env().map_err(|error| failed(error.to_string()))?
    };
    client_of(config).map_err(|error| failed(error.to_string()))
}

fn client_of(mut config: Config) -> kube::Result<Client> {
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(2));
    Client::try_from(config)
}

/// A seed as the master reaches it.
#[derive(Clone)]
pub(crate) struct SeedAccess {
    /// The client.
    pub(crate) client: Client,
    /// The Secret it was made of.
    pub(crate) secret: Secret,
    /// Changes when the kubeconfig changes.
    pub(crate) fingerprint: Vec<u8>,
}

/// Opens a seed by the Secret that `spec.kubeconfig` of the Seed names (KKP source, pkg/provider: key `kubeconfig` and the
/// Seed's namespace are the defaults). Does not talk to the seed yet.
pub(crate) async fn open_seed(client: &Client, seed: &DynamicObject) -> Result<SeedAccess, Error> {
    let failed = |reason: String| Error::Kubeconfig {
        owner: format!("Seed {}", seed.name_any()),
        reason,
    };
    let name = text(seed, "/spec/kubeconfig/name").ok_or_else(|| failed("spec.kubeconfig.name is empty".to_owned()))?;
    let own_namespace = seed.namespace().unwrap_or_default();
    let namespace = text(seed, "/spec/kubeconfig/namespace").unwrap_or(&own_namespace);
    let key = text(seed, "/spec/kubeconfig/fieldPath").unwrap_or("kubeconfig");
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let secret = call(&format!("read Secret {namespace}/{name}"), secrets.get(name))
        .await
        .map_err(|error| {
            if error.is_not_found() {
                failed(format!("Secret {namespace}/{name} is absent"))
            } else {
                error
            }
        })?;
    let bytes = secret
        .data
        .as_ref()
        .and_then(|data| data.get(key))
        .ok_or_else(|| failed(format!("Secret {namespace}/{name} has no key {key}")))?;
    let kubeconfig = std::str::from_utf8(&bytes.0)
        .map_err(|error| failed(error.to_string()))
        .and_then(|yaml| Kubeconfig::from_yaml(yaml).map_err(|error| failed(error.to_string())))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| failed(error.to_string()))?;
    let fingerprint = Sha256::digest(&bytes.0).to_vec();
    let client = client_of(config).map_err(|error| failed(error.to_string()))?;
    Ok(SeedAccess {
        client,
        secret,
        fingerprint,
    })
}
