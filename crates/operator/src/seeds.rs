//! Clients of the seeds, each made from the Seed's kubeconfig Secret. Talks to the master (Secrets) and to seeds.
//!
//! A client belongs to one (Seed UID, Secret resourceVersion): a rotated kubeconfig makes a new one, and a Seed that was
//! deleted and made again never inherits one. A seed that costs time without answering is left alone for a while, so that
//! it delays nobody else; a new kubeconfig ends that at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kkp_upgrade_connection::{Connector, Peer, read_only};
use kkp_upgrade_kkp::types::Seed;
use kube::{Api, Client, Config, ResourceExt};
use tokio::sync::Mutex;

use crate::call::{CallError, call, call_within};
use crate::{certificate, kubeconfig};

/// Longest that a seed may take to say who it is.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// A failure that comes sooner delays nobody: the seed is asked again in the next round.
const COSTLY: Duration = Duration::from_secs(1);
/// How long a seed is left alone after its first costly failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest that a seed is left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Secret with the kubeconfig of a user cluster, in its namespace on the seed, and its key.
const USER_CLUSTER_SECRET: &str = "admin-kubeconfig";
const USER_CLUSTER_KEY: &str = "kubeconfig";
/// Longest UID that is believed; Kubernetes' own have 36 characters.
const UID_LENGTH: usize = 64;

/// A connection to one seed.
#[derive(Clone)]
pub struct SeedConnection {
    /// Client of the seed.
    pub client: Client,
    /// UID of the seed's `kube-system` namespace: tells which cluster answers.
    pub cluster_uid: String,
    /// (Seed UID, Secret resourceVersion) that it was made from.
    pub identity: Identity,
    /// When the client certificate in the kubeconfig ends; `None` = it logs in otherwise.
    pub certificate_ends: Option<Timestamp>,
}

#[cfg(test)]
impl SeedConnection {
    /// To whatever this client leads to.
    pub(crate) fn of_a_test(client: Client) -> Self {
        Self {
            client,
            cluster_uid: "seed".to_owned(),
            identity: (String::new(), String::new()),
            certificate_ends: None,
        }
    }
}

/// (Seed UID, resourceVersion of the kubeconfig Secret).
type Identity = (String, String);

/// A seed that costs time without answering.
#[derive(Debug, Clone)]
struct Pause {
    identity: Identity,
    until: Instant,
    length: Duration,
    why: String,
}

/// Connections by name of the Seed.
#[derive(Default)]
pub struct SeedConnections {
    connector: Connector,
    known: Mutex<BTreeMap<String, SeedConnection>>,
    paused: Mutex<BTreeMap<String, Pause>>,
}

impl SeedConnections {
    /// No connection yet; clients will be made by `connector`.
    #[must_use]
    pub fn new(connector: Connector) -> Self {
        Self {
            connector,
            known: Mutex::default(),
            paused: Mutex::default(),
        }
    }

    /// Knows one seed already.
    #[cfg(test)]
    pub(crate) fn knowing(name: &str, connection: SeedConnection) -> Self {
        Self {
            known: Mutex::new(BTreeMap::from([(name.to_owned(), connection)])),
            ..Self::default()
        }
    }

    /// A connection to the seed that just answered.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read or used, or the seed does not answer, or is left alone because it did not.
    pub async fn connect(&self, master: &Client, seed: &Seed) -> Result<SeedConnection, CallError> {
        let name = seed.name_any();
        let (secret, key) = kubeconfig_secret(seed);
        let namespace = secret.1.clone().or_else(|| seed.namespace()).unwrap_or_default();
        let place = format!("kubeconfig Secret {namespace}/{} of Seed {name}", secret.0);
        let stored = call(
            &place,
            Api::<Secret>::namespaced(master.clone(), &namespace).get(&secret.0),
        )
        .await?;
        let identity = (
            seed.uid().unwrap_or_default(),
            stored.resource_version().unwrap_or_default(),
        );
        if let Some(why) = self.left_alone(&name, &identity, Instant::now()).await {
            return Err(CallError::unusable(format!("seed {name}"), why));
        }
        let known = self.known.lock().await.get(&name).cloned();
        let (client, certificate_ends) = match known.filter(|known| known.identity == identity) {
            Some(known) => (known.client, known.certificate_ends),
            None => {
                client(
                    &self.connector,
                    &Peer::Seed { name: name.clone() },
                    &stored,
                    (&key, &place),
                )
                .await?
            }
        };
        let began = Instant::now();
        match identify(&client, &name, &place).await {
            Ok(cluster_uid) => {
                let connection = SeedConnection {
                    client,
                    cluster_uid,
                    identity,
                    certificate_ends,
                };
                self.known.lock().await.insert(name, connection.clone());
                Ok(connection)
            }
            Err(problem) => {
                self.failed(&name, &identity, &problem, began.elapsed()).await;
                Err(CallError::unusable(format!("seed {name}"), problem))
            }
        }
    }

