//! Which store: a volume, or which bucket, where, and how patient. Talks to nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Bucket, Store};
use crate::BackupError;

/// Where backups lie, as whatever writes or reads them is told: a volume or a bucket.
#[derive(Debug, Clone, Default, Args)]
pub struct StoreArguments {
    /// Folder where the backup volume is mounted.
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "bucket",
        conflicts_with = "bucket"
    )]
    pub destination: Option<PathBuf>,
    /// Or the bucket.
    #[command(flatten)]
    pub bucket: BucketArguments,
}

impl StoreArguments {
    /// A folder of a mounted volume.
    #[must_use]
    pub fn volume(folder: impl Into<PathBuf>) -> Self {
        Self {
            destination: Some(folder.into()),
            bucket: BucketArguments::default(),
        }
    }

    /// The store; nothing is sent. Has to be called within a tokio runtime.
    ///
    /// # Errors
    /// When the settings of a bucket contradict themselves, or its authorities cannot be read.
    pub fn open(&self) -> Result<Store, BackupError> {
        match &self.destination {
            Some(folder) => Ok(Store::Volume(folder.clone())),
            None => Bucket::open(&self.bucket, BucketLimits::default()).map(Store::Bucket),
        }
    }
}

/// A bucket that speaks S3, instead of a volume.
#[derive(Debug, Clone, Default, Args)]
pub struct BucketArguments {
    /// Bucket of the backups, instead of a volume. It has to exist.
    #[arg(long = "s3-bucket", value_name = "NAME", requires = "credentials")]
    pub bucket: Option<String>,
    /// Address of the object storage; without it, AWS.
    #[arg(long = "s3-endpoint", value_name = "URL", requires = "bucket")]
    pub endpoint: Option<String>,
    /// What the names of all objects begin with.
    #[arg(long = "s3-prefix", value_name = "PREFIX", default_value = "", requires = "bucket")]
    pub prefix: String,
    /// Region of the bucket.
    #[arg(
        long = "s3-region",
        value_name = "REGION",
        default_value = "us-east-1",
        requires = "bucket"
    )]
    pub region: String,
    /// Put the bucket's name into the host name instead of the path.
    #[arg(long = "s3-virtual-hosted", requires = "bucket")]
    pub virtual_hosted: bool,
    /// Authorities (PEM) that the storage's certificate is checked with; without it, the system's.
    #[arg(long = "s3-ca-file", value_name = "FILE", requires = "bucket")]
    pub authorities: Option<PathBuf>,
    /// Folder with the files accessKeyID and secretAccessKey.
    #[arg(long = "s3-credentials", value_name = "DIR", requires = "bucket")]
    pub credentials: Option<PathBuf>,
}

/// How long a bucket is waited for, and in what pieces it is spoken to.
#[derive(Debug, Clone, Copy)]
pub struct BucketLimits {
    /// Longest that a call may take that moves little.
    pub call: Duration,
    /// Longest that sending a part may take: with 8 MiB the slowest link that is enough has 28 KiB/s.
    pub part: Duration,
    /// Longest that may be waited for the next [`Self::progress`] bytes of an object that is read.
    pub wait: Duration,
    /// See [`Self::wait`]: with 1 MiB in a minute, 17 KiB/s.
    pub progress: u64,
    /// How often a call that may be repeated is made.
    pub tries: u32,
    /// Pause after the first failed try; each further one doubles it.
    pub pause: Duration,
    /// Size of a part, in bytes; S3 allows none below 5 MiB but the last, and 10,000 in all. Two of them are in memory.
    pub part_bytes: usize,
}

impl Default for BucketLimits {
    fn default() -> Self {
        Self {
            call: Duration::from_mins(1),
            part: Duration::from_mins(5),
            wait: Duration::from_mins(1),
            progress: 1 << 20,
            tries: 4,
            pause: Duration::from_secs(1),
            part_bytes: 8 << 20,
        }
    }
}
