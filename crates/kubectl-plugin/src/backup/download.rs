//! `backup download`: the stored files of a backup, in pieces, each of them the log of a Job; put together and compared here. Talks
//! to the master; its client creates Jobs, which change nothing, and removes them.

use std::path::Path;

use k8s_openapi::api::batch::v1::Job;
use kkp_upgrade_backup::{PIECE_LINE, StoredFile};
use kkp_upgrade_core::request::sha256;
use kkp_upgrade_operator::call::call;
use kkp_upgrade_operator::execute::send::SendJob;
use kube::Api;
use kube::api::DeleteParams;
use serde::Deserialize;

use super::choice::{Choice, choices, image};
use super::file::Incoming;
use super::job::{Ending, Place, to_its_end};
use super::place::Location;
use crate::arguments::BackupDownloadArguments;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;

/// Longest manifest or receipt that is taken, in bytes.
const LONGEST_DOCUMENT: u64 = 64 << 20;

/// What a Job leaves as its last word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Piece {
    length: u64,
    sent: u64,
    digest: String,
    error: Option<String>,
}

/// What is read of a manifest here.
#[derive(Debug, Deserialize)]
struct Manifest {
    archive: Archive,
}

#[derive(Debug, Deserialize)]
struct Archive {
    bytes: u64,
    digest: String,
}

/// What is read of a receipt here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    manifest_digest: String,
}

/// Downloads them, one after the other.
pub(super) async fn run(arguments: &BackupDownloadArguments, console: &mut Console) -> Result<Exit, Failure> {
    let place = Place::of(&arguments.cluster).await?;
    download_all(&place, arguments, console).await
}

/// The same on any cluster.
pub(crate) async fn download_all(
    place: &Place,
    arguments: &BackupDownloadArguments,
    console: &mut Console,
) -> Result<Exit, Failure> {
    for choice in choices(place, &arguments.backup, arguments.target.as_deref()).await? {
        harmless(&choice.location)?;
        let source = source(place, arguments, &choice).await?;
        let to = arguments.to.join(&choice.location.run).join(&choice.location.folder);
        console.say(&format!(
            "downloading {} in pieces: Jobs read it, and change nothing",
            choice.text
        ));
        let bytes = download(&source, &choice, &to, console).await?;
        console.print(&format!("{}: as it was verified, {bytes} bytes", to.display()));
    }
    Ok(Exit::Done)
}

/// Names in a status are anybody's: they lead nowhere but into the folder that was given.
fn harmless(location: &Location) -> Result<(), Failure> {
    let named = |name: &str| {
        !name.starts_with('.')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
    };
    if named(&location.run) && named(&location.folder) {
        return Ok(());
    }
    let text = "the location is no folder of a backup; nothing was written";
    Err(Failure::new(Exit::Unexpected, text))
}

/// Where pieces come from.
struct Source<'a> {
    place: &'a Place,
    limit: std::time::Duration,
    request: SendJob,
}

async fn source<'a>(
    place: &'a Place,
    arguments: &BackupDownloadArguments,
    choice: &Choice,
) -> Result<Source<'a>, Failure> {
    Ok(Source {
        place,
        limit: arguments.job_timeout,
        request: SendJob {
            namespace: place.namespace.clone(),
            image: image(place, arguments.image.as_deref()).await?,
            storage: choice.storage.clone(),
            run: choice.location.run.clone(),
            folder: choice.location.folder.clone(),
            file: StoredFile::Archive,
            offset: 0,
        },
    })
}

