//! The backup Job of one target. Reads the Seed live, because the Job mounts just the one key of the Secret with the seed's
//! kubeconfig; writes nothing.

use k8s_openapi::api::core::v1::{
    Container, KeyToPath, PersistentVolumeClaimVolumeSource, SecretVolumeSource, Volume, VolumeMount,
};
use kkp_upgrade_core::effect::{JobIntent, JobWork};
use kkp_upgrade_core::plan::MASTER;
use kkp_upgrade_kkp::types::{Field, Seed};
use kube::{Api, Client};

use super::job::{PROGRAM, Place, Work, mount, resources};
use crate::call::{CallError, call};

/// ServiceAccount of backups.
pub const SERVICE_ACCOUNT: &str = "kkp-upgrade-backup";
const CLAIM_VOLUME: &str = "backup";
const CLAIM_FOLDER: &str = "/backup";
const KUBECONFIG_VOLUME: &str = "seed-kubeconfig";
const KUBECONFIG_FOLDER: &str = "/seed";
const KUBECONFIG_FILE: &str = "kubeconfig";
/// Key that KKP takes where the Seed names none (KKP 2.31 source, `pkg/provider`).
const DEFAULT_KEY: &str = "kubeconfig";

/// Where a seed's kubeconfig lies, in the namespace of the Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedKubeconfig {
    /// Name of the Secret.
    pub secret: String,
    /// Key in it.
    pub key: String,
}

/// The Secret and key of a seed's kubeconfig; `None` for the master.
///
/// # Errors
/// When the Seed cannot be read, or names no Secret that a Pod in this namespace could mount.
pub(super) async fn seed_kubeconfig(
    client: &Client,
    place: Place<'_>,
    target: &str,
) -> Result<Option<SeedKubeconfig>, CallError> {
    if target == MASTER {
        return Ok(None);
    }
    let seeds = Api::<Seed>::namespaced(client.clone(), place.namespace);
    let what = format!("read Seed {}/{target}", place.namespace);
    let seed = call(what.clone(), seeds.get(target)).await?;
    reference(&seed, place.namespace)
        .map(Some)
        .map_err(|problem| CallError::unusable(what, problem))
}

fn reference(seed: &Seed, namespace: &str) -> Result<SeedKubeconfig, String> {
    let kubeconfig = &seed.spec.kubeconfig;
    let unreadable = [&kubeconfig.name, &kubeconfig.namespace, &kubeconfig.field_path];
    if unreadable.iter().any(|field| field.is_unreadable()) {
        return Err("spec.kubeconfig cannot be read: correct its fields".to_owned());
    }
    let Some(secret) = kubeconfig.name.get().filter(|name| !name.is_empty()) else {
        return Err("spec.kubeconfig names no Secret: set its name".to_owned());
    };
    if let Some(other) = kubeconfig
        .namespace
        .get()
        .filter(|other| !other.is_empty() && *other != namespace)
    {
        return Err(format!(
            "its kubeconfig Secret lies in namespace {other}: keep it in {namespace}, where the backup runs"
        ));
    }
    let key = match &kubeconfig.field_path {
        Field::Set(key) if !key.is_empty() => key.clone(),
        _ => DEFAULT_KEY.to_owned(),
    };
    Ok(SeedKubeconfig {
        secret: secret.clone(),
        key,
    })
}

