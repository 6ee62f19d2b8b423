//! The folder of a platform on the host: image folder, and the state of the stand-ins (script and ledger). Never talks to a cluster.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::PlatformError;
use super::topology::Topology;
use crate::image_folder::{ImageFolder, ImageSource, LabMount};

/// Where the stand-ins see their state.
const STATE_TARGET: &str = "/var/lib/kkp-stand-in";

/// What the caller has to make an image for.
#[derive(Clone, Debug)]
pub struct ImageRequest {
    /// Reference of the image.
    pub reference: String,
    /// Version of KKP, without `v`.
    pub version: String,
    /// Enterprise Edition.
    pub enterprise: bool,
}

/// Where the images of the platform come from. The lab itself knows no program of KKP.
pub struct PlatformImages<'a> {
    /// Versions to have images for, beside the topology's.
    pub versions: Vec<String>,
    /// Makes the content of an image.
    pub make: &'a (dyn Fn(&ImageRequest) -> Result<ImageSource, String> + Sync),
    /// `NAME=DIR`: images that are there already, instead of made ones.
    pub overrides: Vec<(String, PathBuf)>,
    /// More images, for example of the program under test.
    pub more: Vec<(String, ImageSource)>,
}

/// The folder.
#[derive(Debug)]
pub struct PlatformFolder {
    folder: tempfile::TempDir,
}

impl PlatformFolder {
    /// Makes the folder with all images.
    ///
    /// # Errors
    /// When an image can't be made.
    pub fn create(topology: &Topology, images: &PlatformImages<'_>) -> Result<Self, PlatformError> {
        let folder = tempfile::Builder::new()
            .prefix("kkp-platform-")
            .tempdir()
            .map_err(PlatformError::Folder)?;
        let this = Self { folder };
        std::fs::create_dir_all(this.state()).map_err(PlatformError::Folder)?;
        // The stand-ins run as another user in their containers.
        open_to_all(this.folder.path(), 0o755)?;
        open_to_all(&this.state(), 0o777)?;
        let target = ImageFolder::new(this.images());
        let own = std::iter::once(&topology.version).chain(&images.versions);
        let versions: std::collections::BTreeSet<&str> = own.map(|version| version.trim_start_matches('v')).collect();
        for version in versions {
            this.make(topology, version, images, &target)?;
        }
        for (reference, source) in &images.more {
            target.add(reference, source)?;
        }
        for (reference, folder) in &images.overrides {
            target.link(reference, folder)?;
        }
        Ok(this)
    }

    fn make(
        &self,
        topology: &Topology,
        version: &str,
        images: &PlatformImages<'_>,
        target: &ImageFolder,
    ) -> Result<(), PlatformError> {
        let reference = topology.image(version);
        let request = ImageRequest {
            reference: reference.clone(),
            version: version.to_owned(),
            enterprise: topology.enterprise,
        };
        let mut source = (images.make)(&request).map_err(|message| PlatformError::Image {
            reference: reference.clone(),
            message,
        })?;
        source.lab.mounts.push(LabMount {
            source: self.state(),
            target: STATE_TARGET.into(),
            read_only: false,
        });
        Ok(target.add(&reference, &source)?)
    }

    /// The image folder.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.folder.path().join("images")
    }

    /// The state of the stand-ins.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Every record of every installer run, in the order of writing. A half-written last line is left out.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn ledger(&self) -> Result<Vec<Value>, PlatformError> {
        match std::fs::read_to_string(self.state().join("ledger.jsonl")) {
            Ok(text) => Ok(text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(PlatformError::Folder(error)),
        }
    }

    /// Replaces latencies and faults of the stand-ins; they read it at every use, never half of it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn script(&self, yaml: &str) -> Result<(), PlatformError> {
        let mut file = tempfile::NamedTempFile::new_in(self.state()).map_err(PlatformError::Folder)?;
        file.write_all(yaml.as_bytes()).map_err(PlatformError::Folder)?;
        open_to_all(file.path(), 0o644)?;
        let kept = file.persist(self.state().join("script.yaml"));
        kept.map(drop).map_err(|error| PlatformError::Folder(error.error))
    }
}

fn open_to_all(path: &Path, mode: u32) -> Result<(), PlatformError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(PlatformError::Folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PlatformFolder {
        let make = |request: &ImageRequest| {
            let names = vec!["kubermatic-operator".to_owned()];
            let files = vec![("/etc/version".to_owned(), request.version.clone().into_bytes())];
            Ok(ImageSource {
                program: "/bin/sh".into(),
                names,
                files,
                ..ImageSource::default()
            })
        };
        let images = PlatformImages {
            versions: vec!["2.31.0".into()],
            make: &make,
            overrides: Vec::new(),
            more: Vec::new(),
        };
        PlatformFolder::create(&Topology::small("2.30.6"), &images).unwrap()
    }

    #[test]
    fn both_versions_have_an_image_that_sees_the_state() {
        let folder = folder();
        let images = ImageFolder::new(folder.images());
        for version in ["2.30.6", "2.31.0"] {
            let image = images
                .resolve(&format!("quay.io/kubermatic/kubermatic:v{version}"))
                .unwrap();
            assert_eq!(
                std::fs::read_to_string(image.rootfs.join("etc/version")).unwrap(),
                version
            );
            assert_eq!(image.lab.mounts.first().unwrap().source, folder.state());
        }
    }

    #[test]
    fn script_and_ledger_are_files_of_the_state() {
        let folder = folder();
        assert!(folder.ledger().unwrap().is_empty());
        std::fs::write(folder.state().join("ledger.jsonl"), "{\"event\":\"start\"}\n{\"eve").unwrap();
        assert_eq!(folder.ledger().unwrap().len(), 1);
        folder.script("seed: {}").unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.state().join("script.yaml")).unwrap(),
            "seed: {}"
        );
    }
}