/// All three files; the manifest gets its name last, as where it comes from: without it the folder is no backup.
async fn download(source: &Source<'_>, choice: &Choice, to: &Path, console: &mut Console) -> Result<u64, Failure> {
    let files = [StoredFile::Archive, StoredFile::Receipt, StoredFile::Manifest];
    let [archive, receipt, manifest] = files.map(|file| to.join(file.name()));
    let manifest_text = source.document(StoredFile::Manifest).await?;
    let digest = sha256(&manifest_text);
    if choice.digest.as_ref().is_some_and(|expected| *expected != digest) {
        return Err(differs(choice, "manifest.json has another digest than was expected"));
    }
    let described: Manifest = serde_json::from_slice(&manifest_text).map_err(|_| {
        differs(
            choice,
            "manifest.json cannot be read: use the plugin of the operator's release",
        )
    })?;
    let receipt_text = source.document(StoredFile::Receipt).await?;
    let proven = serde_json::from_slice::<Receipt>(&receipt_text);
    if !proven.is_ok_and(|receipt| receipt.manifest_digest == digest) {
        return Err(differs(choice, "verified.json is not that of this backup"));
    }
    let mut incoming = Incoming::create(&archive)?;
    while incoming.length() < described.archive.bytes {
        let (piece, length) = source.piece(StoredFile::Archive, incoming.length()).await?;
        if length != described.archive.bytes || piece.is_empty() {
            let text = format!(
                "the archive has {length} bytes and should have {}",
                described.archive.bytes
            );
            return Err(differs(choice, &text));
        }
        incoming.write(&piece)?;
        console.say(&format!("{} of {length} bytes", incoming.length()));
    }
    if incoming.digest() != described.archive.digest {
        return Err(differs(choice, "the archive has another digest than its manifest says"));
    }
    incoming.publish()?;
    Incoming::whole(&receipt, &receipt_text)?;
    Incoming::whole(&manifest, &manifest_text)?;
    Ok(described.archive.bytes)
}

fn differs(choice: &Choice, what: &str) -> Failure {
    Failure::new(Exit::Blocked, format!("{}: {what}", choice.text))
        .hint("see what is wrong with: kubectl kkp-upgrade backup verify")
}

impl Source<'_> {
    /// A manifest or receipt.
    async fn document(&self, file: StoredFile) -> Result<Vec<u8>, Failure> {
        let mut whole = Vec::new();
        loop {
            let (piece, length) = self.piece(file, whole.len() as u64).await?;
            whole.extend_from_slice(&piece);
            if whole.len() as u64 == length {
                return Ok(whole);
            }
            if piece.is_empty() || length > LONGEST_DOCUMENT {
                let text = format!(
                    "{} of the backup has {length} bytes, and {} came",
                    file.name(),
                    whole.len()
                );
                return Err(Failure::new(Exit::Unexpected, text));
            }
        }
    }

    /// A piece from this byte on, and the length of the whole file.
    async fn piece(&self, file: StoredFile, offset: u64) -> Result<(Vec<u8>, u64), Failure> {
        let request = SendJob {
            file,
            offset,
            ..self.request.clone()
        };
        let job = request.manifest().map_err(|error| Failure::new(Exit::Usage, error))?;
        let ending: Ending<Piece> = to_its_end(self.place, &job, self.limit).await?;
        self.forget(&ending.job).await;
        let sent = ending.sum;
        if let Some(error) = sent.error {
            return Err(Failure::new(Exit::Blocked, error));
        }
        let piece = decoded(&ending.report);
        match piece {
            Some(piece) if piece.len() as u64 == sent.sent && sha256(&piece) == sent.digest => Ok((piece, sent.length)),
            _ => {
                let text = format!(
                    "the log of Job {}/{} is not what it wrote",
                    self.place.namespace, ending.job
                );
                Err(Failure::new(Exit::Unexpected, text).hint(
                    "may its log be read? Nodes have to keep logs of 10 MiB (containerLogMaxSize), which is the default",
                ))
            }
        }
    }

    /// The Job goes at once, with its log; where that is refused, it goes by itself after a while.
    async fn forget(&self, job: &str) {
        let jobs = Api::<Job>::namespaced(self.place.client.clone(), &self.place.namespace);
        let _ = call("remove the Job", jobs.delete(job, &DeleteParams::background())).await;
    }
}

fn decoded(log: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let mut piece = Vec::new();
    for line in log.lines().filter_map(|line| line.strip_prefix(PIECE_LINE)) {
        base64::engine::general_purpose::STANDARD
            .decode_vec(line, &mut piece)
            .ok()?;
    }
    Some(piece)
}
