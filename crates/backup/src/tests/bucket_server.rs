//! Whole runs against a real object storage (s3s-fs: it checks signatures and conditions and keeps objects as files), by TLS with a
//! certificate of an own authority.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use serde_json::Value;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::bucket_stub::PATIENT;
use super::fake_api::{CLUSTERS, FakeApi, cluster};
use super::opener;
use crate::store::{AttemptFolder, Bucket, BucketFault, Store};
use crate::verify::on_a_thread;
use crate::{BackupError, BackupResult, BucketArguments, BucketLimits, open_with};

/// S3 takes no part below 5 MiB but the last, so this is also one.
const ONE_PART: BucketLimits = BucketLimits {
    part_bytes: 8 << 20,
    ..PATIENT
};

/// The shortest that S3 takes in the middle.
const SHORTEST_PARTS: BucketLimits = BucketLimits {
    part_bytes: 5 << 20,
    ..PATIENT
};
/// So that an archive has a part in the middle.
const THREE_PARTS: u64 = 11 << 20;

pub(crate) struct Server {
    folder: tempfile::TempDir,
    address: std::net::SocketAddr,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("objects/backups")).unwrap();
        std::fs::create_dir(root.join("credentials")).unwrap();
        // As KKP names them in its own Secrets.
        std::fs::write(root.join("credentials/ACCESS_KEY_ID"), "access").unwrap();
        std::fs::write(root.join("credentials/SECRET_ACCESS_KEY"), "secret").unwrap();
        let acceptor = acceptor(root);
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.join("objects")).unwrap());
        builder.set_auth(SimpleAuth::from_single("access", "secret"));
        let service = builder.build();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, service) = (acceptor.clone(), service.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(socket).await {
                        let http = Builder::new(TokioExecutor::new());
                        drop(http.serve_connection(TokioIo::new(stream), service).await);
                    }
                });
            }
        });
        Self { folder, address }
    }

    pub(crate) fn arguments(&self) -> BucketArguments {
        BucketArguments {
            bucket: Some("backups".to_owned()),
            endpoint: Some(format!("https://localhost:{}", self.address.port())),
            prefix: "prod".to_owned(),
            region: "us-east-1".to_owned(),
            authorities: Some(self.folder.path().join("ca.pem")),
            credentials: Some(self.folder.path().join("credentials")),
            virtual_hosted: false,
        }
    }

    async fn back_up(&self, arguments: &BucketArguments) -> Result<BackupResult, BackupError> {
        let store = Store::Bucket(Bucket::open(arguments, ONE_PART).unwrap());
        FakeApi::platform().run_on(store, self.folder.path()).back_up().await
    }

    /// The file of an object of run `run-1`.
    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("objects/backups/prod/run-1").join(name)
    }

    /// In how many parts an object of run `run-1` was put together: the storage notes its `ETag` beside it, which ends in that.
    fn parts(&self, name: &str) -> u32 {
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let object = encoded(&format!("prod/run-1/{name}"));
        let notes = format!("objects/.bucket-{}.object-{object}.internal.json", encoded("backups"));
        let notes = std::fs::read(self.folder.path().join(notes)).unwrap();
        let notes: Value = serde_json::from_slice(&notes).unwrap();
        let (_, parts) = notes["e_tag"].as_str().unwrap().rsplit_once('-').unwrap();
        parts.parse().unwrap()
    }

    /// From now on, programs are given this key.
    pub(crate) fn change_secret(&self, secret: &str) {
        std::fs::write(self.folder.path().join("credentials/SECRET_ACCESS_KEY"), secret).unwrap();
    }
}

fn acceptor(folder: &Path) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("ca.pem"), made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn a_real_storage_keeps_a_verified_backup() {
    let server = Server::start().await;
    let first = server.back_up(&server.arguments()).await.unwrap();
    assert_eq!(first.path, "s3://backups/prod/run-1/master");
    let archive = std::fs::read(server.file("master/objects.tar.zst.age")).unwrap();
    assert_eq!(crate::digest(&archive), first.archive_digest);
    assert_eq!(server.back_up(&server.arguments()).await.unwrap(), first);
    std::fs::write(server.file("master/objects.tar.zst.age"), b"rubbish").unwrap();
    let second = server.back_up(&server.arguments()).await.unwrap();
    assert_eq!(second.path, "s3://backups/prod/run-1/master_2");
}

/// Text that does not compress but for its alphabet (splitmix64).
fn noise(seed: u64, bytes: usize) -> String {
    let step = |number: &mut u64| {
        *number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*number ^ (*number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some((mixed ^ (mixed >> 31)).to_le_bytes())
    };
    let mut number = seed << 32;
    let content: Vec<u8> = std::iter::from_fn(|| step(&mut number))
        .take(bytes / 8)
        .flatten()
        .collect();
    STANDARD.encode(content)
}

#[tokio::test]
async fn a_real_storage_puts_an_archive_of_several_parts_together() {
    let (server, api) = (Server::start().await, FakeApi::platform());
    api.change(|state| {
        for number in 0..12 {
            let (name, note) = (format!("large{number}"), noise(number, 1 << 20));
            state.add(CLUSTERS, cluster(&name, &note));
        }
    });
    let store = Store::Bucket(Bucket::open(&server.arguments(), SHORTEST_PARTS).unwrap());
    let result = api.run_on(store.clone(), server.folder.path()).back_up().await.unwrap();
    let archive = std::fs::read(server.file("master/objects.tar.zst.age")).unwrap();
    assert!(result.bytes > THREE_PARTS, "{} bytes", result.bytes);
    assert_eq!(server.parts("master/objects.tar.zst.age"), 3);
    assert_eq!(
        (crate::digest(&archive), archive.len() as u64),
        (result.archive_digest.clone(), result.bytes)
    );
    let folder = AttemptFolder::named(&store, "run-1", "master");
    let opened = open_with(&folder, Some(&result.manifest_digest), &opener()).await;
    assert_eq!(opened.unwrap().0.manifest.objects, 22);
}

#[tokio::test]
async fn a_real_storage_gives_a_folder_once() {
    let server = Server::start().await;
    for expected in ["s3://backups/prod/run-1/eu", "s3://backups/prod/run-1/eu_2"] {
        let store = Store::Bucket(Bucket::open(&server.arguments(), ONE_PART).unwrap());
        let claimed = on_a_thread(move || AttemptFolder::claim(store, "run-1", "eu")).await;
        assert_eq!(claimed.unwrap().location(), expected);
    }
}

#[tokio::test]
async fn wrong_keys_and_authorities_are_told_apart() {
    let server = Server::start().await;
    let expect = async |arguments: BucketArguments, wanted: BucketFault| {
        let error = server.back_up(&arguments).await.unwrap_err();
        assert!(
            matches!(&error, BackupError::Bucket { fault, .. } if *fault == wanted),
            "{wanted:?}: {error}"
        );
    };
    let right = server.arguments();
    let mut system = right.clone();
    system.authorities = None;
    expect(system, BucketFault::Unreachable).await;
    server.change_secret("another");
    expect(right, BucketFault::Denied).await;
}
