//! The look at the platform: the operator's observation and the core's preview of Preflight, for somebody who only reads.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::decide::{Preview, preview, preview_basis, preview_needs};
use kkp_upgrade_core::facts::{Facts, Known, LeaseFacts};
use kkp_upgrade_core::request::{Request, SpecError};
use kkp_upgrade_core::rules::Catalogue;
use kkp_upgrade_core::status::Status;
use kkp_upgrade_core::timing::Timing;
use kkp_upgrade_operator::catalogue::{self, Snapshot, check_rules};
use kkp_upgrade_operator::observe::{self, Observer};
use kkp_upgrade_operator::outside::Outside;
use kkp_upgrade_operator::reconcile;
use kkp_upgrade_operator::seeds::SeedConnections;
use kube::Client;

use super::ask::Asked;
use super::report::Report;
use crate::cluster;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::permission;

/// What is said of the webhooks, which only a write can ask.
const WEBHOOKS: &str = "whether KKP's webhooks answer and the operator's accounts may write: only writes can ask that, and the operator does before it changes anything";

/// The way to the platform.
pub(crate) struct Platform<'a> {
    /// Client of the master.
    pub(crate) client: &'a Client,
    /// Clients of the seeds.
    pub(crate) seeds: &'a SeedConnections,
    /// Namespace of KKP, where it was given.
    pub(crate) namespace: Option<&'a str>,
}

/// What a reader could not see.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// Rights that were missing.
    pub(crate) rights: BTreeSet<String>,
    /// What was not looked at, each with the reason.
    pub(crate) unseen: Vec<String>,
}

/// Everything that a report is made of.
pub(crate) struct Seen {
    pub(crate) object: KKPUpgradeObject,
    pub(crate) status: Status,
    pub(crate) facts: Facts,
    pub(crate) preview: Preview,
    pub(crate) sight: Sight,
}

/// Looks at the platform and says what the operator would.
///
/// # Errors
/// Where no verdict can be given: no platform, no such KKPUpgrade, or what has to be readable is not.
pub(crate) async fn look(platform: &Platform<'_>, asked: &Asked, now: Timestamp) -> Result<Report, Failure> {
    let namespace = cluster::namespace(platform.client, platform.namespace).await?;
    let object = match asked {
        Asked::Named(name) => cluster::upgrade(platform.client, &namespace, name).await?,
        Asked::Given { object, .. } => placed(object, &namespace),
    };
    let status = object.parse_status();
    let status = status
        .map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?
        .unwrap_or_default();
    let mut sight = Sight::default();
    let catalogue = in_force(platform.client, &namespace, &mut sight).await?;
    let request = reconcile::request(&object).and_then(|request| check_rules(request, &catalogue));
    let Some(basis) = preview_basis(request.as_ref().ok(), &status) else {
        return Ok(Report::of_a_run_under_way(&object, &status));
    };
    let claim = default_claim(platform.client, &namespace, &mut sight).await;
    // For one look: nothing is kept that was asked.
    let outside = Outside::default();
    let observer = Observer::of_a_reader(
        platform.client,
        &namespace,
        claim.as_deref(),
        &catalogue,
        platform.seeds,
        &outside,
    );
    let (preview, facts) = previewed(&observer, &object, request.as_ref(), basis, now, &mut sight).await?;
    let seen = Seen {
        object,
        status,
        facts,
        preview,
        sight,
    };
    Ok(Report::make(seen, asked))
}

/// The catalogue that the operator works with, as far as a reader can tell.
async fn in_force(client: &Client, namespace: &str, sight: &mut Sight) -> Result<Known<Snapshot>, Failure> {
    let compiled = Catalogue::embedded_shared()
        .map_err(|error| Failure::new(Exit::Unexpected, format!("the compiled-in catalogue: {error}")))?;
    let why = match catalogue::read_once(client, namespace, compiled.clone()).await {
        Ok(snapshot) => return Ok(Known::Is(snapshot)),
        Err(error) => error.to_string(),
    };
    let right = permission::missing_right(&why);
    let why = right.as_ref().map_or(why, |right| format!("not permitted ({right})"));
    sight.rights.extend(right);
    sight.unseen.push(format!(
        "whether ConfigMap {} changes the catalogue: {why}; planned by the compiled-in one",
        catalogue::CONFIG_MAP
    ));
    Ok(Known::Is(Snapshot {
        catalogue: compiled,
        refused: None,
    }))
}

