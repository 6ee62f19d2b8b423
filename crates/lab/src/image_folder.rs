//! The image folder: which container images exist on this machine, as plain folders. Never talks to a cluster.
//!
//! `<images>/<reference as the Pod writes it>/{config.json, lab.json, rootfs/}`, slashes of the reference are folders.
//! A reference is taken literally: no default registry, no default tag, a digest is part of the name.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sandbox::rooted_path;

/// Search path of a program where the image names none.
pub const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Why an image can't be put into the folder.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The reference would leave the folder.
    #[error("image reference {0:?} is not a relative path without `.` and `..`")]
    Reference(String),
    /// `--image NAME=DIR` with a folder that is no image.
    #[error("{folder} is not an image for {reference}: {missing} is missing (expected {folder}/config.json and {folder}/rootfs/)", folder = folder.display())]
    NotAnImage {
        /// The reference it was meant for.
        reference: String,
        /// The folder that was given.
        folder: PathBuf,
        /// What it lacks.
        missing: &'static str,
    },
    /// A file could not be written.
    #[error("cannot write image {reference}: {path}: {source}", path = path.display())]
    Write {
        /// The image.
        reference: String,
        /// The file or folder.
        path: PathBuf,
        /// The answer of the system.
        #[source]
        source: std::io::Error,
    },
}

/// The slice of an OCI image configuration (`config` of `config.json`) that decides how a container runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `NAME=value` lines.
    pub env: Option<Vec<String>>,
    /// Program and first arguments.
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments.
    pub cmd: Option<Vec<String>>,
    /// `user[:group]`, names or numbers.
    pub user: String,
    /// Working directory.
    pub working_dir: String,
}

impl ImageConfig {
    /// The value of an environment variable of the image.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let lines = self.env.iter().flatten();
        lines
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

/// The whole `config.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ImageConfigFile {
    config: ImageConfig,
}

/// `lab.json`: what only the test bed knows about an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabConfig {
    /// Show the host's system libraries: the programs are dynamically linked against them.
    pub host_libraries: bool,
    /// Host folders that every container of this image sees.
    pub mounts: Vec<LabMount>,
}

/// One host folder in [`LabConfig`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabMount {
    /// Folder on the host; made if it is missing.
    pub source: PathBuf,
    /// Path in the container.
    pub target: PathBuf,
    /// Writes are refused.
    #[serde(default)]
    pub read_only: bool,
}

/// An image to make from one program file.
#[derive(Clone, Debug, Default)]
pub struct ImageSource {
    /// The program; hard-linked into the image, copied if that is not possible.
    pub program: PathBuf,
    /// Its names in the image: absolute, or in `/usr/local/bin`.
    pub names: Vec<String>,
    /// More files: absolute path and content.
    pub files: Vec<(String, Vec<u8>)>,
    /// The image configuration.
    pub config: ImageConfig,
    /// The test bed's own part.
    pub lab: LabConfig,
}

/// An image of the folder.
#[derive(Clone, Debug)]
pub struct Image {
    /// The image configuration.
    pub config: ImageConfig,
    /// The test bed's own part.
    pub lab: LabConfig,
    /// The image's root file system.
    pub rootfs: PathBuf,
}

impl Image {
    /// The program file inside the image: `argv0` with a slash is a path (relative to `working_directory`), without one
    /// it is looked up in `search_path`.
    #[must_use]
    pub fn find_program(&self, argv0: &str, search_path: &str, working_directory: &Path) -> Option<PathBuf> {
        if argv0.is_empty() {
            return None;
        }
        if argv0.contains('/') {
            let path = Path::new("/").join(working_directory).join(argv0);
            return self.is_program(&path).then_some(path);
        }
        let folders = search_path.split(':').filter(|folder| folder.starts_with('/'));
        folders
            .map(|folder| Path::new(folder).join(argv0))
            .find(|path| self.is_program(path))
    }

