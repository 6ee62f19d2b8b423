//! What a bucket's refusals mean, and what an administrator can do. Talks to nothing.

use std::error::Error;

use http::StatusCode;

/// Kinds of trouble with a bucket, each with its own way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketFault {
    /// The credentials are refused, or may not do this.
    Denied,
    /// No files with credentials are mounted.
    NoCredentials,
    /// No room, or quota reached.
    NoSpace,
    /// The bucket, or the object, is not there.
    Missing,
    /// Something is there already that must not be written over.
    Exists,
    /// The storage writes over what is there although it was asked not to.
    Unconditional,
    /// It failed or was overloaded, again and again.
    Failing,
    /// Nothing answers there, or the connection broke.
    Unreachable,
    /// It answers slower than a backup can wait.
    Slow,
    /// Settings that cannot be used.
    Settings,
    /// Anything else that it said.
    Refused,
}

impl BucketFault {
    /// What the administrator can do.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Denied => {
                "see that the Secret with the credentials holds a valid key that may do this in this bucket: get, put, list and abort uploads, and delete where older backups are to be removed"
            }
            Self::NoCredentials => {
                "put the keys accessKeyID and secretAccessKey into the Secret that spec.backup.storage.s3.credentialsSecretRef names"
            }
            Self::NoSpace => "the object storage is full: enlarge it or its quota, or move older backups away",
            Self::Missing => "see that the bucket exists, and that nobody removes backups while they are made",
            Self::Exists => "a backup is never written over: use another --name, or another prefix",
            Self::Unconditional => {
                "use an object storage that honours conditional writes (If-None-Match), or a volume claim"
            }
            Self::Failing => "see the log of the object storage, then retry",
            Self::Unreachable => {
                "see that the endpoint is right and reachable from this Pod, and that caBundle holds the authority of its certificate"
            }
            Self::Slow => "see the load of the object storage and of the network to it, then retry",
            Self::Settings => "correct spec.backup.storage.s3",
            Self::Refused => "see the log of the object storage",
        }
    }

    /// Whether the same call, made again, may succeed.
    pub(super) fn is_transient(self) -> bool {
        matches!(self, Self::Failing | Self::Unreachable | Self::Slow)
    }
}

/// A refusal as the storage words it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("it answers {status}{}", said(code, message))]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// S3's word for it; may be empty.
    pub(super) code: String,
    /// Its sentence; may be empty.
    pub(super) message: String,
}

fn said(code: &str, message: &str) -> String {
    match (code, message) {
        ("", "") => String::new(),
        (code, "") => format!(", {code}"),
        (code, message) => format!(", {code}: {message}"),
    }
}

/// Longest sentence of a storage that gets into a message, in characters.
const LONGEST_SENTENCE: usize = 200;

impl Refusal {
    /// Reads S3's error document; anything else leaves code and message empty.
    pub(super) fn read(status: StatusCode, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        Self {
            status,
            code: element(&text, "Code"),
            message: element(&text, "Message"),
        }
    }

    pub(super) fn fault(&self) -> BucketFault {
        let full = ["Full", "Quota", "InsufficientStorage"];
        match self.code.as_str() {
            code if full.iter().any(|word| code.contains(word)) => return BucketFault::NoSpace,
            "SlowDown" | "InternalError" | "RequestTimeout" => return BucketFault::Failing,
            "NoSuchBucket" | "NoSuchUpload" => return BucketFault::Missing,
            _ => {}
        }
        match self.status.as_u16() {
            401 | 403 => BucketFault::Denied,
            404 => BucketFault::Missing,
            507 => BucketFault::NoSpace,
            408 | 429 | 500.. => BucketFault::Failing,
            300..=399 => BucketFault::Settings,
            _ => BucketFault::Refused,
        }
    }
}

/// The text of the first element of this name, without control characters, cut.
fn element(text: &str, name: &str) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let inner = text
        .split_once(&open)
        .and_then(|(_, rest)| rest.split_once(&close))
        .map_or("", |(inner, _)| inner);
    let plain = inner.chars().filter(|letter| !letter.is_control());
    plain.take(LONGEST_SENTENCE).collect()
}

/// What an error of a call means, with words: the storage's own where it said something.
pub(super) fn judge(error: &object_store::Error) -> (BucketFault, String) {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(found) = cause {
        if let Some(refusal) = found.downcast_ref::<Refusal>() {
            return (refusal.fault(), refusal.to_string());
        }
        if let Some(missing) = found.downcast_ref::<super::credentials::NoCredentials>() {
            return (BucketFault::NoCredentials, missing.to_string());
        }
        cause = found.source();
    }
    match error {
        object_store::Error::NotFound { .. } => (BucketFault::Missing, "it is not there".to_owned()),
        object_store::Error::AlreadyExists { .. } => (BucketFault::Exists, "it is there already".to_owned()),
        other => transport(other),
    }
}

/// The last reason of the chain: the others repeat addresses.
fn transport(error: &object_store::Error) -> (BucketFault, String) {
    let mut last: &dyn Error = error;
    let mut connection = false;
    while let Some(cause) = last.source() {
        connection |= cause.is::<object_store::client::HttpError>();
        last = cause;
    }
    let words: String = last.to_string().chars().filter(|letter| !letter.is_control()).collect();
    let words = words.chars().take(LONGEST_SENTENCE).collect();
    let fault = if connection {
        BucketFault::Unreachable
    } else {
        BucketFault::Refused
    };
    (fault, words)
}
