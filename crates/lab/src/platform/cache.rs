//! Ready platforms: installed once per topology and program, kept as a snapshot, started from a copy. Starts labs.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

use super::{Platform, PlatformError, PlatformFolder, PlatformImages, Topology};
use crate::{Lab, Topology as LabTopology};

/// How to start a platform.
pub struct StartOptions<'a> {
    /// The images.
    pub images: PlatformImages<'a>,
    /// The program that is executed again as the lab, see [`LabTopology::program`]; also part of the snapshot's key.
    pub program: PathBuf,
    /// Folder of the snapshots; without one the platform is installed anew.
    pub cache: Option<PathBuf>,
    /// Whether the API servers write audit logs.
    pub audit: bool,
}

/// A lab with a platform in it. The lab ends with the value.
pub struct Running {
    /// The platform. Declared first: it is dropped before the lab that it talks to.
    pub platform: Platform,
    /// The lab.
    pub lab: Lab,
}

impl Platform {
    /// Starts a lab with a ready platform: from the snapshot, which is made first if it is not there.
    ///
    /// # Errors
    /// See [`PlatformError`].
    pub async fn start(topology: &Topology, options: &StartOptions<'_>) -> Result<Running, PlatformError> {
        topology.check().map_err(PlatformError::Topology)?;
        let Some(cache) = &options.cache else {
            return install(topology, options).await;
        };
        let snapshot = cache.join(key(topology, &options.program)?);
        if !snapshot.exists() {
            let _lock = lock(&snapshot).await?;
            if !snapshot.exists() {
                make(topology, options, &snapshot).await?;
            }
        }
        let (folder, lab) = start_lab(topology, options, Some(snapshot)).await?;
        let platform = Self::from_snapshot(&lab, topology, folder).await?;
        Ok(Running { platform, lab })
    }
}

async fn install(topology: &Topology, options: &StartOptions<'_>) -> Result<Running, PlatformError> {
    let (folder, lab) = start_lab(topology, options, None).await?;
    let platform = Platform::install(&lab, topology, folder).await?;
    Ok(Running { platform, lab })
}

async fn start_lab(
    topology: &Topology,
    options: &StartOptions<'_>,
    data_from: Option<PathBuf>,
) -> Result<(PlatformFolder, Lab), PlatformError> {
    // Images first: Pods of a snapshot run as soon as the lab does, and a Pod without an image would be faked.
    let folder = PlatformFolder::create(topology, &options.images)?;
    let names = topology.planes();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let lab = Lab::start(LabTopology {
        images: Some(folder.images()),
        data_from,
        audit: options.audit,
        program: Some(options.program.clone()),
        ..LabTopology::of(&names)
    })
    .await?;
    Ok((folder, lab))
}

async fn make(topology: &Topology, options: &StartOptions<'_>, snapshot: &Path) -> Result<(), PlatformError> {
    tracing::info!(version = topology.version, "making the snapshot of a ready platform");
    let running = install(topology, options).await?;
    let unfinished = snapshot.with_extension(format!("new-{}", std::process::id()));
    running.lab.snapshot(&unfinished).await?;
    std::fs::rename(&unfinished, snapshot).map_err(PlatformError::Folder)?;
    Ok(running.lab.stop()?)
}

/// One process makes a snapshot, others wait for it.
async fn lock(snapshot: &Path) -> Result<Flock<File>, PlatformError> {
    let path = snapshot.with_extension("lock");
    let locked = tokio::task::spawn_blocking(move || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| std::io::Error::from(errno))
    });
    locked
        .await
        .map_err(std::io::Error::other)
        .and_then(|locked| locked)
        .map_err(PlatformError::Folder)
}

/// Changes with topology and program: both decide what is in the snapshot.
fn key(topology: &Topology, program: &Path) -> Result<String, PlatformError> {
    let mut hasher = Sha256::new();
    let text = serde_json::to_vec(topology).map_err(|error| PlatformError::Topology(error.to_string()))?;
    hasher.update(text);
    let mut file = File::open(program).map_err(PlatformError::Folder)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = std::io::Read::read(&mut file, &mut buffer).map_err(PlatformError::Folder)?;
        if read == 0 {
            break;
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
    let digest = hasher.finalize();
    let hex = digest
        .iter()
        .take(10)
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    Ok(format!("platform-{hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_changes_with_topology_and_program() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, "one").unwrap();
        let small = Topology::small("2.30.6");
        let first = key(&small, &program).unwrap();
        assert_eq!(key(&small, &program).unwrap(), first);
        assert_ne!(key(&Topology::small("2.31.0"), &program).unwrap(), first);
        std::fs::write(&program, "two").unwrap();
        assert_ne!(key(&small, &program).unwrap(), first);
    }
}
