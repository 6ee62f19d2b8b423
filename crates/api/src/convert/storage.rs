//! Where backups go: what a schema cannot check of it. Talks to no cluster.

use kkp_upgrade_core::request::{S3Bucket, SpecError, Storage};

use super::invalid;
use crate::spec::{BackupStorage, ClaimStorage, S3Storage};

impl TryFrom<BackupStorage> for Storage {
    type Error = SpecError;

    fn try_from(storage: BackupStorage) -> Result<Self, SpecError> {
        match (storage.persistent_volume_claim, storage.s3) {
            (Some(claim), None) => checked_claim(claim),
            (None, Some(s3)) => checked_bucket(s3),
            _ => Err(invalid(
                "backup.storage",
                &"exactly one kind of storage must be set: `persistentVolumeClaim` or `s3`",
            )),
        }
    }
}

/// The path ends in a file name on a volume that other things may live on: it must stay below the volume's root.
fn checked_claim(claim: ClaimStorage) -> Result<Storage, SpecError> {
    let path = claim.path.unwrap_or_default();
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        let problem = format!("`{path}` must be relative to the volume's root and must not contain `..`");
        return Err(invalid("backup.storage.persistentVolumeClaim.path", &problem));
    }
    Ok(Storage::Claim {
        claim: claim.claim_name,
        path,
    })
}

/// Parts that an object storage would take and another program would read as something else are refused.
fn checked_bucket(s3: S3Storage) -> Result<Storage, SpecError> {
    let prefix = s3.prefix.unwrap_or_default();
    let prefix = prefix.trim_matches('/');
    if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
        let problem = format!("`{prefix}` must not contain `//`, `.` or `..` as a part");
        return Err(invalid("backup.storage.s3.prefix", &problem));
    }
    let path_style = s3.path_style.unwrap_or(s3.endpoint.is_some());
    if path_style && s3.endpoint.is_none() {
        let problem = "it is only for an own endpoint: remove it, or set `endpoint`";
        return Err(invalid("backup.storage.s3.pathStyle", &problem));
    }
    Ok(Storage::S3(Box::new(S3Bucket {
        endpoint: s3.endpoint,
        bucket: s3.bucket,
        prefix: prefix.to_owned(),
        region: s3.region.unwrap_or_else(|| "us-east-1".to_owned()),
        path_style,
        ca_bundle: s3.ca_bundle.map(|bundle| (bundle.name, bundle.key)),
        credentials: s3.credentials_secret_ref.name,
    })))
}
