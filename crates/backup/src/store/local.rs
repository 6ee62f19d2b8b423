//! An archive that is read many times: from the volume itself, or, of a bucket, from an encrypted copy in the temporary folder.
//!
//! Talks to the store once, then to the file system. Must never decrypt, and never leave the copy behind.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use tempfile::NamedTempFile;

use super::{ArchiveStream, AttemptFolder};
use crate::BackupError;

/// An archive that can be opened again and again.
#[derive(Debug, Clone)]
pub(crate) struct LocalArchive {
    folder: AttemptFolder,
    /// Removed with the last of its owners.
    copy: Option<Arc<NamedTempFile>>,
}

impl LocalArchive {
    /// Copies it once where it does not lie on a volume: whoever reads it between slow calls would have a connection that the
    /// storage closes. Of an archive that is longer than `bytes` no more than one byte further is taken.
    ///
    /// # Errors
    /// When the store cannot be read, or the temporary folder has no room.
    pub(crate) fn of(folder: &AttemptFolder, bytes: u64) -> Result<Self, BackupError> {
        let copy = if folder.is_on_a_volume() {
            None
        } else {
            Some(Arc::new(copied(folder.open_archive()?, bytes)?))
        };
        Ok(Self {
            folder: folder.clone(),
            copy,
        })
    }

    /// From its start.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open(&self) -> Result<ArchiveStream, BackupError> {
        let Some(copy) = &self.copy else {
            return self.folder.open_archive();
        };
        let open = || {
            let file = copy.reopen()?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let (file, length) = open().map_err(|error| BackupError::volume("open the copy", copy.path(), error))?;
        Ok(ArchiveStream::new(file, length, self.folder.archive()))
    }
}

fn copied(stream: ArchiveStream, bytes: u64) -> Result<NamedTempFile, BackupError> {
    let ArchiveStream { mut reader, naming, .. } = stream;
    let folder = std::env::temp_dir();
    let refused = |error: io::Error| BackupError::volume("copy the archive to", &folder, error);
    let mut copy = NamedTempFile::new().map_err(refused)?;
    let mut buffer = vec![0; 1 << 16];
    let mut left = bytes.saturating_add(1);
    loop {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = reader.read(buffer.get_mut(..most).unwrap_or_default());
        let length = read.map_err(|error| naming.failed("read", error))?;
        if length == 0 {
            return Ok(copy);
        }
        copy.write_all(buffer.get(..length).unwrap_or_default())
            .map_err(refused)?;
        left -= length as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::archive::ArchiveWriter;
    use crate::key::RunKey;
    use crate::manifest::SealedObject;
    use crate::tests::bucket_server::Server;
    use crate::{KeyPair, Recipients, StoreArguments};

    /// The copy of an archive with one Secret, in a bucket.
    fn copy_of_a_secret(store: &StoreArguments) -> Result<LocalArchive, BackupError> {
        let folder = AttemptFolder::claim(store.open()?, "run-1", "master")?;
        let recipients = Recipients::parse(&[KeyPair::generate().recipient])?;
        let mut writer = ArchiveWriter::create(&folder, &recipients, &RunKey::generate())?;
        writer.append(&SealedObject {
            path: "objects/core/v1/secrets/kubermatic/unguessable-name.json".to_owned(),
            digest: "0".repeat(64),
            resource_version: String::new(),
            body: b"letmein".to_vec(),
        })?;
        let (record, _) = writer.publish()?;
        LocalArchive::of(&folder, record.bytes)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_copy_of_what_is_in_a_bucket_is_encrypted() {
        let server = Server::start().await;
        let store = StoreArguments {
            destination: None,
            bucket: server.arguments(),
        };
        let local = tokio::task::block_in_place(|| copy_of_a_secret(&store)).unwrap();
        let copy = fs::read(local.copy.as_ref().unwrap().path()).unwrap();
        assert!(copy.starts_with(b"age-encryption.org/v1\n"));
        assert_eq!(copy, fs::read(server.file("master/objects.tar.zst.age")).unwrap());
    }

    #[test]
    fn a_copy_is_no_longer_than_it_has_to_be_and_does_not_stay() {
        let volume = tempfile::tempdir().unwrap();
        let path = volume.path().join("archive");
        let content = vec![7; 200_000];
        fs::write(&path, &content).unwrap();
        let copy = |bytes| {
            let stream = ArchiveStream::new(fs::File::open(&path).unwrap(), 200_000, path.clone());
            copied(stream, bytes).unwrap()
        };
        let whole = copy(200_000);
        assert_eq!(fs::read(whole.path()).unwrap(), content);
        assert_eq!(fs::metadata(copy(150_000).path()).unwrap().len(), 150_001);
        let place = whole.path().to_owned();
        drop(whole);
        assert!(!place.exists());
    }
}
