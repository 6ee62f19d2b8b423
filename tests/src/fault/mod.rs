//! The fault layer: between the operator's programs and every API server that they speak to, one call at a time.
//!
//! It goes around the clients that the operator, the init container of its installer Jobs and its backup Jobs make, in the
//! multi-call test program only. A plan says what happens to which call; a record keeps every call in a file outside of
//! the processes, so that a fault strikes as often as it says and no more, however often a process starts again.
//! Must never be linked into the program that is shipped.

mod answer;
mod call;
mod layer;
mod plan;
mod record;
mod tally;
mod watch;

pub use self::call::{Call, Verb, peer_name};
pub use self::layer::connector;
pub use self::plan::{Fault, Plan, Point, Strike, WatchDoes, WatchFault};
pub use self::record::{FaultFolder, MOUNT};
pub use self::tally::{Line, Tally};
