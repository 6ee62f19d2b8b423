//! The model: from a state, everything that may happen next.

use std::sync::Arc;

use kkp_upgrade_core::status::Status;
use stateright::{Model, Property};

use crate::bounds::Bounds;
use crate::checks;
use crate::effects::{carry, write};
use crate::facts::{self, Sight};
use crate::mind::{Mind, Seen};
use crate::people::{Edit, edit};
use crate::platform::{Move, faults, make, progress};
use crate::recorded::{LONG, Recorded, SHORT, age_class};
use crate::state::*;

/// One step of anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// An operator reads what it needs and decides; what it holds in memory is as stale as the time that it waits then.
    Looks {
        operator: usize,
        upgrade: usize,
        sight: Sight,
    },
    /// Its status write reaches the API server.
    Writes {
        operator: usize,
    },
    /// Its effect reaches the API server; whether the answer comes back makes no difference to it.
    Acts {
        operator: usize,
    },
    /// It dies, or its call is lost, between intent and effect.
    Dies {
        operator: usize,
    },
    Platform(Move),
    Person {
        upgrade: usize,
        edit: Edit,
    },
    Minute,
    Hour,
}

/// One model.
pub(crate) struct World {
    pub(crate) bounds: Bounds,
    pub(crate) mind: Arc<Mind>,
}

impl World {
    /// An operator looks and decides.
    pub(crate) fn look(&self, state: &State, operator: usize, upgrade: usize, sight: Sight) -> Option<State> {
        if !state.upgrades[upgrade].present {
            return None;
        }
        let judged = self.mind.judge(&self.bounds, state, upgrade, sight);
        if judged.quiet {
            return None;
        }
        let mut next = state.clone();
        next.spent.blinks += u8::from(sight != Sight::Clear);
        next.broken |= judged.broken;
        next.operators[operator] = Operator::Decided {
            upgrade,
            status: judged.status,
            effect: judged.effect,
            void: false,
        };
        Some(next)
    }

    /// Time passes for everybody.
    pub(crate) fn tick(&self, state: &State, by: i64) -> Option<State> {
        let mut next = state.clone();
        for upgrade in &mut next.upgrades {
            upgrade.status = self.mind.older(&upgrade.status, by);
        }
        for operator in &mut next.operators {
            if let Operator::Decided { status, .. } = operator {
                *status = self.mind.older(status, by);
            }
        }
        for attempt in &mut next.attempts {
            if let Some(Job {
                pod: Pod::Succeeded(age),
                ..
            }) = &mut attempt.job
            {
                *age = age_class(*age + by);
            }
        }
        (next != *state).then_some(next)
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let first = Status {
            observed_generation: -1,
            ..Status::default()
        };
        let upgrade = Upgrade {
            status: Arc::new(Recorded::new(first)),
            present: true,
            deleting: false,
            finalizer: false,
            generation: 1,
            forward: true,
            paused: false,
            limit: self.bounds.limit,
            plan: None,
            abort: Token::None,
            retry: Token::None,
            release: Token::None,
        };
        let inherited = self.bounds.inherited.then_some(Mark {
            owner: 7,
            original: self.bounds.original,
            applied: 5,
        });
        let state = State {
            upgrades: vec![upgrade; self.bounds.upgrades],
            operators: vec![Operator::Idle; self.bounds.operators],
            platform: Platform {
                field: if inherited.is_some() {
                    Some(5)
                } else {
                    self.bounds.original
                },
                in_force: if inherited.is_some() {
                    5
                } else {
                    self.bounds.original.unwrap_or(10)
                },
                mark: inherited,
                lease: Lease::Absent,
                release: Release::Deployed,
                touched: false,
                installed: false,
                converged: 0,
                flap: Flap::None,
                blocker: false,
            },
            attempts: Vec::new(),
            truth: Truth {
                rightful: self.bounds.original,
                ours: self.bounds.inherited,
                leftovers: false,
                backed: vec![0; self.bounds.upgrades],
            },
            spent: Spent::default(),
            broken: 0,
        };
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken != 0 {
            return;
        }
        for (operator, mind) in state.operators.iter().enumerate() {
            match mind {
                Operator::Idle => self.looks(state, operator, actions),
                Operator::Decided { .. } => actions.push(Action::Writes { operator }),
                Operator::Intended { .. } => {
                    actions.push(Action::Acts { operator });
                    if state.spent.crashes < self.bounds.most.crashes {
                        actions.push(Action::Dies { operator });
                    }
                }
            }
        }
        actions.extend(progress(state).into_iter().map(Action::Platform));
        actions.extend(faults(&self.bounds, state).into_iter().map(Action::Platform));
        if state.spent.edits < self.bounds.most.edits {
            let upgrades = 0..state.upgrades.len();
            let edits = upgrades.flat_map(|upgrade| self.bounds.edits.iter().map(move |edit| (upgrade, *edit)));
            actions.extend(edits.map(|(upgrade, edit)| Action::Person { upgrade, edit }));
        }
        actions.push(Action::Minute);
        if state.spent.hours < self.bounds.most.hours {
            actions.push(Action::Hour);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = match action {
            Action::Looks {
                operator,
                upgrade,
                sight,
            } => self.look(state, operator, upgrade, sight),
            Action::Writes { operator } => write(&self.mind, state, operator),
            Action::Acts { operator } => carry(&self.bounds, &self.mind, state, operator),
            Action::Dies { operator } => {
                let mut next = state.clone();
                self.mind.saw(Seen::CrashBeforeEffect);
                next.operators[operator] = Operator::Idle;
                next.spent.crashes += 1;
                Some(next)
            }
            Action::Platform(what) => make(&self.bounds, &self.mind, state, what),
            Action::Person { upgrade, edit: what } => edit(state, upgrade, what).map(|mut next| {
                next.spent.edits += 1;
                next
            }),
            Action::Minute => self.tick(state, SHORT),
            Action::Hour => self.tick(state, LONG).map(|mut next| {
                next.spent.hours += 1;
                next
            }),
        }?;
        next.broken |= checks::standing(&next);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        crate::properties::all()
    }
}

impl World {
    fn looks(&self, state: &State, operator: usize, actions: &mut Vec<Action>) {
        for upgrade in 0..state.upgrades.len() {
            actions.push(Action::Looks {
                operator,
                upgrade,
                sight: Sight::Clear,
            });
            if state.spent.blinks < self.bounds.most.blinks {
                let blind = Sight::BLIND.into_iter();
                actions.extend(blind.map(|sight| Action::Looks {
                    operator,
                    upgrade,
                    sight,
                }));
            }
        }
    }

    /// The request of an upgrade, for properties.
    pub(crate) fn has_waiting_person(state: &State) -> bool {
        state
            .upgrades
            .iter()
            .any(|upgrade| upgrade.present && facts::request(upgrade).paused)
    }
}