async fn previewed(
    observer: &Observer<'_>,
    object: &KKPUpgradeObject,
    request: Result<&Request, &SpecError>,
    basis: Status,
    now: Timestamp,
    sight: &mut Sight,
) -> Result<(Preview, Facts), Failure> {
    let mut identity = observe::object_facts(object);
    if identity.uid.is_empty() {
        // What is not in the cluster yet would be the last in the queue.
        identity.created = now;
    }
    sight.unseen.push(WEBHOOKS.to_owned());
    let mut basis = basis;
    let (preview, mut facts) = loop {
        let needs = preview_needs(request.ok(), &basis, &identity);
        let look = observe::look(observer, identity.clone(), request.ok(), &basis, &needs, now);
        let mut facts = Box::pin(look).await;
        require(&facts.platform_namespace)?;
        require(&facts.platform)?;
        see_queue(&mut facts, sight);
        let preview = preview(request, basis.clone(), &facts, &Timing::default());
        if !preview.goes_on(&basis) {
            break (preview, facts);
        }
        basis = preview.status;
    };
    if let Known::Is(findings) = &mut facts.findings {
        sight.rights.extend(findings.iter_mut().filter_map(permission::explain));
    }
    if let Known::Is(platform) = &facts.platform {
        sight
            .rights
            .extend(permission::missing_right(platform.installer.why_not()));
    }
    Ok((preview, facts))
}

/// A file's KKPUpgrade where it would be applied without a namespace of its own.
fn placed(object: &KKPUpgradeObject, namespace: &str) -> KKPUpgradeObject {
    let mut object = object.clone();
    object.metadata.namespace.get_or_insert_with(|| namespace.to_owned());
    object
}

async fn default_claim(client: &Client, namespace: &str, sight: &mut Sight) -> Option<String> {
    let why = match cluster::default_claim(client, namespace).await {
        Ok(claim) => return claim,
        Err(error) => error.to_string(),
    };
    let right = permission::missing_right(&why);
    let why = right.as_ref().map_or(why, |right| format!("not permitted ({right})"));
    sight.rights.extend(right);
    sight.unseen.push(format!(
        "with which claim for backups the operator was started: {why}; planned as if with none"
    ));
    None
}

/// Without these there is nothing to say.
fn require<T>(fact: &Known<T>) -> Result<(), Failure> {
    let Known::Unknown(why) = fact else { return Ok(()) };
    match permission::missing_right(why) {
        Some(right) => Err(Failure::new(
            Exit::NotFound,
            format!("cannot read the platform: not permitted ({right})"),
        )
        .hint("the ClusterRole and Role `kkp-upgrade-reader` of deploy/reader grant what a plan needs")),
        None => Err(Failure::new(
            Exit::Unexpected,
            format!("cannot read the platform: {why}"),
        )),
    }
}

/// Who holds the platform is the last gate only, and is nothing that a plan rests on: a reader who cannot see it is told so.
fn see_queue(facts: &mut Facts, sight: &mut Sight) {
    let why = [facts.lease.why_not(), facts.others.why_not()]
        .into_iter()
        .find(|why| !why.is_empty())
        .map(|why| {
            permission::missing_right(why).map_or_else(|| why.to_owned(), |right| format!("not permitted ({right})"))
        });
    if let Some(why) = why {
        sight
            .unseen
            .push(format!("whether another upgrade holds the platform: {why}"));
        facts.lease = Known::Is(LeaseFacts::default());
        facts.others = Known::Is(Vec::new());
    }
}
