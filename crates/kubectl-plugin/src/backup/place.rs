//! Where a backup lies: what a location says, and the storage that a Job reaches it by. Talks to nothing.

use kkp_upgrade_api::spec::{CaBundleRef, CredentialsRef};
use kkp_upgrade_api::{BackupStorage, S3Storage};
use kkp_upgrade_core::request::Storage;

use crate::arguments::BucketFlags;
use crate::exit::Exit;
use crate::failure::Failure;

/// What locations in buckets begin with.
pub(super) const BUCKET: &str = "s3://";

/// What a location says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    /// Bucket and prefix; `None`: a volume.
    bucket: Option<(String, String)>,
    /// Name of the run.
    pub(super) run: String,
    /// The backup's own folder in that of the run.
    pub(super) folder: String,
    /// `master` or the name of a Seed.
    pub(super) target: String,
}

/// What the command line says of the storage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) claim: Option<&'a str>,
    pub(super) folder: Option<&'a str>,
    pub(super) bucket: &'a BucketFlags,
}

impl Location {
    /// Of `<run>/<target>` or `s3://<bucket>/<prefix>/<run>/<target>`; `_2` and so on may follow.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let (in_bucket, path) = match text.strip_prefix(BUCKET) {
            Some(path) => (true, path),
            None => (false, text),
        };
        let parts: Vec<&str> = path.split('/').collect();
        let [before @ .., run, folder] = parts.as_slice() else {
            return Err(unreadable(text));
        };
        let bucket = match (in_bucket, before) {
            (false, []) => None,
            (true, [bucket, prefix @ ..]) => Some(((*bucket).to_owned(), prefix.join("/"))),
            _ => return Err(unreadable(text)),
        };
        if parts.contains(&"") {
            return Err(unreadable(text));
        }
        Ok(Self {
            bucket,
            run: (*run).to_owned(),
            folder: (*folder).to_owned(),
            target: folder.split('_').next().unwrap_or_default().to_owned(),
        })
    }

    /// The storage that it is on, when a KKPUpgrade or the command line says it; `None`: the operator's own claim. Never another
    /// one than the location names.
    pub(super) fn storage(&self, given: Given<'_>, named: Option<BackupStorage>) -> Result<Option<Storage>, Failure> {
        match &self.bucket {
            Some((bucket, prefix)) => in_bucket(bucket, prefix, given, named).map(Some),
            None => on_claim(given, named),
        }
    }
}

fn in_bucket(bucket: &str, prefix: &str, given: Given<'_>, named: Option<BackupStorage>) -> Result<Storage, Failure> {
    let refuse = |what: &str| {
        Failure::new(
            Exit::Usage,
            format!("the backup lies in the bucket {bucket}, and {what}"),
        )
        .hint("say how to reach it with --s3-credentials, --s3-endpoint and --s3-region")
    };
    if given.claim.is_some() || given.folder.is_some() {
        return Err(refuse("--claim and --folder are for volumes"));
    }
    let settings = flags(given.bucket, bucket, prefix).or(named);
    let settings = settings.ok_or_else(|| refuse("nobody says how it is reached"))?;
    let storage = Storage::try_from(settings).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    match &storage {
        Storage::S3(found) if found.bucket == bucket && found.prefix == prefix => Ok(storage),
        _ => Err(refuse("the KKPUpgrade names another storage now")),
    }
}

fn unreadable(text: &str) -> Failure {
    Failure::new(Exit::Usage, format!("`{text}` is no location of a backup")).hint(
        "give it as <run>/<target>, as the folders on the claim are called, or as s3://<bucket>/<prefix>/<run>/<target>",
    )
}

fn on_claim(given: Given<'_>, named: Option<BackupStorage>) -> Result<Option<Storage>, Failure> {
    if given.bucket.s3_credentials.is_some() {
        let text = "the backup lies on a volume, and --s3-credentials is for buckets";
        return Err(Failure::new(Exit::Usage, text).hint("name the claim with --claim"));
    }
    let named = match named {
        Some(BackupStorage { s3: Some(_), .. }) if given.claim.is_none() => {
            let text = "the backup lies on a volume, and the KKPUpgrade names a bucket now";
            return Err(Failure::new(Exit::Usage, text).hint("name the claim with --claim"));
        }
        named => named.and_then(|storage| storage.persistent_volume_claim),
    };
    let (claim, path) = named.map(|named| (named.claim_name, named.path)).unzip();
    let path = given.folder.map(str::to_owned).or(path.flatten()).unwrap_or_default();
    let claim = given.claim.map(str::to_owned).or(claim);
    Ok(claim.map(|claim| Storage::Claim { claim, path }))
}

/// A bucket as the command line says it, with the same defaults as in a KKPUpgrade.
fn flags(flags: &BucketFlags, bucket: &str, prefix: &str) -> Option<BackupStorage> {
    let credentials = flags.s3_credentials.clone()?;
    let ca_bundle = flags.s3_ca_bundle.clone();
    Some(BackupStorage {
        persistent_volume_claim: None,
        s3: Some(S3Storage {
            endpoint: flags.s3_endpoint.clone(),
            bucket: bucket.to_owned(),
            prefix: Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()),
            region: flags.s3_region.clone(),
            path_style: flags.s3_virtual_hosted.then_some(false),
            ca_bundle: ca_bundle.map(|(name, key)| CaBundleRef { name, key }),
            credentials_secret_ref: CredentialsRef { name: credentials },
        }),
    })
}
