//! The operator's command line.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use kkp_upgrade_backup::{BackupArguments, CheckArguments, RestoreArguments, SendArguments};
use kkp_upgrade_core::timing::Timing;

use crate::leader::LeaderTimings;
use crate::prepare::PrepareArguments;
use crate::retention::RetentionArguments;
use crate::telemetry::LogFormat;

/// Upgrades a Kubermatic Kubernetes Platform.
#[derive(Debug, Parser)]
#[command(name = "kkp-upgrade-operator", version)]
pub struct Arguments {
    /// Format of the log on standard error.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    /// Which log lines are written, for example `info,kkp_upgrade_operator=debug`.
    #[arg(long, global = true, env = "RUST_LOG", default_value = "info")]
    pub log_filter: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Box<RunArguments>),
    /// Prepare an installer Job (its init container).
    Prepare(Box<PrepareArguments>),
    /// Back up one target (a backup Job's container).
    Backup(Box<BackupArguments>),
    /// Plan the restore of a backup, or carry out a plan (a restore Job's container).
    Restore(Box<RestoreArguments>),
    /// Check whether a backup is what it was (a check Job's container).
    Check(Box<CheckArguments>),
    /// Write a piece of a stored backup to standard output (a download Job's container).
    Send(Box<SendArguments>),
    /// Remove older backups that nobody needs (a retention Job's container).
    Retention(Box<RetentionArguments>),
    /// Print the definition of the custom resource as YAML.
    Crd,
}

/// How the operator runs.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Namespace of this Pod, which is KKP's.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: String,
    /// Name of this Pod.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: String,
    /// UID of this Pod.
    #[arg(long, env = "POD_UID")]
    pub pod_uid: String,
    /// How many verified backups of each cluster stay, at least, when an upgrade is done; 0 keeps all. Those that an upgrade may
    /// still need stay in any case.
    #[arg(long, value_name = "NUMBER", default_value = "5", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub backups_to_keep: u32,
    /// Image of the operator for its Jobs; default: the one that this Pod runs.
    #[arg(long)]
    pub image: Option<String>,
    /// Claim for backups where a KKPUpgrade names none.
    #[arg(long)]
    pub default_backup_claim: Option<String>,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,
    /// How often a waiting upgrade looks again when no watch reports anything.
    #[arg(long, value_name = "MILLISECONDS", default_value = "30000", value_parser = milliseconds)]
    pub resync: Duration,
    /// How often steps that wait for the platform look again.
    #[arg(long, value_name = "MILLISECONDS", default_value = "10000", value_parser = milliseconds)]
    pub poll: Duration,
    /// How long blockers that rest on unreadable facts are retried before the upgrade says Stalled.
    #[arg(long, value_name = "MILLISECONDS", default_value = "60000", value_parser = milliseconds)]
    pub unknown_grace: Duration,
    /// A verified backup older than this is renewed before anything is changed.
    #[arg(long, value_name = "MILLISECONDS", default_value = "3600000", value_parser = milliseconds)]
    pub backup_max_age: Duration,
    /// How many etcd backups of user clusters KKP is asked for at the same time, on each seed.
    #[arg(long, value_name = "NUMBER", default_value = "5", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub etcd_backups_in_parallel: u16,
    /// Longest that one etcd backup of a user cluster may take; it is tried once more before the run fails.
    #[arg(long, value_name = "MILLISECONDS", default_value = "1200000", value_parser = milliseconds)]
    pub etcd_backup_deadline: Duration,
    /// First pause between two attempts of a backup; doubled each time.
    #[arg(long, value_name = "MILLISECONDS", default_value = "10000", value_parser = milliseconds)]
    pub retry_pause: Duration,
    /// Longest that one API call may take.
    #[arg(long, value_name = "MILLISECONDS", default_value = "20000", value_parser = milliseconds)]
    pub call_deadline: Duration,
    /// How long the lease of a leader must stay unchanged before another operator takes over. At most two minutes.
    #[arg(long, value_name = "MILLISECONDS", default_value = "15000", value_parser = milliseconds)]
    pub leader_lease: Duration,
    /// How long a leader goes on without renewing its lease; shorter than --leader-lease.
    #[arg(long, value_name = "MILLISECONDS", default_value = "10000", value_parser = milliseconds)]
    pub leader_renew_deadline: Duration,
    /// Pause between two looks at the lease; shorter than --leader-renew-deadline.
    #[arg(long, value_name = "MILLISECONDS", default_value = "2000", value_parser = milliseconds)]
    pub leader_retry: Duration,
}

impl RunArguments {
    /// The durations of the leader election.
    #[must_use]
    pub fn leader_timings(&self) -> LeaderTimings {
        LeaderTimings {
            lease: self.leader_lease,
            renew_deadline: self.leader_renew_deadline,
            retry: self.leader_retry,
        }
    }

    /// The durations of the machine.
    #[must_use]
    pub fn timing(&self) -> Timing {
        Timing {
            resync: self.resync,
            poll: self.poll,
            unknown_grace: self.unknown_grace,
            backup_max_age: self.backup_max_age,
            retry_pause: self.retry_pause,
            etcd_backups_in_parallel: usize::from(self.etcd_backups_in_parallel),
            etcd_backup_deadline: self.etcd_backup_deadline,
            backups_to_keep: self.backups_to_keep,
            ..Timing::default()
        }
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(number) if number > 0 => Ok(Duration::from_millis(number)),
        _ => Err(format!("`{text}` is not a number of milliseconds above 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(flags: &[&str]) -> RunArguments {
        let always = ["operator", "run", "--namespace=n", "--pod-name=p", "--pod-uid=u"];
        let arguments = Arguments::try_parse_from(always.iter().chain(flags)).unwrap();
        let Command::Run(arguments) = arguments.command else {
            panic!("not `run`")
        };
        *arguments
    }

    #[test]
    fn the_durations_of_the_election_are_flags_with_those_of_client_go_as_defaults() {
        assert_eq!(run(&[]).leader_timings(), LeaderTimings::default());
        let flags = [
            "--leader-lease=1500",
            "--leader-renew-deadline=900",
            "--leader-retry=200",
        ];
        let timings = run(&flags).leader_timings();
        assert_eq!(timings.lease, Duration::from_millis(1500));
        assert_eq!(timings.check(), Ok(()));
    }

    #[test]
    fn five_backups_stay_unless_the_flag_says_otherwise() {
        assert_eq!(run(&[]).timing().backups_to_keep, 5);
        assert_eq!(run(&["--backups-to-keep=0"]).timing().backups_to_keep, 0);
        let always = ["operator", "run", "--namespace=n", "--pod-name=p", "--pod-uid=u"];
        assert!(Arguments::try_parse_from(always.iter().chain(&["--backups-to-keep=1001"])).is_err());
    }

    #[test]
    fn durations_that_contradict_each_other_name_their_flags() {
        for (flags, named) in [
            (&["--leader-lease=9000"][..], "--leader-lease"),
            (&["--leader-renew-deadline=2000"], "--leader-retry"),
            (&["--leader-lease=120001"], "120 s"),
        ] {
            let refused = run(flags).leader_timings().check().unwrap_err().to_string();
            assert!(refused.contains(named), "{flags:?}: {refused}");
        }
    }
}
