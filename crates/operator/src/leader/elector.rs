//! The decisions of one candidate for a lease. Pure: both clocks are given.
//!
//! The algorithm of client-go (`tools/leaderelection`): the time that a holder writes into the lease is never compared
//! with a clock of ours. It only matters *that* the record changes; how long it has not is measured here.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

/// Durations of an election. To hold: `retry` < `renew_deadline` < `lease`.
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
        let promised = record
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        self.timings
            .lease
            .max(Duration::from_secs(promised.unwrap_or_default()))
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

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Timestamp = Timestamp::UNIX_EPOCH;

    fn lease(holder: &str, renewed: i64, seconds: i32) -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some("lease".to_owned()),
                resource_version: Some(format!("{holder}-{renewed}")),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(seconds),
                lease_transitions: Some(4),
                renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
                ..LeaseSpec::default()
            }),
        }
    }

    fn verdict(action: &Action) -> &'static str {
        match action {
            Action::Create(_) => "create",
            Action::Replace(_) => "replace",
            Action::Wait => "wait",
            Action::Lost(_) => "lost",
        }
    }

    /// Looks of a candidate "me": second of our clock, (holder, renewTime, seconds) or none, verdict.
    type Look = (u64, Option<(&'static str, i64, i32)>, &'static str);

    #[test]
    fn a_candidate_goes_by_its_own_clock() {
        let past = -62_000_000_000;
        let future = 200_000_000_000;
        let table: &[(&str, &[Look])] = &[
            ("none", &[(0, None, "create")]),
            ("released", &[(0, Some(("", 5, 1)), "replace")]),
            ("mine", &[(0, Some(("me", 5, 15)), "replace")]),
            (
                "unchanged",
                &[
                    (0, Some(("a", 5, 15)), "wait"),
                    (14, Some(("a", 5, 15)), "wait"),
                    (15, Some(("a", 5, 15)), "replace"),
                ],
            ),
            (
                "a renewTime of long ago proves nothing",
                &[(0, Some(("a", past, 15)), "wait"), (14, Some(("a", past, 15)), "wait")],
            ),
            (
                "nor does one of the future",
                &[
                    (0, Some(("a", future, 15)), "wait"),
                    (15, Some(("a", future, 15)), "replace"),
                ],
            ),
            (
                "a clock that goes backwards renews all the same",
                &[
                    (0, Some(("a", 50, 15)), "wait"),
                    (14, Some(("a", 40, 15)), "wait"),
                    (28, Some(("a", 40, 15)), "wait"),
                    (29, Some(("a", 40, 15)), "replace"),
                ],
            ),
            (
                "another holder starts anew, even with the same time",
                &[
                    (0, Some(("a", 5, 15)), "wait"),
                    (14, Some(("b", 5, 15)), "wait"),
                    (28, Some(("b", 5, 15)), "wait"),
                    (29, Some(("b", 5, 15)), "replace"),
                ],
            ),
            (
                "a longer promise is kept",
                &[
                    (0, Some(("a", 5, 60)), "wait"),
                    (59, Some(("a", 5, 60)), "wait"),
                    (60, Some(("a", 5, 60)), "replace"),
                ],
            ),
            (
                "a shorter or forged one does not help",
                &[
                    (0, Some(("a", 5, -9)), "wait"),
                    (14, Some(("a", 5, -9)), "wait"),
                    (15, Some(("a", 5, -9)), "replace"),
                ],
            ),
            (
                "a refused write (409) is not a claim: the winner is waited for",
                &[
                    (0, Some(("", 5, 1)), "replace"),
                    (2, Some(("a", 6, 15)), "wait"),
                    (17, Some(("a", 6, 15)), "replace"),
                ],
            ),
        ];
        for (case, looks) in table {
            let mut elector = Elector::new("lease", "me", LeaderTimings::default());
            let start = Instant::now();
            for (second, found, expected) in *looks {
                let found = found.map(|(holder, renewed, seconds)| lease(holder, renewed, seconds));
                let action = elector.observe(found.as_ref(), start + Duration::from_secs(*second), WALL);
                assert_eq!(verdict(&action), *expected, "{case}, second {second}");
            }
        }
    }

    #[test]
    fn a_takeover_is_a_write_under_the_version_that_was_read() {
        let mut elector = Elector::new("lease", "me", LeaderTimings::default());
        let action = elector.observe(Some(&lease("", 5, 1)), Instant::now(), WALL);
        let Action::Replace(taken) = action else {
            panic!("{action:?}")
        };
        assert_eq!(taken.metadata.resource_version.as_deref(), Some("-5"));
        let spec = taken.spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!(
            (spec.lease_transitions, spec.lease_duration_seconds),
            (Some(5), Some(15))
        );
        assert_eq!(spec.acquire_time, Some(MicroTime(WALL)));
    }

    #[test]
    fn a_renewal_keeps_transitions_and_the_deadline_counts_from_the_request() {
        let mut elector = Elector::new("lease", "me", LeaderTimings::default());
        let now = Instant::now();
        let Action::Replace(renewed) = elector.observe(Some(&lease("me", 5, 15)), now, WALL) else {
            panic!("not renewed")
        };
        assert_eq!(renewed.spec.as_ref().unwrap().lease_transitions, Some(4));
        assert_eq!(elector.deadline(), None);
        elector.accepted(*renewed, now);
        assert_eq!(elector.deadline(), Some(now + Duration::from_secs(10)));
    }

    #[test]
    fn a_leader_that_sees_another_holder_or_none_has_lost() {
        for holder in ["a", ""] {
            let mut elector = Elector::new("lease", "me", LeaderTimings::default());
            let now = Instant::now();
            elector.accepted(lease("me", 5, 15), now);
            let action = elector.observe(Some(&lease(holder, 6, 15)), now, WALL);
            assert_eq!(verdict(&action), "lost");
        }
    }

    #[test]
    fn a_release_empties_the_holder_under_the_version_that_was_written() {
        let mut elector = Elector::new("lease", "me", LeaderTimings::default());
        assert_eq!(elector.release(WALL), None);
        elector.accepted(lease("me", 5, 15), Instant::now());
        let released = elector.release(WALL).unwrap();
        assert_eq!(released.metadata.resource_version.as_deref(), Some("me-5"));
        assert_eq!(released.spec.unwrap().holder_identity.as_deref(), Some(""));
    }
}
