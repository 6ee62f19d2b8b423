//! A seeded bug as data: what to change where, and which part of the suite must notice. Reads files, writes none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

/// Folder of the seeded bugs, below the root of the repository.
pub(super) const FOLDER: &str = "tests/seeded-bugs";

/// A known mistake.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Bug {
    /// Its name, which is also the file's; a letter behind it tells variants of one mistake apart.
    pub(super) id: String,
    /// The mistake in a few words.
    pub(super) title: String,
    /// What goes wrong because of it, in one sentence.
    pub(super) wrong: String,
    /// How the mistake looks in this code.
    #[serde(default)]
    pub(super) edits: Vec<Edit>,
    /// What must pass without the bug and fail with it: each of them.
    #[serde(default)]
    pub(super) caught_by: Vec<Suite>,
    /// Why the bug cannot be made: the part that it would be in does not exist.
    pub(super) not_built: Option<String>,
}

/// One change of one file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    /// Path below the root of the repository.
    pub(super) file: PathBuf,
    /// Text that stands there exactly once.
    pub(super) find: String,
    /// Text that takes its place.
    pub(super) replace: String,
}

/// A part of the test suite.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Suite {
    /// Package.
    pub(super) package: String,
    /// `lib`, or the name of an integration test.
    pub(super) target: String,
    /// Words of which one must be in a test's path; without any, every test of the target.
    #[serde(default)]
    pub(super) filter: String,
}

/// Files that a bug changes, with the text that they get.
pub(super) type Changed = BTreeMap<PathBuf, String>;

impl Bug {
    /// The changed files, from those below `root`.
    ///
    /// # Errors
    /// The edit that does not fit any more, and why.
    pub(super) fn changed(&self, root: &Path) -> Result<Changed, String> {
        let mut changed = Changed::new();
        for (number, edit) in self.edits.iter().enumerate() {
            let said = |problem: String| format!("edit {} of {}: {problem}", number + 1, edit.file.display());
            let text = match changed.remove(&edit.file) {
                Some(text) => text,
                None => std::fs::read_to_string(root.join(&edit.file)).map_err(|error| said(error.to_string()))?,
            };
            let text = edit.apply(&text).map_err(said)?;
            changed.insert(edit.file.clone(), text);
        }
        Ok(changed)
    }

    /// Where its crate is: bugs of one crate run one after the other, so that less is compiled anew.
    pub(super) fn place(&self) -> PathBuf {
        let file = self.edits.first().map(|edit| edit.file.clone()).unwrap_or_default();
        file.components().take(2).collect()
    }

    fn check(&self, file: &Path) -> anyhow::Result<()> {
        let stem = file.file_stem().and_then(|stem| stem.to_str());
        ensure!(stem == Some(&self.id), "id {} is not the name of the file", self.id);
        for (field, text) in [("title", &self.title), ("wrong", &self.wrong)] {
            ensure!(!text.trim().is_empty(), "{field} is empty");
        }
        let built = !self.edits.is_empty() && !self.caught_by.is_empty();
        match &self.not_built {
            Some(_) if self.edits.is_empty() && self.caught_by.is_empty() => Ok(()),
            None if built => Ok(()),
            _ => bail!("either notBuilt, or edits and caughtBy must be there"),
        }
    }
}

impl Edit {
    fn apply(&self, text: &str) -> Result<String, String> {
        match text.matches(&self.find).count() {
            1 if self.find != self.replace => Ok(text.replacen(&self.find, &self.replace, 1)),
            1 => Err("changes nothing".to_owned()),
            count => Err(format!("its text stands there {count} times instead of once")),
        }
    }
}

impl std::fmt::Display for Suite {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.package, self.target)?;
        if self.filter.is_empty() {
            return Ok(());
        }
        write!(formatter, " {}", self.filter)
    }
}

/// All seeded bugs below `root`, by id.
///
/// # Errors
/// Names the file that cannot be read or contradicts itself.
pub(super) fn all(root: &Path) -> anyhow::Result<Vec<Bug>> {
    let folder = root.join(FOLDER);
    let mut bugs = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {FOLDER}"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let what = || format!("seeded bug {}", path.display());
        let text = std::fs::read_to_string(&path).with_context(what)?;
        let bug: Bug = serde_saphyr::from_str(&text).with_context(what)?;
        bug.check(&path).with_context(what)?;
        bugs.push(bug);
    }
    bugs.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(bugs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edit_still_fits_the_code() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let bugs = all(&root).unwrap();
        let rotten: Vec<String> = bugs
            .iter()
            .filter_map(|bug| Some(format!("{}: {}", bug.id, bug.changed(&root).err()?)))
            .collect();
        assert!(rotten.is_empty(), "write these seeds anew:\n{}", rotten.join("\n"));
    }

    #[test]
    fn every_mistake_of_the_list_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let bugs = all(&root).unwrap();
        for number in 1..=34 {
            let id = format!("SB{number:02}");
            assert!(bugs.iter().any(|bug| bug.id.starts_with(&id)), "{id} is missing");
        }
    }

    #[test]
    fn an_edit_fits_once_or_not_at_all() {
        let edit = |find: &str, replace: &str| Edit {
            file: PathBuf::new(),
            find: find.to_owned(),
            replace: replace.to_owned(),
        };
        assert_eq!(edit("b", "x").apply("abc"), Ok("axc".to_owned()));
        assert!(edit("b", "x").apply("abcb").unwrap_err().contains("2 times"));
        assert!(edit("d", "x").apply("abc").unwrap_err().contains("0 times"));
        assert!(edit("b", "b").apply("abc").unwrap_err().contains("nothing"));
    }
}
