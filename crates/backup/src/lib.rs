//! Snapshot, archive and verification of KKP's objects; knows nothing of upgrade phases.
//!
//! Everything in scope is read at one pinned revision, page by page, into `objects.tar.zst` and described by
//! `manifest.json`, which is written last. A backup counts only when it was verified: listed again at the same
//! revision, and read back from the volume. The format is described in `docs/backup-format.md`.
//!
//! Talks to the cluster, reading only, and to the mounted volume. Must never write to the cluster, never write over
//! or delete a backup, and never let the content of an object into a message or a log.
//!
//! ```text
//! AttemptFolder::claim → write_snapshot → compare_at_revision + read_back → write_receipt     (all of it: run)
//! ```

mod api;
mod archive;
mod canonical;
mod discovery;
mod error;
mod manifest;
mod path;
mod run;
mod scope;
mod snapshot;
mod verify;
mod volume;

#[cfg(test)]
mod tests;

pub use api::{ReadLimits, Source};
pub use canonical::{canonical_json, digest};
pub use discovery::{ClusterIdentity, Resource, discover, identify};
pub use error::{BackupError, VolumeFault};
pub use manifest::{ArchiveRecord, FORMAT_VERSION, KindRecord, Manifest, ObjectRecord};
pub use path::{CLUSTER_SCOPED, object_path};
pub use run::{BackupArguments, BackupResult, run};
pub use scope::{KKP_GROUPS, Omission, Scope};
pub use snapshot::{SnapshotRequest, Written, write_snapshot};
pub use verify::{
    Drift, LiveComparison, Verified, compare_at_revision, compare_unchanged, parse_manifest, read_back, read_manifest,
    read_receipt, write_receipt,
};
pub use volume::{ARCHIVE_FILE, AttemptFolder, MANIFEST_FILE, RECEIPT_FILE};
