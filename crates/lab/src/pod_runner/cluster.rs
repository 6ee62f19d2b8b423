//! The calls of a pod runner to its API server: each with a deadline, a bounded number at a time, none while the node is lost.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Binding, ConfigMap, Pod, PodStatus, Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::{Semaphore, watch};

/// Longest time for one call.
const DEADLINE: Duration = Duration::from_secs(20);

/// Calls at the same time: hundreds of Pods must not crowd out the API server on two cores.
const MOST_CALLS: usize = 12;

/// A call that brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server answered with an error, or can't be reached.
    #[error("cannot {action}: {source}")]
    Refused {
        /// What was tried.
        action: String,
        /// The answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("cannot {0}: no answer within the deadline")]
    Deadline(String),
}

impl CallError {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::Deadline(_) => None,
        }
    }

    /// The object is not there.
    pub(super) fn is_missing(&self) -> bool {
        self.code() == Some(404)
    }

    /// Another object has the name now, or the object changed.
    pub(super) fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }
}

/// The API server of one control plane, as its node sees it.
pub(super) struct Cluster {
    client: Client,
    calls: Semaphore,
    present: watch::Receiver<bool>,
}

impl Cluster {
    pub(super) fn new(client: Client, present: watch::Receiver<bool>) -> Self {
        Self {
            client,
            calls: Semaphore::new(MOST_CALLS),
            present,
        }
    }

    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Waits while the node is lost.
    pub(super) async fn present(&self) {
        let _ = self.present.clone().wait_for(|present| *present).await;
    }

    /// Makes one call.
    pub(super) async fn call<T>(
        &self,
        action: impl FnOnce() -> String,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CallError> {
        self.present().await;
        let _permit = self.calls.acquire().await;
        match tokio::time::timeout(DEADLINE, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(CallError::Refused {
                action: action(),
                source: Box::new(source),
            }),
            Err(_) => Err(CallError::Deadline(action())),
        }
    }

    fn pods_beside(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client(), &pod.namespace().unwrap_or_default())
    }

    /// Binds a Pod to the node.
    pub(super) async fn bind(&self, pod: &Pod, node: &str) -> Result<(), CallError> {
        let name = pod.name_any();
        let binding: Binding = match serde_json::from_value(json!({
            "metadata": {"name": name, "uid": pod.uid()},
            "target": {"kind": "Node", "name": node},
        })) {
            Ok(binding) => binding,
            Err(error) => {
                return Err(CallError::Refused {
                    action: format!("bind Pod {name}"),
                    source: Box::new(kube::Error::SerdeError(error)),
                });
            }
        };
        let pods = self.pods_beside(pod);
        let parameters = PostParams::default();
        let call = pods.create_subresource::<Binding, serde_json::Value>("binding", &name, &parameters, &binding);
        self.call(|| format!("bind Pod {name}"), call).await.map(drop)
    }

    /// Writes the status of exactly this Pod (not of a later one of the same name).
    pub(super) async fn write_status(&self, pod: &Pod, status: &PodStatus) -> Result<(), CallError> {
        let name = pod.name_any();
        let patch = Patch::Strategic(json!({"metadata": {"uid": pod.uid()}, "status": status}));
        let pods = self.pods_beside(pod);
        let parameters = PatchParams::default();
        self.call(
            || format!("write the status of Pod {name}"),
            pods.patch_status(&name, &parameters, &patch),
        )
        .await
        .map(drop)
    }

    /// Removes exactly this Pod for good: its processes have ended.
    pub(super) async fn remove(&self, pod: &Pod) -> Result<(), CallError> {
        let name = pod.name_any();
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let pods = self.pods_beside(pod);
        self.call(|| format!("remove Pod {name}"), pods.delete(&name, &parameters))
            .await
            .map(drop)
    }

    /// Reads a ConfigMap; `None` if it is not there.
    pub(super) async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, CallError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client(), namespace);
        self.call(|| format!("read ConfigMap {namespace}/{name}"), api.get_opt(name))
            .await
    }

    /// Reads a Secret; `None` if it is not there.
    pub(super) async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, CallError> {
        let api: Api<Secret> = Api::namespaced(self.client(), namespace);
        self.call(|| format!("read Secret {namespace}/{name}"), api.get_opt(name))
            .await
    }

    /// Asks for a ServiceAccount token.
    pub(super) async fn token(
        &self,
        namespace: &str,
        account: &str,
        request: &TokenRequest,
    ) -> Result<TokenRequest, CallError> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let parameters = PostParams::default();
        let call = api.create_token_request(account, &parameters, request);
        self.call(|| format!("get a token of ServiceAccount {namespace}/{account}"), call)
            .await
    }
}
