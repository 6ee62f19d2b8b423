//! Restores against an API server in memory: what is planned, written, refused, and what a kill leaves.

mod bucket;
mod fake_backup;
mod fake_cluster;
mod hostile;
mod interrupted;
mod pace;
mod reporting;
mod restoring;
