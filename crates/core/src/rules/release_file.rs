//! Form of `catalogue/releases.yaml` and its expansion to one [`Release`] per patch release. Pure.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::problem::{Located, Problems};
use super::releases::{AutomaticUpdate, JobMode, Release, Releases};
use crate::version::KkpVersion;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReleaseFile {
    #[serde(default)]
    pub(super) images: BTreeMap<String, String>,
    pub(super) minors: Vec<Spanned<Minor>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Minor {
    #[serde(rename = "minor")]
    pub(super) line: String,
    newest_patch: u32,
    #[serde(default)]
    from_newest_patch: bool,
    #[serde(default)]
    notes_covered: bool,
    job: Vec<JobSince>,
    one_way: Vec<String>,
    automatic_updates: Vec<Update>,
    kubernetes: Vec<KubernetesSince>,
    #[serde(default)]
    lists: BTreeMap<String, Vec<ListSince>>,
}

impl Minor {
    /// Whether all its patch releases have the list.
    pub(super) fn has_list(&self, name: &str) -> bool {
        let entries = self.lists.get(name);
        entries.is_some_and(|entries| entries.iter().any(|entry| entry.since == 0))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListSince {
    since: u32,
    all: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobSince {
    since: u32,
    mode: JobMode,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    from: String,
    to: Version,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KubernetesSince {
    since: u32,
    default: Version,
    add: BTreeMap<String, Vec<u64>>,
}

/// Most patch releases of a minor: each becomes one entry in memory.
const PATCHES: u32 = 999;
/// Most releases of a catalogue.
const RELEASES: usize = 1000;
/// Most Kubernetes versions, update rules, and entries of lists, of one minor: each patch release has them again.
const ENTRIES: usize = 300;
/// Longest entry of a list, in bytes.
const ENTRY_BYTES: usize = 64;
/// Most one-way marks of a minor, and the longest, in bytes: each is a sentence.
const MARKS: (usize, usize) = (20, 256);

/// Makes releases of the minors; what is wrong with one of them names it.
pub(super) fn build(minors: &[Located<Minor>], problems: &mut Problems) -> Releases {
    let mut releases = Releases::default();
    for minor in minors {
        if let Err(reason) = add(&mut releases, &minor.record) {
            problems.of(minor, &format!("minor {}: {reason}", minor.record.line));
        }
    }
    releases
}

fn add(releases: &mut Releases, minor: &Minor) -> Result<(), String> {
    check_size(minor)?;
    for patch in 0..=minor.newest_patch {
        if releases.iter().count() >= RELEASES {
            return Err(format!("there are more than {RELEASES} releases"));
        }
        if let Some(twice) = releases.insert(expand(minor, patch)?) {
            return Err(format!("release {} stands in the file twice", twice.version));
        }
    }
    Ok(())
}

/// Refuses what would become very much when it is expanded.
fn check_size(minor: &Minor) -> Result<(), String> {
    if minor.newest_patch > PATCHES {
        return Err(format!("newestPatch is larger than {PATCHES}"));
    }
    let versions = minor.kubernetes.iter().flat_map(|entry| entry.add.values());
    let lists = || minor.lists.values().flatten();
    for (found, what) in [
        (versions.map(Vec::len).sum::<usize>(), "Kubernetes versions"),
        (minor.automatic_updates.len(), "update rules"),
        (lists().map(|entry| entry.all.len()).sum(), "entries of lists"),
        (minor.lists.len(), "lists"),
        (
            minor.kubernetes.len() + minor.job.len(),
            "entries of Kubernetes versions and job modes",
        ),
    ] {
        if found > ENTRIES {
            return Err(format!("has more than {ENTRIES} {what}"));
        }
    }
    let texts = lists()
        .flat_map(|entry| &entry.all)
        .chain(minor.lists.keys())
        .chain([&minor.line]);
    if texts.into_iter().any(|text| text.len() > ENTRY_BYTES) {
        return Err(format!("a text is longer than {ENTRY_BYTES} bytes"));
    }
    let (marks, bytes) = MARKS;
    if minor.one_way.len() > marks || minor.one_way.iter().any(|mark| mark.len() > bytes) {
        return Err(format!(
            "oneWay has more than {marks} entries, or one of more than {bytes} bytes"
        ));
    }
    Ok(())
}

fn expand(minor: &Minor, patch: u32) -> Result<Release, String> {
    let version: KkpVersion = format!("{}.{patch}", minor.line)
        .parse()
        .map_err(|error| format!("{error}"))?;
    let job = minor
        .job
        .iter()
        .rfind(|entry| entry.since <= patch)
        .ok_or_else(|| format!("no job mode for patch {patch}"))?
        .mode;
    let entries: Vec<&KubernetesSince> = minor.kubernetes.iter().filter(|entry| entry.since <= patch).collect();
    let default_kubernetes = entries
        .last()
        .ok_or_else(|| format!("no Kubernetes versions for patch {patch}"))?
        .default
        .clone();
    let mut kubernetes = BTreeSet::new();
    for (line, patches) in entries.iter().flat_map(|entry| &entry.add) {
        for number in patches {
            let text = format!("{line}.{number}");
            kubernetes.insert(Version::parse(&text).map_err(|error| format!("Kubernetes version `{text}`: {error}"))?);
        }
    }
    if !kubernetes.contains(&default_kubernetes) {
        return Err(format!(
            "default {default_kubernetes} is not in the list of patch {patch}"
        ));
    }
    let automatic_updates = minor
        .automatic_updates
        .iter()
        .map(|update| automatic(update, &kubernetes))
        .collect::<Result<_, _>>()?;
    let lists = minor.lists.iter().filter_map(|(name, entries)| {
        let newest = entries.iter().rfind(|entry| entry.since <= patch)?;
        Some((name.clone(), newest.all.clone()))
    });
    Ok(Release {
        version,
        lists: lists.collect(),
        kubernetes,
        default_kubernetes,
        automatic_updates,
        job,
        one_way: minor.one_way.clone(),
        from_newest_patch: minor.from_newest_patch,
        notes_covered: minor.notes_covered,
    })
}

fn automatic(update: &Update, kubernetes: &BTreeSet<Version>) -> Result<AutomaticUpdate, String> {
    if kubernetes.contains(&update.to) {
        AutomaticUpdate::parse(&update.from)
    } else {
        Err(format!(
            "automatic update to {} leads to a version that is not accepted",
            update.to
        ))
    }
}
