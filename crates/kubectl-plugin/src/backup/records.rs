//! What KKPUpgrades say of their backups. Talks to the master, by GET alone.

use kkp_upgrade_api::{BackupStorage, KKPUpgradeObject};
use kkp_upgrade_operator::call::call;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;

use super::place::BUCKET;
use crate::cluster;
use crate::exit::Exit;
use crate::failure::Failure;

/// A verified backup of one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// The KKPUpgrade that made it.
    pub(crate) upgrade: String,
    /// `master` or the name of a Seed.
    pub(crate) target: String,
    /// Claim that it lies on; absent where it is the operator's, and for a bucket.
    pub(crate) claim: Option<String>,
    /// Folder of the backups on the claim.
    pub(crate) folder: String,
    /// Where it lies in that folder, or `s3://…`.
    pub(crate) location: String,
    /// Digest of the manifest.
    pub(crate) digest: String,
    /// Number of objects.
    pub(crate) objects: i64,
    /// Size of the archive.
    pub(crate) bytes: i64,
    /// When it was found equal.
    pub(crate) verified_time: Option<String>,
    /// What the KKPUpgrade says of the storage now.
    #[serde(skip)]
    pub(crate) storage: Option<BackupStorage>,
}

impl Record {
    pub(crate) fn row(&self) -> Vec<String> {
        let claim = match &self.claim {
            Some(claim) if self.folder.is_empty() => claim.clone(),
            Some(claim) => format!("{claim}:{}", self.folder),
            None if self.location.starts_with(BUCKET) => "(bucket)".to_owned(),
            None => "(operator's)".to_owned(),
        };
        vec![
            self.upgrade.clone(),
            self.target.clone(),
            claim,
            self.location.clone(),
            self.objects.to_string(),
            self.bytes.to_string(),
            self.verified_time.clone().unwrap_or_else(|| "-".to_owned()),
            self.digest.clone(),
        ]
    }
}

/// The backups of one KKPUpgrade, or of all in the namespace.
pub(crate) async fn records(client: &Client, namespace: &str, name: Option<&str>) -> Result<Vec<Record>, Failure> {
    let upgrades = if let Some(name) = name {
        vec![cluster::upgrade(client, namespace, name).await?]
    } else {
        let all = Api::<KKPUpgradeObject>::namespaced(client.clone(), namespace);
        let list = call("list of KKPUpgrades", all.list(&ListParams::default())).await;
        list.map_err(|error| cluster::failed(&error))?.items
    };
    let mut found = Vec::new();
    for upgrade in &upgrades {
        found.extend(of(upgrade)?);
    }
    match name {
        Some(name) if found.is_empty() => Err(Failure::new(
            Exit::NotFound,
            format!("KKPUpgrade {name} has no verified backup in its status"),
        )
        .hint("see the others with: kubectl kkp-upgrade backup list")),
        _ => Ok(found),
    }
}

fn of(upgrade: &KKPUpgradeObject) -> Result<Vec<Record>, Failure> {
    let name = upgrade.name_any();
    let unreadable = |what: &str| {
        Failure::new(
            Exit::Unexpected,
            format!("the {what} of KKPUpgrade {name} cannot be read"),
        )
        .hint("use the plugin of the operator's release")
    };
    let status = upgrade.parse_status().map_err(|_| unreadable("status"))?;
    let spec = upgrade.parse_spec().map_err(|_| unreadable("spec"))?;
    let storage = spec.backup.and_then(|backup| backup.storage);
    let targets = status.map(|status| status.targets).unwrap_or_default();
    let backups = targets
        .into_iter()
        .filter_map(|target| Some((target.name, target.backup?)));
    Ok(backups
        .map(|(target, backup)| {
            let claim = storage
                .as_ref()
                .and_then(|storage| storage.persistent_volume_claim.clone())
                .filter(|_| !backup.location.starts_with(BUCKET));
            let (claim, folder) = claim.map(|claim| (claim.claim_name, claim.path)).unzip();
            Record {
                upgrade: name.clone(),
                target,
                claim,
                folder: folder.flatten().unwrap_or_default(),
                location: backup.location,
                digest: backup.digest,
                objects: backup.objects,
                bytes: backup.bytes,
                verified_time: backup.verified_time.map(|time| time.timestamp().to_string()),
                storage: storage.clone(),
            }
        })
        .collect())
}
