//! One GET over HTTPS, with the same client and TLS as for buckets: no redirect, no credentials, a deadline, a short answer.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;

use crate::call;

/// Longest that a question may take, from the look-up of the name to the last byte.
const DEADLINE: Duration = Duration::from_secs(8);
/// Longest that opening a connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Longest answer, in bytes: documents of issuers have some KiB.
const LONGEST_ANSWER: usize = 256 << 10;

/// Whose certificates are believed: the authorities of the system, and those of KKP's CA bundle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust {
    /// The bundle (PEM); `None` = there is none.
    pub(crate) bundle: Option<String>,
    /// Why the bundle could not be read.
    pub(crate) unread: Option<String>,
}

impl Trust {
    /// Another text for other authorities.
    pub(super) fn identity(&self) -> String {
        kkp_upgrade_core::request::sha256(self.bundle.as_deref().unwrap_or_default().as_bytes())
    }
}

/// Why there is nothing to look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server is to blame.
    Refused(String),
    /// Nobody can say from here.
    Silent(String),
}

/// Status and body of the answer.
pub(super) async fn get(address: Uri, trust: &Trust) -> Result<(u16, Vec<u8>), Failure> {
    let asked = tokio::time::timeout(DEADLINE, answer(address, trust)).await;
    asked.unwrap_or_else(|_| Err(Failure::Silent(format!("no answer within {} s", DEADLINE.as_secs()))))
}

async fn answer(address: Uri, trust: &Trust) -> Result<(u16, Vec<u8>), Failure> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_DEADLINE));
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls(trust).map_err(Failure::Silent)?)
        .https_only()
        .enable_http1()
        .wrap_connector(tcp);
    // Used once: a connection that is kept would be of use to nobody.
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build::<_, Empty<bytes::Bytes>>(https);
    let request = Request::get(address)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "kkp-upgrade-operator")
        .body(Empty::new())
        .map_err(|_| Failure::Refused("its address cannot be asked".to_owned()))?;
    let answer = client
        .request(request)
        .await
        .map_err(|error| no_answer(&error, trust))?;
    let status = answer.status();
    if status.is_redirection() {
        return Err(Failure::Refused(redirect(status)));
    }
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
    let body = body.map_err(|error| cut_off(error.as_ref()))?;
    Ok((status.as_u16(), body.to_bytes().to_vec()))
}

fn redirect(status: StatusCode) -> String {
    format!("it answers {}, a redirect, which is not followed", status.as_u16())
}

fn cut_off(error: &(dyn StdError + Send + Sync + 'static)) -> Failure {
    if error.is::<http_body_util::LengthLimitError>() {
        return Failure::Refused(format!("its answer is longer than {} KiB", LONGEST_ANSWER >> 10));
    }
    Failure::Silent(call::clean(&format!("the answer broke off: {}", call::causes(error))))
}

/// A certificate that nobody vouches for is the server's fault, unless the bundle that may vouch for it was not read.
fn no_answer(error: &(dyn StdError + 'static), trust: &Trust) -> Failure {
    let why = call::clean(&call::causes(error));
    match (is_untrusted(error), &trust.unread) {
        (true, None) => Failure::Refused(format!("its certificate is not trusted: {why}")),
        (true, Some(unread)) => Failure::Silent(format!("its certificate is not trusted, and {unread}")),
        (false, _) => Failure::Silent(why),
    }
}

fn is_untrusted(error: &(dyn StdError + 'static)) -> bool {
    if matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))) {
        return true;
    }
    // An io::Error does not name what it wraps as its source, but that one's source.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let wrapped = wrapped.map(|wrapped| wrapped as &(dyn StdError + 'static));
    wrapped.is_some_and(is_untrusted) || error.source().is_some_and(is_untrusted)
}

fn tls(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        Verifier::new_with_extra_roots(authorities(trust), provider.clone()).map_err(|error| error.to_string())?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// The certificates of the bundle that can be used: KKP takes one with a broken entry, too.
fn authorities(trust: &Trust) -> Vec<CertificateDer<'static>> {
    let bundle = trust.bundle.as_deref().unwrap_or_default();
    let usable = |certificate: &CertificateDer<'static>| RootCertStore::empty().add(certificate.clone()).is_ok();
    CertificateDer::pem_slice_iter(bundle.as_bytes())
        .filter_map(Result::ok)
        .filter(usable)
        .collect()
}
