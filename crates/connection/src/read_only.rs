//! Clients that cannot write: whatever asks for more than GET is refused here, before a byte leaves the process.

use http::{Method, Request};
use kube::client::Body;
use kube::{Client, Error};

use crate::Connector;

/// A request that a reader's client does not send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method} {path} was not sent: this client only reads")]
pub struct WriteRefused {
    /// Verb of the request.
    pub method: Method,
    /// Path of the request.
    pub path: String,
}

/// The client without any way to write.
#[must_use]
pub fn read_only(client: &Client) -> Client {
    let (client, namespace) = (client.clone(), client.default_namespace().to_owned());
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            if request.method() == Method::GET {
                return client.send(request).await;
            }
            let refused = WriteRefused {
                method: request.method().clone(),
                path: request.uri().path().to_owned(),
            };
            Err(Error::Service(Box::new(refused)))
        }
    });
    Client::new(service, namespace)
}

impl Connector {
    /// A connector whose clients cannot write.
    #[must_use]
    pub fn reader() -> Self {
        Self::around(|_, client| read_only(&client))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::Response;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};

    use super::*;

    #[tokio::test]
    async fn nothing_but_get_is_sent_not_even_a_dry_run() {
        let sent: Arc<Mutex<Vec<Method>>> = Arc::default();
        let seen = sent.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            seen.lock().unwrap().push(request.method().clone());
            async {
                let answer = r#"{"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {}, "items": []}"#;
                Ok::<_, Infallible>(Response::new(Body::from(answer.as_bytes().to_vec())))
            }
        });
        let client = read_only(&Client::new(service, "kubermatic"));
        let maps = Api::<ConfigMap>::default_namespaced(client);
        maps.list(&ListParams::default()).await.unwrap();
        let dry = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let nothing = serde_json::json!({});
        let refused = [
            maps.create(&PostParams::default(), &ConfigMap::default()).await.err(),
            maps.replace("a", &PostParams::default(), &ConfigMap::default())
                .await
                .err(),
            maps.patch("a", &dry, &Patch::Merge(&nothing)).await.err(),
            maps.delete("a", &DeleteParams::default()).await.err(),
            maps.delete_collection(&DeleteParams::default(), &ListParams::default())
                .await
                .err(),
        ];
        for error in refused {
            let text = format!("{:?}", error.expect("it was sent"));
            assert!(text.contains("WriteRefused"), "{text}");
        }
        assert_eq!(*sent.lock().unwrap(), [Method::GET]);
    }
}
