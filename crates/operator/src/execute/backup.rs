//! The backup Job of one target. Reads the Seed live, because the Job mounts just the one key of the Secret with the seed's
//! kubeconfig; writes nothing.

use k8s_openapi::api::core::v1::{KeyToPath, SecretVolumeSource, Volume};
use kkp_upgrade_core::effect::{JobIntent, JobWork};
use kkp_upgrade_kkp::types::{Field, Seed};
use kube::{Api, Client};

use super::backup_storage::{Mounted, mounted, read_only};
use super::job::{Place, Work};
use crate::call::{CallError, call};

/// ServiceAccount of backups.
pub const SERVICE_ACCOUNT: &str = "kkp-upgrade-backup";
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

/// The Secret and key of the kubeconfig of the seed that is read with; `None` where the Job's own account reads.
///
/// # Errors
/// When the Seed cannot be read, or names no Secret that a Pod in this namespace could mount.
pub(super) async fn seed_kubeconfig(
    client: &Client,
    place: Place<'_>,
    seed: Option<&str>,
) -> Result<Option<SeedKubeconfig>, CallError> {
    let Some(name) = seed else { return Ok(None) };
    let seeds = Api::<Seed>::namespaced(client.clone(), place.namespace);
    let what = format!("read Seed {}/{name}", place.namespace);
    let seed = call(what.clone(), seeds.get(name)).await?;
    reference(&seed, place.namespace)
        .map(Some)
        .map_err(|problem| CallError::unusable(what, problem))
}

/// The Secret and key of the kubeconfig that a Seed names.
///
/// # Errors
/// When it names none that a Pod in this namespace could mount, in words that follow the Seed's name.
pub fn reference(seed: &Seed, namespace: &str) -> Result<SeedKubeconfig, String> {
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
        storage,
        folder,
        platform_version,
        recipients,
        cluster_uid,
        reader: _,
    } = &intent.work
    else {
        return Err(CallError::unusable(what(), "the intent is not a backup's"));
    };
    let mut mounted = mounted(storage).map_err(|problem| CallError::unusable(what(), problem))?;
    mounted.extend(kubeconfig.map(kubeconfig_mounted));
    mounted.arguments.extend([
        format!("--target={}", intent.target),
        format!("--namespace={}", place.namespace),
        format!("--name={folder}"),
        format!("--platform-version={platform_version}"),
    ]);
    let recipients = recipients.iter().map(|recipient| format!("--recipient={recipient}"));
    mounted.arguments.extend(recipients);
    let cluster_uid = cluster_uid.iter().map(|uid| format!("--cluster-uid={uid}"));
    mounted.arguments.extend(cluster_uid);
    Ok(Work {
        // A seed is spoken to with the seed's kubeconfig; the master's token has no business there.
        token: kubeconfig.is_none(),
        ..Work::of_program("backup", place.image, mounted)
    })
}

/// What a seed's kubeconfig needs in the Pod.
pub(super) fn kubeconfig_mounted(kubeconfig: &SeedKubeconfig) -> Mounted {
    Mounted {
        arguments: vec![format!("--kubeconfig={KUBECONFIG_FOLDER}/{KUBECONFIG_FILE}")],
        mounts: vec![read_only(KUBECONFIG_VOLUME, KUBECONFIG_FOLDER)],
        volumes: vec![kubeconfig_volume(kubeconfig)],
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
}
