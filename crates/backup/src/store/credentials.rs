//! Credentials of a bucket, read from the files of a mounted Secret before each request: after a rotation the next request has the
//! new ones. Talks to the file system. No credential may get into a message.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

/// Names of the keys: ours, and those that KKP's own Secrets for etcd backups have (KKP 2.31 source, `pkg/resources`).
const NAMES: [(&str, &str); 2] = [
    ("accessKeyID", "secretAccessKey"),
    ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"),
];

/// A folder that holds no credentials.
#[derive(Debug, thiserror::Error)]
#[error("{} has no files accessKeyID and secretAccessKey (or ACCESS_KEY_ID and SECRET_ACCESS_KEY)", folder.display())]
pub(super) struct NoCredentials {
    folder: PathBuf,
}

/// Reads the files of a folder.
#[derive(Debug)]
pub(super) struct MountedCredentials {
    pub(super) folder: PathBuf,
}

#[async_trait]
impl CredentialProvider for MountedCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        for (key_id, secret_key) in NAMES {
            if let (Some(key_id), Some(secret_key)) = (read(&self.folder, key_id), read(&self.folder, secret_key)) {
                return Ok(Arc::new(AwsCredential {
                    key_id,
                    secret_key,
                    token: None,
                }));
            }
        }
        let folder = self.folder.clone();
        Err(object_store::Error::Unauthenticated {
            path: String::new(),
            source: Box::new(NoCredentials { folder }),
        })
    }
}

/// Without the line end that editors and `echo` leave.
fn read(folder: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(folder.join(name)).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
