//! Jobs: what all of them have in common, how they are created and removed. Talks to the cluster.
//!
//! A Job has no owner: deleting a KKPUpgrade in the foreground would kill a running installer. It has no time to live
//! either: it is removed by its UID once its outcome is recorded.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, LocalObjectReference, ObjectFieldSelector,
    Pod, PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile, SecurityContext, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::effect::{JobIntent, JobWork};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Preconditions, PropagationPolicy};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::backup::SERVICE_ACCOUNT;
use super::backup_storage::Mounted;
use super::{backup, installer, post, retention};
use crate::call::{CallError, call};
use crate::context::{Context, FIELD_MANAGER, INTENT_ANNOTATION, UPGRADE_LABEL};
use crate::observe::ended;

/// Label on a Job and its Pod: the target, as far as it fits into a label.
pub const TARGET_LABEL: &str = "upgrade.k8c.io/target";
/// Label on a Job and its Pod: the step.
pub const STEP_LABEL: &str = "upgrade.k8c.io/step";
/// Annotation on a Job: name of the KKPUpgrade, for people.
pub const NAME_ANNOTATION: &str = "upgrade.k8c.io/name";
/// Program of our own image.
pub(super) const PROGRAM: &str = "kkp-upgrade-operator";
/// Pull secret that KKP keeps in its namespace; a missing one does no harm.
const PULL_SECRET: &str = "dockercfg";
/// User and group `nobody`, as in KKP's own image.
const NOBODY: i64 = 65534;
/// Name of the volume for temporary files.
const TEMPORARY: &str = "tmp";

/// Where Jobs are made.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Namespace of the Job.
    pub namespace: &'a str,
    /// Our own image.
    pub image: &'a str,
    /// Name of the KKPUpgrade.
    pub upgrade: &'a str,
}

/// What is particular to one kind of Job.
pub(super) struct Work {
    pub(super) service_account: &'static str,
    /// Whether the Pod may speak to the cluster that it runs in.
    pub(super) token: bool,
    pub(super) init_containers: Vec<Container>,
    pub(super) container: Container,
    pub(super) volumes: Vec<Volume>,
}

impl Work {
    /// A command of our own program, by the account of backups and without a token.
    pub(super) fn of_program(command: &str, image: &str, mounted: Mounted) -> Self {
        Self {
            service_account: SERVICE_ACCOUNT,
            token: false,
            init_containers: Vec::new(),
            container: Container {
                name: command.to_owned(),
                image: Some(image.to_owned()),
                command: Some(vec![PROGRAM.to_owned(), command.to_owned()]),
                args: Some(mounted.arguments),
                resources: Some(resources("100m", "128Mi", "1Gi")),
                volume_mounts: Some(mounted.mounts),
                ..Container::default()
            },
            volumes: mounted.volumes,
        }
    }
}

/// Creates the Job, or finds that it was created already with the same intent.
///
/// # Errors
/// When a Job of that name exists that was made for something else, the target's Seed cannot be used, or the server
/// refuses or does not answer.
pub async fn create(context: &Context, object: &KKPUpgradeObject, intent: &JobIntent) -> Result<(), CallError> {
    let upgrade = object.name_any();
    let place = Place {
        namespace: &context.namespace,
        image: &context.image,
        upgrade: &upgrade,
    };
    let work = match &intent.work {
        JobWork::Backup { reader, .. } => {
            let kubeconfig = backup::seed_kubeconfig(&context.client, place, reader.as_deref()).await?;
            backup::work(place, intent, kubeconfig.as_ref())
        }
        JobWork::Retention { .. } => retention::work(place, intent),
        JobWork::Installer { .. } => installer::work(place, intent),
    }?;
    let jobs = Api::<Job>::namespaced(context.client.clone(), &context.namespace);
    submit(&jobs, &manifest(place, intent, work)).await
}

/// Sends a Job; one that exists already must carry the same intent.
pub(super) async fn submit(jobs: &Api<Job>, job: &Job) -> Result<(), CallError> {
    let name = job.name_any();
    let what = format!("create Job {}/{name}", job.namespace().unwrap_or_default());
    let error = match call(what.clone(), jobs.create(&post(), job)).await {
        Ok(_) => return Ok(()),
        Err(error) if error.is_conflict() => error,
        Err(error) => return Err(error),
    };
    let Some(existing) = call(what.clone(), jobs.get_opt(&name)).await? else {
        // It was just being removed: the next round sees that.
        return Err(error);
    };
    let same = existing.annotations().get(INTENT_ANNOTATION) == job.annotations().get(INTENT_ANNOTATION)
        && existing.labels().get(UPGRADE_LABEL) == job.labels().get(UPGRADE_LABEL);
    if same {
        return Ok(());
    }
    Err(CallError::unusable(
        what,
        "a Job of that name exists that was made for something else: remove it",
    ))
}

/// Removes a Job, and its ended Pod with it. One that is gone is fine.
///
/// # Errors
/// A conflict when another Job has that name now; otherwise when the server refuses or does not answer.
pub async fn delete(jobs: &Api<Job>, name: &str, uid: &str) -> Result<(), CallError> {
    delete_as_seen(jobs, name, uid, None).await
}

/// Removes a Pod that was seen waiting, if nothing was reported about it since. One that is gone is fine.
///
/// # Errors
/// A conflict when the Pod has changed, for example because it started; otherwise when the server refuses or does not
/// answer.
pub async fn delete_waiting_pod(
    pods: &Api<Pod>,
    name: &str,
    uid: &str,
    resource_version: &str,
) -> Result<(), CallError> {
    delete_as_seen(pods, name, uid, Some(resource_version.to_owned())).await
}

