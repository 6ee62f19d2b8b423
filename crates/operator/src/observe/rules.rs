//! Feeds what was read to the rules, kind by kind. Reading only.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::rules::{
    ConfiguredVersions, DeploymentFacts, Evaluation, Field, Finding, Hop, Input, ItemKind, PlatformFacts, PodFacts,
    ReleaseFacts, SeedFacts, SpecFacts, Stage, accept,
};
use kkp_upgrade_core::status::Status;
use kkp_upgrade_kkp::helm::Release;
use kkp_upgrade_kkp::types::{Field as Read, KubermaticConfiguration, Seed, seed::SKIP_RECONCILING};
use kube::ResourceExt;

use super::survey::Survey;
use super::user_clusters::UserClusters;
use crate::context::{Context, UPGRADE_LABEL};

/// A text that must be set.
pub(super) fn text(field: &Read<String>) -> Field<String> {
    match field {
        Read::Set(text) => Field::Known(text.clone()),
        Read::Unset => Field::NotRead("it is not set".to_owned()),
        Read::Unreadable { found } => Field::NotRead(format!("it is of type {found}")),
    }
}

/// A value that may be unset.
pub(super) fn optional<T: Clone>(field: &Read<T>) -> Field<Option<T>> {
    match field {
        Read::Set(value) => Field::Known(Some(value.clone())),
        Read::Unset => Field::Known(None),
        Read::Unreadable { found } => Field::NotRead(format!("it is of type {found}")),
    }
}

/// A value whose absence means its type's default.
pub(super) fn or_default<T: Clone + Default>(field: &Read<T>) -> Field<T> {
    optional(field).map(Option::unwrap_or_default)
}

/// One seed as read.
pub(super) struct SeedReading {
    pub(super) seed: Seed,
    pub(super) reached: Result<(), String>,
    pub(super) survey: Survey,
    pub(super) clusters: UserClusters,
}

/// Everything that rules look at.
pub(super) struct Reading<'a> {
    pub(super) configuration: &'a KubermaticConfiguration,
    pub(super) platform: PlatformFacts,
    pub(super) master: &'a Survey,
    pub(super) seeds: &'a [SeedReading],
    pub(super) releases: &'a [Release],
    pub(super) unreadable_releases: &'a [(String, String)],
    pub(super) webhooks: Vec<(String, kkp_upgrade_core::rules::WebhookFacts)>,
    /// The administrator's own limit: where our note stands, the original in it.
    pub(super) configured_limit: Field<Option<i64>>,
}

/// Evaluates every rule of the route; consent is applied.
pub(super) fn evaluate(
    context: &Context,
    request: &Request,
    status: &Status,
    hop: Hop,
    reading: &Reading<'_>,
    now: Timestamp,
) -> Vec<Finding> {
    let point = status
        .point_of_no_return
        .as_ref()
        .map_or("Ahead", |point| point.state.as_str());
    let input = Input {
        hops: vec![hop],
        started: point != "Ahead" || status.targets.iter().any(|target| target.attempts.unwrap_or(0) > 0),
        spec: SpecFacts {
            edition: request.edition.map(|edition| edition.to_string()).into(),
            maximum_parallel_reconciles: request.maximum_parallel_reconciles.map(i64::from).into(),
            backup_policy: if request.backup.required { "Required" } else { "Skip" }
                .to_owned()
                .into(),
            backup_storage: (request.backup.claim.is_some() || context.default_backup_claim.is_some()).into(),
        },
        configured: configured_versions(reading.configuration),
    };
    let mut evaluation = Evaluation::new(context.catalogue, Stage::Preflight, &input);
    evaluation.facts("platform", &reading.platform);
    for kind in [
        ItemKind::Seed,
        ItemKind::Cluster,
        ItemKind::Release,
        ItemKind::Deployment,
        ItemKind::Pod,
        ItemKind::Webhook,
    ] {
        evaluation.visited(kind);
    }
    workloads(&mut evaluation, "master", reading.master);
    for seed in reading.seeds {
        feed_seed(&mut evaluation, seed, &reading.configured_limit);
    }
    for release in reading.releases {
        let facts = ReleaseFacts {
            status: release.status.to_string().into(),
            revision: i64::try_from(release.revision).unwrap_or(i64::MAX).into(),
        };
        evaluation.facts(&format!("master/{}/{}", release.namespace, release.name), &facts);
    }
    for (namespace, why) in reading.unreadable_releases {
        evaluation.unreadable(ItemKind::Release, &format!("master/{namespace}"), why);
    }
    for (target, facts) in &reading.webhooks {
        evaluation.facts(target, facts);
    }
    accept(evaluation.finish(), &request.accepted_risks, now)
}

fn configured_versions(configuration: &KubermaticConfiguration) -> Field<ConfiguredVersions> {
    let versions = &configuration.spec.versions;
    if versions.versions.is_unreadable() || versions.updates.is_unreadable() {
        return Field::NotRead("spec.versions of the KubermaticConfiguration is not a list".to_owned());
    }
    let automatic = |update: &&kkp_upgrade_kkp::types::configuration::Update| update.automatic == Read::Set(true);
    Field::Known(ConfiguredVersions {
        versions: versions
            .versions
            .get()
            .map(|_| versions.versions.items().cloned().collect()),
        automatic_updates: versions.updates.get().map(|_| {
            versions
                .updates
                .items()
                .filter(automatic)
                .map(|update| update.from.text().to_owned())
                .collect()
        }),
    })
}

