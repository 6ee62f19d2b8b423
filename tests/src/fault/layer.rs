//! What goes around a client: writes each call down, strikes it if the plan says so, and passes everything else through.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kkp_upgrade_connection::Connector;
use kube::Client;
use kube::client::Body as RequestBody;

use super::answer::{self, Body, Broken};
use super::call::{Verb, parse, peer_name, place};
use super::plan::Strike;
use super::record::{Begun, Record};
use super::watch;

/// How often a held call looks whether it may go.
const LOOK: Duration = Duration::from_millis(10);

type Answer = Result<Response<Body>, Broken>;

/// A connector with the fault layer around every client, its plan and record in `folder`; the plain one where there is no
/// such folder.
#[must_use]
pub fn connector(folder: &Path) -> Connector {
    if !folder.is_dir() {
        return Connector::default();
    }
    let record = Arc::new(Record::new(folder.to_owned()));
    Connector::around(move |peer, client| {
        let layer = Layer {
            peer: peer_name(peer),
            record: record.clone(),
            client: client.clone(),
        };
        let namespace = client.default_namespace().to_owned();
        let service = tower::service_fn(move |request| Box::pin(layer.clone().call(request)));
        Client::new(service, namespace)
    })
}

#[derive(Clone)]
struct Layer {
    peer: String,
    record: Arc<Record>,
    client: Client,
}

impl Layer {
    async fn call(self, request: Request<RequestBody>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let call = parse(&self.peer, &parts.method, &parts.uri, &body);
        let watches = call.verb == Verb::Watch;
        let place = place(&call, &body);
        let sent = Sent { parts, body };
        let Some(begun) = self.record.begin(call, place)? else {
            return self.send(&sent).await;
        };
        let answer = match begun.strike.clone() {
            None => self.send(&sent).await,
            Some(Strike::Watch(fault)) if watches => {
                let answer = self.send(&sent).await;
                answer.map(|response| response.map(|inner| watch::body(inner, fault)))
            }
            Some(strike) => self.strike(strike, &sent, &begun).await,
        };
        let code = answer.as_ref().map_or(0, |response| response.status().as_u16());
        self.record.answered(&begun, code)?;
        answer
    }

    async fn strike(&self, strike: Strike, sent: &Sent, begun: &Begun) -> Answer {
        match strike {
            Strike::Crash { committed } => {
                self.commit(committed, sent).await?;
                // As PID 1 of its container the process cannot kill itself; an abort leaves as little time to tidy up.
                std::process::abort()
            }
            Strike::Error { code, committed } => {
                self.commit(committed, sent).await?;
                Ok(answer::error(code))
            }
            Strike::Page { committed } => {
                self.commit(committed, sent).await?;
                Ok(answer::page())
            }
            Strike::Silence { committed } => {
                self.commit(committed, sent).await?;
                std::future::pending().await
            }
            Strike::Reset { committed: false } => Err(answer::reset()),
            Strike::Reset { committed: true } => self.changed(sent, |bytes| answer::half(&bytes)).await,
            Strike::Truncated => {
                self.changed(sent, |bytes| answer::whole(bytes.slice(..bytes.len() / 2)))
                    .await
            }
            Strike::Duplicate => {
                let first = self.changed(sent, answer::whole).await;
                self.commit(true, sent).await?;
                first
            }
            Strike::Delay { milliseconds } => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                self.send(sent).await
            }
            Strike::Hold => self.hold(sent, begun).await,
            // Not a watch: there is nothing to edit.
            Strike::Watch(_) => self.send(sent).await,
        }
    }

    /// Keeps the call until it is let go. Then it is sent even if its caller has given up meanwhile, as bytes in a socket
    /// are.
    async fn hold(&self, sent: &Sent, begun: &Begun) -> Answer {
        self.record.hold(begun)?;
        while !self.record.may_go(begun) {
            tokio::time::sleep(LOOK).await;
        }
        let (layer, sent) = (self.clone(), sent.clone());
        tokio::spawn(async move { layer.changed(&sent, answer::whole).await }).await?
    }

    /// Has the call carried out, where it is to be, to its end.
    async fn commit(&self, committed: bool, sent: &Sent) -> Result<(), Broken> {
        if committed {
            self.changed(sent, answer::whole).await?;
        }
        Ok(())
    }

    /// Sends, and changes the body of the answer.
    async fn changed(&self, sent: &Sent, change: impl FnOnce(Bytes) -> Body) -> Answer {
        let (mut head, body) = self.send(sent).await?.into_parts();
        let bytes = body.collect().await?.to_bytes();
        head.headers.remove(http::header::CONTENT_LENGTH);
        Ok(Response::from_parts(head, change(bytes)))
    }

    async fn send(&self, sent: &Sent) -> Answer {
        let request = Request::from_parts(sent.parts.clone(), RequestBody::from(sent.body.clone()));
        let response = self.client.send(request).await?;
        Ok(response.map(|body| body.map_err(Broken::from).boxed_unsync()))
    }
}

/// A request that can be sent more than once.
#[derive(Clone)]
struct Sent {
    parts: http::request::Parts,
    body: Bytes,
}
