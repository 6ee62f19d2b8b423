//! The state of the small world: upgrades, operators, platform, Jobs, and what was spent of the bounds.

use std::sync::Arc;

use kkp_upgrade_core::effect::Effect;

use crate::recorded::Recorded;

/// Everything, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) upgrades: Vec<Upgrade>,
    pub(crate) operators: Vec<Operator>,
    pub(crate) platform: Platform,
    /// By name.
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) truth: Truth,
    pub(crate) spent: Spent,
    /// Bits of the properties that the way to this state has broken.
    pub(crate) broken: u32,
}

/// One KKPUpgrade as the API server has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of the object that turns on its own"
)]
pub(crate) struct Upgrade {
    pub(crate) status: Arc<Recorded>,
    pub(crate) present: bool,
    pub(crate) deleting: bool,
    pub(crate) finalizer: bool,
    pub(crate) generation: i64,
    /// Digest of what the plan's ConfigMap holds.
    pub(crate) plan: Option<Arc<str>>,
    /// Whether the spec asks for the new version; the running one otherwise.
    pub(crate) forward: bool,
    pub(crate) paused: bool,
    pub(crate) limit: Option<i32>,
    pub(crate) abort: Token,
    pub(crate) retry: Token,
    pub(crate) release: Token,
}

/// Value of a command's annotation: two values are enough for "another one than before".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Token {
    None,
    One,
    Two,
}

impl Token {
    pub(crate) fn text(self) -> Option<String> {
        match self {
            Self::None => None,
            Self::One => Some("1".to_owned()),
            Self::Two => Some("2".to_owned()),
        }
    }

    /// Another value than the one that was answered last.
    pub(crate) fn new(answered: Option<&str>) -> Self {
        if answered == Some("1") { Self::Two } else { Self::One }
    }
}

/// One operator process, between its calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Operator {
    /// Nothing in its memory.
    Idle,
    /// It has looked and decided, and nobody has written the KKPUpgrade since (otherwise its write is lost).
    Decided {
        upgrade: usize,
        status: Arc<Recorded>,
        effect: Option<Arc<Sealed>>,
        /// What the effect was decided from has changed: its precondition will not hold.
        void: bool,
    },
    /// Its status write has committed; the effect is on its way.
    Intended { upgrade: usize, effect: Arc<Sealed> },
}

/// An effect with its fingerprint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) effect: Effect,
    pub(crate) print: u64,
}

impl std::hash::Hash for Sealed {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.print.hash(state);
    }
}

/// What stands on the platform.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Platform {
    /// `spec.seedController.maximumParallelReconciles`.
    pub(crate) field: Option<i64>,
    pub(crate) mark: Option<Mark>,
    /// Limit that the seeds' managers run with.
    pub(crate) in_force: i64,
    pub(crate) lease: Lease,
    pub(crate) release: Release,
    /// The installer has written CRDs; the version field turns with them.
    pub(crate) touched: bool,
    /// An installer has ended well.
    pub(crate) installed: bool,
    /// 1 = master, 2 = and seeds, 3 = and user clusters run the new version.
    pub(crate) converged: u8,
    pub(crate) flap: Flap,
    /// A rule that blocks, and that an installer has nothing to do with.
    pub(crate) blocker: bool,
}

/// Our note about the limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    pub(crate) owner: usize,
    pub(crate) original: Option<i64>,
    pub(crate) applied: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lease {
    Absent,
    Free,
    Held(usize),
}

/// Worst state of the Helm releases that the installer touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Release {
    Deployed,
    Pending,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Flap {
    None,
    /// A Deployment of the master is not rolled out.
    Deployment,
    /// A user cluster that was healthy is not.
    Cluster,
}

/// An attempt of a step: its Job, its fence, and a Pod that may outlive the Job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    pub(crate) name: Arc<str>,
    pub(crate) digest: Arc<str>,
    pub(crate) target: Arc<str>,
    pub(crate) installer: bool,
    pub(crate) owner: usize,
    pub(crate) job: Option<Job>,
    pub(crate) orphan: Option<Pod>,
    pub(crate) fence: Fence,
    pub(crate) starts: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    /// Tells a Job from an earlier one of the same name.
    pub(crate) uid: u8,
    pub(crate) pod: Pod,
}

/// How far a Pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Pod {
    /// Before or in the init container; a backup: at work.
    Waiting,
    /// The init container has found that the KKPUpgrade wants this Job, and has not taken the fence yet.
    Checked,
    /// The fence is taken and the main program cannot start: an image that cannot be pulled.
    Stuck,
    /// The installer runs and has changed nothing.
    Running,
    /// The installer runs and has written CRDs.
    Touched,
    /// So many seconds ago.
    Succeeded(i64),
    Failed,
}

impl Pod {
    /// Whether the installer itself is at work.
    pub(crate) const fn at_work(self) -> bool {
        matches!(self, Self::Running | Self::Touched)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fence {
    Absent,
    Pod,
    Operator,
}

/// What is true and no operator can see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Truth {
    /// The last value that anybody but an operator gave to the limit.
    pub(crate) rightful: Option<i64>,
    /// Whether the value that stands is an operator's.
    pub(crate) ours: bool,
    /// A ConfigMap names the value of a limit that was left.
    pub(crate) leftovers: bool,
    /// Per upgrade: targets (master, seeds) that a verified backup was made of.
    pub(crate) backed: Vec<u8>,
}

/// What has been used up of the bounds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Spent {
    pub(crate) crashes: u8,
    pub(crate) edits: u8,
    pub(crate) flaps: u8,
    pub(crate) blinks: u8,
    pub(crate) failures: u8,
    pub(crate) removals: u8,
    pub(crate) hours: u8,
}

impl State {
    pub(crate) fn attempt(&mut self, name: &str) -> Option<&mut Attempt> {
        self.attempts.iter_mut().find(|attempt| &*attempt.name == name)
    }

    /// The KKPUpgrade was written: whoever decided from an older version of it loses.
    pub(crate) fn object_written(&mut self, written: usize) {
        for operator in &mut self.operators {
            let lost = match operator {
                Operator::Idle => false,
                Operator::Decided { upgrade, .. } => *upgrade == written,
                Operator::Intended { upgrade, effect } => {
                    *upgrade == written
                        && matches!(
                            effect.effect,
                            Effect::AddFinalizer | Effect::RemoveFinalizer | Effect::Leave { .. }
                        )
                }
            };
            if lost {
                *operator = Operator::Idle;
            }
        }
    }

    /// The KubermaticConfiguration was written: effects that rest on an older version of it will be refused.
    pub(crate) fn configuration_written(&mut self) {
        self.void(|effect| matches!(effect, Effect::SetThrottle { .. } | Effect::RestoreThrottle { .. }));
    }

    /// Like [`State::configuration_written`], for the platform's Lease.
    pub(crate) fn lease_written(&mut self) {
        self.void(|effect| matches!(effect, Effect::AcquireLease { .. } | Effect::ReleaseLease { .. }));
    }

    fn void(&mut self, concerned: impl Fn(&Effect) -> bool) {
        for operator in &mut self.operators {
            match operator {
                Operator::Decided {
                    effect: Some(effect),
                    void,
                    ..
                } if concerned(&effect.effect) => *void = true,
                Operator::Intended { effect, .. } if concerned(&effect.effect) => *operator = Operator::Idle,
                _ => {}
            }
        }
    }
}
