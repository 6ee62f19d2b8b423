//! A bucket: every call has a deadline; only calls that may be made twice are repeated, and not for ever.
//!
//! Talks to the bucket. Must never write over an object, and never believe an `ETag`.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::path::Path as Key;
use object_store::{GetOptions, ObjectStore as _, PutMode, PutOptions, PutPayload, RetryConfig};
use tokio::runtime::Handle;

use super::connection::Connection;
use super::credentials::MountedCredentials;
use super::download::Download;
use super::fault::{BucketFault, judge};
use super::settings::{BucketArguments, BucketLimits};
use crate::BackupError;

/// A bucket, or what lies below a prefix in it.
#[derive(Debug)]
pub struct Bucket {
    pub(super) s3: AmazonS3,
    pub(super) limits: BucketLimits,
    runtime: Handle,
    name: String,
    pub(super) prefix: String,
}

/// What became of an object that was to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Creation {
    /// It holds our bytes.
    Ours,
    /// It holds something else, and stays.
    Foreign,
}

impl Bucket {
    /// Makes the client; sends nothing. Has to be called within a tokio runtime.
    ///
    /// # Errors
    /// When the settings contradict themselves, or the authorities cannot be read.
    pub fn open(arguments: &BucketArguments, limits: BucketLimits) -> Result<Arc<Self>, BackupError> {
        let bucket = arguments.bucket.clone().unwrap_or_default();
        let prefix = arguments.prefix.trim_matches('/').to_owned();
        let refuse = |message: String| BackupError::Bucket {
            action: "use the bucket",
            path: PathBuf::from(format!("s3://{bucket}")),
            fault: BucketFault::Settings,
            message,
        };
        let credentials = arguments.credentials.clone();
        let folder = credentials.ok_or_else(|| refuse("no folder with credentials is given".to_owned()))?;
        let plain = arguments
            .endpoint
            .as_ref()
            .is_some_and(|endpoint| endpoint.starts_with("http://"));
        let connection = Connection::new(arguments.authorities.as_deref(), !plain).map_err(refuse)?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&bucket)
            .with_region(&arguments.region)
            .with_virtual_hosted_style_request(arguments.virtual_hosted)
            .with_credentials(Arc::new(MountedCredentials { folder }))
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // One by one: not every storage knows the call for many.
            .with_config(AmazonS3ConfigKey::DisableBulkDelete, "true")
            .with_http_connector(connection)
            .with_retry(RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            });
        if let Some(endpoint) = &arguments.endpoint {
            builder = builder
                .with_endpoint(address(endpoint, &bucket, arguments.virtual_hosted))
                .with_allow_http(plain);
        }
        let s3 = builder.build().map_err(|error| refuse(error.to_string()))?;
        Ok(Arc::new(Self {
            s3,
            limits,
            runtime: Handle::current(),
            name: bucket,
            prefix,
        }))
    }

    /// `s3://<bucket>/<prefix>/<relative>`, for people.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        PathBuf::from(format!("s3://{}/{}", self.name, self.name(relative)))
    }

    fn name(&self, relative: &str) -> String {
        if self.prefix.is_empty() {
            return relative.to_owned();
        }
        format!("{}/{relative}", self.prefix)
    }

    pub(super) fn key(&self, relative: &str) -> Result<Key, BackupError> {
        Key::parse(self.name(relative)).map_err(|error| BackupError::Bucket {
            action: "name",
            path: self.path(relative),
            fault: BucketFault::Settings,
            message: error.to_string(),
        })
    }

    /// Waits on this thread, which must not be one that drives the runtime.
    pub(super) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Creates a small object, if nothing is there. After a lost answer it is looked at: what holds our bytes is ours.
    pub(super) async fn create(
        &self,
        action: &'static str,
        relative: &str,
        content: &Bytes,
    ) -> Result<Creation, BackupError> {
        let put = || self.put_once(relative, content);
        match self.repeated(action, relative, put).await {
            Ok(()) => Ok(Creation::Ours),
            Err(error) if has_fault(&error, BucketFault::Exists) => {
                let most = content.len() as u64;
                let there = self.read_small(relative, most).await;
                match there {
                    Ok(Some(there)) if there == *content => Ok(Creation::Ours),
                    Ok(Some(_)) => Ok(Creation::Foreign),
                    // Longer than ours, so another's.
                    Err(other) if has_fault(&other, BucketFault::Refused) => Ok(Creation::Foreign),
                    Ok(None) => Err(error),
                    Err(other) => Err(other),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the storage refuses to write over what is there, as it has to: asked with the very bytes that are there.
    pub(super) async fn honours_conditions(&self, relative: &str, content: &Bytes) -> Result<bool, BackupError> {
        let put = || self.put_once(relative, content);
        match self.repeated("write", relative, put).await {
            Ok(()) => Ok(false),
            Err(error) if has_fault(&error, BucketFault::Exists) => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn put_once(&self, relative: &str, content: &Bytes) -> Result<(), Attempted> {
        let key = self.key(relative)?;
        let options = PutOptions::from(PutMode::Create);
        let payload = PutPayload::from_bytes(content.clone());
        self.s3.put_opts(&key, payload, options).await?;
        Ok(())
    }

    /// The whole of a small object; `None` when it is not there.
    pub(super) async fn read_small(&self, relative: &str, most: u64) -> Result<Option<Bytes>, BackupError> {
        let mut download = match self.download(relative).await {
            Ok(download) => download,
            Err(error) if has_fault(&error, BucketFault::Missing) && !says_bucket(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if download.length > most {
            return Err(BackupError::Bucket {
                action: "read",
                path: self.path(relative),
                fault: BucketFault::Refused,
                message: format!("it has {} bytes, and at most {most} are read", download.length),
            });
        }
        let mut content = Vec::new();
        while let Some(piece) = download.next().await? {
            content.extend_from_slice(&piece);
        }
        Ok(Some(content.into()))
    }

    /// Starts to read an object.
    pub(super) async fn download(&self, relative: &str) -> Result<Download, BackupError> {
        let get = || async {
            let key = self.key(relative)?;
            Ok(self.s3.get_opts(&key, GetOptions::default()).await?)
        };
        let found = self.repeated("read", relative, get).await?;
        Ok(Download::new(found, self.path(relative), self.limits))
    }

    /// Makes a call until it succeeds, fails for good, or was tried often enough. Only for calls that may arrive twice.
    pub(super) async fn repeated<T, Work>(
        &self,
        action: &'static str,
        relative: &str,
        call: impl Fn() -> Work,
    ) -> Result<T, BackupError>
    where
        Work: Future<Output = Result<T, Attempted>>,
    {
        self.repeated_within(self.limits.call, action, relative, call).await
    }

    /// The same with another deadline for each try.
    pub(super) async fn repeated_within<T, Work>(
        &self,
        deadline: std::time::Duration,
        action: &'static str,
        relative: &str,
        call: impl Fn() -> Work,
    ) -> Result<T, BackupError>
    where
        Work: Future<Output = Result<T, Attempted>>,
    {
        let mut pause = self.limits.pause;
        let mut attempt = 1;
        loop {
            let (fault, message) = match tokio::time::timeout(deadline, call()).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(Attempted::Unusable(error))) => return Err(*error),
                Ok(Err(Attempted::Failed(error))) => judge(&error),
                Err(_) => (
                    BucketFault::Slow,
                    format!("no answer within {} s", deadline.as_secs_f32()),
                ),
            };
            let path = self.path(relative);
            if !fault.is_transient() || attempt >= self.limits.tries {
                return Err(BackupError::Bucket {
                    action,
                    path,
                    fault,
                    message,
                });
            }
            tracing::warn!(path = %path.display(), attempt, "cannot {action} it, trying again: {message}");
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
            attempt += 1;
        }
    }
}

/// Why a try failed.
pub(super) enum Attempted {
    /// The storage or the way to it.
    Failed(object_store::Error),
    /// Nothing could be sent.
    Unusable(Box<BackupError>),
}

impl From<object_store::Error> for Attempted {
    fn from(error: object_store::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<BackupError> for Attempted {
    fn from(error: BackupError) -> Self {
        Self::Unusable(Box::new(error))
    }
}

/// `object_store` takes an endpoint with the bucket's name in it where that is no part of the path.
fn address(endpoint: &str, bucket: &str, virtual_hosted: bool) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    match endpoint.split_once("://") {
        Some((scheme, host)) if virtual_hosted => format!("{scheme}://{bucket}.{host}"),
        _ => endpoint.to_owned(),
    }
}

pub(super) fn has_fault(error: &BackupError, wanted: BucketFault) -> bool {
    matches!(error, BackupError::Bucket { fault, .. } if *fault == wanted)
}

/// A missing bucket is not a missing object.
pub(super) fn says_bucket(error: &BackupError) -> bool {
    matches!(error, BackupError::Bucket { message, .. } if message.contains("NoSuchBucket"))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use object_store::signer::Signer as _;

    use super::*;

    /// Where a request for an object goes, without its query.
    async fn asked(endpoint: Option<&str>, virtual_hosted: bool) -> String {
        let folder = tempfile::tempdir().unwrap();
        for file in ["accessKeyID", "secretAccessKey"] {
            std::fs::write(folder.path().join(file), "x").unwrap();
        }
        let arguments = BucketArguments {
            bucket: Some("backups".to_owned()),
            endpoint: endpoint.map(str::to_owned),
            prefix: "/prod/".to_owned(),
            region: "eu-central-1".to_owned(),
            credentials: Some(folder.path().to_owned()),
            virtual_hosted,
            ..BucketArguments::default()
        };
        let bucket = Bucket::open(&arguments, BucketLimits::default()).unwrap();
        let key = bucket.key("run-1/master/claim").unwrap();
        let signed = bucket.s3.signed_url(Method::GET, &key, bucket.limits.call).await;
        signed.unwrap().as_str().split('?').next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn the_name_of_the_bucket_is_in_the_path_or_in_the_host_and_never_in_both() {
        let object = "prod/run-1/master/claim";
        for endpoint in ["https://s3.example:9000", "https://s3.example:9000/"] {
            let path = asked(Some(endpoint), false).await;
            assert_eq!(path, format!("https://s3.example:9000/backups/{object}"));
            let host = asked(Some(endpoint), true).await;
            assert_eq!(host, format!("https://backups.s3.example:9000/{object}"));
        }
        let plain = asked(Some("http://10.0.0.1"), false).await;
        assert_eq!(plain, format!("http://10.0.0.1/backups/{object}"));
        // AWS, where nobody names an endpoint.
        let path = asked(None, false).await;
        assert_eq!(path, format!("https://s3.eu-central-1.amazonaws.com/backups/{object}"));
        let host = asked(None, true).await;
        assert_eq!(host, format!("https://backups.s3.eu-central-1.amazonaws.com/{object}"));
    }
}