    /// Notes that a seed could not be read to the end, in this time.
    pub async fn failed(&self, name: &str, identity: &Identity, why: &str, took: Duration) {
        if took < COSTLY {
            return;
        }
        let mut paused = self.paused.lock().await;
        let before = paused.get(name).filter(|pause| pause.identity == *identity);
        let length = before.map_or(FIRST_PAUSE, |pause| (pause.length * 2).min(LONGEST_PAUSE));
        tracing::warn!(seed = name, why, pause = length.as_secs(), "left alone for a while");
        let pause = Pause {
            identity: identity.clone(),
            until: Instant::now() + length,
            length,
            why: why.to_owned(),
        };
        paused.insert(name.to_owned(), pause);
    }

    /// Notes that a seed was read to the end.
    pub async fn succeeded(&self, name: &str) {
        self.paused.lock().await.remove(name);
    }

    /// Why a seed is not asked now; a kubeconfig that changed is tried at once.
    async fn left_alone(&self, name: &str, identity: &Identity, now: Instant) -> Option<String> {
        let paused = self.paused.lock().await;
        let pause = paused.get(name).filter(|pause| pause.identity == *identity)?;
        (now < pause.until).then(|| pause.why.clone())
    }

    /// A client that only reads, inside one user cluster, with the kubeconfig that KKP keeps for its administrators on the seed
    /// (KKP `pkg/resources/kubeconfig.go`), once the cluster has said who it is.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read or used, nobody answers, or the seed itself does.
    pub async fn inside(
        &self,
        (seed, connection): (&str, &SeedConnection),
        cluster: &str,
        namespace: &str,
    ) -> Result<Client, CallError> {
        let what = format!("kubeconfig Secret {namespace}/{USER_CLUSTER_SECRET} on seed {seed}");
        let secrets = Api::<Secret>::namespaced(connection.client.clone(), namespace);
        let stored = call_within(ANSWER_DEADLINE, &what, secrets.get(USER_CLUSTER_SECRET)).await?;
        let peer = Peer::UserCluster {
            seed: seed.to_owned(),
            name: cluster.to_owned(),
        };
        let (made, _) = client(&self.connector, &peer, &stored, (USER_CLUSTER_KEY, &what)).await?;
        let client = read_only(&made);
        let what = format!("namespace kube-system of user cluster {seed}/{cluster}");
        let api = Api::<Namespace>::all(client.clone());
        let namespace = call_within(ANSWER_DEADLINE, &what, api.get("kube-system")).await?;
        if uid(&namespace, &what)? == connection.cluster_uid {
            return Err(CallError::unusable(
                what,
                "the seed itself answers, not the user cluster",
            ));
        }
        Ok(client)
    }

    /// The connections that have been made, by name of the Seed.
    pub async fn known(&self) -> BTreeMap<String, SeedConnection> {
        self.known.lock().await.clone()
    }
}

