//! Fuzz targets: everything that the operator parses and somebody else wrote.
//!
//! Each target takes any bytes and says what broke: an oracle (what is read back equals what was written, an error never
//! quotes a planted secret), a bound of time or of memory. A panic is a finding by itself. Talks to nothing, opens no file.
//!
//! The same targets run in three ways: over the kept corpus and over mutations of it in `cargo test`, and guided by coverage
//! under AFL++ (`cargo xtask fuzz`).

mod catalogue;
mod facts;
mod helm;
mod kubeconfig;
mod plan;
mod upgrade;

use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use kkp_upgrade_core::rules::Catalogue;
use nix::time::{ClockId, clock_gettime};

/// Stands where a secret would stand; no error and no debug print may ever have it.
pub const CANARY: &str = "c4nary-geheim-7f3a";
/// Most memory that one input may take, in bytes.
pub const MEMORY: u64 = 256 * 1024 * 1024;
/// Most processor time that one input may take. Code without optimisation is some twenty times slower, and a busy machine
/// doubles that.
pub const TIME: Duration = Duration::from_millis(if cfg!(debug_assertions) { 10_000 } else { 100 });
/// Stack of the operator's worker threads; code without optimisation takes several times as much of it.
const STACK: usize = if cfg!(debug_assertions) { 8 } else { 2 } * 1024 * 1024;

/// What an input broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// An oracle does not hold.
    #[error("{0}")]
    Oracle(String),
    /// It took too long.
    #[error("took {0:?} of processor time, more than {TIME:?}")]
    Time(Duration),
    /// It took too much memory.
    #[error("took {0} bytes of memory, more than {MEMORY}")]
    Memory(u64),
}

/// What is fuzzed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::EnumString, strum::EnumIter)]
#[strum(serialize_all = "lowercase")]
pub enum Target {
    /// Payload of a Helm release: base64, gzip, JSON.
    Helm,
    /// Kubeconfig of a Seed, up to the client.
    Kubeconfig,
    /// A KKPUpgrade, its request, and one decision about it.
    Upgrade,
    /// Releases and rules, up to their evaluation.
    Catalogue,
    /// What plans are made of and Jobs say: values, notes, termination messages, manifests, objects of KKP.
    Plan,
}

impl Target {
    /// Gives one input to the target, on a thread like those that the operator has.
    ///
    /// # Errors
    /// What the input broke.
    pub fn check(self, input: &[u8]) -> Result<(), Violation> {
        on_worker(|| self.check_here(input))
    }

    /// Gives one input to the target, on this thread.
    ///
    /// # Errors
    /// What the input broke.
    pub fn check_here(self, input: &[u8]) -> Result<(), Violation> {
        // The operator reads its own catalogue once, at its start; no input pays for that.
        let own = Catalogue::embedded().map_err(|error| Violation::Oracle(error.to_string()))?;
        let mut outcome = Ok(());
        let began = processor_time();
        let memory = allocation_counter::measure(|| outcome = self.run(input, own));
        let took = processor_time().saturating_sub(began);
        outcome?;
        if took > TIME {
            return Err(Violation::Time(took));
        }
        if memory.bytes_max > MEMORY {
            return Err(Violation::Memory(memory.bytes_max));
        }
        Ok(())
    }

    fn run(self, input: &[u8], own: &Catalogue) -> Result<(), Violation> {
        match self {
            Self::Helm => helm::run(input),
            Self::Kubeconfig => kubeconfig::run(input),
            Self::Upgrade => upgrade::run(input, own),
            Self::Catalogue => catalogue::run(input),
            Self::Plan => plan::run(input),
        }
    }
}

/// Runs `work` on a thread with the stack of the operator's worker threads.
pub fn on_worker<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        match worker.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(error) => resume_unwind(Box::new(error.to_string())),
        }
    })
}

/// Processor time of this thread; zero where the clock cannot be read.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// An oracle: `what` is said when it does not hold.
fn holds(condition: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if condition {
        Ok(())
    } else {
        Err(Violation::Oracle(what()))
    }
}

/// No text for people may have the planted secret.
fn quotes_nothing(said: &str) -> Result<(), Violation> {
    holds(!said.contains(CANARY), || format!("the secret is quoted: {said}"))
}