fn feed_seed(evaluation: &mut Evaluation<'_>, reading: &SeedReading, configured_limit: &Field<Option<i64>>) {
    let seed = &reading.seed;
    let name = seed.name_any();
    let condition = |kind: &str| match seed.status.conditions.entry(kind) {
        Read::Set(condition) => optional(&condition.status),
        Read::Unset => Field::Known(None),
        Read::Unreadable { found } => Field::NotRead(format!("condition {kind} is of type {found}")),
    };
    let controller = reading.survey.deployment("kubermatic-seed-controller-manager");
    let facts = SeedFacts {
        phase: optional(&seed.status.phase),
        version: optional(&seed.status.versions.kubermatic),
        controller_version: Field::from_result(
            controller.map(|found| found.and_then(super::operator_image).and_then(|image| image.tag)),
        ),
        kubeconfig_valid: condition("KubeconfigValid"),
        resources_reconciled: condition("ResourcesReconciled"),
        reachable: reading.reached.is_ok().into(),
        reach_error: reading.reached.clone().err().into(),
        skip_reconciling: seed.annotations().contains_key(SKIP_RECONCILING).into(),
        held: false.into(),
        stuck_clusters: Field::from_result(reading.clusters.stuck.clone()),
        configured_limit: configured_limit.clone(),
    };
    evaluation.facts(&name, &facts);
    workloads(evaluation, &name, &reading.survey);
    match &reading.clusters.items {
        Ok(items) => items.iter().for_each(|(target, facts)| evaluation.facts(target, facts)),
        Err(why) => evaluation.unreadable(ItemKind::Cluster, &name, why),
    }
}

fn workloads(evaluation: &mut Evaluation<'_>, place: &str, survey: &Survey) {
    match &survey.deployments {
        Ok(deployments) => {
            for deployment in deployments.iter().filter(|deployment| is_kkp(deployment)) {
                let target = format!(
                    "{place}/{}/{}",
                    deployment.namespace().unwrap_or_default(),
                    deployment.name_any()
                );
                evaluation.facts(&target, &deployment_facts(deployment));
            }
        }
        Err(why) => evaluation.unreadable(ItemKind::Deployment, place, why),
    }
    match &survey.pods {
        Ok(pods) => {
            for pod in pods {
                let target = format!("{place}/{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
                evaluation.facts(&target, &pod_facts(pod, pods));
            }
        }
        Err(why) => evaluation.unreadable(ItemKind::Pod, place, why),
    }
}

/// KKP's own Deployments and those that its operator manages.
fn is_kkp(deployment: &Deployment) -> bool {
    deployment.name_any() == "kubermatic-operator"
        || deployment
            .labels()
            .get("app.kubernetes.io/managed-by")
            .map(String::as_str)
            == Some("kubermatic-operator")
}

fn deployment_facts(deployment: &Deployment) -> DeploymentFacts {
    let status = deployment.status.clone().unwrap_or_default();
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    DeploymentFacts {
        generation: deployment.metadata.generation.unwrap_or(0).into(),
        observed_generation: status.observed_generation.unwrap_or(0).into(),
        replicas: i64::from(replicas).into(),
        updated_replicas: i64::from(status.updated_replicas.unwrap_or(0)).into(),
        available_replicas: i64::from(status.available_replicas.unwrap_or(0)).into(),
    }
}

fn pod_facts(pod: &Pod, all: &[Pod]) -> PodFacts {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let everything = containers.iter().chain(status.init_container_statuses.iter().flatten());
    let mut everything = everything;
    let waiting = everything.find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    PodFacts {
        phase: status.phase.unwrap_or_default().into(),
        ready: (!containers.is_empty() && containers.iter().all(|container| container.ready)).into(),
        waiting_reason: waiting.into(),
        deleting: pod.metadata.deletion_timestamp.is_some().into(),
        ours: (pod.labels().contains_key(UPGRADE_LABEL)
            || pod.labels().get("app.kubernetes.io/name").map(String::as_str) == Some("kkp-upgrade-operator"))
        .into(),
        superseded: superseded(pod, all).into(),
    }
}

/// A failed Pod whose owner has made another one since that runs or has succeeded.
fn superseded(pod: &Pod, all: &[Pod]) -> bool {
    let phase = |pod: &Pod| {
        pod.status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default()
    };
    let owner = |pod: &Pod| {
        pod.owner_references()
            .iter()
            .find(|owner| owner.controller == Some(true))
            .map(|owner| owner.uid.clone())
    };
    let made = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let Some(mine) = owner(pod) else { return false };
    phase(pod) == "Failed"
        && all.iter().any(|other| {
            owner(other).as_ref() == Some(&mine)
                && made(other) >= made(pod)
                && other.metadata.uid != pod.metadata.uid
                && matches!(phase(other).as_str(), "Running" | "Succeeded")
        })
}
