//! Answers that no API server gave, as one would give them. Pure.

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::json;

/// Why a call has no answer.
pub(super) type Broken = Box<dyn std::error::Error + Send + Sync>;
/// Body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Broken>;

/// A body of these bytes.
pub(super) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// The connection is gone.
pub(super) fn reset() -> Broken {
    std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()
}

/// Half of these bytes, then the connection is gone.
pub(super) fn half(bytes: &Bytes) -> Body {
    let start = bytes.slice(..bytes.len() / 2);
    let frames = [Ok(http_body::Frame::data(start)), Err(reset())];
    StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
}

/// Name of an HTTP status in Kubernetes' own words (`k8s.io/apimachinery`, `metav1.StatusReason`).
fn reason(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        413 => "RequestEntityTooLarge",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    }
}

/// A Status object.
pub(super) fn status(code: u16, message: &str) -> serde_json::Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason(code), "code": code,
    })
}

/// An error as the API server words it.
pub(super) fn error(code: u16) -> Response<Body> {
    let text = status(code, "asked for by the fault layer").to_string();
    let mut response = Response::new(whole(text.into()));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if code == 429 {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// What a proxy shows to people.
pub(super) fn page() -> Response<Body> {
    let text = "<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>";
    let mut response = Response::new(whole(text.into()));
    *response.status_mut() = http::StatusCode::BAD_GATEWAY;
    let html = HeaderValue::from_static("text/html");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}
