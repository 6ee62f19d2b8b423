//! Every API call of the operator goes through here: with a deadline, and with an error that names what was tried.

use std::future::Future;

use crate::context::CALL_DEADLINE;

/// Why an API call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server answered with an error, or the connection failed.
    #[error("{what}: {source}")]
    Failed {
        /// What was tried.
        what: String,
        /// What came back.
        source: Box<kube::Error>,
    },
    /// No answer within the deadline.
    #[error("{what}: no answer within {} s", CALL_DEADLINE.as_secs())]
    Deadline {
        /// What was tried.
        what: String,
    },
    /// The answer cannot be used.
    #[error("{what}: {problem}")]
    Unusable {
        /// What was tried.
        what: String,
        /// What is wrong with the answer.
        problem: String,
    },
}

impl CallError {
    /// Whether a precondition was lost: somebody else wrote first, so everything is decided again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Failed { source, .. } if matches!(&**source, kube::Error::Api(status) if status.code == 409))
    }

    /// Whether the object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Failed { source, .. } if matches!(&**source, kube::Error::Api(status) if status.code == 404))
    }

    /// The answer to `what` cannot be used.
    pub fn unusable(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Unusable {
            what: what.into(),
            problem: problem.into(),
        }
    }
}

/// Makes one API call.
///
/// # Errors
/// When the server refuses, the connection fails, or no answer comes within [`CALL_DEADLINE`].
pub async fn call<T>(what: impl Into<String>, future: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    let what = what.into();
    match tokio::time::timeout(CALL_DEADLINE, future).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(CallError::Failed {
            what,
            source: Box::new(source),
        }),
        Err(_) => Err(CallError::Deadline { what }),
    }
}
