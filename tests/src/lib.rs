//! What the demo and the end-to-end tests share: a platform in the lab, the operator installed on it by its own
//! manifests, and ways to apply, wait and look.

pub mod bed;
pub mod bench;
pub mod campaign;
pub mod demo;
pub mod fault;
pub mod faults;
pub mod handovers;
pub mod hostile_seed;
pub mod images;
pub mod interruption;
pub mod observer;
pub mod once;
pub mod partition;
pub mod verdict;
