//! Every duration of the machine but the soak, in one value. Pure.

use std::time::Duration;

/// How long things may take and how often they are looked at. Settable by the operator's flags; the lab scales them down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// How often a waiting upgrade looks again when no watch reports anything.
    pub resync: Duration,
    /// How often steps that wait for the platform (a roll-out, convergence) look again.
    pub poll: Duration,
    /// How long blockers that rest on unreadable facts are retried before the upgrade says `Stalled`: a Degraded
    /// health fails a whole Argo CD sync, and most of these pass by themselves.
    pub unknown_grace: Duration,
    /// A verified backup older than this is renewed before anything is changed.
    pub backup_max_age: Duration,
    /// Attempts of one backup Job before the run fails.
    pub backup_attempts: i32,
    /// Etcd backups of user clusters that KKP is asked for at the same time, on each seed.
    pub etcd_backups_in_parallel: usize,
    /// Attempts of one etcd backup before it has failed.
    pub etcd_backup_attempts: i32,
    /// Longest that one etcd backup may take, from the moment it was asked for.
    pub etcd_backup_deadline: Duration,
    /// First pause between two attempts; doubled each time.
    pub retry_pause: Duration,
    /// How many verified backups of each cluster stay, at least; 0 = all of them.
    pub backups_to_keep: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            resync: Duration::from_secs(30),
            poll: Duration::from_secs(10),
            unknown_grace: Duration::from_mins(1),
            backup_max_age: Duration::from_hours(1),
            backup_attempts: 3,
            etcd_backups_in_parallel: 5,
            etcd_backup_attempts: 2,
            etcd_backup_deadline: Duration::from_mins(20),
            retry_pause: Duration::from_secs(10),
            backups_to_keep: 5,
        }
    }
}
