//! `backup verify`: a Job per backup reads it whole from where it lies, and says whether it is what it was. Talks to the master; its
//! client creates Jobs, which change nothing.

use kkp_upgrade_operator::execute::check::CheckJob;
use serde::{Deserialize, Serialize};

use super::choice::{Choice, choices, image};
use super::job::{Ending, Place, printable, to_its_end};
use crate::arguments::{BackupOutput, BackupVerifyArguments};
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
    /// The one that was expected, or else the one that was found.
    digest: Option<String>,
    objects: Option<u64>,
    bytes: Option<u64>,
    content_checked: bool,
    /// Whether nothing is wrong with it.
    good: bool,
    result: String,
}

impl Verdict {
    fn new(choice: Choice, found: Found) -> Self {
        let expected = |digest: &String| choice.digest.as_ref().is_none_or(|expected| expected == digest);
        let good = found.error.is_none() && found.manifest_digest.as_ref().is_some_and(expected);
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
            target: choice.location.target,
            location: choice.text,
            digest: choice.digest.or(found.manifest_digest),
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
            self.digest.clone().unwrap_or_else(|| "-".to_owned()),
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
    for choice in choices(place, &arguments.backup, arguments.target.as_deref()).await? {
        console.say(&format!(
            "reading {} whole: a Job does, and changes nothing",
            choice.text
        ));
        verdicts.push(check(place, arguments, choice).await?);
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

async fn check(place: &Place, arguments: &BackupVerifyArguments, choice: Choice) -> Result<Verdict, Failure> {
    let request = CheckJob {
        namespace: place.namespace.clone(),
        image: image(place, arguments.image.as_deref()).await?,
        storage: choice.storage.clone(),
        run: choice.location.run.clone(),
        folder: choice.location.folder.clone(),
        manifest_digest: choice.digest.clone(),
        identity_secret: arguments
            .identity_secret
            .clone()
            .unwrap_or_else(|| DEFAULT_KEY.to_owned()),
        identity_optional: arguments.identity_secret.is_none(),
    };
    let job = request.manifest().map_err(|error| Failure::new(Exit::Usage, error))?;
    let ending: Ending<Found> = to_its_end(place, &job, arguments.job_timeout).await?;
    Ok(Verdict::new(choice, ending.sum))
}
