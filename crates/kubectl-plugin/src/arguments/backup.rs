//! The part of the command line that is about backups.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::{ClusterArguments, seconds};

/// What to do with backups.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// List the verified backups, as the KKPUpgrades say.
    List(BackupListArguments),
    /// Show where one is and what was verified.
    Show(BackupShowArguments),
    /// Verify that backups are still what they were: a Job reads each of them whole.
    Verify(Box<BackupVerifyArguments>),
    /// Download the stored files of backups, encrypted as they are, through the API server.
    Download(Box<BackupDownloadArguments>),
    /// Restore a backup: a Job makes the plan, you confirm it, a second Job carries it out. The only command that changes anything.
    Restore(Box<BackupRestoreArguments>),
}

/// How backups are listed.
#[derive(Debug, Args)]
pub struct BackupListArguments {
    /// Where and as whom to look.
    #[command(flatten)]
    pub cluster: ClusterArguments,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = BackupOutput::Table)]
    pub output: BackupOutput,
}

/// Whose backups are shown.
#[derive(Debug, Args)]
pub struct BackupShowArguments {
    /// Name of the KKPUpgrade that made them.
    pub name: String,
    /// Where and as whom to look.
    #[command(flatten)]
    pub cluster: ClusterArguments,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = BackupOutput::Table)]
    pub output: BackupOutput,
}

/// Which backup is meant, and where it lies.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("backup").required(true).multiple(false))]
#[command(group = ArgGroup::new("storage").args(["claim", "s3_credentials"]).multiple(false))]
pub struct StoredBackup {
    /// Name of the KKPUpgrade that made it.
    #[arg(group = "backup")]
    pub name: Option<String>,
    /// Where the backup lies, when there is no KKPUpgrade any more: on the claim, as `RUN/TARGET`, or in a bucket, as
    /// `s3://BUCKET/PREFIX/RUN/TARGET`.
    #[arg(long, value_name = "LOCATION", group = "backup", requires = "storage")]
    pub location: Option<String>,
    /// With --location: the digest that the backup's manifest must have. Default: any; a restore takes the newest complete backup there.
    #[arg(long, value_name = "DIGEST", requires = "location")]
    pub manifest_digest: Option<String>,
    /// Claim with the backup. Default: that of the KKPUpgrade, or the operator's.
    #[arg(long)]
    pub claim: Option<String>,
    /// Folder of the backups on the claim. Default: that of the KKPUpgrade, or the claim's root.
    #[arg(long)]
    pub folder: Option<String>,
    /// How to reach a bucket.
    #[command(flatten)]
    pub bucket: BucketFlags,
}

/// Which backups are verified, and with which key.
#[derive(Debug, Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub struct BackupVerifyArguments {
    /// Which.
    #[command(flatten)]
    pub backup: StoredBackup,
    /// Which target of the KKPUpgrade: `master`, or the name of a Seed. Default: all.
    #[arg(long, conflicts_with = "location")]
    pub target: Option<String>,
    /// Secret in KKP's namespace with the private key of age under the key `identity`. Default: the operator's own key,
    /// `kkp-upgrade-backup-key`, where it is there and fits; without a key, only the stored files are compared with what they were.
    #[arg(long, value_name = "SECRET")]
    pub identity_secret: Option<String>,
    /// Image of the operator for the Jobs. Default: the one that the operator runs.
    #[arg(long)]
    pub image: Option<String>,
    /// Longest that is waited for each Job. The Job itself goes on.
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = seconds)]
    pub job_timeout: Duration,
    /// Where and as whom to act.
    #[command(flatten)]
    pub cluster: ClusterArguments,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = BackupOutput::Table)]
    pub output: BackupOutput,
}

/// Which backups are downloaded, and where to.
#[derive(Debug, Args)]
#[command(after_help = DOWNLOAD_EXAMPLES)]
pub struct BackupDownloadArguments {
    /// Which.
    #[command(flatten)]
    pub backup: StoredBackup,
    /// Which target of the KKPUpgrade: `master`, or the name of a Seed. Default: all.
    #[arg(long, conflicts_with = "location")]
    pub target: Option<String>,
    /// Folder for them; each gets its own in it, as where it comes from. Nothing is written over.
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Image of the operator for the Jobs. Default: the one that the operator runs.
    #[arg(long)]
    pub image: Option<String>,
    /// Longest that is waited for each Job. The Job itself goes on.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub job_timeout: Duration,
    /// Where and as whom to act.
    #[command(flatten)]
    pub cluster: ClusterArguments,
}

