//! Resolves a container of the API into what the sandbox runs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use kube::ResourceExt;

use super::decision::Program;
use super::environment::{self, Environment};
use super::sources::{Problem, Sources};
use super::users;
use super::volumes::{Volumes, sub_path};
use crate::sandbox::{ContainerSpec, Mount};

/// Where everything of one run of a Pod lies.
pub(super) struct Places<'a> {
    /// Folder of this run.
    pub folder: &'a Path,
    /// Port of the API server.
    pub api_port: u16,
    /// Log file of the container.
    pub log: PathBuf,
}

/// File on the host with the container's termination message.
pub(super) fn message_file(folder: &Path, container: &str) -> PathBuf {
    folder.join("messages").join(container)
}

/// Everything resolved; a [`Problem`] may go away by itself.
pub(super) async fn resolve(
    pod: &Pod,
    container: &Container,
    program: &Program,
    volumes: &Volumes,
    places: &Places<'_>,
    sources: &Sources<'_>,
) -> Result<ContainerSpec, Problem> {
    let environment = environment::of_container(pod, container, &program.image, places.api_port, sources).await?;
    let argv = program
        .argv
        .iter()
        .map(|argument| environment.expand(argument))
        .collect();
    let mounts = mounts(container, program, volumes, places.folder, &environment)?;
    let scratch = places.folder.join("roots").join(&container.name);
    fs::create_dir_all(&scratch)
        .map_err(|error| Problem::config(format!("cannot make {}: {error}", scratch.display())))?;
    let security = container.security_context.as_ref();
    Ok(ContainerSpec {
        rootfs: program.image.rootfs.clone(),
        scratch,
        mounts,
        host_libraries: program.image.lab.host_libraries,
        read_only_root: security
            .and_then(|context| context.read_only_root_filesystem)
            .unwrap_or(false),
        hostname: pod.name_any().chars().take(63).collect(),
        credentials: users::resolve(pod, container, &program.image)?,
        working_directory: program.working_directory.clone(),
        program: program.file.clone(),
        argv,
        environment: environment.into_variables(),
        log: places.log.clone(),
    })
}

fn mounts(
    container: &Container,
    program: &Program,
    volumes: &Volumes,
    folder: &Path,
    environment: &Environment,
) -> Result<Vec<Mount>, Problem> {
    let mut mounts = Vec::new();
    for mount in &program.image.lab.mounts {
        if !mount.source.exists() {
            make_open_folder(&mount.source)?;
        }
        mounts.push(Mount {
            source: mount.source.clone(),
            target: mount.target.clone(),
            read_only: mount.read_only,
        });
    }
    for mount in container.volume_mounts.iter().flatten() {
        mounts.push(volume_mount(mount, volumes, environment)?);
    }
    let message = message_file(folder, &container.name);
    write_empty(&message)?;
    let target = container
        .termination_message_path
        .clone()
        .unwrap_or_else(|| "/dev/termination-log".to_owned());
    mounts.push(Mount {
        source: message,
        target: target.into(),
        read_only: false,
    });
    Ok(mounts)
}

fn volume_mount(mount: &VolumeMount, volumes: &Volumes, environment: &Environment) -> Result<Mount, Problem> {
    let volume = volumes.by_name.get(&mount.name).ok_or_else(|| {
        Problem::config(format!(
            "volume {:?} of mount {} is not in the Pod",
            mount.name, mount.mount_path
        ))
    })?;
    let expression = mount
        .sub_path_expr
        .as_ref()
        .map(|expression| environment.expand(expression));
    let below = expression
        .or_else(|| mount.sub_path.clone())
        .filter(|path| !path.is_empty());
    let source = match below {
        Some(below) => sub_path(&volume.path, &below)?,
        None => volume.path.clone(),
    };
    let read_only = volume.read_only || mount.read_only.unwrap_or(false);
    Ok(Mount {
        source,
        target: PathBuf::from(&mount.mount_path),
        read_only,
    })
}

/// The termination message file of a fresh start, writable for every user.
fn write_empty(path: &Path) -> Result<(), Problem> {
    let written = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, ""))
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o666)));
    written.map_err(|error| Problem::config(format!("cannot make {}: {error}", path.display())))
}

/// A folder of `lab.json`, writable for whatever user the containers have.
fn make_open_folder(path: &Path) -> Result<(), Problem> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o777)))
        .map_err(|error| {
            Problem::config(format!(
                "cannot make the folder {} of lab.json: {error}",
                path.display()
            ))
        })
}
