//! Tests of retention: the table of what stays, and that nothing needed ever goes.

use proptest::prelude::*;

use super::*;
use crate::status::{BackupRecord, Ending};

const UIDS: [&str; 3] = ["aaaaaaaa-1111", "bbbbbbbb-2222", "cccccccc-3333"];

/// A backup of the master at this revision and second, made for the KKPUpgrade of this number.
fn backup(revision: u64, second: i64, maker: usize) -> StoredBackup {
    StoredBackup {
        folder: folder_name("2.30.6", "2.31.0", UIDS[maker], 1, 1),
        attempt: "master".to_owned(),
        target: "master".to_owned(),
        cluster_uid: "cluster".to_owned(),
        digest: format!("sha256:{revision}-{second}-{maker}"),
        revision,
        started: Timestamp::from_second(second).unwrap(),
        condemned: false,
    }
}

/// Seven of them, one after the other, of a KKPUpgrade that does not exist any more.
fn seven() -> Vec<StoredBackup> {
    (1..=7)
        .map(|number| backup(number, 1000 + i64::try_from(number).unwrap(), 0))
        .collect()
}

fn keep(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// Revisions of what may go.
fn gone(backups: &[StoredBackup], claimants: &[Claimant], number: u32) -> Vec<u64> {
    let removals = removals(backups, claimants, keep(number));
    removals.iter().map(|removal| removal.backup.revision).collect()
}

fn status(phase: &str) -> Status {
    Status {
        phase: Some(phase.to_owned()),
        ..Status::default()
    }
}

#[test]
fn the_newest_stay_and_the_oldest_goes_first() {
    let backups = seven();
    assert_eq!(gone(&backups, &[], 5), [1, 2]);
    assert_eq!(gone(&backups, &[], 7), [0_u64; 0]);
    assert_eq!(gone(&backups, &[], 1), [1, 2, 3, 4, 5, 6]);
    let removals = removals(&backups, &[], keep(5));
    let newer: Vec<u64> = removals[0].newer.iter().map(|backup| backup.revision).collect();
    assert_eq!(newer, [7, 6, 5, 4, 3]);
}

#[test]
fn whatever_did_not_end_well_keeps_all_its_backups() {
    let backups = seven();
    let claimant = |status: Option<&Status>| [Claimant::new(UIDS[0], status)];
    for phase in [
        "Pending",
        "Preflight",
        "Backup",
        "Deploying",
        "Verifying",
        "Failed",
        "Aborted",
        "Resting",
    ] {
        assert_eq!(
            gone(&backups, &claimant(Some(&status(phase))), 1),
            [0_u64; 0],
            "{phase}"
        );
    }
    assert_eq!(
        gone(&backups, &claimant(None), 1),
        [0_u64; 0],
        "no status, or none that can be read"
    );
    assert_eq!(gone(&backups, &claimant(Some(&status("Done"))), 5), [1, 2]);
    let ending = Status {
        ending: Some(Ending::default()),
        ..status("Done")
    };
    let locked = Status {
        locked: Some(true),
        ..status("Done")
    };
    for unsettled in [ending, locked] {
        assert_eq!(gone(&backups, &claimant(Some(&unsettled)), 1), [0_u64; 0]);
    }
    let other = [Claimant::new(UIDS[1], Some(&status("Failed")))];
    assert_eq!(
        gone(&backups, &other, 5),
        [1, 2],
        "those of another one are none of its business"
    );
}

#[test]
fn what_a_status_names_stays_wherever_it_lies() {
    let backups = seven();
    let mut failed = status("Failed");
    failed.update_target("master", |target| {
        target.backup = Some(BackupRecord {
            digest: backups[0].digest.clone(),
            ..BackupRecord::default()
        });
    });
    assert_eq!(gone(&backups, &[Claimant::new(UIDS[2], Some(&failed))], 5), [2]);
}

#[test]
fn what_others_put_there_neither_goes_nor_counts() {
    let mut backups = seven();
    for (backup, name) in
        backups
            .iter_mut()
            .zip(["by-hand", "2.30.6-to-2.31.0-aaaaaaaa-run1", "a-run1-2", "x-to-y-run-1"])
    {
        name.clone_into(&mut backup.folder);
    }
    assert_eq!(gone(&backups, &[], 2), [5]);
    backups[6].folder = "by-hand".to_owned();
    assert_eq!(gone(&backups, &[], 2), [0_u64; 0]);
}

#[test]
fn another_cluster_or_target_is_another_row() {
    let mut backups = seven();
    backups[6].cluster_uid = "another".to_owned();
    backups[5].target = "eu".to_owned();
    assert_eq!(gone(&backups, &[], 3), [1, 2]);
}

#[test]
fn a_clock_or_a_revision_that_went_back_keeps_more() {
    let mut backups = seven();
    backups[0].started = Timestamp::from_second(9999).unwrap();
    assert_eq!(gone(&backups, &[], 5), [2], "its clock says it is the newest");
    let mut backups = seven();
    backups[6].revision = 0;
    assert_eq!(gone(&backups, &[], 5), [1], "an etcd that was put back counts anew");
}

#[test]
fn one_that_is_being_removed_counts_for_nobody() {
    let mut backups = seven();
    backups[6].condemned = true;
    assert_eq!(gone(&backups, &[], 5), [1]);
    backups[6].condemned = false;
    backups[0].condemned = true;
    assert_eq!(gone(&backups, &[], 5), [1, 2], "it goes on");
}

fn any_backup() -> impl Strategy<Value = StoredBackup> {
    let cluster = (
        any::<bool>(),
        any::<bool>(),
        proptest::bool::weighted(0.1),
        proptest::bool::weighted(0.1),
    );
    (0..12_u64, 0..12_i64, 0..3_usize, cluster).prop_map(
        |(revision, second, maker, (target, uid, condemned, foreign))| {
            let mut backup = backup(revision, second, maker);
            backup.target = if target { "master" } else { "eu" }.to_owned();
            backup.cluster_uid = if uid { "one" } else { "other" }.to_owned();
            backup.condemned = condemned;
            if foreign {
                backup.folder = "by-hand".to_owned();
            }
            backup
        },
    )
}

proptest! {
    #[test]
    fn nothing_needed_goes_and_enough_stay(
        backups in proptest::collection::vec(any_backup(), 0..40),
        phases in proptest::collection::vec(0..4_usize, 3),
        number in 1..6_u32,
    ) {
        let claimants: Vec<Claimant> = (0..).zip(phases).filter_map(|(index, phase): (usize, usize)| {
            let phase = ["Done", "Failed", "Deploying"].get(phase)?;
            Some(Claimant::new(UIDS[index], Some(&status(phase))))
        }).collect();
        let removals = removals(&backups, &claimants, keep(number));
        let goes = |backup: &StoredBackup| removals.iter().any(|removal| std::ptr::eq(removal.backup, backup));
        for removal in &removals {
            let maker = UIDS.iter().position(|uid| removal.backup.folder.contains(&uid[..8])).unwrap();
            let unsettled = claimants.iter().any(|claimant| claimant.uid == UIDS[maker] && !claimant.settled);
            prop_assert!(!unsettled, "{:?} is needed", removal.backup);
            prop_assert_eq!(removal.newer.len(), number as usize);
            for newer in &removal.newer {
                prop_assert!(newer.is_newer_than(removal.backup) && !newer.condemned && !goes(newer), "{:?}", newer);
            }
        }
    }
}
