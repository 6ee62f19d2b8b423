//! The volumes of a Pod as folders of the host.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{HostPathVolumeSource, Pod, Volume};

use super::claims;
use super::projection::{self, ProjectedFile, TokenFile, mode_of, of_fields, of_keys};
use super::sources::{Problem, Sources};

/// Mode of files of objects where the Pod names none.
const DEFAULT_MODE: u32 = 0o644;

/// One volume on the host.
#[derive(Clone, Debug)]
pub(super) struct PreparedVolume {
    pub path: PathBuf,
    pub read_only: bool,
}

/// All volumes of one run of a Pod.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    pub by_name: BTreeMap<String, PreparedVolume>,
    pub tokens: Vec<TokenFile>,
}

/// Makes every volume of the Pod below `folder`.
pub(super) async fn prepare(
    pod: &Pod,
    folder: &Path,
    work_folder: &Path,
    sources: &Sources<'_>,
) -> Result<Volumes, Problem> {
    let mut volumes = Volumes::default();
    let spec = pod.spec.as_ref();
    let group = spec
        .and_then(|spec| spec.security_context.as_ref()?.fs_group)
        .and_then(|group| u32::try_from(group).ok());
    for volume in spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let path = folder.join("volumes").join(&volume.name);
        let prepared = if let Some(claim) = &volume.persistent_volume_claim {
            let path = claims::provide(sources.cluster, work_folder, sources.namespace, &claim.claim_name).await?;
            PreparedVolume {
                path,
                read_only: claim.read_only.unwrap_or(false),
            }
        } else if let Some(host_path) = &volume.host_path {
            PreparedVolume {
                path: provide_host_path(host_path)?,
                read_only: false,
            }
        } else {
            make_folder(&path, 0o755)?;
            let read_only = fill(pod, volume, &path, sources, &mut volumes.tokens).await?;
            PreparedVolume { path, read_only }
        };
        if let Some(group) = group.filter(|_| volume.host_path.is_none()) {
            give_to_group(&prepared.path, group);
        }
        volumes.by_name.insert(volume.name.clone(), prepared);
    }
    Ok(volumes)
}

/// Binds the claims of a Pod that is faked: its `StatefulSet` would look broken otherwise.
pub(super) async fn bind_claims(pod: &Pod, work_folder: &Path, sources: &Sources<'_>) -> Result<(), Problem> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    for claim in volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref()) {
        claims::provide(sources.cluster, work_folder, sources.namespace, &claim.claim_name).await?;
    }
    Ok(())
}

/// Puts the files into an own volume; tells whether it is read-only.
async fn fill(
    pod: &Pod,
    volume: &Volume,
    folder: &Path,
    sources: &Sources<'_>,
    tokens: &mut Vec<TokenFile>,
) -> Result<bool, Problem> {
    if volume.empty_dir.is_some() {
        make_folder(folder, 0o777)?;
        return Ok(false);
    }
    let files = collect(pod, volume, folder, sources, tokens).await?;
    projection::write_files(folder, &files)?;
    Ok(true)
}

async fn collect(
    pod: &Pod,
    volume: &Volume,
    folder: &Path,
    sources: &Sources<'_>,
    tokens: &mut Vec<TokenFile>,
) -> Result<Vec<ProjectedFile>, Problem> {
    if let Some(wanted) = &volume.config_map {
        let optional = wanted.optional.unwrap_or(false);
        let data = sources.config_map(&wanted.name, optional).await?;
        return of_keys(
            data,
            wanted.items.as_ref(),
            mode_of(wanted.default_mode, DEFAULT_MODE),
            optional,
            &wanted.name,
        );
    }
    if let Some(wanted) = &volume.secret {
        let (optional, name) = (
            wanted.optional.unwrap_or(false),
            wanted.secret_name.clone().unwrap_or_default(),
        );
        let data = sources.secret(&name, optional).await?;
        return of_keys(
            data,
            wanted.items.as_ref(),
            mode_of(wanted.default_mode, DEFAULT_MODE),
            optional,
            &name,
        );
    }
    if let Some(wanted) = &volume.downward_api {
        return of_fields(
            pod,
            wanted.items.as_deref().unwrap_or_default(),
            mode_of(wanted.default_mode, DEFAULT_MODE),
        );
    }
    let Some(wanted) = &volume.projected else {
        return Err(Problem::volume(format!(
            "volume {} is of a kind that the lab does not have",
            volume.name
        )));
    };
    let mode = mode_of(wanted.default_mode, DEFAULT_MODE);
    let mut files = Vec::new();
    for source in wanted.sources.iter().flatten() {
        let (some, token) = projection::of_projection(pod, source, mode, folder, sources).await?;
        files.extend(some);
        tokens.extend(token);
    }
    Ok(files)
}

fn provide_host_path(source: &HostPathVolumeSource) -> Result<PathBuf, Problem> {
    let path = PathBuf::from(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let fits = match kind {
        "DirectoryOrCreate" => {
            make_folder(&path, 0o755)?;
            true
        }
        "FileOrCreate" => path.is_file() || fs::write(&path, "").is_ok(),
        "Directory" => path.is_dir(),
        "File" => path.is_file(),
        _ => path.exists(),
    };
    if fits {
        Ok(path)
    } else {
        Err(Problem::volume(format!(
            "hostPath type check failed: {} is not a {kind}",
            source.path
        )))
    }
}

fn make_folder(path: &Path, mode: u32) -> Result<(), Problem> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .map_err(|error| Problem::volume(format!("cannot make the folder {}: {error}", path.display())))
}

/// `fsGroup`: the group owns everything and may read and, where the owner may, write it.
///
/// Best effort: in a user namespace with one user no other group exists, and everything belongs to that user anyway.
fn give_to_group(path: &Path, group: u32) {
    let Ok(present) = path.symlink_metadata() else { return };
    if present.is_symlink() {
        return;
    }
    let mode = present.permissions().mode();
    let of_owner = (mode & 0o600) >> 3;
    let for_folder = if present.is_dir() { 0o2010 } else { 0 };
    if chown(path, None, Some(group)).is_ok() {
        let _ = fs::set_permissions(path, Permissions::from_mode(mode | of_owner | for_folder));
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        give_to_group(&entry.path(), group);
    }
}

/// The place of a `subPath` in its volume; made as a folder if nothing is there.
pub(super) fn sub_path(volume: &Path, sub_path: &str) -> Result<PathBuf, Problem> {
    let wanted = Path::new(sub_path);
    if !wanted
        .components()
        .all(|component| matches!(component, Component::Normal(_) | Component::CurDir))
    {
        return Err(Problem::config(format!("subPath {sub_path:?} must stay in its volume")));
    }
    let path = volume.join(wanted);
    if !path.exists() {
        make_folder(&path, 0o777)?;
    }
    let (inside, outside) = (path.canonicalize(), volume.canonicalize());
    match (inside, outside) {
        (Ok(path), Ok(volume)) if path.starts_with(&volume) => Ok(path),
        _ => Err(Problem::config(format!("subPath {sub_path:?} leads out of its volume"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_path_stays_in_its_volume() {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("volume");
        fs::create_dir(&volume).unwrap();
        std::os::unix::fs::symlink("/etc", volume.join("link")).unwrap();
        assert!(sub_path(&volume, "a/b").unwrap().is_dir());
        assert!(sub_path(&volume, "../x").is_err());
        assert!(sub_path(&volume, "link").is_err());
    }
}
