//! The campaign: clean runs are learned, then every point and every fault is a run of its own, compared with them.

pub mod baseline;
pub mod cli;
pub mod evidence;
pub mod lane;
pub mod learned;
pub mod matrix;
pub mod normal;
pub mod report;
pub mod state;
pub mod verdict;
pub mod workload;
