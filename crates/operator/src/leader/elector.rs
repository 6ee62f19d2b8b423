//! The decisions of one candidate for a lease. Pure: both clocks are given.
//!
//! The algorithm of client-go (`tools/leaderelection`): the time that a holder writes into the lease is never compared
//! with a clock of ours. It only matters *that* the record changes; how long it has not is measured here.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

/// The longest promise that a candidate believes. No operator may make a longer one; without this bound, a forged lease
/// could keep every operator from leading for years.
pub const LONGEST_LEASE: Duration = Duration::from_mins(2);

/// Durations of an election. To hold: `retry` < `renew_deadline` < `lease` ≤ [`LONGEST_LEASE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderTimings {
    /// How long a record must stay unchanged before another candidate takes over.
    pub lease: Duration,
    /// How long the leader goes on without a successful renewal.
    pub renew_deadline: Duration,
    /// Pause between two looks at the lease.
    pub retry: Duration,
}

impl Default for LeaderTimings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// Durations of an election that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingsError {
    /// The leader would look at its lease too late to renew it.
    #[error("--leader-retry ({0:?}) has to be shorter than --leader-renew-deadline ({1:?})")]
    Retry(Duration, Duration),
    /// The leader would go on after another one may have taken over.
    #[error("--leader-renew-deadline ({0:?}) has to be shorter than --leader-lease ({1:?})")]
    RenewDeadline(Duration, Duration),
    /// Others would not believe it.
    #[error("--leader-lease ({0:?}) has to be {limit} s at most", limit = LONGEST_LEASE.as_secs())]
    Lease(Duration),
}

impl LeaderTimings {
    /// Whether an election can be held with them.
    ///
    /// # Errors
    /// When two of them contradict each other, with the flags to change.
    pub fn check(&self) -> Result<(), TimingsError> {
        if self.retry >= self.renew_deadline {
            return Err(TimingsError::Retry(self.retry, self.renew_deadline));
        }
        if self.renew_deadline >= self.lease {
            return Err(TimingsError::RenewDeadline(self.renew_deadline, self.lease));
        }
        if self.lease > LONGEST_LEASE {
            return Err(TimingsError::Lease(self.lease));
        }
        Ok(())
    }
}

/// What to do about the lease.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// There is none: create this one.
    Create(Box<Lease>),
    /// Write this over what was read, under its resourceVersion.
    Replace(Box<Lease>),
    /// Another candidate holds it.
    Wait,
    /// It was ours and no longer is.
    Lost(String),
}

/// One candidate.
#[derive(Debug)]
pub(super) struct Elector {
    name: String,
    identity: String,
    timings: LeaderTimings,
    seen: Option<(LeaseSpec, Instant)>,
    held: Option<(Lease, Instant)>,
}

impl Elector {
    pub(super) fn new(name: &str, identity: &str, timings: LeaderTimings) -> Self {
        Self {
            name: name.to_owned(),
            identity: identity.to_owned(),
            timings,
            seen: None,
            held: None,
        }
    }

    /// The lease as it is at `now`; `wall` is what is written into it.
    pub(super) fn observe(&mut self, lease: Option<&Lease>, now: Instant, wall: Timestamp) -> Action {
        let Some(lease) = lease else {
            self.seen = None;
            return Action::Create(Box::new(self.claim(None, wall)));
        };
        let record = lease.spec.clone().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == record => *since,
            _ => now,
        };
        let patience = self.patience(&record);
        let holder = record.holder_identity.clone().unwrap_or_default();
        self.seen = Some((record, since));
        if holder == self.identity {
            return Action::Replace(Box::new(self.claim(Some(lease), wall)));
        }
        if self.held.is_some() {
            return Action::Lost(format!("lease {} is held by {holder:?} now", self.name));
        }
        if !holder.is_empty() && now.duration_since(since) < patience {
            return Action::Wait;
        }
        Action::Replace(Box::new(self.claim(Some(lease), wall)))
    }

    /// The holder may have been promised more time than we would take.
    fn patience(&self, record: &LeaseSpec) -> Duration {
        self.timings.lease.max(promised(record).min(LONGEST_LEASE))
    }

    /// What a person should know about the lease as it was seen last, while another candidate has it or left it.
    pub(super) fn standing_by(&self) -> Option<String> {
        let (record, _) = self.seen.as_ref()?;
        let holder = record.holder_identity.as_deref().filter(|holder| !holder.is_empty())?;
        if holder == self.identity {
            return None;
        }
        let (name, patience) = (&self.name, self.patience(record).as_secs_f64());
        let mut text =
            format!("lease {name} is held by {holder:?}, who counts as gone after {patience} s without a change of it");
        if promised(record) > LONGEST_LEASE {
            let promised = promised(record).as_secs();
            let forged =
                format!("; its leaseDurationSeconds ({promised}) is of no operator: delete the Lease to go on at once");
            text.push_str(&forged);
        }
        Some(text)
    }

    fn claim(&self, from: Option<&Lease>, wall: Timestamp) -> Lease {
        let before = from.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let renewal = before.holder_identity.as_deref() == Some(&*self.identity);
        let transitions = before.lease_transitions.unwrap_or_default();
        let seconds = self.timings.lease.as_millis().div_ceil(1000).max(1);
        let spec = LeaseSpec {
            acquire_time: before.acquire_time.filter(|_| renewal).or(Some(MicroTime(wall))),
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            lease_transitions: Some(if renewal || from.is_none() {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            renew_time: Some(MicroTime(wall)),
            ..LeaseSpec::default()
        };
        let metadata = from.map_or_else(
            || ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            |lease| lease.metadata.clone(),
        );
        Lease {
            metadata,
            spec: Some(spec),
        }
    }

    /// The server has accepted a claim. `began` is when its request was *sent*: no other candidate can have seen it earlier.
    pub(super) fn accepted(&mut self, lease: Lease, began: Instant) {
        self.held = Some((lease, began));
    }

    /// Until when this candidate may act as the leader.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.held
            .as_ref()
            .map(|(_, began)| *began + self.timings.renew_deadline)
    }

    /// What to write to give the lease back.
    pub(super) fn release(&self, wall: Timestamp) -> Option<Lease> {
        let (lease, _) = self.held.as_ref()?;
        let mut lease = lease.clone();
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(wall));
        Some(lease)
    }
}

fn promised(record: &LeaseSpec) -> Duration {
    let seconds = record
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    Duration::from_secs(seconds.unwrap_or_default())
}

#[cfg(test)]
mod tests;
