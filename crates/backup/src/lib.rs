//! Snapshot, archive and verification of KKP's objects; knows nothing of upgrade phases.
//!
//! Everything in scope is read at one pinned revision, page by page, into `objects.tar.zst.age`, encrypted for the recipients
//! and for a run key that only this program holds, and described by `manifest.json`, which is written last. A backup counts only when it was verified: listed again at the same
//! revision, and read back from the store. The format is described in `docs/backup-format.md`.
//!
//! Talks to the cluster, reading only, and to the store: the mounted volume, or a bucket that speaks S3. Must never write to the cluster, never write over
//! a backup, remove one only where [`retention`] is told to, and never let the content of an object, or anything not
//! encrypted of it, into a message, a log, or onto the store.
//!
//! ```text
//! AttemptFolder::claim → write_snapshot → compare_at_revision + read_back → write_receipt     (all of it: run)
//! ```

mod api;
mod archive;
mod archive_walk;
mod canonical;
mod check;
mod discovery;
mod disk;
mod error;
mod key;
mod ledger;
mod manifest;
mod namespaces;
pub mod outcome;
mod ownership;
mod page;
mod path;
mod restore;
pub mod retention;
mod run;
mod scope;
mod send;
mod snapshot;
mod store;
mod verify;
mod volume;

#[cfg(test)]
mod tests;

pub use api::{ReadLimits, Source};
pub use archive::SUMS_ENTRY;
pub use canonical::{canonical_json, digest};
pub use check::{CheckArguments, CheckResult, check};
pub use discovery::{ClusterIdentity, Resource, identify};
pub use error::{BackupError, VolumeFault};
pub use key::{KeyPair, MOST_RECIPIENTS, Opener, Recipients};
pub use ledger::Ledger;
pub use manifest::{ArchiveRecord, FORMAT_VERSION, KindRecord, Manifest};
pub use path::{CLUSTER_SCOPED, object_path};
pub use restore::{
    Counts, Finding, Listed, RestoreArguments, RestoreError, RestoreReport, Verdict, WriteLimits, restore,
};
pub use run::{BackupArguments, BackupResult, run};
pub use scope::{CHART_GROUPS, CHART_NAMESPACES, KEY_SECRET, KKP_GROUPS, Omission, Reach, Scope};
pub use send::{MOST_SENT, PIECE_LINE, SendArguments, SendResult, StoredFile, send};
pub use snapshot::{Snapshot, SnapshotRequest, Written, write_snapshot};
pub use store::{AttemptFolder, Bucket, BucketArguments, BucketFault, BucketLimits, Store, StoreArguments};
pub use verify::{
    Drift, LiveComparison, Verified, compare_at_revision, compare_unchanged, open_with, parse_manifest, read_back,
    read_manifest, read_receipt, still_the_same, write_receipt,
};
pub use volume::{ARCHIVE_FILE, MANIFEST_FILE, RECEIPT_FILE};
