//! The properties, one file per subject. Pure.
//!
//! A property keeps what it has to remember, sees each event together with the world before it, and reports what it finds
//! broken. It judges only what it knows: an object that no source has shown yet breaks nothing.

mod commands;
mod conditions;
mod deletion;
mod etcd;
mod evidence;
mod fixes;
mod fixpoint;
mod frozen;
mod gate;
mod installer;
mod leases;
mod liveness;
mod managed;
mod order;
mod ownership;
mod phases;
mod rest;
mod restore;
mod throttle;

use jiff::Timestamp;

use crate::event::{InstallerRecord, What, Write};
use crate::expectations::{Expectations, Sources};
use crate::upgrade::Upgrade;
use crate::violation::Violation;
use crate::world::World;

/// One event, and the world before it.
pub(crate) struct Seen<'a> {
    pub(crate) time: Timestamp,
    pub(crate) what: &'a What,
    pub(crate) turn: Option<&'a Turn>,
    pub(crate) world: &'a World,
    pub(crate) expectations: &'a Expectations,
}

impl Seen<'_> {
    /// The write, where it is one.
    pub(crate) fn write(&self) -> Option<&Write> {
        match self.what {
            What::Write(write) => Some(write),
            _ => None,
        }
    }

    /// The write, where the operator made it.
    pub(crate) fn operator_write(&self) -> Option<&Write> {
        self.write().filter(|write| write.actor.is_operator())
    }

    /// The line of a ledger, where it is one.
    pub(crate) fn installer(&self) -> Option<&InstallerRecord> {
        match self.what {
            What::Installer(record) => Some(record),
            _ => None,
        }
    }

    /// A `KKPUpgrade` that was written and is known before and after.
    pub(crate) fn change(&self) -> Option<(&Upgrade, &Upgrade)> {
        let turn = self.turn?;
        Some((turn.before.as_ref()?, turn.after.as_ref()?))
    }

    /// A `KKPUpgrade` as it was just written.
    pub(crate) fn upgrade(&self) -> Option<&Upgrade> {
        self.turn?.after.as_ref()
    }
}

/// A `KKPUpgrade` was written.
pub(crate) struct Turn {
    /// As it was, where that is known.
    pub(crate) before: Option<Upgrade>,
    /// As it is now, or was last.
    pub(crate) after: Option<Upgrade>,
    /// Whether it is gone.
    pub(crate) gone: bool,
}

/// Nothing more has happened until this time.
pub(crate) struct End<'a> {
    pub(crate) time: Timestamp,
    pub(crate) world: &'a World,
    pub(crate) expectations: &'a Expectations,
}

/// What was found broken at one time.
pub(crate) struct Report {
    time: Timestamp,
    pub(crate) violations: Vec<Violation>,
}

impl Report {
    pub(crate) const fn at(time: Timestamp) -> Self {
        Self {
            time,
            violations: Vec::new(),
        }
    }

    /// Notes a broken promise.
    pub(crate) fn say(&mut self, property: &'static str, object: impl Into<String>, message: impl Into<String>) {
        self.violations.push(Violation {
            property,
            object: object.into(),
            message: message.into(),
            time: self.time,
        });
    }
}

/// A promise that can be checked event by event.
pub(crate) trait Property: Send {
    /// What it cannot do without; by default nothing beside the objects themselves.
    fn needs(&self) -> Sources {
        Sources {
            writers: false,
            ledger: false,
        }
    }

    /// Looks at one event.
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report);

    /// Looks at the world after the last event.
    fn end(&mut self, _end: &End<'_>, _report: &mut Report) {}
}

/// What properties say who cannot do without knowing who wrote.
pub(crate) const WRITERS: Sources = Sources {
    writers: true,
    ledger: false,
};

/// What properties say who need the installers' own record.
pub(crate) const BOTH: Sources = Sources {
    writers: true,
    ledger: true,
};

/// Every property that can be judged from these sources.
pub(crate) fn all(sources: Sources) -> Vec<Box<dyn Property>> {
    let properties: Vec<Box<dyn Property>> = vec![
        Box::new(gate::Gate),
        Box::new(gate::VerifiedBackup::default()),
        Box::new(gate::BackupsStay::default()),
        Box::new(leases::OneAtATime),
        Box::new(leases::Leader::default()),
        Box::new(installer::OneRun::default()),
        Box::new(installer::NoBlindRetry::default()),
        Box::new(installer::NoPurge::default()),
        Box::new(installer::NeverKilled::default()),
        Box::new(installer::NoThreatenedRelease),
        Box::new(throttle::Limit::default()),
        Box::new(throttle::LimitInForce),
        Box::new(order::Order),
        Box::new(phases::Graph),
        Box::new(phases::RunBooks),
        Box::new(commands::Answers),
        Box::new(frozen::Frozen),
        Box::new(rest::Quiet::default()),
        Box::new(ownership::OnlyOurs),
        Box::new(ownership::Deletes),
        Box::new(etcd::Orders),
        Box::new(fixes::Consent),
        Box::new(fixes::Cap),
        Box::new(restore::NothingTaken),
        Box::new(restore::NothingCollected::default()),
        Box::new(managed::OwnedFields),
        Box::new(managed::NoteGone),
        Box::new(fixpoint::NoEmptyWrite),
        Box::new(evidence::ProvenDone),
        Box::new(conditions::Conditions),
        Box::new(conditions::Bounded),
        Box::new(liveness::Ends::default()),
        Box::new(liveness::NotSilent::default()),
        Box::new(liveness::AbortAnswered::default()),
        Box::new(deletion::DeletionEnds::default()),
        Box::new(deletion::NothingTwice::default()),
    ];
    let possible = |needs: Sources| (!needs.writers || sources.writers) && (!needs.ledger || sources.ledger);
    properties
        .into_iter()
        .filter(|property| possible(property.needs()))
        .collect()
}
