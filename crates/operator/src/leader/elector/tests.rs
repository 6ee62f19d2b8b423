//! The decisions, second by second.

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
            "a promise of years is not believed",
            &[
                (0, Some(("a", 5, i32::MAX)), "wait"),
                (119, Some(("a", 5, i32::MAX)), "wait"),
                (120, Some(("a", 5, i32::MAX)), "replace"),
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

#[test]
fn a_clock_that_is_off_changes_no_decision() {
    let minutes = Duration::from_mins(10);
    for (mine, theirs) in [(WALL + minutes, WALL - minutes), (WALL - minutes, WALL + minutes)] {
        let start = Instant::now();
        let mut leader = Elector::new("lease", "leader", LeaderTimings::default());
        let mut other = Elector::new("lease", "other", LeaderTimings::default());
        let Action::Create(first) = leader.observe(None, start, mine) else {
            panic!("not created")
        };
        let mut server = *first;
        leader.accepted(server.clone(), start);
        for second in (2..60).step_by(2) {
            let now = start + Duration::from_secs(second);
            // The other one looks just before each renewal, when the lease is at its oldest.
            assert_eq!(
                verdict(&other.observe(Some(&server), now, theirs)),
                "wait",
                "second {second}"
            );
            let wall = mine + Duration::from_secs(second);
            let Action::Replace(renewed) = leader.observe(Some(&server), now, wall) else {
                panic!("not renewed in second {second}")
            };
            server = *renewed;
            leader.accepted(server.clone(), now);
        }
        // The leader is silent: taken over after the lease, and not before its own deadline.
        let silent = start + Duration::from_secs(58);
        assert_eq!(verdict(&other.observe(Some(&server), silent, theirs)), "wait");
        let early = silent + Duration::from_millis(14_999);
        assert_eq!(verdict(&other.observe(Some(&server), early, theirs)), "wait");
        assert!(leader.deadline().unwrap() < early);
        let late = silent + Duration::from_secs(15);
        let Action::Replace(taken) = other.observe(Some(&server), late, theirs) else {
            panic!("not taken over")
        };
        assert_eq!(verdict(&leader.observe(Some(&taken), late, mine)), "lost");
    }
}

#[test]
fn a_forged_lease_is_taken_over_and_named() {
    let mut forged = lease("nobody", 5, i32::MAX);
    forged.spec.as_mut().unwrap().lease_transitions = Some(i32::MAX);
    let mut elector = Elector::new("lease", "me", LeaderTimings::default());
    let start = Instant::now();
    assert_eq!(elector.standing_by(), None);
    assert_eq!(verdict(&elector.observe(Some(&forged), start, WALL)), "wait");
    let told = elector.standing_by().unwrap();
    assert!(
        told.contains("nobody") && told.contains("120 s") && told.contains("delete the Lease"),
        "{told}"
    );
    let Action::Replace(taken) = elector.observe(Some(&forged), start + LONGEST_LEASE, WALL) else {
        panic!("not taken over")
    };
    assert_eq!(taken.spec.unwrap().lease_transitions, Some(i32::MAX));

    let honest = lease("other", 5, 15);
    let mut elector = Elector::new("lease", "me", LeaderTimings::default());
    elector.observe(Some(&honest), start, WALL);
    let told = elector.standing_by().unwrap();
    assert!(told.contains("other") && !told.contains("delete"), "{told}");
    elector.observe(Some(&lease("me", 6, 15)), start, WALL);
    assert_eq!(elector.standing_by(), None);
}
