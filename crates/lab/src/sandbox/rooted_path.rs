//! Paths inside another root: symbolic links are followed as the container would, never out of its root.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// The kernel's own limit on links in one path.
const MOST_LINKS: usize = 40;

/// Where `path` of the container lies on the host.
///
/// The last parts need not exist. `None` if the path runs in circles.
#[must_use]
pub fn resolve(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut waiting: VecDeque<OsString> = parts(path);
    let mut inside = PathBuf::new();
    let mut links = 0;
    while let Some(part) = waiting.pop_front() {
        if part == ".." {
            inside.pop();
            continue;
        }
        let next = inside.join(&part);
        let Ok(target) = std::fs::read_link(root.join(&next)) else {
            inside = next;
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return None;
        }
        if target.is_absolute() {
            inside = PathBuf::new();
        }
        for part in parts(&target).into_iter().rev() {
            waiting.push_front(part);
        }
    }
    Some(root.join(inside))
}

/// The names of a path without root and `.`; `..` stays.
fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_inside_the_root() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("usr/bin")).unwrap();
        symlink("/usr/bin", root.path().join("bin")).unwrap();
        symlink("../../../../run", root.path().join("usr/run")).unwrap();
        assert_eq!(
            resolve(root.path(), Path::new("/bin/sh")),
            Some(root.path().join("usr/bin/sh"))
        );
        assert_eq!(
            resolve(root.path(), Path::new("/usr/run/x")),
            Some(root.path().join("run/x"))
        );
        assert_eq!(
            resolve(root.path(), Path::new("/../../etc")),
            Some(root.path().join("etc"))
        );
    }

    #[test]
    fn a_circle_of_links_is_no_path() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        assert_eq!(resolve(root.path(), Path::new("/a")), None);
    }
}
