//! Clients of the seeds, each made from the Seed's kubeconfig Secret. Talks to the master (Secrets) and to seeds.
//!
//! A client belongs to one (Seed UID, Secret resourceVersion): a rotated kubeconfig makes a new one, and a Seed that was
//! deleted and made again never inherits one.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kkp_upgrade_connection::{Connector, Peer};
use kkp_upgrade_kkp::types::Seed;
use kube::{Api, Client, ResourceExt};
use tokio::sync::Mutex;

use crate::call::{CallError, call};
use crate::kubeconfig;

/// A connection to one seed.
#[derive(Clone)]
pub struct SeedConnection {
    /// Client of the seed.
    pub client: Client,
    /// UID of the seed's `kube-system` namespace: tells which cluster answers.
    pub cluster_uid: String,
    /// (Seed UID, Secret resourceVersion) that it was made from.
    pub identity: (String, String),
}

/// Connections by name of the Seed.
#[derive(Default)]
pub struct SeedConnections {
    connector: Connector,
    known: Mutex<BTreeMap<String, SeedConnection>>,
}

impl SeedConnections {
    /// No connection yet; clients will be made by `connector`.
    #[must_use]
    pub fn new(connector: Connector) -> Self {
        Self {
            connector,
            known: Mutex::default(),
        }
    }

    /// A connection to the seed that just answered.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read or used, or the seed does not answer.
    pub async fn connect(&self, master: &Client, seed: &Seed) -> Result<SeedConnection, CallError> {
        let name = seed.name_any();
        let (secret, key) = kubeconfig_secret(seed);
        let namespace = secret.1.clone().or_else(|| seed.namespace()).unwrap_or_default();
        let what = format!("kubeconfig Secret {namespace}/{} of Seed {name}", secret.0);
        let stored = call(
            &what,
            Api::<Secret>::namespaced(master.clone(), &namespace).get(&secret.0),
        )
        .await?;
        let identity = (
            seed.uid().unwrap_or_default(),
            stored.resource_version().unwrap_or_default(),
        );
        if let Some(known) = self
            .known
            .lock()
            .await
            .get(&name)
            .filter(|known| known.identity == identity)
        {
            let cluster_uid = cluster_uid(&known.client, &name).await?;
            return Ok(SeedConnection {
                cluster_uid,
                ..known.clone()
            });
        }
        let peer = Peer::Seed { name: name.clone() };
        let client = client(&self.connector, &peer, &stored, (&key, &what)).await?;
        let cluster_uid = cluster_uid(&client, &name).await?;
        let connection = SeedConnection {
            client,
            cluster_uid,
            identity,
        };
        self.known.lock().await.insert(name, connection.clone());
        Ok(connection)
    }

    /// The connections that have been made, by name of the Seed.
    pub async fn known(&self) -> BTreeMap<String, SeedConnection> {
        self.known.lock().await.clone()
    }
}

/// Secret (name, namespace) and key of a Seed's kubeconfig (KKP: `Seed.spec.kubeconfig`, an object reference whose
/// `fieldPath` is the key and defaults to `kubeconfig`).
fn kubeconfig_secret(seed: &Seed) -> ((String, Option<String>), String) {
    let reference = &seed.spec.kubeconfig;
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let key = text(reference.field_path.text()).unwrap_or_else(|| "kubeconfig".to_owned());
    (
        (reference.name.text().to_owned(), text(reference.namespace.text())),
        key,
    )
}

async fn client(
    connector: &Connector,
    peer: &Peer,
    secret: &Secret,
    (key, what): (&str, &str),
) -> Result<Client, CallError> {
    let unusable = |problem: String| CallError::unusable(what, problem);
    let bytes = secret
        .data
        .as_ref()
        .and_then(|data| data.get(key))
        .ok_or_else(|| unusable(format!("has no key `{key}`")))?;
    let config = kubeconfig::config(&bytes.0, key).await.map_err(unusable)?;
    connector
        .connect(peer, config)
        .map_err(|_| CallError::unusable(what, "has certificates or keys that cannot be used"))
}

/// UID of a cluster's `kube-system` namespace: the closest thing to an identity that a cluster has.
///
/// # Errors
/// When the cluster does not answer.
pub async fn cluster_uid(client: &Client, name: &str) -> Result<String, CallError> {
    let what = format!("namespace kube-system of {name}");
    let namespace = call(&what, Api::<Namespace>::all(client.clone()).get("kube-system")).await?;
    namespace
        .metadata
        .uid
        .ok_or_else(|| CallError::unusable(what, "has no UID"))
}
