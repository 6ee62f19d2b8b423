//! Snapshot, archive and verification of KKP's objects; knows nothing of upgrade phases.
