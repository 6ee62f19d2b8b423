//! The Job of a restore: first for the plan, then for what the plan says. Made by the kubectl plugin for a person; the operator never
//! restores by itself. Talks to nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{KeyToPath, PodTemplateSpec, SecretVolumeSource, Volume};
use kkp_upgrade_core::request::Storage;
use kube::api::ObjectMeta;

use super::backup::{SeedKubeconfig, kubeconfig_mounted};
use super::backup_storage::{Mounted, mounted, read_only};
use super::job::{Work, pod};
use crate::permissions::RESTORE;

/// Label of restore Jobs and their Pods: `app.kubernetes.io/name`.
pub const NAME_LABEL: &str = "app.kubernetes.io/name";
const IDENTITY_VOLUME: &str = "identity";
const IDENTITY_FOLDER: &str = "/identity";
const IDENTITY_KEY: &str = "identity";
/// How long an ended Job and its log stay, in seconds: a week.
pub(super) const KEPT: i32 = 7 * 24 * 3600;

/// What a restore Job is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreJob {
    /// KKP's namespace.
    pub namespace: String,
    /// The operator's image.
    pub image: String,
    /// Where the backup lies.
    pub storage: Storage,
    /// Name of the run that made the backup.
    pub run: String,
    /// `master` or the name of a Seed.
    pub target: String,
    /// Digest of the backup's manifest, where it is known.
    pub manifest_digest: Option<String>,
    /// Kubeconfig of the Seed; `None`: this cluster.
    pub kubeconfig: Option<SeedKubeconfig>,
    /// Secret with the private key under the key `identity`.
    pub identity_secret: String,
    /// Digest of the plan to carry out; `None`: only make the plan.
    pub confirm: Option<String>,
    /// UID of the cluster whose backup it is, when that is another one.
    pub other_cluster: Option<String>,
    /// Whether CRDs may go back.
    pub crds_backward: bool,
}

impl RestoreJob {
    /// The Job. The API server gives it its name.
    ///
    /// # Errors
    /// When the folder leaves its volume.
    pub fn manifest(&self) -> Result<Job, String> {
        Ok(by_hand(RESTORE, &self.namespace, KEPT, self.work()?))
    }

    fn work(&self) -> Result<Work, String> {
        let mut mounted = mounted(&self.storage)?;
        mounted.extend([identity_mounted(&self.identity_secret, false)]);
        mounted.extend(self.kubeconfig.as_ref().map(kubeconfig_mounted));
        let mut mounted = mounted.reading_only();
        mounted.arguments.extend(self.arguments());
        Ok(Work {
            service_account: RESTORE,
            token: self.kubeconfig.is_none(),
            ..Work::of_program("restore", &self.image, mounted)
        })
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![format!("--target={}", self.target), format!("--name={}", self.run)];
        arguments.extend(
            self.manifest_digest
                .iter()
                .map(|digest| format!("--manifest-digest={digest}")),
        );
        arguments.extend(self.other_cluster.iter().map(|uid| format!("--other-cluster={uid}")));
        if self.crds_backward {
            arguments.push("--crds-backward".to_owned());
        }
        arguments.push(match &self.confirm {
            Some(digest) => format!("--confirm={digest}"),
            None => "--plan-only".to_owned(),
        });
        arguments
    }
}

/// What a private key needs in the Pod. An optional one may be missing there.
pub(super) fn identity_mounted(secret: &str, optional: bool) -> Mounted {
    let item = KeyToPath {
        key: IDENTITY_KEY.to_owned(),
        mode: None,
        path: IDENTITY_KEY.to_owned(),
    };
    let source = SecretVolumeSource {
        secret_name: Some(secret.to_owned()),
        items: Some(vec![item]),
        default_mode: Some(0o440),
        optional: optional.then_some(true),
    };
    Mounted {
        arguments: vec![format!("--identity={IDENTITY_FOLDER}/{IDENTITY_KEY}")],
        mounts: vec![read_only(IDENTITY_VOLUME, IDENTITY_FOLDER)],
        volumes: vec![Volume {
            name: IDENTITY_VOLUME.to_owned(),
            secret: Some(source),
            ..Volume::default()
        }],
    }
}