pub(super) fn work(
    place: Place<'_>,
    intent: &JobIntent,
    kubeconfig: Option<&SeedKubeconfig>,
) -> Result<Work, CallError> {
    let what = || format!("create Job {}/{}", place.namespace, intent.name);
    let JobWork::Backup {
        claim,
        path,
        folder,
        platform_version,
        cluster_uid,
    } = &intent.work
    else {
        return Err(CallError::unusable(what(), "the intent is not a backup's"));
    };
    let sub_path = sub_path(path).ok_or_else(|| {
        CallError::unusable(
            what(),
            format!("backup folder {path:?} must not leave its volume: remove `..`"),
        )
    })?;
    let mut arguments = vec![
        format!("--target={}", intent.target),
        format!("--namespace={}", place.namespace),
        format!("--destination={CLAIM_FOLDER}"),
        format!("--name={folder}"),
        format!("--platform-version={platform_version}"),
    ];
    arguments.extend(cluster_uid.iter().map(|uid| format!("--cluster-uid={uid}")));
    let mut mounts = vec![VolumeMount {
        sub_path: Some(sub_path).filter(|path| !path.is_empty()),
        ..mount(CLAIM_VOLUME, CLAIM_FOLDER)
    }];
    let mut volumes = vec![claim_volume(claim)];
    if let Some(kubeconfig) = kubeconfig {
        arguments.push(format!("--kubeconfig={KUBECONFIG_FOLDER}/{KUBECONFIG_FILE}"));
        mounts.push(VolumeMount {
            read_only: Some(true),
            ..mount(KUBECONFIG_VOLUME, KUBECONFIG_FOLDER)
        });
        volumes.push(kubeconfig_volume(kubeconfig));
    }
    Ok(Work {
        service_account: SERVICE_ACCOUNT,
        // A seed is spoken to with the seed's kubeconfig; the master's token has no business there.
        token: kubeconfig.is_none(),
        init_containers: Vec::new(),
        container: Container {
            name: "backup".to_owned(),
            image: Some(place.image.to_owned()),
            command: Some(vec![PROGRAM.to_owned(), "backup".to_owned()]),
            args: Some(arguments),
            resources: Some(resources("100m", "128Mi", "1Gi")),
            volume_mounts: Some(mounts),
            ..Container::default()
        },
        volumes,
    })
}

/// The folder as a `subPath`, which the kubelet makes where it is missing: empty for the volume's root, `None` for one that
/// leads out of the volume.
fn sub_path(path: &str) -> Option<String> {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

fn claim_volume(claim: &str) -> Volume {
    let source = PersistentVolumeClaimVolumeSource {
        claim_name: claim.to_owned(),
        read_only: None,
    };
    Volume {
        name: CLAIM_VOLUME.to_owned(),
        persistent_volume_claim: Some(source),
        ..Volume::default()
    }
}

fn kubeconfig_volume(kubeconfig: &SeedKubeconfig) -> Volume {
    let item = KeyToPath {
        key: kubeconfig.key.clone(),
        mode: None,
        path: KUBECONFIG_FILE.to_owned(),
    };
    let source = SecretVolumeSource {
        secret_name: Some(kubeconfig.secret.clone()),
        items: Some(vec![item]),
        default_mode: Some(0o440),
        optional: None,
    };
    Volume {
        name: KUBECONFIG_VOLUME.to_owned(),
        secret: Some(source),
        ..Volume::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seed(kubeconfig: &serde_json::Value) -> Result<SeedKubeconfig, String> {
        let seed = serde_json::from_value(json!({"metadata": {"name": "eu"}, "spec": {"kubeconfig": kubeconfig}}));
        reference(&seed.unwrap(), "kubermatic")
    }

    #[test]
    fn secret_and_key_come_from_the_seed() {
        let found = |secret: &str, key: &str| {
            Ok(SeedKubeconfig {
                secret: secret.to_owned(),
                key: key.to_owned(),
            })
        };
        assert_eq!(seed(&json!({"name": "k"})), found("k", "kubeconfig"));
        assert_eq!(
            seed(&json!({"name": "k", "namespace": "kubermatic", "fieldPath": "eu.conf"})),
            found("k", "eu.conf")
        );
        assert!(
            seed(&json!({"name": "k", "namespace": "other"}))
                .unwrap_err()
                .contains("namespace other")
        );
        assert!(seed(&json!({})).unwrap_err().contains("names no Secret"));
        assert!(
            seed(&json!({"name": "k", "fieldPath": 7}))
                .unwrap_err()
                .contains("cannot be read")
        );
    }

    #[test]
    fn the_folder_stays_in_its_volume() {
        assert_eq!(sub_path(""), Some(String::new()));
        assert_eq!(sub_path("/a/./b/"), Some("a/b".to_owned()));
        assert_eq!(sub_path("a/../../b"), None);
    }
}
