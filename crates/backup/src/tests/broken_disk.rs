//! A disk that breaks: every call to the file system below a registered folder is counted, and one of them, or all from one on,
//! fail or lie. Then whole runs and removals on such a disk, with every call broken in every way.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::fake_api::FakeApi;
use super::{opener, retaining};
use crate::disk::Call;
use crate::retention::{finish, remove, verified};
use crate::store::{AttemptFolder, Store};
use crate::volume::{ARCHIVE_FILE, MANIFEST_FILE, RECEIPT_FILE, temporary};
use crate::{BackupError, BackupResult, open_with};

/// How a call breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// EIO, and nothing is done.
    Refused,
    /// ENOSPC, and nothing is done.
    Full,
    /// EIO, and yet it is done.
    Done,
    /// Said to be done, and it is not; of a call that only asks: EIO.
    Lost,
}

/// A call and the place below the disk that it is about, and how often there was the same one before.
type Point = (Call, String, usize);

/// Breaks calls; the second value is whether one was broken before.
type Fault = Box<dyn Fn(&Point, bool) -> Option<Break> + Send>;

#[derive(Default)]
struct Script {
    calls: Vec<Point>,
    broken: Vec<(Call, String)>,
    fault: Option<Fault>,
}

static DISKS: Mutex<BTreeMap<PathBuf, Script>> = Mutex::new(BTreeMap::new());

