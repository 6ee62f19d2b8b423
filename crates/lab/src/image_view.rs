//! An image folder with some images replaced: links to the images of another folder, and to the replacements.
//!
//! Reads and links files only. Must never write into the folder that it shows.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};

/// An image name and the folder to use for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageOverride {
    /// The image reference, such as `quay.io/kubermatic/kubermatic:v2.31.0`.
    pub name: String,
    /// Folder with `config.json` and `rootfs/`.
    pub folder: PathBuf,
}

impl FromStr for ImageOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, folder)) if !name.is_empty() && !folder.is_empty() => Ok(Self {
                name: name.to_owned(),
                folder: PathBuf::from(folder),
            }),
            _ => Err(format!("{text:?} is not NAME=DIR")),
        }
    }
}

/// Makes a temporary image folder that shows `base` with the replacements.
pub(crate) fn image_view(base: Option<&Path>, overrides: &[ImageOverride]) -> anyhow::Result<tempfile::TempDir> {
    let view = tempfile::Builder::new()
        .prefix("kkp-lab-images-")
        .tempdir()
        .context("cannot make an image folder")?;
    if let Some(base) = base {
        let base = fs::canonicalize(base).with_context(|| format!("cannot use the image folder {}", base.display()))?;
        link_images(&base, &base, view.path())
            .with_context(|| format!("cannot show the images of {}", base.display()))?;
    }
    for ImageOverride { name, folder } in overrides {
        if Path::new(name)
            .components()
            .any(|part| !matches!(part, std::path::Component::Normal(_)))
        {
            bail!("{name:?} is no image name");
        }
        let folder = fs::canonicalize(folder).with_context(|| format!("cannot use {} for {name}", folder.display()))?;
        if !is_image(&folder) {
            bail!(
                "{} has no config.json and rootfs/, so it cannot be image {name}",
                folder.display()
            );
        }
        let link = view.path().join(name);
        replace(&folder, &link).with_context(|| format!("cannot link image {name}"))?;
    }
    Ok(view)
}

fn is_image(folder: &Path) -> bool {
    folder.join("config.json").is_file() && folder.join("rootfs").is_dir()
}

fn link_images(base: &Path, folder: &Path, view: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if is_image(&path) {
            let relative = path.strip_prefix(base).map_err(io::Error::other)?;
            replace(&path, &view.join(relative))?;
        } else if path.is_dir() {
            link_images(base, &path, view)?;
        }
    }
    Ok(())
}

fn replace(target: &Path, link: &Path) -> io::Result<()> {
    if let Some(parent) = link.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(target, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(folder: &Path, mark: &str) {
        fs::create_dir_all(folder.join("rootfs")).unwrap();
        fs::write(folder.join("config.json"), mark).unwrap();
    }

    #[test]
    fn a_replacement_wins_and_the_base_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (base, mine) = (folder.path().join("base"), folder.path().join("mine"));
        image(&base.join("quay.io/a/b:v1"), "old");
        image(&base.join("quay.io/a/c:v1"), "other");
        image(&mine, "new");
        let replacement = format!("quay.io/a/b:v1={}", mine.display()).parse().unwrap();
        let view = image_view(Some(&base), &[replacement]).unwrap();
        let read = |folder: &Path, name: &str| fs::read_to_string(folder.join(name).join("config.json")).unwrap();
        assert_eq!(read(view.path(), "quay.io/a/b:v1"), "new");
        assert_eq!(read(view.path(), "quay.io/a/c:v1"), "other");
        assert_eq!(read(&base, "quay.io/a/b:v1"), "old");
    }

    #[test]
    fn a_name_that_leaves_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        image(folder.path(), "x");
        let bad = ImageOverride {
            name: "../x".to_owned(),
            folder: folder.path().to_owned(),
        };
        assert!(image_view(None, &[bad]).is_err());
        assert!("name".parse::<ImageOverride>().is_err());
    }
}
