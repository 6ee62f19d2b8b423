//! Manifests of the Jobs.

use clap::Parser;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use kkp_upgrade_backup::BackupArguments;
use serde_json::json;

use super::super::backup::{SeedKubeconfig, work as backup_work};
use super::super::installer::work as installer_work;
use super::super::job::{Place, manifest};
use super::{backup, backup_on_s3, installer, intent};
use crate::context::{INTENT_ANNOTATION, UPGRADE_LABEL};
use crate::prepare::PrepareArguments;

const PLACE: Place<'static> = Place {
    namespace: "kubermatic",
    image: "registry.example.test/upgrade:1",
    upgrade: "up",
};

fn installer_job() -> Job {
    let intent = installer();
    manifest(PLACE, &intent, installer_work(PLACE, &intent).unwrap())
}

fn backup_job(target: &str, kubeconfig: Option<&SeedKubeconfig>) -> Job {
    let intent = backup(target);
    manifest(PLACE, &intent, backup_work(PLACE, &intent, kubeconfig).unwrap())
}

fn seed_kubeconfig() -> SeedKubeconfig {
    SeedKubeconfig {
        secret: "kubeconfig-eu".to_owned(),
        key: "eu.conf".to_owned(),
    }
}

fn pod(job: Job) -> PodSpec {
    job.spec.unwrap().template.spec.unwrap()
}

fn arguments(container: &Container) -> Vec<String> {
    [container.command.clone().unwrap(), container.args.clone().unwrap()].concat()
}

#[test]
fn every_job_runs_once_restricted_and_without_an_owner() {
    for job in [
        installer_job(),
        backup_job("master", None),
        backup_job("eu", Some(&seed_kubeconfig())),
    ] {
        let spec = job.spec.clone().unwrap();
        assert_eq!(job.metadata.owner_references, None);
        assert_eq!(
            (spec.backoff_limit, spec.completions, spec.parallelism),
            (Some(0), Some(1), Some(1))
        );
        assert_eq!(spec.pod_replacement_policy.as_deref(), Some("Failed"));
        assert_eq!(
            (spec.ttl_seconds_after_finished, spec.active_deadline_seconds),
            (None, None)
        );
        let template = spec.template.metadata.unwrap();
        assert_eq!(template.labels, job.metadata.labels);
        assert_eq!(
            template.annotations.unwrap()["cluster-autoscaler.kubernetes.io/safe-to-evict"],
            "false"
        );
        assert_eq!(
            job.metadata.labels.as_ref().unwrap()[UPGRADE_LABEL],
            "11111111-2222-3333-4444-555555555555"
        );
        let pod = pod(job);
        assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
        let security = pod.security_context.unwrap();
        assert_eq!((security.run_as_user, security.fs_group), (Some(65534), Some(65534)));
        for container in pod.init_containers.into_iter().flatten().chain(pod.containers) {
            assert_eq!(
                container.termination_message_policy.as_deref(),
                Some("FallbackToLogsOnError")
            );
            assert_eq!(
                serde_json::to_value(container.security_context).unwrap(),
                json!({
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true,
                    "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"},
                })
            );
            assert!(
                container
                    .volume_mounts
                    .unwrap()
                    .iter()
                    .any(|mount| mount.mount_path == "/tmp")
            );
            assert!(container.resources.unwrap().limits.unwrap().contains_key("memory"));
        }
    }
}

#[test]
fn the_same_intent_gives_the_same_job_and_another_one_another_digest() {
    assert_eq!(installer_job(), installer_job());
    let digest = |job: &Job| job.metadata.annotations.as_ref().unwrap()[INTENT_ANNOTATION].clone();
    assert_eq!(digest(&installer_job()), installer().digest());
    assert_ne!(digest(&installer_job()), digest(&backup_job("master", None)));
}

