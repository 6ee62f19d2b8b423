//! Every API call of the operator goes through here: with a deadline, and with an error that names what was tried and
//! never repeats an answer that is none.

use std::error::Error as StdError;
use std::future::Future;
use std::time::Duration;

use kkp_upgrade_connection::{AnswerError, EndlessList};
use serde_json::error::Category;

use crate::deadline;

/// Most that is told of a server's own words, in characters.
const WORDS: usize = 200;

/// Why an API call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server answered with an error, or the connection failed.
    #[error("{what}: {}", told(source))]
    Failed {
        /// What was tried.
        what: String,
        /// What came back.
        source: Box<kube::Error>,
    },
    /// No answer within the deadline.
    #[error("{what}: no answer within {} s", deadline.as_secs())]
    Deadline {
        /// What was tried.
        what: String,
        /// How long it was waited for.
        deadline: Duration,
    },
    /// After each page comes another one.
    #[error("{what}: {list}")]
    Endless {
        /// What was tried.
        what: String,
        /// What was read of it.
        list: EndlessList,
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
        self.code() == Some(409)
    }

    /// Whether the object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// The code that the server refused with.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Failed { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::Deadline { .. } | Self::Endless { .. } | Self::Unusable { .. } => None,
        }
    }

    /// The list in the answers to `what` has no end.
    pub fn endless(what: impl Into<String>, pages: u32) -> Self {
        Self::Endless {
            what: what.into(),
            list: EndlessList { pages },
        }
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
/// When the server refuses, the connection fails, or no answer comes within the deadline.
pub async fn call<T>(what: impl Into<String>, future: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    call_within(deadline::of_a_call(), what, future).await
}

/// Makes one API call that has a deadline of its own.
///
/// # Errors
/// Like [`call`].
pub async fn call_within<T>(
    deadline: Duration,
    what: impl Into<String>,
    future: impl Future<Output = kube::Result<T>>,
) -> Result<T, CallError> {
    let what = what.into();
    match tokio::time::timeout(deadline, future).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(CallError::Failed {
            what,
            source: Box::new(source),
        }),
        Err(_) => Err(CallError::Deadline { what, deadline }),
    }
}

/// What kube puts into the reason of a Status that it made up from an answer that was none.
const MADE_UP: &str = "Failed to parse error data";

/// An error in words that hold nothing of an answer but a Status's own message, cleaned and cut: an answer may hold
/// secrets, and a seed may be hostile.
fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.reason == MADE_UP => {
            format!("{}, without the reason that an API server gives", status.code)
        }
        kube::Error::Api(status) => clean(&format!("{} {}: {}", status.code, status.reason, status.message)),
        kube::Error::SerdeError(error) => malformed(error),
        kube::Error::FromUtf8(_) => "the answer is no text".to_owned(),
        other => clean(&causes(other)),
    }
}

/// serde's own message would quote what stands there.
fn malformed(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let problem = match error.classify() {
        Category::Eof | Category::Io => "breaks off",
        Category::Syntax if error.to_string().starts_with("recursion limit") => "is nested too deeply",
        Category::Syntax => "is not JSON",
        Category::Data => "is not what was asked for",
    };
    format!("the answer {problem} (line {line}, column {column})")
}

/// The guard's error where it is one; otherwise the causes from the outside in, each once.
pub(crate) fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(link) = next {
        if let Some(refused) = link.downcast_ref::<AnswerError>() {
            return refused.to_string();
        }
        let text = link.to_string();
        // Many errors show their cause in their own text.
        if let Some(last) = texts.last_mut()
            && let Some(rest) = last.strip_suffix(&text)
        {
            *last = rest.trim_end_matches([':', ' ']).to_owned();
        }
        texts.push(text);
        next = link.source();
    }
    texts.retain(|text| !text.is_empty());
    texts.join(": ")
}

/// In one line, without control characters, and not too long.
pub(crate) fn clean(text: &str) -> String {
    let mut clean: String = text
        .chars()
        .take(WORDS)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    if clean.len() < text.len() {
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    const SECRET: &str = "canary";

    fn failed(source: kube::Error) -> String {
        CallError::Failed {
            what: "Pods of seed eu".to_owned(),
            source: Box::new(source),
        }
        .to_string()
    }

    fn serde(text: &str) -> kube::Error {
        kube::Error::SerdeError(serde_json::from_str::<BTree>(text).unwrap_err())
    }
    type BTree = std::collections::BTreeMap<String, Vec<Option<Box<serde_json::Value>>>>;

    #[test]
    fn malformed_answers_are_named_and_not_repeated() {
        let deep = format!("{{\"a\":[{}", "[".repeat(10_000));
        for (text, expected) in [
            (r#"{"a": ["#, "breaks off"),
            ("<html>canary</html>", "is not JSON"),
            (r#"{"a": "canary"}"#, "is not what was asked for"),
            (deep.as_str(), "is nested too deeply"),
        ] {
            let message = failed(serde(text));
            assert!(message.contains(expected) && !message.contains(SECRET), "{message}");
            assert!(message.starts_with("Pods of seed eu: "), "{message}");
        }
    }

    #[test]
    fn a_status_says_why_in_one_line_of_bounded_length() {
        let mut status = Status::failure("no\r\n\u{1b}[31mrights", "Forbidden").with_code(403);
        assert_eq!(
            failed(kube::Error::Api(Box::new(status.clone()))),
            "Pods of seed eu: 403 Forbidden: no   [31mrights"
        );
        status.message = "x".repeat(100_000);
        assert!(failed(kube::Error::Api(Box::new(status))).len() < 300);
    }

    #[test]
    fn an_error_that_is_no_status_is_not_repeated() {
        let status = Status::failure(SECRET, MADE_UP).with_code(502);
        let message = failed(kube::Error::Api(Box::new(status)));
        assert!(message.contains("502") && !message.contains(SECRET), "{message}");
    }

    #[test]
    fn the_guard_is_told_in_its_own_words() {
        let inner = AnswerError::TooLong { limit: 32 << 20 };
        let message = failed(kube::Error::Service(Box::new(kube::Error::Service(Box::new(inner)))));
        assert_eq!(message, "Pods of seed eu: the answer is longer than 32 MiB");
    }

    #[test]
    fn each_cause_is_told_once() {
        let inner = std::io::Error::other("refused");
        let message = failed(kube::Error::Service(Box::new(inner)));
        assert_eq!(message, "Pods of seed eu: ServiceError: refused");
    }
}
