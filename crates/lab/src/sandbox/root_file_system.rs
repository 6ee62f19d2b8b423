//! Builds the root file system of a container in the mount namespace of the calling process.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::rooted_path::resolve;
use super::spec::{ContainerSpec, Mount};
use super::{SandboxError, Step};

const NOTHING: Option<&str> = None;

/// What a dynamically linked program of the host needs besides itself.
const HOST_LIBRARIES: [&str; 7] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/libexec",
    "/etc/ld.so.cache",
    "/nix/store",
];

/// Name resolution of the host: containers share its network.
const HOST_NETWORK_FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// Mounts everything but `/proc` and returns the folder that is to become `/`.
pub(super) fn build(spec: &ContainerSpec) -> Result<PathBuf, SandboxError> {
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)
        .step(|| "make the mounts private".to_owned())?;
    let root = mount_overlay(&spec.rootfs, &spec.scratch)?;
    for folder in ["proc", "dev", "etc"] {
        make_folder(&inside(&root, Path::new(folder))?)?;
    }
    let temporary = inside(&root, Path::new("tmp"))?;
    make_folder(&temporary)?;
    if !spec.read_only_root {
        fs::set_permissions(&temporary, Permissions::from_mode(0o1777)).step(|| "open /tmp to all".to_owned())?;
    }
    make_folder(&inside(&root, &spec.working_directory)?)?;
    mount_devices(&root)?;
    for mount in mounts_in_order(spec) {
        bind(&root, &mount)?;
    }
    if spec.read_only_root {
        make_read_only(&root)?;
    }
    Ok(root)
}

/// Host files first, then the Pod's mounts, outer before inner.
fn mounts_in_order(spec: &ContainerSpec) -> Vec<Mount> {
    let libraries: &[&str] = if spec.host_libraries { &HOST_LIBRARIES } else { &[] };
    let from_host = libraries
        .iter()
        .chain(&HOST_NETWORK_FILES)
        .map(Path::new)
        .filter(|path| path.exists());
    let mut mounts: Vec<Mount> = from_host
        .map(|path| Mount {
            source: path.into(),
            target: path.into(),
            read_only: true,
        })
        .collect();
    let mut of_pod = spec.mounts.clone();
    of_pod.sort_by_key(|mount| mount.target.components().count());
    mounts.extend(of_pod);
    mounts
}

/// An overlay of the image below and a fresh tmpfs above.
fn mount_overlay(rootfs: &Path, scratch: &Path) -> Result<PathBuf, SandboxError> {
    mount(
        Some("tmpfs"),
        scratch,
        Some("tmpfs"),
        MsFlags::MS_NODEV,
        Some("mode=0755"),
    )
    .step(|| format!("mount a tmpfs on {}", scratch.display()))?;
    for name in ["lower", "upper", "work", "root"] {
        make_folder(&scratch.join(name))?;
    }
    // The image's own path may hold colons (tags), which overlayfs reads as separators.
    mount(
        Some(rootfs),
        &scratch.join("lower"),
        NOTHING,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        NOTHING,
    )
    .step(|| format!("bind the image's root {}", rootfs.display()))?;
    std::env::set_current_dir(scratch).step(|| format!("enter {}", scratch.display()))?;
    let layers = "lowerdir=lower,upperdir=upper,workdir=work";
    mount(Some("overlay"), "root", Some("overlay"), MsFlags::empty(), Some(layers))
        .step(|| "mount the container's root (overlayfs)".to_owned())?;
    Ok(scratch.join("root"))
}

/// `/dev` with the devices that every program may expect; bound from the host because making devices needs more rights.
fn mount_devices(root: &Path) -> Result<(), SandboxError> {
    let devices = inside(root, Path::new("dev"))?;
    mount(
        Some("tmpfs"),
        &devices,
        Some("tmpfs"),
        MsFlags::MS_NOSUID,
        Some("mode=0755"),
    )
    .step(|| "mount /dev".to_owned())?;
    for name in ["null", "zero", "full", "random", "urandom"] {
        let path = Path::new("/dev").join(name);
        bind(
            root,
            &Mount {
                source: path.clone(),
                target: path,
                read_only: false,
            },
        )?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, devices.join(name)).step(|| format!("link /dev/{name}"))?;
    }
    let shared_memory = devices.join("shm");
    make_folder(&shared_memory)?;
    mount(
        Some("tmpfs"),
        &shared_memory,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=1777"),
    )
    .step(|| "mount /dev/shm".to_owned())
}

/// Shows a host folder or file inside; makes the mount point.
fn bind(root: &Path, wanted: &Mount) -> Result<(), SandboxError> {
    let target = inside(root, &wanted.target)?;
    if wanted.source.is_dir() {
        make_folder(&target)?;
    } else {
        if let Some(parent) = target.parent() {
            make_folder(parent)?;
        }
        if !target.exists() {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&target)
                .step(|| format!("make the mount point {}", wanted.target.display()))?;
        }
    }
    mount(
        Some(&wanted.source),
        &target,
        NOTHING,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        NOTHING,
    )
    .step(|| format!("mount {} on {}", wanted.source.display(), wanted.target.display()))?;
    if wanted.read_only {
        make_read_only(&target)
    } else {
        Ok(())
    }
}

/// Refuses writes on a mount; keeps its other flags, which a user namespace may not drop.
fn make_read_only(target: &Path) -> Result<(), SandboxError> {
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    let present = statvfs(target)
        .step(|| format!("read the mount flags of {}", target.display()))?
        .flags();
    for (have, keep) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        if present.contains(have) {
            flags |= keep;
        }
    }
    mount(NOTHING, target, NOTHING, flags, NOTHING).step(|| format!("make {} read-only", target.display()))
}

fn inside(root: &Path, path: &Path) -> Result<PathBuf, SandboxError> {
    resolve(root, path)
        .ok_or_else(|| std::io::Error::from_raw_os_error(nix::errno::Errno::ELOOP as i32))
        .step(|| format!("follow the links of {}", path.display()))
}

fn make_folder(path: &Path) -> Result<(), SandboxError> {
    fs::create_dir_all(path).step(|| format!("make the folder {}", path.display()))
}

/// A fresh `/proc` of the container's PID namespace.
///
/// Where the host hides parts of its own `/proc`, a user namespace may not mount a new one; then the host's is shown.
pub(super) fn mount_proc(root: &Path) -> Result<(), SandboxError> {
    let target = root.join("proc");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &target, Some("proc"), flags, NOTHING)
        .or_else(|_| {
            mount(
                Some("/proc"),
                &target,
                NOTHING,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                NOTHING,
            )
        })
        .step(|| "mount /proc".to_owned())
}
