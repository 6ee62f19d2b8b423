//! Files that a volume shows from objects: configMap, secret, downwardAPI, projected, and tokens with their renewal.
//!
//! Files are written once when the Pod starts; only tokens are written again later.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccountTokenProjection, VolumeProjection,
};
use kube::ResourceExt;

use super::cluster::Cluster;
use super::downward;
use super::sources::{Problem, Sources};

/// One file of a volume.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProjectedFile {
    pub path: String,
    pub content: Vec<u8>,
    pub mode: u32,
}

/// A token file that has to be renewed.
#[derive(Clone, Debug)]
pub(super) struct TokenFile {
    pub path: PathBuf,
    projection: ServiceAccountTokenProjection,
    mode: u32,
    pub renew_at: Timestamp,
}

/// The keys of an object as files: all, or those of `items`.
pub(super) fn of_keys(
    mut data: BTreeMap<String, Vec<u8>>,
    items: Option<&Vec<KeyToPath>>,
    mode: u32,
    optional: bool,
    name: &str,
) -> Result<Vec<ProjectedFile>, Problem> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(data
            .into_iter()
            .map(|(path, content)| ProjectedFile { path, content, mode })
            .collect());
    };
    let mut files = Vec::new();
    for item in items {
        match data.remove(&item.key) {
            Some(content) => files.push(ProjectedFile {
                path: item.path.clone(),
                content,
                mode: mode_of(item.mode, mode),
            }),
            None if optional => {}
            None => {
                return Err(Problem::volume(format!(
                    "references non-existent key {} of {name}",
                    item.key
                )));
            }
        }
    }
    Ok(files)
}

/// A mode of the API, or the default.
pub(super) fn mode_of(mode: Option<i32>, default: u32) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(default)
}

/// Fields of the Pod as files.
pub(super) fn of_fields(pod: &Pod, items: &[DownwardAPIVolumeFile], mode: u32) -> Result<Vec<ProjectedFile>, Problem> {
    let mut files = Vec::new();
    for item in items {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => downward::field(pod, &field.field_path),
            (None, Some(resource)) => {
                let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
                let wanted = resource.container_name.as_deref();
                containers
                    .into_iter()
                    .find(|container| Some(container.name.as_str()) == wanted)
                    .map(|container| downward::resource(container, &resource.resource, resource.divisor.as_ref()))
            }
            (None, None) => None,
        };
        let value = value.ok_or_else(|| Problem::volume(format!("unsupported source of file {}", item.path)))?;
        files.push(ProjectedFile {
            path: item.path.clone(),
            content: value.into_bytes(),
            mode: mode_of(item.mode, mode),
        });
    }
    Ok(files)
}

/// The files of one source of a projected volume, and its token if it is one.
pub(super) async fn of_projection(
    pod: &Pod,
    source: &VolumeProjection,
    mode: u32,
    folder: &Path,
    sources: &Sources<'_>,
) -> Result<(Vec<ProjectedFile>, Option<TokenFile>), Problem> {
    if let Some(wanted) = &source.config_map {
        let optional = wanted.optional.unwrap_or(false);
        let data = sources.config_map(&wanted.name, optional).await?;
        return Ok((
            of_keys(data, wanted.items.as_ref(), mode, optional, &wanted.name)?,
            None,
        ));
    }
    if let Some(wanted) = &source.secret {
        let optional = wanted.optional.unwrap_or(false);
        let data = sources.secret(&wanted.name, optional).await?;
        return Ok((
            of_keys(data, wanted.items.as_ref(), mode, optional, &wanted.name)?,
            None,
        ));
    }
    if let Some(wanted) = &source.downward_api {
        return Ok((of_fields(pod, wanted.items.as_deref().unwrap_or_default(), mode)?, None));
    }
    if let Some(wanted) = &source.service_account_token {
        let (content, renew_at) = request_token(pod, wanted, sources.cluster).await?;
        let token = TokenFile {
            path: folder.join(&wanted.path),
            projection: wanted.clone(),
            mode,
            renew_at,
        };
        return Ok((
            vec![ProjectedFile {
                path: wanted.path.clone(),
                content,
                mode,
            }],
            Some(token),
        ));
    }
    Err(Problem::volume(
        "a source of a projected volume is not supported by the lab",
    ))
}

