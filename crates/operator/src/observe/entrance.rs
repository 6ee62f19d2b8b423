//! Where people enter the platform: the addresses of its Gateway and of nginx, and where the domain leads. Reads the master,
//! and looks names up in DNS, where a rule asks for it.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use kkp_upgrade_core::rules::{Field, PlatformFacts};
use kube::Api;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;

use super::observer::Observer;
use super::survey::list;
use crate::call::{CallError, call};
use crate::outside::Outside;
use crate::permissions::NAMESPACE;

/// Facts about the ways in.
pub(super) const FIELDS: [&str; 3] = ["domainAddresses", "gatewayAddresses", "nginxBalancerAddresses"];
/// Namespace of KKP's nginx.
const NGINX: &str = "nginx-ingress-controller";
/// Most addresses of one entrance that are looked up.
const ADDRESSES: usize = 16;

/// Reads and looks up, and fills the facts.
pub(super) async fn fill(observer: &Observer<'_>, configuration: &Result<Value, String>, platform: &mut PlatformFacts) {
    let configuration = match configuration {
        Ok(configuration) => configuration,
        Err(why) => {
            let unread = || Field::NotRead(why.clone());
            platform.domain_addresses = unread();
            platform.gateway_addresses = unread();
            platform.nginx_balancer_addresses = unread();
            return;
        }
    };
    let domain = configuration.pointer("/spec/ingress/domain").and_then(Value::as_str);
    let domain = domain.filter(|domain| !domain.is_empty());
    platform.domain_addresses = Field::from_result(match domain {
        Some(domain) => observer.outside.addresses(domain).await,
        None => Err("spec.ingress.domain is not set".to_owned()),
    });
    let (gateway, nginx) = tokio::join!(gateway(observer, configuration), nginx(observer));
    platform.gateway_addresses = resolved(observer.outside, gateway).await;
    platform.nginx_balancer_addresses = resolved(observer.outside, nginx).await;
}

/// Addresses as the entrance shows them, names turned into what they lead to.
async fn resolved(outside: &Outside, shown: Result<Vec<String>, CallError>) -> Field<Vec<String>> {
    let shown = match shown {
        Ok(shown) => shown,
        Err(error) => return Field::NotRead(error.to_string()),
    };
    let mut addresses = BTreeSet::new();
    for address in shown.iter().take(ADDRESSES) {
        match outside.addresses(address).await {
            Ok(found) => addresses.extend(found),
            Err(why) => return Field::NotRead(why),
        }
    }
    addresses.into_iter().collect::<Vec<_>>().into()
}