fn with_disks<T>(work: impl FnOnce(&mut BTreeMap<PathBuf, Script>) -> T) -> T {
    work(&mut DISKS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Counts a call; how it breaks, if it does.
fn broken(call: Call, path: &Path) -> Option<Break> {
    with_disks(|disks| {
        let (root, script) = disks.iter_mut().find(|(root, _)| path.starts_with(root))?;
        let below = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let same = |(known, place, _): &&Point| *known == call && *place == below;
        let point = (call, below.clone(), script.calls.iter().filter(same).count());
        let how = script
            .fault
            .as_ref()
            .and_then(|fault| fault(&point, !script.broken.is_empty()));
        script.calls.push(point);
        script.broken.extend(how.map(|_| (call, below)));
        how
    })
}

fn failed() -> io::Error {
    io::Error::from(nix::errno::Errno::EIO)
}

fn full() -> io::Error {
    io::Error::from(nix::errno::Errno::ENOSPC)
}

/// In the place of a call that answers something.
pub(crate) fn asked<T>(call: Call, path: &Path, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match broken(call, path) {
        None => work(),
        Some(Break::Done) => work().and(Err(failed())),
        Some(Break::Refused | Break::Lost) => Err(failed()),
        Some(Break::Full) => Err(full()),
    }
}

/// In the place of a call that changes something; `lost` is the answer of a disk that did not do it.
pub(crate) fn told<T>(call: Call, path: &Path, lost: T, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match broken(call, path) {
        None => work(),
        Some(Break::Done) => work().and(Err(failed())),
        Some(Break::Refused) => Err(failed()),
        Some(Break::Full) => Err(full()),
        Some(Break::Lost) => Ok(lost),
    }
}

/// A folder on such a disk.
struct BrokenDisk {
    folder: tempfile::TempDir,
}

impl BrokenDisk {
    fn healthy() -> Self {
        let folder = tempfile::tempdir().unwrap();
        with_disks(|disks| disks.insert(folder.path().to_owned(), Script::default()));
        Self { folder }
    }

    fn with(fault: impl Fn(&Point, bool) -> Option<Break> + Send + 'static) -> Self {
        let disk = Self::healthy();
        disk.breaks(fault);
        disk
    }

    /// From now on, counted anew.
    fn breaks(&self, fault: impl Fn(&Point, bool) -> Option<Break> + Send + 'static) {
        let script = Script {
            fault: Some(Box::new(fault)),
            ..Script::default()
        };
        with_disks(|disks| disks.insert(self.path().to_owned(), script));
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn calls(&self) -> Vec<Point> {
        with_disks(|disks| disks[self.path()].calls.clone())
    }

    fn broken(&self) -> Vec<(Call, String)> {
        with_disks(|disks| disks[self.path()].broken.clone())
    }

    /// From now on it works.
    fn mend(&self) {
        with_disks(|disks| disks.get_mut(self.path()).unwrap().fault = None);
    }
}

impl Drop for BrokenDisk {
    fn drop(&mut self) {
        with_disks(|disks| disks.remove(self.path()));
    }
}

/// Every one of these calls in every one of these ways, and everything refused from each one on. Calls are known by what they are
/// about: how often an archive is written to is not the same in two runs.
fn everywhere(calls: &[Point], ways: &[Break]) -> Vec<(Point, bool, Break)> {
    let each = |call: &Point| {
        let once = ways.iter().map(|&how| (call.clone(), false, how));
        let all: Vec<_> = once.chain([(call.clone(), true, Break::Refused)]).collect();
        all
    };
    calls.iter().flat_map(each).collect()
}

fn hits(at: Point, lasting: bool, how: Break) -> impl Fn(&Point, bool) -> Option<Break> + Send + 'static {
    move |point, before| (*point == at || lasting && before).then_some(how)
}

/// Opens the backup with a recipient's key and compares every byte.
async fn open(disk: &BrokenDisk, result: &BackupResult) -> Result<(), BackupError> {
    let (run, folder) = result.path.split_once('/').unwrap();
    let folder = AttemptFolder::named(&Store::from(disk.path()), run, folder);
    let opened = open_with(&folder, Some(&result.manifest_digest), &opener()).await;
    opened.map(drop)
}

/// Either it says what is wrong, where, and what to do; or what it calls verified is a good backup. Gives the error.
async fn outcome(disk: &BrokenDisk, api: &FakeApi, place: &str) -> Option<String> {
    let outcome = api.run(disk.path()).back_up().await;
    disk.mend();
    let error = match outcome {
        Ok(result) => {
            let opened = open(disk, &result).await;
            opened.unwrap_or_else(|error| panic!("{place}: called verified, and is not: {error}"));
            return None;
        }
        Err(error) => error.to_string(),
    };
    let folder = disk.path().display().to_string();
    assert!(error.contains(&folder) && error.contains("; "), "{place}: {error}");
    Some(error)
}

#[tokio::test]
async fn a_backup_on_a_disk_that_fails_or_lies_at_any_call() {
    let api = FakeApi::platform();
    let healthy = BrokenDisk::healthy();
    api.run(healthy.path()).back_up().await.unwrap();
    let mut unnoticed = BTreeSet::new();
    for (at, lasting, how) in everywhere(&healthy.calls(), &[Break::Refused, Break::Done, Break::Lost]) {
        let place = format!("{at:?}, {how:?}, lasting: {lasting}");
        let disk = BrokenDisk::with(hits(at, lasting, how));
        let told = outcome(&disk, &api, &place).await;
        if told.is_none() && how == Break::Refused && !lasting {
            unnoticed.extend(disk.broken());
        }
        // The next run is as good as any, beside what the broken one left.
        let next = outcome(&disk, &api, &place).await;
        assert_eq!(next, None, "{place}: {:?}", disk.broken());
    }
    let file = |call, name: &str| (call, format!("run-1/master/{name}"));
    let allowed = BTreeSet::from([
        // A rename does it instead.
        file(Call::Link, ARCHIVE_FILE),
        file(Call::Link, MANIFEST_FILE),
        file(Call::Link, RECEIPT_FILE),
        // An own temporary file stays.
        file(Call::Remove, &temporary(ARCHIVE_FILE)),
        file(Call::Remove, &temporary(MANIFEST_FILE)),
        file(Call::Remove, &temporary(RECEIPT_FILE)),
        // Its neighbours stay uncounted.
        (Call::List, String::new()),
        (Call::List, "run-1".to_owned()),
        (Call::List, "run-1/master".to_owned()),
    ]);
    assert_eq!(unnoticed, allowed);
}

/// Whether a full store refuses it. Some say only when they are asked to keep what was written that they cannot.
fn takes_room(call: Call) -> bool {
    match call {
        Call::CreateFolder | Call::Create | Call::Write | Call::Sync | Call::Link | Call::Rename => true,
        Call::Open | Call::Read | Call::Remove | Call::Look | Call::List => false,
    }
}

#[tokio::test]
async fn a_backup_on_a_store_that_is_full_from_any_call_on_says_so() {
    let api = FakeApi::platform();
    let healthy = BrokenDisk::healthy();
    api.run(healthy.path()).back_up().await.unwrap();
    let (mut seen, mut unnoticed) = (BTreeSet::new(), BTreeSet::new());
    for at in healthy.calls() {
        for lasting in [false, true] {
            if !takes_room(at.0) {
                continue;
            }
            let (place, point) = (format!("{at:?}, lasting: {lasting}"), at.clone());
            let disk = BrokenDisk::with(move |call, before| {
                let full = *call == point || lasting && before && takes_room(call.0);
                full.then_some(Break::Full)
            });
            match outcome(&disk, &api, &place).await {
                Some(error) => {
                    seen.insert(at.0);
                    assert!(error.contains("enlarge the claim"), "{place}: {error}");
                }
                None => unnoticed.extend(disk.broken()),
            }
            assert_eq!(outcome(&disk, &api, &place).await, None, "{place}");
        }
    }
    // A rename does it instead, while there is room for that.
    let links = [ARCHIVE_FILE, MANIFEST_FILE, RECEIPT_FILE].map(|name| (Call::Link, format!("run-1/master/{name}")));
    assert_eq!(unnoticed, BTreeSet::from(links));
    let kinds = [Call::CreateFolder, Call::Create, Call::Write, Call::Sync, Call::Link];
    assert_eq!(seen, BTreeSet::from(kinds));
}

#[tokio::test]
async fn a_name_that_is_not_given_is_noticed_where_there_are_no_hard_links() {
    let api = FakeApi::platform();
    let renamed = BrokenDisk::with(|(call, ..), _| (*call == Call::Link).then_some(Break::Refused));
    assert_eq!(outcome(&renamed, &api, "renamed").await, None);
    for how in [Break::Refused, Break::Lost, Break::Done] {
        let disk = BrokenDisk::with(move |(call, ..), _| match call {
            Call::Link => Some(Break::Refused),
            Call::Rename => Some(how),
            _ => None,
        });
        let error = outcome(&disk, &api, "rename").await;
        assert!(error.is_some(), "{how:?} was not noticed");
        assert_eq!(outcome(&disk, &api, "afterwards").await, None);
    }
}

#[test]
fn a_removal_on_a_disk_that_fails_at_any_call_is_finished_by_the_next() {
    let removal = |disk: &BrokenDisk| {
        let (store, clusters) = (Store::from(disk.path()), retaining::clusters());
        finish(&store, &clusters)?;
        let all = verified(&store, &clusters)?;
        all.iter()
            .filter(|backup| backup.run == "old")
            .try_for_each(|backup| remove(&store, backup))?;
        finish(&store, &clusters).map(drop)
    };
    let planted = || {
        let disk = BrokenDisk::healthy();
        for run in ["old", "new"] {
            retaining::plant(&Store::from(disk.path()), run, "master");
        }
        disk.breaks(|_, _| None);
        disk
    };
    let healthy = planted();
    removal(&healthy).unwrap();
    let mut failed = 0;
    for (at, lasting, how) in everywhere(&healthy.calls(), &[Break::Refused, Break::Done]) {
        let disk = planted();
        disk.breaks(hits(at, lasting, how));
        failed += usize::from(removal(&disk).is_err());
        disk.mend();
        removal(&disk).unwrap_or_else(|error| panic!("{:?} {how:?}: {error}", disk.broken()));
        // An empty folder may stay: nobody knows whether an attempt has just claimed it.
        let files = retaining::files(&disk.path().join("old"));
        let files: Vec<&String> = files.iter().filter(|path| Path::new(path).is_file()).collect();
        assert!(files.is_empty(), "{:?} {how:?}: {files:?}", disk.broken());
        let left = verified(&Store::from(disk.path()), &retaining::clusters()).unwrap();
        assert_eq!(retaining::names(&left), ["new/master"], "{:?} {how:?}", disk.broken());
    }
    assert!(failed > healthy.calls().len(), "{failed} failed");
}
