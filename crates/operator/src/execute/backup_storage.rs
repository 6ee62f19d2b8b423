//! Where a backup Job writes and a restore Job reads: what its Pod mounts, and what its program is told of it. Talks to nothing.
//!
//! Credentials of a bucket are mounted into that one Pod; they are in no argument and no variable, and the operator never reads them.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, KeyToPath, PersistentVolumeClaimVolumeSource, SecretVolumeSource, Volume, VolumeMount,
};
use kkp_upgrade_core::request::{S3Bucket, Storage};

use super::job::mount;

const CLAIM_VOLUME: &str = "backup";
const CLAIM_FOLDER: &str = "/backup";
const CREDENTIALS_VOLUME: &str = "s3-credentials";
const CREDENTIALS_FOLDER: &str = "/s3-credentials";
const AUTHORITIES_VOLUME: &str = "s3-authorities";
const AUTHORITIES_FOLDER: &str = "/s3-authorities";
const AUTHORITIES_FILE: &str = "ca.pem";

/// What a storage, or anything else that a program reads, needs in the Pod.
pub(super) struct Mounted {
    pub(super) arguments: Vec<String>,
    pub(super) mounts: Vec<VolumeMount>,
    pub(super) volumes: Vec<Volume>,
}

impl Mounted {
    /// Adds what else is needed.
    pub(super) fn extend(&mut self, others: impl IntoIterator<Item = Self>) {
        for other in others {
            self.arguments.extend(other.arguments);
            self.mounts.extend(other.mounts);
            self.volumes.extend(other.volumes);
        }
    }

    /// Nothing of it can be written.
    pub(super) fn reading_only(mut self) -> Self {
        for mount in &mut self.mounts {
            mount.read_only = Some(true);
        }
        self
    }
}

/// The needs of a storage; an error says why it cannot be mounted.
pub(super) fn mounted(storage: &Storage) -> Result<Mounted, String> {
    match storage {
        Storage::Claim { claim, path } => on_claim(claim, path),
        Storage::S3(bucket) => Ok(in_bucket(bucket)),
    }
}

fn on_claim(claim: &str, path: &str) -> Result<Mounted, String> {
    let sub_path =
        sub_path(path).ok_or_else(|| format!("backup folder {path:?} must not leave its volume: remove `..`"))?;
    Ok(Mounted {
        arguments: vec![format!("--destination={CLAIM_FOLDER}")],
        mounts: vec![VolumeMount {
            sub_path: Some(sub_path).filter(|path| !path.is_empty()),
            ..mount(CLAIM_VOLUME, CLAIM_FOLDER)
        }],
        volumes: vec![claim_volume(claim)],
    })
}

fn in_bucket(bucket: &S3Bucket) -> Mounted {
    let mut arguments = vec![
        format!("--s3-bucket={}", bucket.bucket),
        format!("--s3-region={}", bucket.region),
        format!("--s3-credentials={CREDENTIALS_FOLDER}"),
    ];
    arguments.extend(
        bucket
            .endpoint
            .iter()
            .map(|endpoint| format!("--s3-endpoint={endpoint}")),
    );
    if !bucket.prefix.is_empty() {
        arguments.push(format!("--s3-prefix={}", bucket.prefix));
    }
    if !bucket.path_style {
        arguments.push("--s3-virtual-hosted".to_owned());
    }
    let mut mounts = vec![read_only(CREDENTIALS_VOLUME, CREDENTIALS_FOLDER)];
    let mut volumes = vec![secret_volume(&bucket.credentials)];
    if let Some((name, key)) = &bucket.ca_bundle {
        arguments.push(format!("--s3-ca-file={AUTHORITIES_FOLDER}/{AUTHORITIES_FILE}"));
        mounts.push(read_only(AUTHORITIES_VOLUME, AUTHORITIES_FOLDER));
        volumes.push(authorities_volume(name, key));
    }
    Mounted {
        arguments,
        mounts,
        volumes,
    }
}

pub(super) fn read_only(volume: &str, path: &str) -> VolumeMount {
    VolumeMount {
        read_only: Some(true),
        ..mount(volume, path)
    }
}

/// The whole Secret: its keys may be named in two ways, and files of a whole volume follow a rotation.
fn secret_volume(secret: &str) -> Volume {
    let source = SecretVolumeSource {
        secret_name: Some(secret.to_owned()),
        default_mode: Some(0o440),
        ..SecretVolumeSource::default()
    };
    Volume {
        name: CREDENTIALS_VOLUME.to_owned(),
        secret: Some(source),
        ..Volume::default()
    }
}

fn authorities_volume(config_map: &str, key: &str) -> Volume {
    let item = KeyToPath {
        key: key.to_owned(),
        mode: None,
        path: AUTHORITIES_FILE.to_owned(),
    };
    let source = ConfigMapVolumeSource {
        name: config_map.to_owned(),
        items: Some(vec![item]),
        ..ConfigMapVolumeSource::default()
    };
    Volume {
        name: AUTHORITIES_VOLUME.to_owned(),
        config_map: Some(source),
        ..Volume::default()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_stays_in_its_volume() {
        assert_eq!(sub_path(""), Some(String::new()));
        assert_eq!(sub_path("/a/./b/"), Some("a/b".to_owned()));
        assert_eq!(sub_path("a/../../b"), None);
    }
}
