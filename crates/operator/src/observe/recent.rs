//! The last look at the platform with all its rules, for the rounds right behind it that ask the very same.
//!
//! Only for rounds whose decision is looked at again before anything is touched: [`Needs::recent`] says which.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use kkp_upgrade_core::decide::Needs;
use kkp_upgrade_core::facts::{PlatformFacts, SeedFacts};
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::rules::Finding;
use kkp_upgrade_core::status::{CatalogueStatus, Status};

use crate::lock;

/// How long a look may stand for another one: about as long as the steps from the plan to the first backup take.
pub(crate) const RECENT: Duration = Duration::from_secs(10);

/// Everything that an evaluation depends on beside the platform itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    upgrade: String,
    run: i64,
    request: Option<Request>,
    needs: Needs,
    catalogue: Option<CatalogueStatus>,
}

impl Question {
    /// What is asked in a round of the `KKPUpgrade` with this UID.
    pub(super) fn new(
        upgrade: &str,
        request: Option<&Request>,
        status: &Status,
        needs: &Needs,
        catalogue: Option<CatalogueStatus>,
    ) -> Self {
        // What is read of other places changes nothing here.
        let needs = Needs {
            evidence: needs.evidence,
            rules: needs.rules.clone(),
            installer: needs.installer,
            route: needs.route,
            ..Needs::default()
        };
        Self {
            upgrade: upgrade.to_owned(),
            run: status.run(),
            request: request.cloned(),
            needs,
            catalogue,
        }
    }
}

struct Look {
    question: Question,
    began: Instant,
    platform: PlatformFacts,
    findings: Vec<Finding>,
}

/// One look: that of the `KKPUpgrade` which was evaluated last.
pub(crate) struct RecentLook {
    last: Mutex<Option<Look>>,
    trusted: Duration,
}

impl RecentLook {
    /// None yet; each is trusted for so long from its beginning on.
    pub(crate) const fn new(trusted: Duration) -> Self {
        Self {
            last: Mutex::new(None),
            trusted,
        }
    }

    /// What the last look found, where it asked the same and is recent.
    pub(super) fn answer(&self, question: &Question) -> Option<(PlatformFacts, Vec<Finding>)> {
        let mut last = lock(&self.last);
        // An old one may be large, and nobody asks for it again.
        last.take_if(|look| look.began.elapsed() >= self.trusted);
        let look = last.as_ref().filter(|look| look.question == *question)?;
        Some((look.platform.clone(), look.findings.clone()))
    }

    /// Keeps a look that began at `began`. One that did not see everything stands for no other.
    pub(super) fn keep(&self, question: Question, began: Instant, platform: &PlatformFacts, findings: &[Finding]) {
        *lock(&self.last) = is_whole(platform, findings).then(|| Look {
            question,
            began,
            platform: platform.clone(),
            findings: findings.to_vec(),
        });
    }
}

/// Whether all that was asked could be read: what could not may be readable in the next round.
fn is_whole(platform: &PlatformFacts, findings: &[Finding]) -> bool {
    let unread = |seed: &SeedFacts| seed.reachable.value().is_none() || seed.clusters.value().is_none();
    !findings.iter().any(|finding| finding.unknown) && !platform.seeds.iter().any(unread)
}

#[cfg(test)]
mod tests {
    use kkp_upgrade_core::facts::{ConfigurationFacts, Evidence, Known};
    use kkp_upgrade_core::version::KkpVersion;

    use super::*;

    fn platform() -> PlatformFacts {
        PlatformFacts {
            configuration: ConfigurationFacts {
                namespace: "kubermatic".to_owned(),
                name: "kubermatic".to_owned(),
                uid: "kkp".to_owned(),
                resource_version: "1".to_owned(),
                maximum_parallel_reconciles: None,
                throttle_mark: Known::Is(None),
            },
            version: Some(KkpVersion::new(2, 30, 6)),
            edition: None,
            route: Known::NotRead,
            cluster_uid: "master".to_owned(),
            crd_version: Known::NotRead,
            evidence: Evidence::Proven,
            seeds: Vec::new(),
            backup_storage: None,
            backup_key: Known::NotRead,
            installer: Known::NotRead,
        }
    }

    fn question(upgrade: &str, run: i64, target: u32) -> Question {
        let needs = Needs {
            evidence: Some(KkpVersion::new(2, 31, target)),
            job: Some(format!("job-{run}")),
            ..Needs::default()
        };
        let status = Status {
            run_id: Some(run),
            ..Status::default()
        };
        Question::new(upgrade, None, &status, &needs, None)
    }

    #[test]
    fn a_look_that_did_not_see_everything_stands_for_no_other() {
        let looks = RecentLook::new(Duration::from_mins(10));
        let answered = |platform: &PlatformFacts, findings: &[Finding]| {
            looks.keep(question("u", 1, 0), Instant::now(), platform, findings);
            looks.answer(&question("u", 1, 0)).is_some()
        };
        let hop = kkp_upgrade_core::rules::Hop {
            from: KkpVersion::new(2, 30, 6),
            to: KkpVersion::new(2, 31, 0),
        };
        let catalogue = kkp_upgrade_core::rules::Catalogue::embedded_shared().unwrap();
        let input = kkp_upgrade_core::rules::Input {
            hops: vec![hop],
            ..kkp_upgrade_core::rules::Input::default()
        };
        let stages = &[kkp_upgrade_core::rules::Stage::Preflight];
        let nobody_looked = kkp_upgrade_core::rules::Evaluation::new(&catalogue, stages, &input).finish();
        assert!(nobody_looked.iter().any(|finding| finding.unknown));
        assert!(answered(&platform(), &[]));
        assert!(!answered(&platform(), &nobody_looked));
        let mut cut_off = platform();
        cut_off.seeds.push(SeedFacts {
            name: "eu".to_owned(),
            uid: "uid".to_owned(),
            reachable: Known::Unknown("no answer".to_owned()),
            cluster_uid: None,
            etcd_destination: None,
            evidence: Evidence::Proven,
            limit_in_force: Known::NotRead,
            clusters: Known::NotRead,
            lagging: Vec::new(),
            unhealthy: Vec::new(),
        });
        assert!(!answered(&cut_off, &[]));
    }

    #[test]
    fn a_look_answers_the_same_question_for_a_while() {
        let looks = RecentLook::new(Duration::from_mins(10));
        assert!(looks.answer(&question("u", 1, 0)).is_none());
        looks.keep(question("u", 1, 0), Instant::now(), &platform(), &[]);
        assert!(looks.answer(&question("u", 1, 0)).is_some());
        for other in [question("v", 1, 0), question("u", 2, 0), question("u", 1, 1)] {
            assert!(looks.answer(&other).is_none(), "{other:?}");
        }
        let past = RecentLook::new(Duration::ZERO);
        past.keep(question("u", 1, 0), Instant::now(), &platform(), &[]);
        assert!(past.answer(&question("u", 1, 0)).is_none());
        assert!(lock(&past.last).is_none(), "nothing is kept for nobody");
    }
}