    fn is_program(&self, path: &Path) -> bool {
        let file = rooted_path::resolve(&self.rootfs, path).and_then(|file| fs::metadata(file).ok());
        file.is_some_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    }
}

/// A folder of images. Read again at every use: an image added later is found.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    path: PathBuf,
}

impl ImageFolder {
    /// The images below `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The image of this reference; `None` if it is not there or has no readable `config.json` and `rootfs/`.
    #[must_use]
    pub fn resolve(&self, reference: &str) -> Option<Image> {
        let folder = self.folder(reference).ok()?;
        let config: ImageConfigFile = read_json(&folder.join("config.json"))?;
        let rootfs = folder.join("rootfs").canonicalize().ok().filter(|path| path.is_dir())?;
        let lab_file = folder.join("lab.json");
        let lab = if lab_file.exists() {
            read_json(&lab_file)?
        } else {
            LabConfig::default()
        };
        Some(Image {
            config: config.config,
            lab,
            rootfs,
        })
    }

    /// Makes an image from a program, in place of one of the same reference.
    ///
    /// # Errors
    /// [`ImageError`], with the path that could not be written.
    pub fn add(&self, reference: &str, source: &ImageSource) -> Result<(), ImageError> {
        let folder = self.clear(reference)?;
        let rootfs = folder.join("rootfs");
        let mut first: Option<PathBuf> = None;
        for name in &source.names {
            let target = rootfs.join(inside(&Path::new("/usr/local/bin").join(name)));
            let origin = first.as_ref().unwrap_or(&source.program);
            place_program(origin, &target).map_err(write_error(reference, &target))?;
            first.get_or_insert(target);
        }
        for (path, content) in &source.files {
            write_file(&rootfs.join(inside(Path::new(path))), content, reference)?;
        }
        fs::create_dir_all(&rootfs).map_err(write_error(reference, &rootfs))?;
        write_json(&folder.join("lab.json"), &source.lab, reference)?;
        // Last: an image counts from the moment its configuration is there.
        write_json(
            &folder.join("config.json"),
            &ImageConfigFile {
                config: source.config.clone(),
            },
            reference,
        )
    }

    /// Puts the image in `folder` (made elsewhere) under a reference, in place of one that was there.
    ///
    /// # Errors
    /// `folder` lacks `config.json` or `rootfs/`, or links can't be made.
    pub fn link(&self, reference: &str, folder: &Path) -> Result<(), ImageError> {
        for (name, present) in [
            ("config.json", folder.join("config.json").is_file()),
            ("rootfs/", folder.join("rootfs").is_dir()),
        ] {
            if !present {
                return Err(ImageError::NotAnImage {
                    reference: reference.to_owned(),
                    folder: folder.to_owned(),
                    missing: name,
                });
            }
        }
        let origin = folder.canonicalize().map_err(write_error(reference, folder))?;
        let target = self.clear(reference)?;
        for name in ["rootfs", "lab.json", "config.json"]
            .into_iter()
            .filter(|name| origin.join(name).exists())
        {
            let link = target.join(name);
            symlink(origin.join(name), &link).map_err(write_error(reference, &link))?;
        }
        Ok(())
    }

    /// Makes the folder of an image without the image that may be there.
    fn clear(&self, reference: &str) -> Result<PathBuf, ImageError> {
        let folder = self.folder(reference)?;
        fs::create_dir_all(&folder).map_err(write_error(reference, &folder))?;
        for name in ["config.json", "lab.json", "rootfs"] {
            let path = folder.join(name);
            let Ok(present) = path.symlink_metadata() else { continue };
            let removed = if present.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(write_error(reference, &path))?;
        }
        Ok(folder)
    }

