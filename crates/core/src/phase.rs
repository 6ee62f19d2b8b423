//! The phases of a run. Pure.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// Where a run is. Readers of the API see an open string; in here the set is closed, so that a new phase breaks the
/// build until every `match` handles it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
pub enum Phase {
    /// The spec is read; nothing is looked at yet.
    Pending,
    /// Platform read, rules evaluated, plan made, gates in front of the first change.
    Preflight,
    /// One verified backup for every cluster in scope.
    Backup,
    /// Limit lowered, installer run, master, seeds and user clusters converge.
    Deploying,
    /// Evidence holds for the soak time, then everything borrowed is put back.
    Verifying,
    /// The target version runs everywhere, by evidence.
    Done,
    /// The run ended without reaching its target; `retry` goes back to Preflight.
    Failed,
    /// Ended by a person, by Git or by deletion.
    Aborted,
}

/// What happened to a run, as far as its phase is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
pub enum Outcome {
    /// The phase's work is done and its evidence seen.
    Succeeded,
    /// The platform already runs the target version, by evidence.
    AlreadyThere,
    /// The work failed for good and what had to be put back is put back.
    Failed,
    /// A person, Git or deletion ended the run and what had to be put back is put back.
    Aborted,
    /// Backups have become too old while the run waited, and nothing has been installed since.
    Outdated,
    /// The hop is done by evidence, and the route goes on.
    NextHop,
    /// A retry token was given.
    Retried,
    /// The spec asks for another run (target, edition or mode changed).
    NewRun,
}

impl Phase {
    /// Whether a run in this phase has ended.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Aborted)
    }

    /// The one transition function: the phase after `outcome`, or `None` where that outcome has no meaning.
    #[must_use]
    pub const fn next(self, outcome: Outcome) -> Option<Self> {
        use Outcome::{Aborted, AlreadyThere, Failed, NewRun, NextHop, Outdated, Retried, Succeeded};
        match (self, outcome) {
            (Self::Preflight, Succeeded) | (Self::Deploying, Outdated) => Some(Self::Backup),
            (Self::Preflight, AlreadyThere) | (Self::Verifying, Succeeded) => Some(Self::Done),
            (Self::Backup, Succeeded) => Some(Self::Deploying),
            (Self::Deploying, Succeeded) => Some(Self::Verifying),
            (Self::Pending | Self::Preflight | Self::Backup | Self::Deploying | Self::Verifying, Failed) => {
                Some(Self::Failed)
            }
            (Self::Pending | Self::Preflight | Self::Backup | Self::Deploying | Self::Verifying, Aborted) => {
                Some(Self::Aborted)
            }
            (Self::Preflight | Self::Verifying, NextHop)
            | (Self::Pending, Succeeded)
            | (Self::Failed | Self::Aborted, Retried) => Some(Self::Preflight),
            // Before Backup nothing is locked: another target simply starts over.
            (Self::Pending | Self::Preflight | Self::Done | Self::Failed | Self::Aborted, NewRun) => {
                Some(Self::Pending)
            }
            (Self::Done | Self::Failed | Self::Aborted, Succeeded | AlreadyThere | Failed | Aborted | NextHop)
            | (Self::Pending | Self::Backup | Self::Deploying | Self::Verifying, AlreadyThere)
            | (Self::Pending | Self::Backup | Self::Deploying, NextHop)
            | (
                Self::Pending | Self::Preflight | Self::Backup | Self::Deploying | Self::Verifying | Self::Done,
                Retried,
            )
            | (Self::Backup | Self::Deploying | Self::Verifying, NewRun)
            | (
                Self::Pending
                | Self::Preflight
                | Self::Backup
                | Self::Verifying
                | Self::Done
                | Self::Failed
                | Self::Aborted,
                Outdated,
            ) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_table_of_transitions() {
        let mut table = String::new();
        for phase in Phase::VARIANTS {
            for outcome in Outcome::VARIANTS {
                if let Some(next) = phase.next(*outcome) {
                    let outcome: &str = outcome.into();
                    writeln!(table, "{phase} --{outcome}--> {next}").unwrap();
                }
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn a_locked_run_can_only_go_on_or_end() {
        for phase in [Phase::Backup, Phase::Deploying, Phase::Verifying] {
            assert_eq!(phase.next(Outcome::NewRun), None);
            assert_eq!(phase.next(Outcome::Retried), None);
            assert_eq!(phase.next(Outcome::Aborted), Some(Phase::Aborted));
        }
    }
}