/// Writes a fresh token in place of the old one.
pub(super) async fn renew(pod: &Pod, token: &mut TokenFile, cluster: &Cluster) -> Result<(), Problem> {
    let (content, renew_at) = request_token(pod, &token.projection, cluster).await?;
    token.renew_at = renew_at;
    write_file(&token.path, &content, token.mode)
}

async fn request_token(
    pod: &Pod,
    wanted: &ServiceAccountTokenProjection,
    cluster: &Cluster,
) -> Result<(Vec<u8>, Timestamp), Problem> {
    let seconds = wanted.expiration_seconds.unwrap_or(3600);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: wanted
                .audience
                .clone()
                .filter(|audience| !audience.is_empty())
                .into_iter()
                .collect(),
            expiration_seconds: Some(seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.uid(),
            }),
        },
        ..TokenRequest::default()
    };
    let namespace = pod.namespace().unwrap_or_default();
    let answer = cluster.token(&namespace, &downward::account(pod), &request).await?;
    let status = answer
        .status
        .ok_or_else(|| Problem::volume("the token request was answered without a token"))?;
    Ok((
        status.token.into_bytes(),
        renewal(Timestamp::now(), status.expiration_timestamp.0),
    ))
}

/// A token is renewed when four fifths of its time are over.
fn renewal(now: Timestamp, expires: Timestamp) -> Timestamp {
    let left = Duration::try_from(expires.duration_since(now)).unwrap_or_default();
    now.checked_add(left.mul_f64(0.8)).unwrap_or(expires)
}

/// Writes the files of a volume.
pub(super) fn write_files(folder: &Path, files: &[ProjectedFile]) -> Result<(), Problem> {
    for file in files {
        let path = Path::new(&file.path);
        if !path
            .components()
            .all(|component| matches!(component, Component::Normal(_)))
        {
            return Err(Problem::volume(format!("path {:?} would leave its volume", file.path)));
        }
        write_file(&folder.join(path), &file.content, file.mode)?;
    }
    Ok(())
}

/// Replaces a file in one step: a reader sees the old or the new one.
fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<(), Problem> {
    let problem = |error: std::io::Error| Problem::volume(format!("cannot write {}: {error}", path.display()));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(problem)?;
    }
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, content).map_err(problem)?;
    fs::set_permissions(&fresh, Permissions::from_mode(mode)).map_err(problem)?;
    fs::rename(&fresh, path).map_err(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())])
    }

    fn item(key: &str) -> KeyToPath {
        KeyToPath {
            key: key.to_owned(),
            mode: Some(0o400),
            path: format!("folder/{key}"),
        }
    }

    #[test]
    fn items_choose_rename_and_must_exist() {
        assert_eq!(of_keys(data(), None, 0o644, false, "x").unwrap().len(), 2);
        let chosen = of_keys(data(), Some(&vec![item("b")]), 0o644, false, "x").unwrap();
        assert_eq!(
            chosen,
            [ProjectedFile {
                path: "folder/b".to_owned(),
                content: b"2".to_vec(),
                mode: 0o400
            }]
        );
        assert!(of_keys(data(), Some(&vec![item("c")]), 0o644, false, "x").is_err());
        assert!(
            of_keys(data(), Some(&vec![item("c")]), 0o644, true, "x")
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn files_stay_in_their_volume_and_keep_their_mode() {
        let folder = tempfile::tempdir().unwrap();
        let file = |path: &str| ProjectedFile {
            path: path.to_owned(),
            content: b"x".to_vec(),
            mode: 0o440,
        };
        write_files(folder.path(), &[file("deep/er")]).unwrap();
        let mode = fs::metadata(folder.path().join("deep/er"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o440);
        assert!(write_files(folder.path(), &[file("../out")]).is_err());
    }

    #[test]
    fn tokens_are_renewed_before_they_expire() {
        let now = Timestamp::UNIX_EPOCH;
        let expires = Timestamp::from_second(1000).unwrap();
        assert_eq!(renewal(now, expires), Timestamp::from_second(800).unwrap());
        assert_eq!(renewal(expires, now), expires);
    }
}
