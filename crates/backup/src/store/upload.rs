//! An object that is written as a stream, in parts: it appears as a whole or not at all. Talks to the bucket.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path as Key;
use object_store::{MultipartId, PutPayload};

use super::bucket::Bucket;
use super::download::Trouble;
use super::fault::BucketFault;
use crate::BackupError;

/// S3 takes no more.
const MOST_PARTS: usize = 10_000;

/// An upload that is under way; given up when dropped before its end.
pub(crate) struct Upload {
    bucket: Arc<Bucket>,
    relative: String,
    key: Key,
    id: MultipartId,
    parts: Vec<PartId>,
    buffer: Vec<u8>,
    trouble: Trouble,
    completed: bool,
}

impl Upload {
    /// Starts one, in a folder that is this attempt's own.
    pub(super) fn begin(bucket: &Arc<Bucket>, relative: String, trouble: Trouble) -> Result<Self, BackupError> {
        let key = bucket.key(&relative)?;
        // An upload that was begun twice leaves an empty one, which takes no room.
        let begin = || async { Ok(bucket.s3.create_multipart(&key).await?) };
        let id = bucket.wait(bucket.repeated("begin the upload of", &relative, begin))?;
        Ok(Self {
            bucket: bucket.clone(),
            relative,
            key,
            id,
            parts: Vec::new(),
            buffer: Vec::with_capacity(bucket.limits.part_bytes),
            trouble,
            completed: false,
        })
    }

    fn send_part(&mut self) -> Result<(), BackupError> {
        let bytes = self.bucket.limits.part_bytes;
        if self.parts.len() == MOST_PARTS {
            return Err(BackupError::Bucket {
                action: "write",
                path: self.bucket.path(&self.relative),
                fault: BucketFault::Refused,
                message: format!("it has more than {MOST_PARTS} parts of {bytes} bytes, and S3 takes no more"),
            });
        }
        let part = Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(bytes)));
        let index = self.parts.len();
        let call = || async {
            let payload = PutPayload::from_bytes(part.clone());
            Ok(self.bucket.s3.put_part(&self.key, &self.id, index, payload).await?)
        };
        let deadline = self.bucket.limits.part;
        let sending = self.bucket.repeated_within(deadline, "write", &self.relative, call);
        let part_id = self.bucket.wait(sending)?;
        self.parts.push(part_id);
        Ok(())
    }

    /// Sends the rest and puts the parts together. What the storage then says of it is not believed: it is read back later.
    pub(super) fn complete(mut self) -> Result<(), BackupError> {
        self.send_part()?;
        let complete = || async {
            let parts = self.parts.clone();
            Ok(self.bucket.s3.complete_multipart(&self.key, &self.id, parts).await?)
        };
        let completed = self.bucket.repeated_within(
            self.bucket.limits.part,
            "complete the upload of",
            &self.relative,
            complete,
        );
        self.bucket.wait(completed)?;
        self.completed = true;
        Ok(())
    }
}

impl Write for Upload {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.buffer.len() >= self.bucket.limits.part_bytes {
            self.send_part().map_err(|error| self.trouble.note(error))?;
        }
        let room = self.bucket.limits.part_bytes - self.buffer.len();
        let taken = data.get(..room.min(data.len())).unwrap_or_default();
        self.buffer.extend_from_slice(taken);
        Ok(taken.len())
    }

    /// Parts are sent when they are full: S3 takes no short one in the middle.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.completed {
            return;
        }
        let abort = self.bucket.s3.abort_multipart(&self.key, &self.id);
        let abort = tokio::time::timeout(self.bucket.limits.call, abort);
        let outcome: Result<Result<(), object_store::Error>, _> = self.bucket.wait(abort);
        if !matches!(outcome, Ok(Ok(()))) {
            let path = self.bucket.path(&self.relative);
            tracing::warn!(path = %path.display(), upload = self.id, "cannot abort an unfinished upload: its parts take room until they are removed there");
        }
    }
}
