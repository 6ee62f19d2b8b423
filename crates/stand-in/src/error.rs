//! What can go wrong in a stand-in. Never ends a process by itself: the controllers log it and try again.

use std::time::Duration;

/// An error of a stand-in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("cannot {action}: {source}")]
    Api {
        /// What was tried, as a verb and an object.
        action: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// No answer came in time.
    #[error("cannot {action}: no answer within {deadline:?}; check that the API server is alive")]
    Deadline {
        /// What was tried.
        action: String,
        /// How long it was waited for.
        deadline: Duration,
    },
    /// A file of the stand-in (release, script) cannot be read.
    #[error("cannot read {path}: {reason}; write it as the lab does")]
    File {
        /// Path of the file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A kubeconfig is absent or unusable.
    #[error("kubeconfig of {owner} is not usable: {reason}")]
    Kubeconfig {
        /// The Seed or Pod whose kubeconfig it is.
        owner: String,
        /// Why.
        reason: String,
    },
    /// The platform is in a state that KKP refuses to work on, or a fault that the script asks for.
    #[error("{0}")]
    Refused(String),
    /// Another process holds the lease now.
    #[error("lost the lease {0}: ending, so that only one process acts")]
    LeaseLost(String),
}

impl Error {
    /// True if the API server says that the object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.has_status_code(404)
    }

    /// True if another writer was faster.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.has_status_code(409)
    }

    fn has_status_code(&self, code: u16) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(source.as_ref(), kube::Error::Api(status) if status.code == code))
    }
}