const DOWNLOAD_EXAMPLES: &str = "Examples:
  kubectl kkp-upgrade backup download to-2-31 --to backups
  kubectl kkp-upgrade backup download to-2-31 --target eu --to backups
  kubectl kkp-upgrade backup download --location run/master --claim backups --to backups";

const VERIFY_EXAMPLES: &str = "Examples:
  kubectl kkp-upgrade backup verify to-2-31
  kubectl kkp-upgrade backup verify to-2-31 --target eu --identity-secret restore-key
  kubectl kkp-upgrade backup verify --location run/master --claim backups --identity-secret restore-key";

/// Form of a list of backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackupOutput {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

/// What is restored, and how.
#[derive(Debug, Args)]
#[command(after_help = RESTORE_EXAMPLES)]
pub struct BackupRestoreArguments {
    /// Which.
    #[command(flatten)]
    pub backup: StoredBackup,
    /// Which target of the KKPUpgrade: the master, or the name of a Seed.
    #[arg(long, default_value = "master", conflicts_with = "location")]
    pub target: String,
    /// Secret in KKP's namespace with the private key of age under the key `identity`.
    #[arg(long, value_name = "SECRET", default_value = "kkp-upgrade-backup-key")]
    pub identity_secret: String,
    /// Image of the operator for the Jobs. Default: the one that the operator runs.
    #[arg(long)]
    pub image: Option<String>,
    /// Only make and show the plan.
    #[arg(long, conflicts_with = "confirm")]
    pub plan: bool,
    /// Digest of the plan to carry out, instead of the question; refused when anything else would be done now.
    #[arg(long, value_name = "DIGEST")]
    pub confirm: Option<String>,
    /// UID of the cluster whose backup it is, when that is another one: a new cluster after a disaster.
    #[arg(long, value_name = "UID")]
    pub other_cluster: Option<String>,
    /// Let CRDs go back to the release of the backup.
    #[arg(long)]
    pub crds_backward: bool,
    /// Longest that is waited for each Job. The Job itself goes on.
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = seconds)]
    pub job_timeout: Duration,
    /// Where and as whom to act.
    #[command(flatten)]
    pub cluster: ClusterArguments,
}

/// How a bucket is reached, in words of the KKPUpgrade's `spec.backup.storage.s3`. Default: as the KKPUpgrade says.
#[derive(Debug, Default, Args)]
pub struct BucketFlags {
    /// Secret in KKP's namespace with the credentials of the bucket. With it, all of the bucket's settings come from the command line.
    #[arg(long, value_name = "SECRET")]
    pub s3_credentials: Option<String>,
    /// Address of the object storage. Default: AWS.
    #[arg(long, value_name = "URL", requires = "s3_credentials")]
    pub s3_endpoint: Option<String>,
    /// Region of the bucket. Default: us-east-1.
    #[arg(long, value_name = "REGION", requires = "s3_credentials")]
    pub s3_region: Option<String>,
    /// Put the bucket's name into the host name, also with an endpoint.
    #[arg(long, requires = "s3_credentials")]
    pub s3_virtual_hosted: bool,
    /// ConfigMap in KKP's namespace with the authorities (PEM) of the endpoint, and the key in it, for example `ca-bundle/ca-bundle.pem`.
    #[arg(long, value_name = "CONFIGMAP/KEY", requires = "s3_credentials", value_parser = name_and_key)]
    pub s3_ca_bundle: Option<(String, String)>,
}

fn name_and_key(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((name, key)) if !name.is_empty() && !key.is_empty() => Ok((name.to_owned(), key.to_owned())),
        _ => Err("give it as CONFIGMAP/KEY".to_owned()),
    }
}

const RESTORE_EXAMPLES: &str = "Examples:
  kubectl kkp-upgrade backup restore to-2-31 --plan
  kubectl kkp-upgrade backup restore to-2-31
  kubectl kkp-upgrade backup restore to-2-31 --confirm sha256:0123
  kubectl kkp-upgrade backup restore --location run/master --claim backups --other-cluster 6f0c --plan
  kubectl kkp-upgrade backup restore --location s3://backups/prod/run/master --s3-credentials s3 --other-cluster 6f0c --plan";
