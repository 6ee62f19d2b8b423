//! What the platform shows to the world: the discovery document of its login issuer, and where its names lead.
//!
//! The only part of the operator that talks to something that is no API server. What is asked stands in the platform's own
//! configuration, which its administrators write; still only one GET is sent, over HTTPS alone, without credentials, with a
//! deadline and a bound on the answer, no redirect is followed, and nothing of an answer is kept but what rules look at.
//! Answers are kept for a while: rules are asked every few seconds, an issuer must not be.

mod discovery;
mod fetch;
mod names;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

pub(crate) use discovery::{Answer, Document, Outcome};
pub(crate) use fetch::Trust;

/// How long an answer counts that will hardly be another one soon.
const SETTLED: Duration = Duration::from_mins(2);
/// How long any other one counts: what was repaired is to be seen soon.
const OTHER: Duration = Duration::from_secs(20);
/// Most questions whose answers are kept: a platform has one issuer and two or three names.
const MOST: usize = 64;

/// Asks the world, and keeps the answers for a while.
#[derive(Debug, Default)]
pub struct Outside {
    issuers: Mutex<Answers<Outcome>>,
    addresses: Mutex<Answers<Result<Vec<String>, String>>>,
}

impl Outside {
    /// The discovery document of an issuer (`OpenID` Connect Discovery 1.0, section 4).
    pub(crate) async fn discovery(&self, issuer: &str, trust: &Trust) -> Outcome {
        // One after the other: whoever comes second finds the answer of the first.
        let mut issuers = self.issuers.lock().await;
        let question = format!("{issuer}\n{}", trust.identity());
        if let Some(answer) = issuers.fresh(&question, Instant::now()) {
            return answer;
        }
        let answer = discovery::ask(issuer, trust).await;
        issuers.keep(question, answer.clone(), answer.is_settled());
        answer
    }

    /// The IP addresses that a name leads to from here, each once and in order; an address leads to itself.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Vec<String>, String> {
        let mut addresses = self.addresses.lock().await;
        if let Some(answer) = addresses.fresh(name, Instant::now()) {
            return answer;
        }
        let answer = names::look_up(name).await;
        // Records change while somebody moves them from one entrance to another: they are not kept for long.
        addresses.keep(name.to_owned(), answer.clone(), answer.is_err());
        answer
    }
}

/// Answers by question.
#[derive(Debug)]
struct Answers<T>(BTreeMap<String, (Instant, T)>);

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Clone> Answers<T> {
    fn fresh(&mut self, question: &str, now: Instant) -> Option<T> {
        self.0.retain(|_, (until, _)| now < *until);
        self.0.get(question).map(|(_, answer)| answer.clone())
    }

    fn keep(&mut self, question: String, answer: T, settled: bool) {
        if self.0.len() < MOST {
            let until = Instant::now() + if settled { SETTLED } else { OTHER };
            self.0.insert(question, (until, answer));
        }
    }
}
