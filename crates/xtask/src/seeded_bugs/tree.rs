//! A copy of the code in which bugs are planted. Writes below `target/seeded-bugs` only, never into the checkout.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use super::bug::Changed;

/// Folder of the copy and of what is built from it, below the root of the repository.
const FOLDER: &str = "target/seeded-bugs";

/// The copy. It is removed in the end; what was built from it stays, so that the next run need not compile everything.
pub(super) struct Tree {
    code: PathBuf,
    build: PathBuf,
    keep: bool,
    /// Held for as long as the copy is in use.
    _lock: File,
}

impl Tree {
    /// Copies what is committed, or, where `uncommitted`, the checkout as it is.
    ///
    /// # Errors
    /// When another run uses the copy, git does not work or the disk is full.
    pub(super) fn make(root: &Path, uncommitted: bool, keep: bool) -> anyhow::Result<Self> {
        let folder = root.join(FOLDER);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {FOLDER}"))?;
        let folder = folder.canonicalize()?;
        let lock = File::create(folder.join("lock"))?;
        if lock.try_lock().is_err() {
            bail!("another run works in {FOLDER}: wait for its end");
        }
        let tree = Self {
            code: folder.join("tree"),
            build: folder.join("build"),
            keep,
            _lock: lock,
        };
        let fresh = folder.join("fresh");
        remove(&fresh)?;
        fs::create_dir_all(&fresh)?;
        if uncommitted {
            copy_checkout(root, &fresh)?;
        } else {
            export_commit(root, &folder.join("index"), &fresh)?;
        }
        fs::create_dir_all(&tree.code)?;
        align(&fresh, &tree.code)?;
        remove(&fresh)?;
        Ok(tree)
    }

    /// Where the code is.
    pub(super) fn code(&self) -> &Path {
        &self.code
    }

    /// Where it is built. Not with everything else: a program with a bug in it must never lie where tests of the
    /// checkout look for theirs.
    pub(super) fn build(&self) -> &Path {
        &self.build
    }

    /// Plants a bug; the answer digs it out again.
    ///
    /// # Errors
    /// When the disk is full.
    pub(super) fn plant(&self, changed: &Changed) -> anyhow::Result<Changed> {
        let mut before = Changed::new();
        for (file, text) in changed {
            let path = self.code.join(file);
            before.insert(file.clone(), fs::read_to_string(&path)?);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(before)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing more can be done about a copy that cannot be removed; the next run uses it again.
            let _ = remove(&self.code);
        }
    }
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

fn git(root: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(root);
    git
}

fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// With an index of its own: that of the checkout belongs to whoever works there.
fn export_commit(root: &Path, index: &Path, to: &Path) -> anyhow::Result<()> {
    let prefix = format!("--prefix={}/", to.display());
    output(git(root).env("GIT_INDEX_FILE", index).args(["read-tree", "HEAD"]))?;
    let export = ["checkout-index", "--all", "--force", &prefix];
    output(git(root).env("GIT_INDEX_FILE", index).args(export))?;
    Ok(())
}

fn copy_checkout(root: &Path, to: &Path) -> anyhow::Result<()> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let names = String::from_utf8(output(git(root).args(list))?).context("a file name is not UTF-8")?;
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root.join(name), to.join(name));
        if !from.is_file() {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(&from, &to).with_context(|| format!("cannot copy {name}"))?;
    }
    Ok(())
}

/// Makes `to` what `from` is. A file that is equal already keeps its time stamp: cargo goes by it.
fn align(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        let (old, new) = (entry.path(), from.join(entry.file_name()));
        if old.is_dir() && !new.is_dir() {
            fs::remove_dir_all(&old)?;
        } else if !old.is_dir() && !new.is_file() {
            fs::remove_file(&old)?;
        }
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (new, old) = (entry.path(), to.join(entry.file_name()));
        if new.is_dir() {
            fs::create_dir_all(&old)?;
            align(&new, &old)?;
        } else if fs::read(&old).ok() != Some(fs::read(&new)?) {
            fs::copy(&new, &old).with_context(|| format!("cannot copy {}", new.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_copied_and_the_rest_goes() {
        let root = std::env::temp_dir().join(format!("xtask-align-{}", std::process::id()));
        let (from, to) = (root.join("from"), root.join("to"));
        for (file, text) in [
            ("from/a/same", "1"),
            ("to/a/same", "1"),
            ("from/a/new", "2"),
            ("to/b/old", "3"),
        ] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let stamp = |path: &Path| fs::metadata(path.join("a/same")).unwrap().modified().unwrap();
        let before = stamp(&to);
        align(&from, &to).unwrap();
        assert_eq!(stamp(&to), before);
        assert_eq!(fs::read_to_string(to.join("a/new")).unwrap(), "2");
        assert!(!to.join("b").exists());
        remove(&root).unwrap();
    }
}
