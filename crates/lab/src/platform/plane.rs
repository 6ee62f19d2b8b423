//! One control plane of a platform, and the few calls that the platform makes on it. Every call has a deadline.

use std::time::Duration;

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use serde_json::Value;
use tokio::time::Instant;

use super::PlatformError;

const CALL: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);
/// How long a write may be refused: webhooks fail while their Pods are replaced.
const WRITE: Duration = Duration::from_secs(90);
const PAGE: u32 = 500;

/// A control plane.
#[derive(Clone)]
pub struct Plane {
    /// Name in the lab.
    pub name: String,
    /// Client with administrator rights.
    pub client: kube::Client,
    /// Kubeconfig with administrator rights.
    pub kubeconfig: String,
    /// Address of the API server.
    pub server: String,
}

impl Plane {
    /// An API for any kind; without a namespace: cluster-wide.
    #[must_use]
    pub fn api(&self, api_version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        let types = TypeMeta {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        };
        let gvk = GroupVersionKind::try_from(types).unwrap_or_else(|_| GroupVersionKind::gvk("", api_version, kind));
        let resource = ApiResource::from_gvk(&gvk);
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    pub(super) async fn call<T>(
        &self,
        action: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, PlatformError> {
        let answer = tokio::time::timeout(CALL, call).await;
        answer
            .map_err(|_| self.error(action, "no answer"))?
            .map_err(|error| self.error(action, &error.to_string()))
    }

    fn error(&self, action: &str, message: &str) -> PlatformError {
        PlatformError::Api {
            plane: self.name.clone(),
            action: action.to_owned(),
            message: message.to_owned(),
        }
    }

    /// Server-side apply, tried again while webhooks or new kinds are not ready.
    pub(super) async fn apply(&self, object: &Value) -> Result<DynamicObject, PlatformError> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let kind = text("/kind").unwrap_or_default();
        let name = text("/metadata/name").unwrap_or_default();
        let api = self.api(
            text("/apiVersion").unwrap_or_default(),
            kind,
            text("/metadata/namespace"),
        );
        let parameters = PatchParams::apply("kkp-lab").force();
        let end = Instant::now() + WRITE;
        loop {
            let action = format!("apply {kind} {name}");
            match self
                .call(&action, api.patch(name, &parameters, &Patch::Apply(object)))
                .await
            {
                Err(_) if Instant::now() < end => tokio::time::sleep(POLL).await,
                answer => return answer,
            }
        }
    }

    /// `None` if it is not there.
    pub(super) async fn get(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<DynamicObject>, PlatformError> {
        self.call(
            &format!("get {kind} {name}"),
            self.api(api_version, kind, namespace).get_opt(name),
        )
        .await
    }

    /// All objects of a kind, page by page.
    pub(super) async fn list(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<DynamicObject>, PlatformError> {
        let api = self.api(api_version, kind, namespace);
        let mut parameters = ListParams::default().limit(PAGE);
        let mut items = Vec::new();
        loop {
            let page = self.call(&format!("list {kind}"), api.list(&parameters)).await?;
            items.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(items),
            }
        }
    }
}