/// Namespace and name of the Gateway that the platform is entered through (KKP 2.31 `pkg/controller/operator/master`).
fn gateway_place(configuration: &Value) -> (&str, &str) {
    let own = configuration.pointer("/spec/ingress/gateway/externalGateway");
    let text = |key: &str| {
        own.and_then(|own| own.get(key))
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let name = text("name").unwrap_or(NAMESPACE);
    let home = configuration.pointer("/metadata/namespace").and_then(Value::as_str);
    (text("namespace").or(home).unwrap_or(NAMESPACE), name)
}

async fn gateway(observer: &Observer<'_>, configuration: &Value) -> Result<Vec<String>, CallError> {
    let (namespace, name) = gateway_place(configuration);
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway");
    let resource = ApiResource::from_gvk_with_plural(&kind, "gateways");
    let api = Api::<DynamicObject>::namespaced_with(observer.client.clone(), namespace, &resource);
    let found = match call(format!("Gateway {namespace}/{name}"), api.get_opt(name)).await {
        // Without Gateway API there is none.
        Err(error) if error.is_not_found() => None,
        found => found?,
    };
    let addresses = found
        .as_ref()
        .and_then(|found| found.data.pointer("/status/addresses")?.as_array());
    let values = addresses
        .into_iter()
        .flatten()
        .filter_map(|address| address.get("value")?.as_str());
    Ok(values.map(str::to_owned).collect())
}

async fn nginx(observer: &Observer<'_>) -> Result<Vec<String>, CallError> {
    let api = Api::<Service>::namespaced(observer.client.clone(), NGINX);
    let services = list(api, format!("Services in {NGINX}"), ListParams::default()).await?;
    let points = services
        .into_iter()
        .filter_map(|service| service.status?.load_balancer?.ingress)
        .flatten();
    Ok(points.filter_map(|point| point.ip.or(point.hostname)).collect())
}

#[cfg(test)]
mod tests {
    use kkp_upgrade_core::facts::Known;
    use serde_json::json;

    use super::*;
    use crate::execute::tests::fake_api::FakeApi;
    use crate::execute::tests::recording::context;

    #[tokio::test]
    async fn the_ways_in_are_read_and_looked_up() {
        let api = FakeApi::default();
        let addresses = json!([{"type": "IPAddress", "value": "192.0.2.7"}]);
        api.put(
            "/apis/gateway.networking.k8s.io/v1/namespaces/kubermatic/gateways/kubermatic",
            json!({"metadata": {"name": "kubermatic"}, "status": {"addresses": addresses}}),
        );
        api.put(
            "/api/v1/namespaces/nginx-ingress-controller/services",
            json!({"kind": "ServiceList", "apiVersion": "v1", "metadata": {"name": ""}, "items": [
                {"metadata": {"name": "metrics"}},
                {"metadata": {"name": "nginx"}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}, {"hostname": "localhost"}]}}}]}),
        );
        let context = context(&api);
        let observer = context.observer(&Known::NotRead);
        let mut platform = PlatformFacts::default();
        let configuration =
            json!({"metadata": {"namespace": "kubermatic"}, "spec": {"ingress": {"domain": "192.0.2.9"}}});
        fill(&observer, &Ok(configuration), &mut platform).await;
        assert_eq!(platform.domain_addresses, vec!["192.0.2.9".to_owned()].into());
        assert_eq!(platform.gateway_addresses, vec!["192.0.2.7".to_owned()].into());
        let Field::Known(nginx) = platform.nginx_balancer_addresses else {
            panic!("not read")
        };
        assert!(nginx.contains(&"192.0.2.9".to_owned()) && nginx.len() > 1, "{nginx:?}");

        let mut platform = PlatformFacts::default();
        fill(&observer, &Ok(json!({"spec": {}})), &mut platform).await;
        assert_eq!(
            platform.domain_addresses,
            Field::NotRead("spec.ingress.domain is not set".to_owned())
        );
        api.remove("/apis/gateway.networking.k8s.io/v1/namespaces/kubermatic/gateways/kubermatic");
        fill(&observer, &Ok(json!({"spec": {}})), &mut platform).await;
        assert_eq!(platform.gateway_addresses, Vec::new().into(), "there is none");
        fill(&observer, &Err("hidden".to_owned()), &mut platform).await;
        assert_eq!(platform.gateway_addresses, Field::NotRead("hidden".to_owned()));
    }

    #[test]
    fn the_gateway_is_kkps_own_or_the_one_that_is_named() {
        let configuration = json!({"metadata": {"namespace": "kubermatic"}, "spec": {}});
        assert_eq!(gateway_place(&configuration), ("kubermatic", "kubermatic"));
        let own = |own: Value| json!({"metadata": {"namespace": "kubermatic"}, "spec": {"ingress": {"gateway": {"externalGateway": own}}}});
        assert_eq!(gateway_place(&own(json!({"name": "edge"}))), ("kubermatic", "edge"));
        let elsewhere = own(json!({"name": "edge", "namespace": "networking"}));
        assert_eq!(gateway_place(&elsewhere), ("networking", "edge"));
    }

    #[tokio::test]
    async fn an_entrance_is_known_as_a_whole_or_not_at_all() {
        let outside = Outside::default();
        let of = |shown: &[&str]| shown.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let two = resolved(&outside, Ok(of(&["192.0.2.9", "192.0.2.7", "192.0.2.9"]))).await;
        assert_eq!(two, of(&["192.0.2.7", "192.0.2.9"]).into());
        assert_eq!(resolved(&outside, Ok(Vec::new())).await, Vec::new().into());
        let half = resolved(&outside, Ok(of(&["192.0.2.9", "no name"]))).await;
        assert!(
            matches!(&half, Field::NotRead(why) if why.contains("no name")),
            "{half:?}"
        );
        let failed = resolved(&outside, Err(CallError::unusable("Gateway", "is hidden"))).await;
        assert_eq!(failed, Field::NotRead("Gateway: is hidden".to_owned()));
    }
}
