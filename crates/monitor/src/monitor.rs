//! The fold: one event after the other, each shown to every property before the world takes it in. Pure.

use jiff::Timestamp;

use crate::event::{Event, Verb, What};
use crate::expectations::Expectations;
use crate::history::History;
use crate::property::{self, End, Property, Report, Seen, Turn};
use crate::upgrade::Upgrade;
use crate::violation::Violation;
use crate::world::World;

/// Judges a platform while its history goes on.
pub struct Monitor {
    expectations: Expectations,
    world: World,
    properties: Vec<Box<dyn Property>>,
    last: Timestamp,
}

impl Monitor {
    /// A monitor that has seen nothing yet.
    #[must_use]
    pub fn new(expectations: Expectations) -> Self {
        Self {
            properties: property::all(expectations.sources),
            expectations,
            world: World::default(),
            last: Timestamp::UNIX_EPOCH,
        }
    }

    /// Takes in what happened next; what it broke.
    pub fn see(&mut self, event: &Event) -> Vec<Violation> {
        self.last = self.last.max(event.time);
        let event = self.with_before(event);
        let turn = turn(&event);
        let mut report = Report::at(event.time);
        let seen = Seen {
            time: event.time,
            what: &event.what,
            turn: turn.as_ref(),
            world: &self.world,
            expectations: &self.expectations,
        };
        for property in &mut self.properties {
            property.see(&seen, &mut report);
        }
        self.world.apply(&event);
        self.not_excused(report)
    }

    /// What is broken if nothing more happens until `now`.
    pub fn end(&mut self, now: Timestamp) -> Vec<Violation> {
        let mut report = Report::at(now);
        let end = End {
            time: now,
            world: &self.world,
            expectations: &self.expectations,
        };
        for property in &mut self.properties {
            property.end(&end, &mut report);
        }
        self.not_excused(report)
    }

    fn with_before(&self, event: &Event) -> Event {
        let mut event = event.clone();
        if let What::Write(write) = &mut event.what
            && write.verb != Verb::Create
            && write.before.is_none()
        {
            write.before = self.world.get(&write.object).cloned();
        }
        event
    }

    fn not_excused(&self, report: Report) -> Vec<Violation> {
        let excused = |violation: &Violation| {
            self.expectations
                .excuses
                .iter()
                .any(|excuse| excuse.property == violation.property && violation.message.contains(&excuse.part))
        };
        let mut violations = report.violations;
        violations.retain(|violation| !excused(violation));
        violations
    }
}

fn turn(event: &Event) -> Option<Turn> {
    if !event.is_of_upgrade() {
        return None;
    }
    match &event.what {
        What::Write(write) => Some(Turn {
            before: write.before.as_deref().map(Upgrade::read),
            after: write.after.as_deref().map(Upgrade::read),
            gone: write.gone,
        }),
        What::Seen(_, value) => Some(Turn {
            before: None,
            after: Some(Upgrade::read(value)),
            gone: false,
        }),
        What::Lost(_) | What::Installer(_) => None,
    }
}

/// Judges a finished history.
#[must_use]
pub fn judge(history: &History, expectations: &Expectations) -> Vec<Violation> {
    let mut monitor = Monitor::new(expectations.clone());
    let mut violations: Vec<Violation> = history.events.iter().flat_map(|event| monitor.see(event)).collect();
    violations.extend(monitor.end(monitor.last));
    violations
}
