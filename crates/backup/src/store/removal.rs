//! Removing files of an attempt's folder, one by one. Talks to the volume or the bucket; decides nothing. What is gone already is
//! no error, so that everything here may be done again.

use std::io;

use object_store::ObjectStoreExt as _;

use super::bucket::{Attempted, Bucket, has_fault};
use super::{AttemptFolder, BucketFault, Store};
use crate::BackupError;
use crate::disk;
use crate::volume::{sync_folder, temporary};

impl AttemptFolder {
    /// Removes one of its files for good, on the medium too.
    pub(crate) fn remove(&self, file: &str) -> Result<(), BackupError> {
        let bucket = match &self.store {
            Store::Volume(_) => {
                let path = self.path().join(file);
                return match disk::remove_file(&path) {
                    Ok(()) => sync_folder(self.path()),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    Err(error) => Err(BackupError::volume("remove", &path, error)),
                };
            }
            Store::Bucket(bucket) => bucket,
        };
        let relative = format!("{}/{file}", self.relative());
        bucket.wait(delete(bucket, &relative))
    }

    /// On a volume: removes what a killed program left of one of its files. In a bucket a file is there whole or not at all.
    pub(crate) fn remove_unpublished(&self, file: &str) -> Result<(), BackupError> {
        match &self.store {
            Store::Volume(_) => self.remove(&temporary(file)),
            Store::Bucket(_) => Ok(()),
        }
    }

    /// On a volume: removes the folder, and that of its run, if they are empty. In a bucket there are no folders.
    pub(crate) fn remove_empty(&self) -> Result<(), BackupError> {
        if matches!(self.store, Store::Bucket(_)) {
            return Ok(());
        }
        for folder in self.path().ancestors().take(2) {
            match disk::remove_folder(folder) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
                Err(error) => return Err(BackupError::volume("remove", folder, error)),
            }
        }
        Ok(())
    }
}

async fn delete(bucket: &Bucket, relative: &str) -> Result<(), BackupError> {
    let call = || async {
        let key = bucket.key(relative)?;
        bucket.s3.delete(&key).await.map_err(Attempted::from)
    };
    match bucket.repeated("remove", relative, call).await {
        Err(error) if has_fault(&error, BucketFault::Missing) && !super::bucket::says_bucket(&error) => Ok(()),
        outcome => outcome,
    }
}
