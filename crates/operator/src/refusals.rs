//! What the API server last refused of each KKPUpgrade's effects: a fact for the next round, so that status says why
//! nothing moves. Talks to nothing; forgotten with the process, and learnt again by the next attempt.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::lock;

/// Longest pause between two attempts of an effect that is refused.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// First pause; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Refusals by UID of the KKPUpgrade.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<String, Refusal>>);

#[derive(Debug)]
struct Refusal {
    why: String,
    /// Whether the server meant it: invalid or forbidden, not out of order.
    meant: bool,
    times: u32,
}

impl Refusals {
    /// Notes that an effect was refused, why, and whether another try is no use before somebody has acted.
    pub fn note(&self, uid: &str, why: String, meant: bool) {
        let mut known = lock(&self.0);
        let times = known.get(uid).map_or(0, |refusal| refusal.times);
        let times = times.saturating_add(1);
        known.insert(uid.to_owned(), Refusal { why, meant, times });
    }

    /// Forgets what was refused: an effect was carried out, or the KKPUpgrade is gone.
    pub fn forget(&self, uid: &str) {
        lock(&self.0).remove(uid);
    }

    /// Why the last effect was refused; `None` = it was not.
    #[must_use]
    pub fn why(&self, uid: &str) -> Option<String> {
        let known = lock(&self.0);
        known.get(uid).map(|refusal| refusal.why.clone())
    }

    /// Whether the last effect was refused because it is invalid or forbidden.
    #[must_use]
    pub fn is_meant(&self, uid: &str) -> bool {
        let known = lock(&self.0);
        known.get(uid).is_some_and(|refusal| refusal.meant)
    }

    /// How long to wait before the next attempt; `None` = nothing was refused.
    #[must_use]
    pub fn pause(&self, uid: &str) -> Option<Duration> {
        let known = lock(&self.0);
        let doubled = |times: u32| FIRST_PAUSE.saturating_mul(1 << times.saturating_sub(1).min(10));
        known.get(uid).map(|refusal| doubled(refusal.times).min(LONGEST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_waits_longer_and_success_forgets_them() {
        let refusals = Refusals::default();
        assert_eq!((refusals.why("u"), refusals.pause("u")), (None, None));
        let pauses: Vec<u64> = (0..9)
            .map(|_| {
                refusals.note("u", "quota".to_owned(), false);
                u64::try_from(refusals.pause("u").unwrap().as_millis()).unwrap()
            })
            .collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        assert_eq!(refusals.why("u").as_deref(), Some("quota"));
        assert_eq!(refusals.why("other"), None);
        assert!(!refusals.is_meant("u"));
        refusals.note("u", "forbidden".to_owned(), true);
        assert!(refusals.is_meant("u") && !refusals.is_meant("other"));
        refusals.forget("u");
        assert_eq!(refusals.pause("u"), None);
    }
}
