//! An object that is read as a stream: it has to come on, and to be as long as was said. Talks to the bucket.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::GetResult;

use super::bucket::Bucket;
use super::fault::{BucketFault, judge};
use super::settings::BucketLimits;
use crate::BackupError;

/// An object that is being read.
pub(super) struct Download {
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    path: PathBuf,
    limits: BucketLimits,
    /// Length that the storage told.
    pub(super) length: u64,
    received: u64,
    /// Time spent on waiting, and bytes that came, since the last time that enough had come.
    waited: Duration,
    progress: u64,
}

impl Download {
    pub(super) fn new(found: GetResult, path: PathBuf, limits: BucketLimits) -> Self {
        Self {
            length: found.meta.size,
            stream: found.into_stream(),
            path,
            limits,
            received: 0,
            waited: Duration::ZERO,
            progress: 0,
        }
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, BackupError> {
        let left = self.limits.wait.saturating_sub(self.waited);
        let asked = Instant::now();
        let piece = match tokio::time::timeout(left, self.stream.next()).await {
            Err(_) => return Err(self.slow()),
            Ok(None) if self.received != self.length => {
                let message = format!("it ended after {} of {} bytes", self.received, self.length);
                return Err(self.fault(BucketFault::Unreachable, message));
            }
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => {
                let (fault, message) = judge(&error);
                let message = format!("the connection broke after {} bytes: {message}", self.received);
                return Err(self.fault(fault, message));
            }
            Ok(Some(Ok(piece))) => piece,
        };
        self.waited += asked.elapsed();
        self.received += piece.len() as u64;
        self.progress += piece.len() as u64;
        if self.progress >= self.limits.progress {
            self.waited = Duration::ZERO;
            self.progress = 0;
        }
        Ok(Some(piece))
    }

    fn slow(&self) -> BackupError {
        let message = format!(
            "{} bytes came in {} s, and at least {} are expected",
            self.progress,
            self.limits.wait.as_secs_f32(),
            self.limits.progress
        );
        self.fault(BucketFault::Slow, message)
    }

    fn fault(&self, fault: BucketFault, message: String) -> BackupError {
        BackupError::Bucket {
            action: "read",
            path: self.path.clone(),
            fault,
            message,
        }
    }
}

/// Where the reason of a failed read or write is left: decoders between would only keep its words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<BackupError>>>);

impl Trouble {
    pub(super) fn note(&self, error: BackupError) -> io::Error {
        let words = error.to_string();
        if let Ok(mut slot) = self.0.lock() {
            slot.get_or_insert(error);
        }
        io::Error::other(words)
    }

    pub(crate) fn take(&self) -> Option<BackupError> {
        self.0.lock().ok()?.take()
    }
}

/// A download as a reader, for a thread that may wait.
pub(super) struct BucketReader {
    pub(super) bucket: Arc<Bucket>,
    pub(super) download: Download,
    pub(super) piece: Bytes,
    pub(super) trouble: Trouble,
}

impl Read for BucketReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !buffer.is_empty() {
            match self.bucket.wait(self.download.next()) {
                Ok(Some(piece)) => self.piece = piece,
                Ok(None) => return Ok(0),
                Err(error) => return Err(self.trouble.note(error)),
            }
        }
        let length = self.piece.len().min(buffer.len());
        let front = self.piece.split_to(length);
        buffer.iter_mut().zip(front).for_each(|(to, from)| *to = from);
        Ok(length)
    }
}
