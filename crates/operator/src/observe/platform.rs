//! The whole platform, master and seeds, and its findings where they are asked for. Reading only.

use std::time::Instant;

use jiff::Timestamp;
use kkp_upgrade_core::decide::{Needs, RuleNeeds};
use kkp_upgrade_core::facts::{Evidence, Known, PlatformFacts, Stop};
use kkp_upgrade_core::request::{Request, Storage};
use kkp_upgrade_core::rules::{Finding, Hop, RouteError};
use kkp_upgrade_core::status::Status;
use kkp_upgrade_core::version::KkpVersion;
use kkp_upgrade_kkp::evidence::{self, CRD_VERSION, MasterObservation, Observed};
use kkp_upgrade_kkp::helm::Release;
use kkp_upgrade_kkp::types::{KubermaticConfiguration, Seed};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::backup_key;
use super::configuration::Found;
use super::installer::{self, Installer};
use super::observer::Observer;
use super::recent::Question;
use super::releases;
use super::rule_facts::{Parts, findings};
use super::rules::{Beginning, SeedReading, begin};
use super::seeds;
use super::survey::Survey;
use crate::call::{CallError, call};
use crate::catalogue::Snapshot;
use crate::seeds::cluster_uid;

/// The platform, and the findings where they are asked for, for the `KKPUpgrade` with this UID and its request.
pub(super) async fn read(
    observer: &Observer<'_>,
    found: &Found,
    (uid, request): (&str, Option<&Request>),
    status: &Status,
    needs: &Needs,
    now: Timestamp,
) -> (Known<PlatformFacts>, Known<Vec<Finding>>) {
    let catalogue = observer.catalogue.value();
    let catalogue = catalogue.map(|snapshot| snapshot.catalogue.identity().clone());
    let question = Question::new(uid, request, status, needs, catalogue);
    let recent = observer.recent.filter(|_| needs.recent);
    if let Some((platform, findings)) = recent.and_then(|recent| recent.answer(&question)) {
        return (Known::Is(platform), Known::Is(findings));
    }
    let began = Instant::now();
    match Box::pin(try_read(observer, found, request, status, needs, now)).await {
        Ok((platform, findings)) => {
            if let (Some(recent), Known::Is(findings)) = (observer.recent, &findings) {
                recent.keep(question, began, &platform, findings);
            }
            (Known::Is(platform), findings)
        }
        Err(error) => (Known::Unknown(error.to_string()), Known::Unknown(error.to_string())),
    }
}

async fn try_read(
    observer: &Observer<'_>,
    found: &Found,
    request: Option<&Request>,
    status: &Status,
    needs: &Needs,
    now: Timestamp,
) -> Result<(PlatformFacts, Known<Vec<Finding>>), CallError> {
    let configuration = &found.configuration;
    let version: Option<KkpVersion> = configuration.status.kubermatic_version.text().parse().ok();
    let edition = configuration.status.kubermatic_edition.text();
    let master_uid = cluster_uid(observer.client, "the master").await?;
    let all = reconciled_seeds(observer, &found.namespace, edition).await?;
    let target = needs.evidence.map(|version| version.tag());
    let survey = match &target {
        Some(_) => Box::pin(Survey::read(observer.client, &found.namespace, "the master")).await,
        None => Survey::unreadable("not read in this round"),
    };
    let backup_key = backup_key::read(observer, request, status, needs).await;
    let asked = asked(request, needs.rules.as_ref(), version, observer.catalogue);
    let asked = asked.map(|(request, rules, hop, catalogue)| {
        let beginning = Beginning {
            catalogue: &catalogue.catalogue,
            configuration,
            backup_key_in_cluster: backup_key::is_in_cluster(request, &backup_key),
        };
        let evaluation = begin(observer, request, status, (hop, rules), &beginning, now);
        (request, rules, hop, catalogue, evaluation)
    });
    let evaluation = asked.as_ref().ok().map(|(.., evaluation)| evaluation);
    let mut readings = seeds::read(
        observer,
        (&found.namespace, &master_uid),
        all,
        status,
        (target.as_deref(), evaluation),
    )
    .await;
    let looks = needs.installer.is_some() || needs.rules.is_some();
    let (releases, unreadable) = if looks {
        releases::read(observer.client).await
    } else {
        (Vec::new(), Vec::new())
    };
    let looked = (releases.as_slice(), unreadable.as_slice());
    let installer = read_installer(observer, found, request, needs, &survey, looked).await;
    let platform = PlatformFacts {
        configuration: super::configuration::facts(configuration),
        version,
        route: route(request, version, observer.catalogue),
        edition: edition.parse().ok(),
        cluster_uid: master_uid,
        crd_version: crd_version(&survey, target.is_some()),
        evidence: target.as_deref().map_or_else(
            || Evidence::Unknown("not read in this round".to_owned()),
            |target| master_evidence(target, configuration, &survey),
        ),
        seeds: readings
            .iter()
            .map(|reading| seeds::facts(reading, target.as_deref()))
            .collect(),
        backup_storage: request.and_then(|request| backup_storage(observer, request)),
        backup_key,
        installer: match &installer {
            Some(installer) => match &installer.facts {
                Ok(facts) => Known::Is(facts.clone()),
                Err(why) => Known::Unknown(why.clone()),
            },
            None => Known::NotRead,
        },
    };
    let findings = match asked {
        Ok((request, rules, hop, catalogue, evaluation)) => {
            let begun = readings.iter_mut().filter_map(|reading| reading.place.take());
            let begun = begun.map(|place| (place.name().to_owned(), place)).collect();
            let seeds: Vec<SeedReading> = readings.into_iter().map(|reading| reading.reading).collect();
            let parts = Parts {
                found,
                catalogue,
                survey: &survey,
                seeds: &seeds,
                releases: &releases,
                unreadable: &unreadable,
            };
            let begun = (evaluation, begun);
            let installer = installer.as_ref();
            Known::Is(Box::pin(findings(observer, request, (hop, rules), begun, parts, installer, now)).await)
        }
        Err(unasked) => unasked,
    };
    Ok((platform, findings))
}

