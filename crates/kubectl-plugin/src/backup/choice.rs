//! Which backup the command line means, and how a Job reaches it. Talks to the master, by GET alone.

use k8s_openapi::api::apps::v1::Deployment;
use kkp_upgrade_core::request::Storage;
use kkp_upgrade_operator::call::call;
use kkp_upgrade_operator::permissions::OPERATOR;
use kube::Api;

use super::job::Place;
use super::place::{Given, Location};
use super::records;
use crate::arguments::StoredBackup;
use crate::cluster::{self, failed};
use crate::exit::Exit;
use crate::failure::Failure;

/// A backup that is meant.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    /// Where it lies, as it is told.
    pub(super) text: String,
    /// The same in its parts.
    pub(super) location: Location,
    /// Digest that its manifest must have; none where nobody knows it.
    pub(super) digest: Option<String>,
    /// What the Job mounts.
    pub(super) storage: Storage,
}

/// What the command line names: one by its location, or those of a KKPUpgrade, of one target or of all.
pub(super) async fn choices(
    place: &Place,
    wanted: &StoredBackup,
    target: Option<&str>,
) -> Result<Vec<Choice>, Failure> {
    let given = Given {
        claim: wanted.claim.as_deref(),
        folder: wanted.folder.as_deref(),
        bucket: &wanted.bucket,
    };
    if let Some(text) = &wanted.location {
        let location = Location::parse(text)?;
        return Ok(vec![Choice {
            storage: storage(place, &location, given, None).await?,
            text: text.clone(),
            digest: wanted.manifest_digest.clone(),
            location,
        }]);
    }
    let name = wanted.name.as_deref().unwrap_or_default();
    let all = records(&place.client, &place.namespace, Some(name)).await?;
    let targets: Vec<String> = all.iter().map(|record| record.target.clone()).collect();
    let mut found = Vec::new();
    for record in all {
        if target.is_some_and(|target| target != record.target) {
            continue;
        }
        let location = Location::parse(&record.location)?;
        found.push(Choice {
            storage: storage(place, &location, given, record.storage).await?,
            text: record.location,
            digest: Some(record.digest),
            location,
        });
    }
    match target {
        Some(target) if found.is_empty() => {
            let text = format!("KKPUpgrade {name} has no backup of target {target}");
            Err(Failure::new(Exit::NotFound, text).hint(format!("choose with --target: {}", targets.join(", "))))
        }
        _ => Ok(found),
    }
}

/// Where a backup of this location lies; `named` is what its KKPUpgrade says now.
async fn storage(
    place: &Place,
    location: &Location,
    given: Given<'_>,
    named: Option<kkp_upgrade_api::BackupStorage>,
) -> Result<Storage, Failure> {
    match location.storage(given, named)? {
        Some(storage) => Ok(storage),
        None => of_the_operator(place, given.folder).await,
    }
}

/// The claim of the operator's flag.
async fn of_the_operator(place: &Place, folder: Option<&str>) -> Result<Storage, Failure> {
    let found = cluster::default_claim(&place.client, &place.namespace).await;
    let claim = found.map_err(|error| failed(&error))?.ok_or_else(|| {
        Failure::new(Exit::Usage, "nobody says on which claim the backup lies").hint("name it with --claim")
    })?;
    let path = folder.unwrap_or_default().to_owned();
    Ok(Storage::Claim { claim, path })
}

/// The operator's image, unless another one is given.
pub(super) async fn image(place: &Place, given: Option<&str>) -> Result<String, Failure> {
    if let Some(image) = given {
        return Ok(image.to_owned());
    }
    let deployments = Api::<Deployment>::namespaced(place.client.clone(), &place.namespace);
    let what = format!("Deployment {}/{OPERATOR}", place.namespace);
    let found = call(what, deployments.get(OPERATOR))
        .await
        .map_err(|error| failed(&error).hint("name the operator's image with --image"))?;
    let pod = found.spec.and_then(|spec| spec.template.spec);
    let image = pod.and_then(|pod| pod.containers.into_iter().next()?.image);
    image.ok_or_else(|| {
        Failure::new(Exit::NotFound, "the operator's Deployment names no image").hint("name it with --image")
    })
}
