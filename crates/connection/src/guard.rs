//! What an answer may be: JSON, of a bounded size, from the server that was asked. A server that lies, or something that
//! stands in front of it, can neither fill our memory nor send us elsewhere, and nothing of what it says gets into an
//! error.
//!
//! Talks to nothing by itself.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tower::Service;

use crate::Peer;

type BoxError = Box<dyn StdError + Send + Sync>;

const MEBIBYTE: usize = 1024 * 1024;

/// Why an answer is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It does not end in time to fit into memory.
    #[error("the answer is longer than {} MiB", limit / MEBIBYTE)]
    TooLong {
        /// Most that is read, in bytes.
        limit: usize,
    },
    /// One event of a watch does not end.
    #[error("an event of the watch is longer than {} MiB", limit / MEBIBYTE)]
    LineTooLong {
        /// Most that is read of one event, in bytes.
        limit: usize,
    },
    /// It sends us elsewhere, where our credentials have no business.
    #[error("it answers {code}, a redirect, which is not followed: the kubeconfig must name the API server itself")]
    Redirect {
        /// HTTP status.
        code: u16,
    },
    /// It is a page for people: a proxy or a login stands in front.
    #[error(
        "it answers {code} with something that is not JSON: is that an API server, or does a proxy stand in front?"
    )]
    NotJson {
        /// HTTP status.
        code: u16,
    },
}

/// How much is read of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest answer, in bytes.
    pub answer: usize,
    /// Longest event of a watch, in bytes.
    pub event: usize,
    /// Longest answer that reports an error, in bytes.
    pub error: usize,
}

impl Limits {
    /// The limits for a peer.
    ///
    /// A seed is asked for 100 objects of its user clusters at a time, or for all of KKP's own namespace, which has some
    /// dozens. KKP's objects have 10 to 40 KiB with all managed fields, so a page has a few MiB; three lists of each of
    /// eight seeds are read at the same time, so much more would be too much. A user cluster belongs to its users: of four on each
    /// seed a page is read at a time, of 100 objects with some KiB each. The master belongs to those who run the
    /// operator: its bound is against accidents. A backup reads Secrets of up to 1 MiB, one page at a time, in a process
    /// of its own.
    #[must_use]
    pub const fn of(peer: &Peer) -> Self {
        let answer = match peer {
            Peer::Seed { .. } => 16,
            Peer::UserCluster { .. } => 8,
            Peer::Master | Peer::LeaderElection | Peer::Preparation => 128,
            Peer::Backup => 256,
        };
        // etcd takes no object over 1.5 MiB; the same object is somewhat longer in JSON.
        Self {
            answer: answer * MEBIBYTE,
            event: 4 * MEBIBYTE,
            error: MEBIBYTE,
        }
    }
}

/// Puts the guard around a client's service.
#[derive(Debug, Clone)]
pub(crate) struct Guard<S> {
    inner: S,
    limits: Limits,
}

impl<S> Guard<S> {
    pub(crate) const fn new(inner: S, limits: Limits) -> Self {
        Self { inner, limits }
    }
}

impl<S, Q, B> Service<Request<Q>> for Guard<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
{
    type Response = Response<Guarded<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let limits = self.limits;
        let watch = request.uri().query().is_some_and(is_watch);
        let log = request.uri().path().ends_with("/log");
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into)?;
            Ok(check(answer, limits, watch, log)?)
        })
    }
}

fn is_watch(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

/// Looks at the head of an answer and bounds its body.
fn check<B>(answer: Response<B>, limits: Limits, watch: bool, log: bool) -> Result<Response<Guarded<B>>, AnswerError> {
    let status = answer.status();
    let code = status.as_u16();
    if status.is_redirection() {
        return Err(AnswerError::Redirect { code });
    }
    let failed = status.is_client_error() || status.is_server_error();
    let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let kind = text(header::CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
    let json = kind.starts_with("application/json");
    // API servers report some errors as plain text, and a few successes have no content.
    let plain = kind.is_empty() || kind.starts_with("text/plain");
    if !json && !(plain && (failed || log)) && status != StatusCode::NO_CONTENT {
        return Err(AnswerError::NotJson { code });
    }
    let bound = match (failed, watch) {
        (true, _) => Bound::Whole(limits.error),
        (false, true) => Bound::Event(limits.event),
        (false, false) => Bound::Whole(limits.answer),
    };
    let announced = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if let (Bound::Whole(limit), Some(announced)) = (bound, announced)
        && announced > limit
    {
        return Err(AnswerError::TooLong { limit });
    }
    Ok(answer.map(|inner| Guarded {
        inner: Box::pin(inner),
        bound,
        read: 0,
    }))
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    Whole(usize),
    Event(usize),
}

/// A body that ends with an error where it gets too long.
pub(crate) struct Guarded<B> {
    inner: Pin<Box<B>>,
    bound: Bound,
    /// Bytes of the answer, or of the event that has not ended.
    read: usize,
}

impl<B> Guarded<B> {
    fn count(&mut self, data: &[u8]) -> Result<(), AnswerError> {
        match self.bound {
            Bound::Whole(limit) => {
                self.read = self.read.saturating_add(data.len());
                if self.read > limit {
                    return Err(AnswerError::TooLong { limit });
                }
            }
            Bound::Event(limit) => {
                let mut lines = data.split(|byte| *byte == b'\n').peekable();
                while let Some(line) = lines.next() {
                    self.read = self.read.saturating_add(line.len());
                    if self.read > limit {
                        return Err(AnswerError::LineTooLong { limit });
                    }
                    if lines.peek().is_some() {
                        self.read = 0;
                    }
                }
            }
        }
        Ok(())
    }
}

impl<B> HttpBody for Guarded<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match ready!(self.inner.as_mut().poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        let counted = frame.data_ref().map_or(Ok(()), |data| self.count(data));
        Poll::Ready(Some(match counted {
            Ok(()) => Ok(frame),
            Err(error) => Err(error.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