/// The installer of the version that is asked for, where one is.
async fn read_installer(
    observer: &Observer<'_>,
    found: &Found,
    request: Option<&Request>,
    needs: &Needs,
    survey: &Survey,
    (releases, unreadable): (&[Release], &[(String, String)]),
) -> Option<Installer> {
    let (request, version) = request.zip(needs.installer)?;
    let operator = operator_deployment(observer, found, survey).await;
    let operator = operator.as_ref().map(Option::as_ref).map_err(Clone::clone);
    let configuration = &found.configuration;
    let read = installer::read(
        observer,
        request,
        version,
        configuration,
        operator,
        releases,
        unreadable,
    );
    Some(read.await)
}

/// What the rules are asked with, where they are asked for.
///
/// # Errors
/// What the findings are instead: a catalogue that could not be read has rules that nobody knows.
pub(super) fn asked<'a>(
    request: Option<&'a Request>,
    rules: Option<&'a RuleNeeds>,
    version: Option<KkpVersion>,
    catalogue: &'a Known<Snapshot>,
) -> Result<(&'a Request, &'a RuleNeeds, Hop, &'a Snapshot), Known<Vec<Finding>>> {
    let (Some(request), Some(rules)) = (request, rules) else {
        return Err(Known::NotRead);
    };
    let Known::Is(catalogue) = catalogue else {
        return Err(Known::Unknown(catalogue.why_not().to_owned()));
    };
    let Some(from) = rules.from.or(version) else {
        let why = "the KubermaticConfiguration does not say which version runs";
        return Err(Known::Unknown(why.to_owned()));
    };
    Ok((request, rules, Hop { from, to: rules.to }, catalogue))
}

/// The way from what runs to what is wanted, over the releases of this round's catalogue.
fn route(
    request: Option<&Request>,
    version: Option<KkpVersion>,
    catalogue: &Known<Snapshot>,
) -> Known<Result<Vec<Stop>, RouteError>> {
    let (Some(request), Some(version)) = (request, version) else {
        return Known::NotRead;
    };
    match catalogue {
        Known::Is(snapshot) => {
            let releases = snapshot.catalogue.releases();
            Known::Is(releases.stops(version, request.target, &request.via))
        }
        Known::Unknown(why) => Known::Unknown(why.clone()),
        Known::NotRead => Known::NotRead,
    }
}

/// The Seeds that this edition of KKP reconciles.
async fn reconciled_seeds(observer: &Observer<'_>, namespace: &str, edition: &str) -> Result<Vec<Seed>, CallError> {
    let api = Api::<Seed>::namespaced(observer.client.clone(), namespace);
    let mut seeds = call("list of Seeds", api.list(&ListParams::default())).await?.items;
    seeds.retain(|seed| evidence::is_reconciled_by(edition, &seed.name_any()));
    Ok(seeds)
}

/// The operator's Deployment from the survey, or read by itself where no survey was made.
async fn operator_deployment(
    observer: &Observer<'_>,
    found: &Found,
    survey: &Survey,
) -> Result<Option<k8s_openapi::api::apps::v1::Deployment>, String> {
    if survey.deployments.is_ok() {
        return survey.deployment("kubermatic-operator").map(Option::<&_>::cloned);
    }
    let api = Api::namespaced(observer.client.clone(), &found.namespace);
    call("Deployment kubermatic-operator", api.get_opt("kubermatic-operator"))
        .await
        .map_err(|error| error.to_string())
}

/// Evidence as the core knows it.
pub(super) fn converted(evidence: evidence::Evidence) -> Evidence {
    match evidence {
        evidence::Evidence::Proven => Evidence::Proven,
        evidence::Evidence::NotYet { missing } => Evidence::Missing(missing),
        evidence::Evidence::Unknown { why } => Evidence::Unknown(why),
    }
}

fn master_evidence(target: &str, configuration: &KubermaticConfiguration, survey: &Survey) -> Evidence {
    converted(evidence::master(
        target,
        &MasterObservation {
            configuration: Observed::Found(configuration),
            deployments: survey.observed_deployments(),
            cluster_crd: survey.observed_crd(),
        },
    ))
}

fn crd_version(survey: &Survey, surveyed: bool) -> Known<Option<String>> {
    match &survey.crd {
        _ if !surveyed => Known::NotRead,
        Ok(crd) => Known::Is(
            crd.as_ref()
                .and_then(|crd| crd.annotations.as_ref()?.get(CRD_VERSION).cloned()),
        ),
        Err(why) => Known::Unknown(why.clone()),
    }
}

fn backup_storage(observer: &Observer<'_>, request: &Request) -> Option<Storage> {
    request.backup.storage.clone().or_else(|| {
        observer.default_backup_claim.map(|claim| Storage::Claim {
            claim: claim.to_owned(),
            path: String::new(),
        })
    })
}