/// The Job that a person starts by the plugin. The API server gives it its name, and takes it away so many seconds after its end.
pub(super) fn by_hand(name: &str, namespace: &str, kept: i32, work: Work) -> Job {
    let labels = BTreeMap::from([
        (NAME_LABEL.to_owned(), name.to_owned()),
        (
            "app.kubernetes.io/part-of".to_owned(),
            "kkp-upgrade-operator".to_owned(),
        ),
    ]);
    Job {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            // One that was killed is started again, by a person who sees what is left.
            backoff_limit: Some(0),
            ttl_seconds_after_finished: Some(kept),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(work)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use kkp_upgrade_core::effect::JobWork;

    use super::*;
    use crate::arguments::{Arguments, Command};
    use crate::execute::tests::{backup_on_s3, writable};

    fn request() -> RestoreJob {
        RestoreJob {
            namespace: "kubermatic".to_owned(),
            image: "image".to_owned(),
            storage: Storage::Claim {
                claim: "backups".to_owned(),
                path: "platform/prod".to_owned(),
            },
            run: "run-1".to_owned(),
            target: "eu".to_owned(),
            manifest_digest: Some("sha256:1".to_owned()),
            kubeconfig: None,
            identity_secret: "key".to_owned(),
            confirm: None,
            other_cluster: None,
            crds_backward: false,
        }
    }

    /// What the program makes of the Job's command line.
    fn understood(request: &RestoreJob) -> kkp_upgrade_backup::RestoreArguments {
        let pod = request.manifest().unwrap().spec.unwrap().template.spec.unwrap();
        let container = pod.containers.into_iter().next().unwrap();
        let line = [container.command.unwrap(), container.args.unwrap()].concat();
        let Command::Restore(arguments) = Arguments::try_parse_from(line).unwrap().command else {
            panic!("not `restore`")
        };
        *arguments
    }

    #[test]
    fn the_program_understands_the_job_and_writes_only_with_a_confirmed_plan() {
        let plan = understood(&request());
        assert!(plan.plan_only && plan.confirm.is_none() && plan.kubeconfig.is_none());
        assert_eq!((plan.name.as_str(), plan.target.as_str()), ("run-1", "eu"));
        let seed = RestoreJob {
            confirm: Some("sha256:2".to_owned()),
            other_cluster: Some("uid".to_owned()),
            crds_backward: true,
            kubeconfig: Some(SeedKubeconfig {
                secret: "kubeconfig-eu".to_owned(),
                key: "kubeconfig".to_owned(),
            }),
            ..request()
        };
        let carried = understood(&seed);
        assert!(!carried.plan_only && carried.crds_backward);
        assert_eq!(carried.confirm.as_deref(), Some("sha256:2"));
        assert_eq!(carried.other_cluster.as_deref(), Some("uid"));
        assert!(carried.kubeconfig.is_some());
    }

    #[test]
    fn the_backup_and_the_key_are_mounted_read_only_and_a_seed_is_no_business_of_the_token() {
        let job = request().manifest().unwrap();
        let pod = job.spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.service_account_name.as_deref(), Some(RESTORE));
        assert_eq!(pod.automount_service_account_token, Some(true));
        assert_eq!(writable(&pod.containers[0]), ["/tmp"]);
        let outside = RestoreJob {
            storage: Storage::Claim {
                claim: "backups".to_owned(),
                path: "../other".to_owned(),
            },
            ..request()
        };
        assert!(outside.manifest().unwrap_err().contains("must not leave"));
    }

    #[test]
    fn a_bucket_is_read_with_the_credentials_that_a_backup_is_written_with() {
        let JobWork::Backup { storage, .. } = backup_on_s3().work else {
            panic!("no backup")
        };
        let request = RestoreJob { storage, ..request() };
        let store = understood(&request).store;
        assert_eq!(store.destination, None);
        assert_eq!(
            (store.bucket.bucket.as_deref(), store.bucket.prefix.as_str()),
            (Some("backups"), "platform/prod")
        );
        assert_eq!(store.bucket.credentials.unwrap().to_str(), Some("/s3-credentials"));
        assert_eq!(
            store.bucket.authorities.unwrap().to_str(),
            Some("/s3-authorities/ca.pem")
        );
        let pod = request.manifest().unwrap().spec.unwrap().template.spec.unwrap();
        let volumes: Vec<String> = pod.volumes.unwrap().into_iter().map(|volume| volume.name).collect();
        assert_eq!(volumes, ["s3-credentials", "s3-authorities", "identity", "tmp"]);
        assert_eq!(writable(&pod.containers[0]), ["/tmp"]);
        assert!(pod.containers[0].env.is_none());
    }
}