#[test]
fn the_installer_runs_behind_its_init_container_in_the_work_folder() {
    let pod = pod(installer_job());
    assert_eq!(pod.service_account_name.as_deref(), Some("kkp-upgrade-installer"));
    assert_eq!(pod.automount_service_account_token, Some(true));
    assert_eq!(pod.image_pull_secrets.unwrap()[0].name, "dockercfg");
    assert_eq!(
        pod.init_containers.as_ref().unwrap()[0].image.as_deref(),
        Some(PLACE.image)
    );
    let main = &pod.containers[0];
    assert_eq!(main.name, "installer");
    assert_eq!(
        main.image.as_deref(),
        Some("mirror.example.test:5000/kkp/kubermatic-ee:v2.31.0")
    );
    assert_eq!(
        arguments(main).join(" "),
        "kubermatic-installer deploy kubermatic-master --skip-charts cert-manager --kubeconfig /work/kubeconfig \
         --helm-values /work/values.yaml --skip-dependencies --helm-timeout 600s -o json"
    );
    assert_eq!(main.working_dir.as_deref(), Some("/work/run"));
    let environment = main.env.as_ref().unwrap().iter();
    let environment: Vec<String> = environment
        .map(|entry| format!("{}={}", entry.name, entry.value.as_deref().unwrap()))
        .collect();
    assert_eq!(
        environment.join(" "),
        "KUBECONFIG=/work/kubeconfig HELM_CACHE_HOME=/work/helm/cache HELM_CONFIG_HOME=/work/helm/config \
         HELM_DATA_HOME=/work/helm/data HOME=/work/home TMPDIR=/work/tmp \
         HTTPS_PROXY=http://proxy.example.test:3128"
    );
}

#[test]
fn the_init_containers_arguments_are_those_that_prepare_takes() {
    #[derive(Parser)]
    struct Prepare {
        #[command(flatten)]
        arguments: PrepareArguments,
    }
    let init = pod(installer_job()).init_containers.unwrap().remove(0);
    let environment: Vec<String> = init.env.clone().unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(environment, ["POD_NAMESPACE", "POD_UID"]);
    let given = arguments(&init);
    assert_eq!(given[..2], ["kkp-upgrade-operator", "prepare"]);
    // What comes from the environment of a Pod is given as flags here.
    let from_pod = [
        "--namespace=kubermatic",
        "--pod-uid=p",
        "--server-host=10.0.0.1",
        "--server-port=443",
    ];
    let parsed = Prepare::try_parse_from(given[1..].iter().map(String::as_str).chain(from_pod))
        .unwrap()
        .arguments;
    let intent = installer();
    assert_eq!(
        (parsed.upgrade.as_str(), &parsed.upgrade_uid, &parsed.job),
        ("up", &intent.uid, &intent.name)
    );
    assert_eq!(
        (parsed.intent, parsed.values_digest.as_str()),
        (intent.digest(), "sha256:values")
    );
    let secret = parsed.values_secret.zip(parsed.values_key);
    assert_eq!(secret, Some(("values".to_owned(), "values.yaml".to_owned())));
    assert_eq!(parsed.running_repository, "mirror.example.test:5000/kkp/kubermatic-ee");
}

#[test]
fn the_installer_is_made_for_the_master_only() {
    let intent = intent("eu", installer().work);
    let error = installer_work(PLACE, &intent).err().unwrap();
    assert!(error.to_string().contains("on the master only, not on eu"), "{error}");
}

#[test]
fn the_backup_programs_arguments_are_those_that_it_takes() {
    #[derive(Parser)]
    struct Backup {
        #[command(flatten)]
        arguments: BackupArguments,
    }
    let parse = |pod: &PodSpec| {
        let given = arguments(&pod.containers[0]);
        assert_eq!(given[..2], ["kkp-upgrade-operator", "backup"]);
        Backup::try_parse_from(&given[1..]).unwrap().arguments
    };
    let master = pod(backup_job("master", None));
    let parsed = parse(&master);
    assert_eq!((parsed.target.as_str(), parsed.kubeconfig), ("master", None));
    assert_eq!(parsed.store.destination.unwrap().to_str(), Some("/backup"));
    assert_eq!(
        (parsed.name.as_str(), parsed.platform_version.as_str()),
        ("2.30.6-to-2.31.0-11111111-run1-1", "2.30.6")
    );
    assert_eq!(parsed.recipients, ["age1one", "age1two"]);
    assert_eq!(master.automount_service_account_token, Some(true));

    let seed = pod(backup_job("eu", Some(&seed_kubeconfig())));
    let parsed = parse(&seed);
    assert_eq!(
        (parsed.target.as_str(), parsed.kubeconfig.unwrap().to_str()),
        ("eu", Some("/seed/kubeconfig"))
    );
    assert_eq!(seed.automount_service_account_token, Some(false));
}

