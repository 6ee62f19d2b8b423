//! Reading the API server: every call has a deadline, every list is paged and checked against the pinned revision.
//!
//! Talks to the cluster, reading only. Must never write to it, and never log or return the body of an answer.

use std::error::Error;
use std::io;
use std::time::Duration;

use futures::AsyncBufReadExt as _;
use kube::Client;
use kube::api::{ListParams, Request, VersionMatch};
use serde_json::Value;

use crate::BackupError;
use crate::discovery::Resource;
use crate::page::{PageSize, RawPage, place};

/// The way out where nobody answers.
const UNREACHABLE: &str =
    "see that the API server is reachable from this Pod, and that its certificate is the one of the kubeconfig";
/// With these words apiextensions-apiserver begins what it says of a conversion that failed.
const CONVERSION: &str = "conversion webhook for ";

/// A cluster that is read from.
#[derive(Clone)]
pub struct Source {
    client: Client,
    limits: ReadLimits,
}

/// How a cluster is read.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimits {
    /// Most objects per page.
    pub page: u32,
    /// For each single call.
    pub deadline: Duration,
    /// Longest page in bytes: nobody knows how large objects are before they come. A longer one is broken off and asked for
    /// again with fewer objects; one of a single object may have any length.
    pub longest: u64,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            page: 500,
            deadline: Duration::from_mins(1),
            longest: 8 << 20,
        }
    }
}

/// What is being asked for, for messages.
pub(crate) struct Subject<'a> {
    pub(crate) resource: &'a str,
    pub(crate) page: u32,
    pub(crate) revision: &'a str,
}

impl<'a> Subject<'a> {
    pub(crate) fn of(resource: &'a str) -> Self {
        Self {
            resource,
            page: 1,
            revision: "",
        }
    }

    pub(crate) fn leads_back(&self) -> BackupError {
        self.malformed("its continue token leads back to the same page")
    }

    pub(crate) fn malformed(&self, reason: impl Into<String>) -> BackupError {
        BackupError::Malformed {
            resource: self.resource.to_owned(),
            page: self.page,
            reason: reason.into(),
        }
    }
}

impl Source {
    /// Reads with this client. Its own retries should be off, so that deadlines mean what they say.
    #[must_use]
    pub fn new(client: Client, limits: ReadLimits) -> Self {
        Self { client, limits }
    }

    /// How long the first page of a list is.
    pub(crate) fn first_page(&self) -> PageSize {
        PageSize::first(self.limits)
    }

    /// GET of one document.
    pub(crate) async fn get(&self, path: &str, subject: &Subject<'_>) -> Result<Value, BackupError> {
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(|error| subject.malformed(error.to_string()))?;
        let answer = self.text(request, self.limits.longest, subject).await?;
        let answer = answer.ok_or_else(|| subject.malformed("it is too long"))?;
        serde_json::from_str(&answer).map_err(|error| subject.malformed(place(&error)))
    }

    /// One page, as long as the size says, or shorter where that would be too much at once; the size is that of the next one
    /// then. A continue token carries the revision, which is why the API server refuses both together.
    pub(crate) async fn page(
        &self,
        resource: &Resource,
        parameters: &ListParams,
        size: &mut PageSize,
        subject: &Subject<'_>,
    ) -> Result<RawPage, BackupError> {
        loop {
            let request = Request::new(resource.collection_path())
                .list(&parameters.clone().limit(size.objects()))
                .map_err(|error| subject.malformed(error.to_string()))?;
            let longest = if size.objects() > 1 {
                self.limits.longest
            } else {
                u64::MAX
            };
            let Some(text) = self.text(request, longest, subject).await? else {
                *size = size.shorter();
                continue;
            };
            let page = RawPage::read(text, subject)?;
            *size = size.after(page.bytes(), page.objects);
            return Ok(page);
        }
    }

    /// The newest revision of the store that keeps this resource.
    pub(crate) async fn newest_revision(&self, resource: &Resource) -> Result<u64, BackupError> {
        let label = resource.label();
        let subject = Subject::of(&label);
        let mut one = PageSize::one();
        let page = self.page(resource, &ListParams::default(), &mut one, &subject).await?;
        page.revision
            .parse()
            .map_err(|_| subject.malformed("its resourceVersion is not a number"))
    }

