//! `backup verify`: a Job per backup reads it whole from where it lies, and says whether it is what it was. Talks to the master; its
//! client creates Jobs, which change nothing.

use kkp_upgrade_operator::execute::check::CheckJob;
use serde::{Deserialize, Serialize};

use super::job::{Ending, Place, printable, to_its_end};
use super::place::{Given, Location};
use super::restore::{image, storage};
use super::{Record, records};
use crate::arguments::{BackupOutput, BackupVerifyArguments, BucketFlags};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;

/// The operator's own key, which need not be there.
const DEFAULT_KEY: &str = "kkp-upgrade-backup-key";

/// What a check Job leaves as its last word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Found {
    manifest_digest: Option<String>,
    objects: u64,
    bytes: u64,
    content_checked: bool,
    was_verified: bool,
    note: Option<String>,
    error: Option<String>,
}

/// What is told of one backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    target: String,
    location: String,
    digest: String,
    objects: Option<u64>,
    bytes: Option<u64>,
    content_checked: bool,
    /// Whether nothing is wrong with it.
    good: bool,
    result: String,
}

impl Verdict {
    fn new(record: &Record, found: &Found) -> Self {
        let good = found.error.is_none() && found.manifest_digest.as_deref() == Some(record.digest.as_str());
        let result = match (&found.error, found.content_checked) {
            (Some(error), _) => printable(error),
            (None, _) if !good => {
                "the Job did not say that it is this very backup; use the plugin of the operator's release".to_owned()
            }
            (None, true) if found.was_verified => "verified: every object opened and compared".to_owned(),
            (None, true) => "every object opened and compared; it was never compared with the API server".to_owned(),
            (None, false) => format!(
                "the stored files are what they were; the content was NOT checked: {}",
                found.note.as_deref().unwrap_or("no private key is at hand")
            ),
        };
        Self {
            target: record.target.clone(),
            location: record.location.clone(),
            digest: record.digest.clone(),
            objects: good.then_some(found.objects),
            bytes: good.then_some(found.bytes),
            content_checked: found.content_checked && good,
            good,
            result,
        }
    }

    fn row(&self) -> Vec<String> {
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        vec![
            self.target.clone(),
            number(self.objects),
            number(self.bytes),
            self.digest.clone(),
            if self.good { "yes" } else { "NO" }.to_owned(),
            self.result.clone(),
        ]
    }
}

/// Verifies them, one after the other: a claim may be mounted on one node at a time.
pub(super) async fn run(arguments: &BackupVerifyArguments, console: &mut Console) -> Result<Exit, Failure> {
    let place = Place::of(&arguments.cluster).await?;
    check_all(&place, arguments, console).await
}

/// The same on any cluster.
pub(crate) async fn check_all(
    place: &Place,
    arguments: &BackupVerifyArguments,
    console: &mut Console,
) -> Result<Exit, Failure> {
    let mut verdicts = Vec::new();
    for record in wanted(place, &arguments.name, arguments.target.as_deref()).await? {
        console.say(&format!(
            "reading {} whole: a Job does, and changes nothing",
            record.location
        ));
        verdicts.push(check(place, arguments, &record).await?);
    }
    match arguments.output {
        BackupOutput::Json => {
            let text = serde_json::to_string_pretty(&verdicts)
                .map_err(|error| Failure::new(Exit::Unexpected, format!("the answer cannot be written: {error}")))?;
            console.data(&text);
        }
        BackupOutput::Table => {
            let titles = ["TARGET", "OBJECTS", "BYTES", "DIGEST", "GOOD", "RESULT"];
            let table = console.table(&titles, verdicts.iter().map(Verdict::row));
            console.print(&table);
        }
    }
    let good = verdicts.iter().all(|verdict| verdict.good);
    Ok(if good { Exit::Done } else { Exit::Blocked })
}

/// The backups that are meant: those of all targets, or that of one.
pub(super) async fn wanted(place: &Place, name: &str, target: Option<&str>) -> Result<Vec<Record>, Failure> {
    let all = records(&place.client, &place.namespace, Some(name)).await?;
    let Some(target) = target else {
        return Ok(all);
    };
    let targets: Vec<String> = all.iter().map(|record| record.target.clone()).collect();
    let found: Vec<Record> = all.into_iter().filter(|record| record.target == target).collect();
    if found.is_empty() {
        let text = format!("KKPUpgrade {name} has no backup of target {target}");
        return Err(Failure::new(Exit::NotFound, text).hint(format!("choose one of: {}", targets.join(", "))));
    }
    Ok(found)
}

async fn check(place: &Place, arguments: &BackupVerifyArguments, record: &Record) -> Result<Verdict, Failure> {
    let location = Location::parse(&record.location)?;
    let given = Given {
        claim: None,
        folder: None,
        bucket: &BucketFlags::default(),
    };
    let request = CheckJob {
        namespace: place.namespace.clone(),
        image: image(place, arguments.image.as_deref()).await?,
        storage: storage(place, &location, given, record.storage.clone()).await?,
        run: location.run,
        folder: location.folder,
        manifest_digest: record.digest.clone(),
        identity_secret: arguments
            .identity_secret
            .clone()
            .unwrap_or_else(|| DEFAULT_KEY.to_owned()),
        identity_optional: arguments.identity_secret.is_none(),
    };
    let job = request.manifest().map_err(|error| Failure::new(Exit::Usage, error))?;
    let ending: Ending<Found> = to_its_end(place, &job, arguments.job_timeout).await?;
    Ok(Verdict::new(record, &ending.sum))
}