#[test]
fn a_backup_mounts_the_folder_of_the_claim_and_one_key_of_the_seeds_secret() {
    let pod = pod(backup_job("eu", Some(&seed_kubeconfig())));
    assert_eq!(pod.service_account_name.as_deref(), Some("kkp-upgrade-backup"));
    let volumes = pod.volumes.unwrap();
    assert_eq!(
        serde_json::to_value(&volumes[..2]).unwrap(),
        json!([
            {"name": "backup", "persistentVolumeClaim": {"claimName": "backups"}},
            {"name": "seed-kubeconfig", "secret": {
                "secretName": "kubeconfig-eu", "defaultMode": 0o440, "items": [{"key": "eu.conf", "path": "kubeconfig"}],
            }},
        ])
    );
    assert_eq!(
        serde_json::to_value(&pod.containers[0].volume_mounts.as_ref().unwrap()[..2]).unwrap(),
        json!([
            {"name": "backup", "mountPath": "/backup", "subPath": "platform/prod"},
            {"name": "seed-kubeconfig", "mountPath": "/seed", "readOnly": true},
        ])
    );
}

#[test]
fn a_backup_in_a_bucket_mounts_credentials_and_authorities_and_says_neither() {
    #[derive(Parser)]
    struct Backup {
        #[command(flatten)]
        arguments: BackupArguments,
    }
    let intent = backup_on_s3();
    let pod = pod(manifest(PLACE, &intent, backup_work(PLACE, &intent, None).unwrap()));
    let given = arguments(&pod.containers[0]);
    let parsed = Backup::try_parse_from(&given[1..]).unwrap().arguments;
    assert_eq!(parsed.store.destination, None);
    let bucket = parsed.store.bucket;
    assert_eq!(
        (bucket.bucket.as_deref(), bucket.endpoint.as_deref()),
        (Some("backups"), Some("https://s3.example.test:9000"))
    );
    assert_eq!(
        (bucket.prefix.as_str(), bucket.region.as_str()),
        ("platform/prod", "eu-central-1")
    );
    assert!(!bucket.virtual_hosted);
    assert_eq!(bucket.authorities.unwrap().to_str(), Some("/s3-authorities/ca.pem"));
    assert_eq!(bucket.credentials.unwrap().to_str(), Some("/s3-credentials"));
    assert!(pod.containers[0].env.is_none());
    assert_eq!(
        serde_json::to_value(&pod.volumes.unwrap()[..2]).unwrap(),
        json!([
            {"name": "s3-credentials", "secret": {"secretName": "backup-credentials", "defaultMode": 0o440}},
            {"name": "s3-authorities", "configMap": {"name": "ca-bundle", "items": [{"key": "ca.pem", "path": "ca.pem"}]}},
        ])
    );
    let both = [
        "backup",
        "--target=a",
        "--name=b",
        "--recipient=c",
        "--destination=/backup",
        "--s3-bucket=d",
    ];
    assert!(Backup::try_parse_from(both).is_err());
    assert!(Backup::try_parse_from(&both[..4]).is_err());
}

#[test]
fn a_long_target_fits_into_its_label() {
    let intent = backup(&format!("{}.x", "a".repeat(62)));
    let job = manifest(PLACE, &intent, backup_work(PLACE, &intent, None).unwrap());
    assert_eq!(job.metadata.labels.unwrap()["upgrade.k8c.io/target"], "a".repeat(62));
}
