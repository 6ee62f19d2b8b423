//! The temporary folder of a lab: who owns it, and who sweeps it when the owner is gone.
//!
//! Never talks to a cluster. Must never remove a folder whose owner may be alive.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Start of the name of every lab's folder.
const PREFIX: &str = "kkp-lab-";
const OWNER: &str = "owner.json";
/// A file of this name keeps the folder after the lab's end.
const KEEP: &str = "keep";
/// A kept folder is swept after this time.
const KEPT: Duration = Duration::from_hours(24);
/// A folder without owner file belongs to a lab that is just starting, or was never finished.
const UNOWNED: Duration = Duration::from_mins(10);

/// The process that a lab lives for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Owner {
    /// Its process id.
    pub(crate) pid: u32,
    /// When it started, in ticks since boot: a process id alone may mean another process by now.
    pub(crate) start_time: u64,
    /// Its PID namespace: elsewhere the process id means nothing.
    pub(crate) pid_namespace: String,
}

impl Owner {
    /// This process.
    pub(crate) fn current() -> io::Result<Self> {
        let pid = std::process::id();
        let start_time = start_time(pid)?.ok_or_else(|| io::Error::other("this process is not in /proc"))?;
        Ok(Self {
            pid,
            start_time,
            pid_namespace: pid_namespace()?,
        })
    }

    /// Whether the process runs; an owner that cannot be seen from here counts as running.
    pub(crate) fn is_alive(&self) -> bool {
        match (pid_namespace(), start_time(self.pid)) {
            (Ok(here), Ok(start_time)) => here != self.pid_namespace || start_time == Some(self.start_time),
            _ => true,
        }
    }
}

fn pid_namespace() -> io::Result<String> {
    Ok(fs::read_link("/proc/self/ns/pid")?.display().to_string())
}

/// Field 22 of `/proc/<pid>/stat`; the second field holds a program name with anything in it.
fn start_time(pid: u32) -> io::Result<Option<u64>> {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => Ok(stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(19))
            .and_then(|text| text.parse().ok())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the folder of a new lab, owned by this process, and sweeps what dead owners left.
pub(super) fn create() -> io::Result<PathBuf> {
    create_in(&std::env::temp_dir())
}

fn create_in(base: &Path) -> io::Result<PathBuf> {
    sweep(base);
    let owner = Owner::current()?;
    let folder = tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", owner.pid))
        .tempdir_in(base)?
        .keep();
    fs::write(folder.join(OWNER), serde_json::to_vec(&owner)?)?;
    Ok(folder)
}

/// Notes that the folder is to stay after the lab's end, for somebody to look at.
pub(super) fn keep(folder: &Path) -> io::Result<()> {
    fs::write(folder.join(KEEP), "")
}

/// Removes the folder of a lab that has ended, unless it is to stay.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    if folder.join(KEEP).exists() {
        return Ok(());
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The folders of all labs whose owner is alive.
pub(crate) fn alive() -> io::Result<Vec<(PathBuf, Owner)>> {
    Ok(folders(&std::env::temp_dir())?
        .into_iter()
        .filter_map(|folder| owner(&folder).map(|owner| (folder, owner)))
        .filter(|(_, owner)| owner.is_alive())
        .collect())
}

fn folders(base: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = fs::read_dir(base)?
        .filter_map(Result::ok)
        .filter(|entry| is_lab(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    Ok(folders)
}

/// The prefix and a process id; other folders with the prefix are not for us to sweep.
fn is_lab(name: &str) -> bool {
    let process = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('-'))
        .map(|(process, _)| process);
    process.is_some_and(|process| process.parse::<u32>().is_ok())
}

fn owner(folder: &Path) -> Option<Owner> {
    serde_json::from_slice(&fs::read(folder.join(OWNER)).ok()?).ok()
}

/// Sweeping is a courtesy to the machine: what cannot be removed (another user's) is left.
fn sweep(base: &Path) {
    for folder in folders(base).unwrap_or_default() {
        let stale = match owner(&folder) {
            Some(owner) if owner.is_alive() => false,
            Some(_) => !folder.join(KEEP).exists() || older_than(&folder.join(KEEP), KEPT),
            None => older_than(&folder, UNOWNED),
        };
        if stale {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

fn older_than(path: &Path, age: Duration) -> bool {
    fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|modified| modified.elapsed().is_ok_and(|elapsed| elapsed > age))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead() -> Owner {
        Owner {
            start_time: 1,
            ..Owner::current().unwrap()
        }
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not() {
        assert!(Owner::current().unwrap().is_alive());
        assert!(!dead().is_alive());
    }

    #[test]
    fn an_owner_in_another_namespace_counts_as_alive() {
        assert!(
            Owner {
                pid_namespace: "pid:[1]".to_owned(),
                ..dead()
            }
            .is_alive()
        );
    }

    #[test]
    fn folders_of_ports_and_images_are_no_labs() {
        assert!(is_lab("kkp-lab-17-Ab3"));
        for name in ["kkp-lab-ports-0", "kkp-lab-images-Ab3", "kkp-lab-17", "else-17-Ab3"] {
            assert!(!is_lab(name), "{name}");
        }
    }

    #[test]
    fn only_folders_of_dead_owners_are_swept() {
        let base = tempfile::tempdir().unwrap();
        let mine = create_in(base.path()).unwrap();
        let folder = |name: &str, owner: Option<Owner>| {
            let folder = base.path().join(format!("{PREFIX}{name}"));
            fs::create_dir(&folder).unwrap();
            if let Some(owner) = owner {
                fs::write(folder.join(OWNER), serde_json::to_vec(&owner).unwrap()).unwrap();
            }
            folder
        };
        let (stale, kept, starting) = (
            folder("1-a", Some(dead())),
            folder("1-b", Some(dead())),
            folder("1-c", None),
        );
        let foreign = base.path().join("something-else");
        fs::create_dir(&foreign).unwrap();
        keep(&kept).unwrap();
        sweep(base.path());
        assert!(!stale.exists());
        for folder in [mine, kept, starting, foreign] {
            assert!(folder.exists(), "{folder:?}");
        }
    }
}
