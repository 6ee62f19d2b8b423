//! Certificates and keys of one control plane, and the kubeconfig that uses them.
//!
//! The serving certificate names the loopback address only, so that a copied folder works on any port. Never talks to
//! a cluster.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Why certificates could not be made or written.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Making a key or certificate failed.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A file could not be written or read.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The folder with all certificates and keys of one control plane.
#[derive(Clone, Debug)]
pub struct Pki {
    folder: PathBuf,
}

impl Pki {
    /// Makes a certificate authority and all that hangs on it in `folder`.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub fn create(folder: &Path) -> Result<Self, PkiError> {
        fs::create_dir_all(folder).map_err(|source| PkiError::File {
            path: folder.to_owned(),
            source,
        })?;
        let pki = Self {
            folder: folder.to_owned(),
        };
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name = name("kkp-lab", None);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let ca_certificate = ca.self_signed(&ca_key)?;
        pki.write("ca.crt", &ca_certificate.pem())?;
        pki.write("ca.key", &ca_key.serialize_pem())?;
        let issuer = Issuer::new(ca, ca_key);
        let names = [
            "localhost",
            "127.0.0.1",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ];
        let mut serving = CertificateParams::new(names.map(String::from).to_vec())?;
        serving.distinguished_name = name("kube-apiserver", None);
        serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        pki.sign("apiserver", serving, &issuer)?;
        let mut admin = CertificateParams::default();
        admin.distinguished_name = name("kkp-lab-admin", Some("system:masters"));
        admin.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        pki.sign("admin", admin, &issuer)?;
        let service_account = KeyPair::generate()?;
        pki.write("service-account.key", &service_account.serialize_pem())?;
        pki.write("service-account.pub", &service_account.public_key_pem())?;
        Ok(pki)
    }

    /// Uses certificates that are already there.
    #[must_use]
    pub fn existing(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// One file of the folder.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Writes a kubeconfig with administrator rights for a server on `port`.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub fn write_kubeconfig(&self, path: &Path, cluster: &str, port: u16) -> Result<(), PkiError> {
        let text = self.kubeconfig(cluster, port)?;
        write_private(path, &text)
    }

    fn kubeconfig(&self, cluster: &str, port: u16) -> Result<String, PkiError> {
        let data = |file: &str| {
            let path = self.path(file);
            let bytes = fs::read(&path).map_err(|source| PkiError::File { path, source })?;
            Ok::<_, PkiError>(STANDARD.encode(bytes))
        };
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": cluster,
            "clusters": [{"name": cluster, "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority-data": data("ca.crt")?,
            }}],
            "users": [{"name": "admin", "user": {
                "client-certificate-data": data("admin.crt")?,
                "client-key-data": data("admin.key")?,
            }}],
            "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": "admin"}}],
        });
        // JSON is YAML, and every client reads it.
        Ok(format!("{config:#}\n"))
    }

    fn sign(&self, file: &str, params: CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Result<(), PkiError> {
        let key = KeyPair::generate()?;
        let mut params = params;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let certificate = params.signed_by(&key, issuer)?;
        self.write(&format!("{file}.crt"), &certificate.pem())?;
        self.write(&format!("{file}.key"), &key.serialize_pem())
    }

    fn write(&self, file: &str, content: &str) -> Result<(), PkiError> {
        write_private(&self.path(file), content)
    }
}

fn write_private(path: &Path, content: &str) -> Result<(), PkiError> {
    fs::write(path, content)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o600)))
        .map_err(|source| PkiError::File {
            path: path.to_owned(),
            source,
        })
}

fn name(common_name: &str, organisation: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    if let Some(organisation) = organisation {
        name.push(DnType::OrganizationName, organisation);
    }
    name
}
