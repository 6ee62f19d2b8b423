//! Form of `catalogue/releases.yaml` and its expansion to one [`Release`] per patch release. Pure.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde::Deserialize;

use super::releases::{AutomaticUpdate, JobMode, Release, Releases};
use crate::version::KkpVersion;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReleaseFile {
    images: BTreeMap<String, String>,
    minors: Vec<Minor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Minor {
    #[serde(rename = "minor")]
    line: String,
    newest_patch: u32,
    job: Vec<JobSince>,
    one_way: Vec<String>,
    automatic_updates: Vec<Update>,
    kubernetes: Vec<KubernetesSince>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobSince {
    since: u32,
    mode: JobMode,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    from: String,
    to: Version,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KubernetesSince {
    since: u32,
    default: Version,
    add: BTreeMap<String, Vec<u64>>,
}

/// Most patch releases of a minor: each becomes one entry in memory.
const PATCHES: u32 = 999;

/// Reads the file.
///
/// # Errors
/// One text that names the minor and what is wrong.
pub(super) fn parse(text: &str) -> Result<Releases, String> {
    let file: ReleaseFile = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let mut releases = Releases::default();
    for minor in &file.minors {
        if minor.newest_patch > PATCHES {
            return Err(format!("minor {}: newestPatch is larger than {PATCHES}", minor.line));
        }
        for patch in 0..=minor.newest_patch {
            let release = expand(minor, patch).map_err(|error| format!("minor {}: {error}", minor.line))?;
            if let Some(twice) = releases.insert(release) {
                return Err(format!(
                    "minor {}: release {} stands in the file twice",
                    minor.line, twice.version
                ));
            }
        }
    }
    for edition in ["CE", "EE"] {
        if !file.images.contains_key(edition) {
            return Err(format!("images: no repository for edition {edition}"));
        }
    }
    releases.set_images(file.images);
    Ok(releases)
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
    Ok(Release {
        version,
        kubernetes,
        default_kubernetes,
        automatic_updates,
        job,
        one_way: minor.one_way.clone(),
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
