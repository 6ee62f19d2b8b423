//! Clients whose lists end: a server that says after each page that there is another one is not asked for ever.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Request;
use kube::client::Body;
use kube::{Client, Error};

/// A page that is not asked for any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the list has no end after {pages} pages")]
pub struct EndlessList {
    /// Pages that were read of it.
    pub pages: u32,
}

impl EndlessList {
    /// Whether it is the error, or behind it.
    #[must_use]
    pub fn is_behind(error: &(dyn StdError + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(link) = next {
            if link.is::<Self>() {
                return true;
            }
            next = link.source();
        }
        false
    }
}

/// The client for one watch: the list that a watch begins with, page by page and by itself, has at most so many of them. Of
/// several lists at a time nobody could say which one a page belongs to.
#[must_use]
pub fn bounded_list(client: &Client, pages: u32) -> Client {
    let (client, namespace) = (client.clone(), client.default_namespace().to_owned());
    let read = Arc::new(AtomicU32::new(0));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, read) = (client.clone(), Arc::clone(&read));
        async move {
            let query = request.uri().query().unwrap_or_default();
            if !query.split('&').any(|pair| pair.starts_with("continue=")) {
                read.store(0, Ordering::Relaxed);
            }
            if read.fetch_add(1, Ordering::Relaxed) >= pages {
                return Err(Error::Service(Box::new(EndlessList { pages })));
            }
            client.send(request).await
        }
    });
    Client::new(service, namespace)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Response;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::ListParams;
    use serde_json::json;

    use super::*;

    /// A server whose lists have so many pages, and how often it was asked.
    fn server(pages: u32) -> (Client, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            counter.fetch_add(1, Ordering::Relaxed);
            let query = request.uri().query().unwrap_or_default();
            let token = query.split('&').find_map(|pair| pair.strip_prefix("continue="));
            let number = token.and_then(|token| token.parse::<u32>().ok()).unwrap_or(1);
            let next = if number < pages {
                (number + 1).to_string()
            } else {
                String::new()
            };
            let page = json!({"kind": "ConfigMapList", "apiVersion": "v1", "items": [],
                "metadata": {"resourceVersion": "1", "continue": next}});
            async move { Ok::<_, Infallible>(Response::new(Body::from(page.to_string().into_bytes()))) }
        });
        (Client::new(service, "kubermatic"), asked)
    }

    /// Reads a list to its end.
    async fn list(maps: &Api<ConfigMap>) -> kube::Result<()> {
        let mut parameters = ListParams::default().limit(1);
        loop {
            match maps
                .list(&parameters)
                .await?
                .metadata
                .continue_
                .filter(|token| !token.is_empty())
            {
                None => return Ok(()),
                Some(token) => parameters = parameters.continue_token(&token),
            }
        }
    }

    #[tokio::test]
    async fn a_list_has_as_many_pages_as_it_may_have_and_not_one_more() {
        let (client, asked) = server(3);
        let maps = Api::<ConfigMap>::default_namespaced(bounded_list(&client, 3));
        for _ in 0..2 {
            list(&maps).await.expect("each list is counted for itself");
        }
        assert_eq!(asked.swap(0, Ordering::Relaxed), 6);
        let maps = Api::<ConfigMap>::default_namespaced(bounded_list(&client, 2));
        let error = list(&maps).await.expect_err("it has a page more");
        assert!(EndlessList::is_behind(&error), "{error:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