    /// All pages of a resource at exactly one revision.
    pub(crate) fn pages<'a>(&'a self, resource: &'a Resource, revision: &'a str) -> Pages<'a> {
        Pages {
            source: self,
            resource,
            label: resource.label(),
            revision,
            token: None,
            page: 0,
            size: self.first_page(),
            ended: false,
        }
    }

    /// The text of an answer; `None` when it is longer than so many bytes, and the rest is not read.
    async fn text(
        &self,
        request: http::Request<Vec<u8>>,
        longest: u64,
        subject: &Subject<'_>,
    ) -> Result<Option<String>, BackupError> {
        let read = async {
            let answer = self.client.request_stream(request).await;
            let answer = answer.map_err(|error| api_error(&error, subject))?;
            let (mut text, mut answer) = (Vec::new(), std::pin::pin!(answer));
            loop {
                let piece = answer.fill_buf().await.map_err(|error| broken_off(&error, subject))?;
                let length = piece.len();
                if length == 0 {
                    break;
                }
                if (text.len() + length) as u64 > longest {
                    return Ok(None);
                }
                text.extend_from_slice(piece);
                answer.consume_unpin(length);
            }
            let text = String::from_utf8(text).map_err(|_| subject.malformed("it is no text"))?;
            Ok(Some(text))
        };
        let late = |_| BackupError::Deadline {
            resource: subject.resource.to_owned(),
            page: subject.page,
            seconds: self.limits.deadline.as_secs(),
        };
        tokio::time::timeout(self.limits.deadline, read).await.map_err(late)?
    }
}

/// The pages of one resource, one after the other.
pub(crate) struct Pages<'a> {
    source: &'a Source,
    resource: &'a Resource,
    label: String,
    revision: &'a str,
    token: Option<String>,
    page: u32,
    size: PageSize,
    ended: bool,
}

impl Pages<'_> {
    /// The next page; `None` after the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<RawPage>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        self.page += 1;
        let subject = Subject {
            resource: &self.label,
            page: self.page,
            revision: self.revision,
        };
        let mut parameters = ListParams::default();
        match &self.token {
            Some(token) => parameters = parameters.continue_token(token),
            None => parameters = parameters.at(self.revision).matching(VersionMatch::Exact),
        }
        let mut page = self
            .source
            .page(self.resource, &parameters, &mut self.size, &subject)
            .await?;
        if page.revision != self.revision {
            return Err(BackupError::RevisionMismatch {
                resource: self.label.clone(),
                page: self.page,
                asked: self.revision.to_owned(),
                answered: page.revision,
            });
        }
        if page.next.is_some() && page.next == self.token {
            return Err(subject.leads_back());
        }
        self.ended = page.next.is_none();
        self.token = page.next.take();
        Ok(Some(page))
    }
}

fn api_error(error: &kube::Error, subject: &Subject<'_>) -> BackupError {
    let resource = subject.resource.to_owned();
    let page = subject.page;
    let (code, message) = match error {
        kube::Error::Api(status) if status.code == 410 => {
            return BackupError::Expired {
                resource,
                page,
                revision: subject.revision.to_owned(),
            };
        }
        kube::Error::Api(status) => (Some(status.code), status.message.clone()),
        other => (None, innermost(other)),
    };
    let remedy = match code {
        Some(500..) if message.contains(CONVERSION) => {
            "bring back the conversion webhook that spec.conversion of the CRD names, or, if all its versions have the same fields, set the strategy there to None; then run the backup again"
        }
        Some(401) => "the ServiceAccount's token is not accepted: renew the kubeconfig",
        Some(403) => "grant `get` and `list` on it to the ServiceAccount of the backup",
        Some(404) => "it went away, or the address is not a Kubernetes API server: run the backup again",
        Some(429 | 500..) => "see the API server's and etcd's log, then run the backup again",
        Some(_) => "see the API server's log",
        None => UNREACHABLE,
    };
    BackupError::Api {
        resource,
        page,
        code,
        message,
        remedy,
    }
}

/// The connection ended before the answer did.
fn broken_off(error: &io::Error, subject: &Subject<'_>) -> BackupError {
    BackupError::Api {
        resource: subject.resource.to_owned(),
        page: subject.page,
        code: None,
        message: innermost(error),
        remedy: UNREACHABLE,
    }
}

/// The whole chain of reasons: transport errors hide the useful word at the end.
fn innermost(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}