    fn folder(&self, reference: &str) -> Result<PathBuf, ImageError> {
        let path = Path::new(reference);
        let plain = path
            .components()
            .all(|component| matches!(component, Component::Normal(_)));
        if reference.is_empty() || !plain {
            return Err(ImageError::Reference(reference.to_owned()));
        }
        Ok(self.path.join(path))
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let text = fs::read(path).ok()?;
    serde_json::from_slice(&text)
        .inspect_err(
            |error| tracing::warn!(path = %path.display(), %error, "image is unreadable and treated as missing"),
        )
        .ok()
}

fn write_json<T: Serialize>(path: &Path, value: &T, reference: &str) -> Result<(), ImageError> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(std::io::Error::from)
        .map_err(write_error(reference, path))?;
    write_file(path, &text, reference)
}

fn write_file(path: &Path, content: &[u8], reference: &str) -> Result<(), ImageError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, content))
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o644)))
        .map_err(write_error(reference, path))
}

/// A hard link, or a copy where the file systems differ or the system refuses links to files of others.
fn place_program(origin: &Path, target: &Path) -> std::io::Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    let origin = origin.canonicalize()?;
    fs::hard_link(&origin, target).or_else(|_| fs::copy(&origin, target).map(drop))
}

fn inside(path: &Path) -> PathBuf {
    path.components()
        .filter(|component| matches!(component, Component::Normal(_)))
        .collect()
}

fn write_error(reference: &str, path: &Path) -> impl FnOnce(std::io::Error) -> ImageError {
    move |source| ImageError::Write {
        reference: reference.to_owned(),
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(reference: &str) -> (tempfile::TempDir, ImageFolder) {
        let path = tempfile::tempdir().unwrap();
        let images = ImageFolder::new(path.path());
        let source = ImageSource {
            program: "/bin/sh".into(),
            names: vec!["first".into(), "second".into(), "/bin/third".into()],
            files: vec![("/etc/note".into(), b"text".to_vec())],
            config: ImageConfig {
                entrypoint: Some(vec!["first".into()]),
                ..ImageConfig::default()
            },
            lab: LabConfig {
                host_libraries: true,
                mounts: vec![],
            },
        };
        images.add(reference, &source).unwrap();
        (path, images)
    }

    #[test]
    fn an_added_image_is_found_by_its_literal_reference_only() {
        let (_folder, images) = folder_with("quay.io/a/b:v1");
        let image = images.resolve("quay.io/a/b:v1").unwrap();
        assert!(image.lab.host_libraries);
        assert_eq!(fs::read(image.rootfs.join("etc/note")).unwrap(), b"text");
        assert!(images.resolve("a/b:v1").is_none());
        assert!(images.resolve("quay.io/a/b").is_none());
        assert!(images.resolve("../quay.io/a/b:v1").is_none());
    }

    #[test]
    fn programs_are_looked_up_as_the_container_would() {
        let (_folder, images) = folder_with("x@sha256:00");
        let image = images.resolve("x@sha256:00").unwrap();
        symlink("/usr/local/bin/first", image.rootfs.join("bin/linked")).unwrap();
        let find = |name: &str| image.find_program(name, DEFAULT_PATH, Path::new("/"));
        assert_eq!(find("first"), Some("/usr/local/bin/first".into()));
        assert_eq!(find("third"), Some("/bin/third".into()));
        assert_eq!(find("linked"), Some("/bin/linked".into()));
        assert_eq!(find("/etc/note"), None, "not executable");
        assert_eq!(find("missing"), None);
        assert_eq!(
            image.find_program("./second", "", Path::new("/usr/local/bin")),
            Some("/usr/local/bin/./second".into())
        );
    }

    #[test]
    fn a_linked_image_replaces_one_and_needs_its_parts() {
        let (path, images) = folder_with("one");
        images.link("two/b:1", &path.path().join("one")).unwrap();
        images.link("two/b:1", &path.path().join("one")).unwrap();
        assert!(
            images
                .resolve("two/b:1")
                .unwrap()
                .find_program("first", DEFAULT_PATH, Path::new("/"))
                .is_some()
        );
        let error = images.link("two/b:1", path.path()).unwrap_err().to_string();
        assert!(error.contains("config.json is missing"), "{error}");
    }
}
