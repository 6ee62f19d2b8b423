//! How long one API call may take, in the whole process. Set once, from the command line; talks to nothing.

use std::sync::OnceLock;
use std::time::Duration;

use crate::context::CALL_DEADLINE;

static DEADLINE: OnceLock<Duration> = OnceLock::new();

/// Sets the deadline of every call from now on. Only the first time counts.
pub fn set(deadline: Duration) {
    let _ = DEADLINE.set(deadline);
}

/// The deadline of a call: [`CALL_DEADLINE`] where nothing else was said.
#[must_use]
pub fn of_a_call() -> Duration {
    DEADLINE.get().copied().unwrap_or(CALL_DEADLINE)
}
