//! HTTP for buckets, with the same client and TLS as for API servers: no second stack in the program.
//!
//! Talks to the endpoint. Must never follow a redirect, repeat a request, or take an error document of any length.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::TokioExecutor;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::fault::Refusal;

/// Longest answer that is no object, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;
/// Longest that opening a connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Gives `object_store` our client.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    client: Client<HttpsConnector<TcpConnector>, HttpRequestBody>,
}

impl Connection {
    /// Trusts the authorities in this file alone, or, without one, those of the system; without TLS nobody, and needs none.
    pub(super) fn new(authorities: Option<&Path>, with_tls: bool) -> Result<Self, String> {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_DEADLINE));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls(authorities, with_tls)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(https),
        })
    }
}

fn tls(authorities: Option<&Path>, with_tls: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    if !with_tls {
        let nobody = rustls::RootCertStore::empty();
        return Ok(builder.with_root_certificates(nobody).with_no_client_auth());
    }
    let Some(file) = authorities else {
        let verified = builder.with_platform_verifier().map_err(|error| error.to_string())?;
        return Ok(verified.with_no_client_auth());
    };
    let unusable = |reason: String| format!("{} cannot be used as authorities: {reason}", file.display());
    let text = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("it has no certificate".to_owned()));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl HttpConnector for Connection {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connection {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let reading = request.method() == Method::GET;
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let (parts, body) = answer.into_parts();
        if reading && parts.status.is_success() {
            let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
            return Ok(Response::from_parts(parts, HttpResponseBody::new(body)));
        }
        let body = Limited::new(body, LONGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| HttpError::new_boxed(HttpErrorKind::Interrupted, error))?
            .to_bytes();
        refused(parts.status, &body)?;
        Ok(Response::from_parts(parts, HttpResponseBody::from(body)))
    }
}

/// Answers that have no meaning of their own in S3's protocol become an error with the storage's own words.
fn refused(status: StatusCode, body: &[u8]) -> Result<(), HttpError> {
    let refusal = Refusal::read(status, body);
    let meant = match status {
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => true,
        StatusCode::NOT_FOUND => !matches!(refusal.code.as_str(), "NoSuchBucket" | "NoSuchUpload"),
        // A completed upload may answer 200 with an error document.
        status => status.is_success() && !body.windows(7).any(|part| part == b"<Error>"),
    };
    if meant {
        return Ok(());
    }
    Err(HttpError::new(HttpErrorKind::Unknown, refusal))
}