/// Removes the object of this UID, and of this version where one is given, and lets go of nothing that it owns.
async fn delete_as_seen<K>(
    objects: &Api<K>,
    name: &str,
    uid: &str,
    resource_version: Option<String>,
) -> Result<(), CallError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let parameters = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version,
        }),
        ..DeleteParams::default()
    };
    let what = format!("delete {} {name}", K::kind(&()));
    match call(what, objects.delete(name, &parameters)).await {
        Err(error) if error.is_not_found() => Ok(()),
        answer => answer.map(drop),
    }
}

/// Removes the ended Jobs of a run that is over. There are none but those whose creation arrived late, from an operator that
/// was the leader before: a creation has no version to lose by. Such a Job runs nothing, its fence is taken and nobody
/// wants it; without this it would stay for ever.
///
/// # Errors
/// When the server refuses or does not answer.
pub async fn remove_late(jobs: &Api<Job>, upgrade_uid: &str) -> Result<(), CallError> {
    let ours = ListParams::default().labels(&format!("{UPGRADE_LABEL}={upgrade_uid}"));
    let list = call("list of Jobs", jobs.list(&ours)).await?;
    for job in list.items.iter().filter(|job| ended(job).is_some()) {
        let name = job.name_any();
        tracing::warn!(
            job = name,
            "removing a Job that was created after its run, by an operator that did not lead any more"
        );
        delete(jobs, &name, &job.uid().unwrap_or_default()).await?;
    }
    Ok(())
}

/// The Job of an intent. The same intent always gives the same Job.
pub(super) fn manifest(place: Place<'_>, intent: &JobIntent, work: Work) -> Job {
    let labels = labels(intent, work.service_account);
    let pod_annotations = BTreeMap::from([(
        "cluster-autoscaler.kubernetes.io/safe-to-evict".to_owned(),
        "false".to_owned(),
    )]);
    Job {
        metadata: ObjectMeta {
            name: Some(intent.name.clone()),
            namespace: Some(place.namespace.to_owned()),
            labels: Some(labels.clone()),
            annotations: Some(BTreeMap::from([
                (INTENT_ANNOTATION.to_owned(), intent.digest()),
                (NAME_ANNOTATION.to_owned(), place.upgrade.to_owned()),
            ])),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            completions: Some(1),
            parallelism: Some(1),
            // Only then a Job that has ended has no Pod that still runs.
            pod_replacement_policy: Some("Failed".to_owned()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(pod_annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(work)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn labels(intent: &JobIntent, name: &str) -> BTreeMap<String, String> {
    BTreeMap::from(
        [
            (UPGRADE_LABEL, intent.uid.clone()),
            ("app.kubernetes.io/managed-by", FIELD_MANAGER.to_owned()),
            ("app.kubernetes.io/name", name.to_owned()),
            (TARGET_LABEL, label_value(&intent.target)),
            (STEP_LABEL, label_value(&intent.step)),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    )
}

/// As much of a name as a label takes: 63 characters that end with a letter or digit.
fn label_value(text: &str) -> String {
    let start: String = text.chars().take(63).collect();
    start
        .trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric())
        .to_owned()
}

pub(super) fn pod(work: Work) -> PodSpec {
    let mut volumes = work.volumes;
    volumes.push(scratch_volume(TEMPORARY));
    PodSpec {
        service_account_name: Some(work.service_account.to_owned()),
        automount_service_account_token: Some(work.token),
        enable_service_links: Some(false),
        image_pull_secrets: Some(vec![LocalObjectReference {
            name: PULL_SECRET.to_owned(),
        }]),
        restart_policy: Some("Never".to_owned()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(NOBODY),
            run_as_group: Some(NOBODY),
            fs_group: Some(NOBODY),
            // A large backup volume is not walked through at every start.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        init_containers: (!work.init_containers.is_empty())
            .then(|| work.init_containers.into_iter().map(restricted).collect()),
        containers: vec![restricted(work.container)],
        volumes: Some(volumes),
        ..PodSpec::default()
    }
}

/// What Pod Security calls restricted, and no writing into the image.
fn restricted(mut container: Container) -> Container {
    container.termination_message_policy = Some("FallbackToLogsOnError".to_owned());
    container
        .volume_mounts
        .get_or_insert_default()
        .push(mount(TEMPORARY, "/tmp"));
    container.security_context = Some(SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            add: None,
            drop: Some(vec!["ALL".to_owned()]),
        }),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..SecurityContext::default()
    });
    container
}

/// A volume mounted for writing.
pub(super) fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    }
}

/// A volume that lives as long as the Pod.
pub(super) fn scratch_volume(name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

/// An environment variable.
pub(super) fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    }
}

/// An environment variable from a field of the Pod.
pub(super) fn field_variable(name: &str, path: &str) -> EnvVar {
    let field = ObjectFieldSelector {
        api_version: None,
        field_path: path.to_owned(),
    };
    let source = EnvVarSource {
        field_ref: Some(field),
        ..EnvVarSource::default()
    };
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(source),
    }
}

/// Requests of CPU and memory, and the limit of memory. CPU has no limit: being slowed down only makes time-outs.
pub(super) fn resources(cpu: &str, memory: &str, memory_limit: &str) -> ResourceRequirements {
    let quantity = |name: &str, amount: &str| (name.to_owned(), Quantity(amount.to_owned()));
    ResourceRequirements {
        requests: Some(BTreeMap::from([quantity("cpu", cpu), quantity("memory", memory)])),
        limits: Some(BTreeMap::from([quantity("memory", memory_limit)])),
        claims: None,
    }
}
