//! Clients of API servers: the one place that makes them, so that all of them have the same time-outs and none repeats a
//! request by itself, and so that no answer is taken that is too long, no JSON, or a redirect.
//!
//! Talks to nothing before a client is used. Must never add anything to a request on its own: what goes around a client
//! is given by the program that makes the [`Connector`], and the shipped program gives nothing.

mod bounded;
mod guard;
#[cfg(test)]
mod hostile_tests;
mod read_only;
mod unmanaged;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::{Client, Config};

pub use bounded::{EndlessList, bounded_list};
pub use guard::{AnswerError, Limits};
pub use read_only::{WriteRefused, read_only};
pub use unmanaged::Unmanaged;

use guard::Guard;

/// Longest that opening a connection may take, where the configuration says nothing else.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// A connection that says nothing for so long is dead: the server ends each watch within 295 s.
pub const SILENCE: Duration = Duration::from_secs(330);

/// What a client is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// The master, as the operator sees it.
    Master,
    /// The master, for the leader election alone.
    LeaderElection,
    /// A seed, as the operator sees it.
    Seed {
        /// Name of the Seed.
        name: String,
    },
    /// A user cluster, as the operator sees it where it is asked to look inside.
    UserCluster {
        /// Name of its Seed.
        seed: String,
        /// Name of the Cluster.
        name: String,
    },
    /// The master, from the init container of an installer Job.
    Preparation,
    /// The cluster that a backup Job reads.
    Backup,
}

/// Makes clients.
#[derive(Clone, Default)]
pub struct Connector {
    around: Option<Around>,
}

type Around = Arc<dyn Fn(&Peer, Client) -> Client + Send + Sync>;

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connector")
            .field("around", &self.around.is_some())
            .finish()
    }
}

impl Connector {
    /// A connector that puts something around every client: a test's faults, a recording.
    #[must_use]
    pub fn around(wrap: impl Fn(&Peer, Client) -> Client + Send + Sync + 'static) -> Self {
        Self {
            around: Some(Arc::new(wrap)),
        }
    }

    /// A client for `peer`. Has to be called within a tokio runtime, to which the client then belongs.
    ///
    /// # Errors
    /// When the configuration's certificates, keys or addresses cannot be used.
    pub fn connect(&self, peer: &Peer, mut config: Config) -> kube::Result<Client> {
        // A repeated POST after a lost answer would be a second effect: every repetition is decided anew.
        config.default_retry = false;
        config.connect_timeout = Some(
            config
                .connect_timeout
                .map_or(CONNECT_DEADLINE, |own| own.min(CONNECT_DEADLINE)),
        );
        config.read_timeout = Some(config.read_timeout.map_or(SILENCE, |own| own.min(SILENCE)));
        let limits = Limits::of(peer);
        let guard = tower::layer::layer_fn(move |service| Guard::new(service, limits));
        let client = ClientBuilder::try_from(config)?.with_layer(&guard).build();
        Ok(match &self.around {
            Some(around) => around(peer, client),
            None => client,
        })
    }
}