/// UID of the cluster behind a seed's kubeconfig, or what is wrong and what to do.
async fn identify(client: &Client, name: &str, secret: &str) -> Result<String, String> {
    let api = Api::<Namespace>::all(client.clone());
    let answer = call_within(ANSWER_DEADLINE, "namespace kube-system", api.get("kube-system")).await;
    match answer.and_then(|namespace| uid(&namespace, "namespace kube-system")) {
        Ok(uid) => Ok(uid),
        Err(error) if error.code() == Some(401) => Err(format!(
            "401 Unauthorized: token or certificate expired or revoked; put a new one into {secret}"
        )),
        Err(error) if error.code() == Some(403) => Err(format!(
            "403 Forbidden: the user of {secret} may not read the cluster; KKP needs cluster-admin"
        )),
        Err(error) => {
            tracing::debug!(seed = name, %error, "does not say who it is");
            Err(error.to_string())
        }
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
) -> Result<(Client, Option<Timestamp>), CallError> {
    let unusable = |problem: String| CallError::unusable(what, problem);
    let bytes = secret
        .data
        .as_ref()
        .and_then(|data| data.get(key))
        .ok_or_else(|| unusable(format!("has no key `{key}`")))?;
    let config = kubeconfig::config(&bytes.0, key).await.map_err(unusable)?;
    let ends = certificate_ends(&config);
    let client = connector
        .connect(peer, config)
        .map_err(|_| CallError::unusable(what, "has certificates or keys that cannot be used"))?;
    Ok((client, ends))
}

/// When the client certificate ends that the current user logs in with.
fn certificate_ends(config: &Config) -> Option<Timestamp> {
    certificate::first_ends(&config.auth_info.client_certificate_data.clone()?.into())
}

/// UID of a cluster's `kube-system` namespace: the closest thing to an identity that a cluster has.
///
/// # Errors
/// When the cluster does not answer.
pub async fn cluster_uid(client: &Client, name: &str) -> Result<String, CallError> {
    let what = format!("namespace kube-system of {name}");
    let namespace = call(&what, Api::<Namespace>::all(client.clone()).get("kube-system")).await?;
    uid(&namespace, &what)
}

/// The namespace's UID, where it can be one: it is written into status, which takes no text of any length.
fn uid(namespace: &Namespace, what: &str) -> Result<String, CallError> {
    let uid = namespace.metadata.uid.clone().unwrap_or_default();
    let sane = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    if uid.is_empty() || uid.len() > UID_LENGTH || !uid.chars().all(sane) {
        return Err(CallError::unusable(what, "has no UID"));
    }
    Ok(uid)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn namespace(uid: &str) -> Namespace {
        let mut namespace = Namespace::default();
        namespace.metadata.uid = Some(uid.to_owned());
        namespace
    }

    #[test]
    fn only_a_uid_is_believed() {
        let good = "0b5e8a2c-6c5e-4a7b-9f57-2b9c43a0f5d1";
        assert_eq!(uid(&namespace(good), "it").unwrap(), good);
        for bad in ["", "a b", "a\nb", &"a".repeat(65)] {
            assert!(uid(&namespace(bad), "it").is_err(), "{bad}");
        }
    }

    #[test]
    fn the_end_of_a_client_certificate_is_read_and_nothing_else() {
        let own = rcgen::generate_simple_self_signed(vec!["me".to_owned()]).unwrap();
        let mut config = Config::new("https://seed.example.test".parse().unwrap());
        assert_eq!(certificate_ends(&config), None);
        let encoded = serde_json::to_value(ByteString(own.cert.pem().into_bytes())).unwrap();
        config.auth_info.client_certificate_data = encoded.as_str().map(str::to_owned);
        // What rcgen writes where nothing is said.
        assert_eq!(certificate_ends(&config), Some("4096-01-01T00:00:00Z".parse().unwrap()));
        config.auth_info.client_certificate_data = Some("no base64!".to_owned());
        assert_eq!(certificate_ends(&config), None);
    }

    #[tokio::test]
    async fn a_costly_seed_is_left_alone_longer_each_time_until_it_answers_or_its_kubeconfig_changes() {
        let seeds = SeedConnections::default();
        let identity = ("uid".to_owned(), "1".to_owned());
        let renewed = ("uid".to_owned(), "2".to_owned());
        seeds.failed("eu", &identity, "refused", Duration::from_millis(5)).await;
        assert_eq!(seeds.left_alone("eu", &identity, Instant::now()).await, None);
        let mut lengths = Vec::new();
        for _ in 0..7 {
            seeds.failed("eu", &identity, "no answer", ANSWER_DEADLINE).await;
            lengths.push(seeds.paused.lock().await.get("eu").unwrap().length.as_secs());
        }
        assert_eq!(lengths, [2, 4, 8, 16, 30, 30, 30]);
        let now = Instant::now();
        assert_eq!(
            seeds.left_alone("eu", &identity, now).await.as_deref(),
            Some("no answer")
        );
        assert_eq!(seeds.left_alone("us", &identity, now).await, None);
        assert_eq!(seeds.left_alone("eu", &renewed, now).await, None);
        assert_eq!(seeds.left_alone("eu", &identity, now + LONGEST_PAUSE).await, None);
        seeds.succeeded("eu").await;
        assert_eq!(seeds.left_alone("eu", &identity, now).await, None);
    }
}
