//! Single objects that a run writes beside its charts, and the decision whether a chart is written at all.

use std::time::Duration;

use crate::installer::field::field;
use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::storage::v1::{CSIDriver, StorageClass};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::access::{optional, within};
use super::helm::{Chart, Release as HelmRelease};
use super::ledger::Ledger;
use super::log::Log;
use super::state::{is_established, kkp_namespaced};
use crate::crds;
use crate::release::{Location, Release, parse_version};

const CLASS: &str = "kubermatic-fast";
/// Providers of `--storageclass` and the CSI drivers that make the flag unnecessary.
const PROVIDERS: [(&str, &str); 8] = [
    ("aws", "ebs.csi.aws.com"),
    ("azure", "disk.csi.azure.com"),
    ("digitalocean", "dobs.csi.digitalocean.com"),
    ("gcp", "pd.csi.storage.gke.io"),
    ("hetzner", "csi.hetzner.cloud"),
    ("nutanix", "csi.nutanix.com"),
    ("openstack", "cinder.csi.openstack.org"),
    ("vsphere", "csi.vsphere.vmware.com"),
];

/// Makes the namespace if it is missing.
pub(super) async fn namespace(client: &kube::Client, name: &str) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    if optional(within("get the namespace", namespaces.get(name)).await)?.is_some() {
        return Ok(());
    }
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    within(
        "create namespace",
        namespaces.create(&PostParams::default(), &namespace),
    )
    .await?;
    Ok(())
}

/// The storage class `kubermatic-fast`: left alone when it is there, else made from the flag or a known driver.
pub(super) async fn storage_class(
    client: &kube::Client,
    provider: Option<&str>,
    log: &Log,
    ledger: &Ledger,
) -> anyhow::Result<()> {
    log.info(format!("💾 Deploying {CLASS} StorageClass…"));
    let classes: Api<StorageClass> = Api::all(client.clone());
    if optional(within("check for the StorageClass", classes.get(CLASS)).await)?.is_some() {
        log.info("✅ StorageClass exists, nothing to do.");
        return Ok(());
    }
    let provisioner = provisioner(client, provider, &classes, log).await?;
    let class = StorageClass {
        metadata: ObjectMeta {
            name: Some(CLASS.to_owned()),
            ..ObjectMeta::default()
        },
        provisioner,
        ..StorageClass::default()
    };
    within(
        "create the StorageClass",
        classes.create(&PostParams::default(), &class),
    )
    .await?;
    log.info("✅ Success.");
    ledger.record("effect", json!({"effect": "storage-class"}))
}

async fn provisioner(
    client: &kube::Client,
    provider: Option<&str>,
    classes: &Api<StorageClass>,
    log: &Log,
) -> anyhow::Result<String> {
    let Some(provider) = provider else {
        let drivers: Api<CSIDriver> = Api::all(client.clone());
        let known = within("list CSI drivers", drivers.list(&ListParams::default()))
            .await?
            .into_iter();
        let mut names = known.filter_map(|driver| driver.metadata.name);
        if let Some(driver) = names.find(|name| PROVIDERS.iter().any(|(_, driver)| driver == name)) {
            return Ok(driver);
        }
        let deeper = log.deeper();
        deeper.warn(format!(
            "The {CLASS} StorageClass does not exist yet. Depending on your environment,"
        ));
        deeper.warn("the installer can auto-create a class for you, see the --storageclass CLI flag.");
        bail!("no --storageclass flag given.")
    };
    if provider == "copy-default" {
        let all = within("list StorageClasses", classes.list(&ListParams::default())).await?;
        let marked = all.into_iter().find(|class| {
            let annotations = class.metadata.annotations.as_ref();
            annotations
                .and_then(|all| all.get("storageclass.kubernetes.io/is-default-class"))
                .is_some_and(|value| value == "true")
        });
        return marked
            .map(|class| class.provisioner)
            .context("no default StorageClass found");
    }
    let known = PROVIDERS.iter().find(|(name, _)| *name == provider);
    known
        .map(|(_, driver)| (*driver).to_owned())
        .with_context(|| format!("invalid provider \"{provider}\" given"))
}

/// KKP's CRDs of the master: created or fully replaced (labels and annotations of the live ones are lost), each waited for.
/// `middle` runs when half of them are written.
pub(super) async fn definitions(
    client: &kube::Client,
    release: &Release,
    pause: Duration,
    ledger: &Ledger,
    middle: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let wanted = crds::definitions(release, Location::Master);
    let (first, second) = wanted.split_at(wanted.len() / 2);
    for definition in first {
        write_definition(&api, definition, pause).await?;
    }
    middle.await?;
    for definition in second {
        write_definition(&api, definition, pause).await?;
    }
    for definition in &wanted {
        let name = definition.metadata.name.clone().unwrap_or_default();
        tokio::time::timeout(Duration::from_secs(30), established(&api, &name))
            .await
            .with_context(|| format!("CRD {name} is not established"))??;
    }
    ledger.record(
        "effect",
        json!({"effect": "crds", "count": wanted.len(), "version": release.version}),
    )
}

async fn write_definition(
    api: &Api<CustomResourceDefinition>,
    definition: &CustomResourceDefinition,
    pause: Duration,
) -> anyhow::Result<()> {
    let name = definition.metadata.name.clone().unwrap_or_default();
    let parameters = PostParams::default();
    match optional(within("get a CRD", api.get(&name)).await)? {
        None => within(&format!("create CRD {name}"), api.create(&parameters, definition)).await?,
        Some(live) => {
            let mut next = definition.clone();
            next.metadata.resource_version = live.metadata.resource_version;
            within(&format!("replace CRD {name}"), api.replace(&name, &parameters, &next)).await?
        }
    };
    tokio::time::sleep(pause).await;
    Ok(())
}

async fn established(api: &Api<CustomResourceDefinition>, name: &str) -> anyhow::Result<()> {
    while !is_established(&within("get a CRD", api.get(name)).await?) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Creates the given configuration, or patches the live one: fields that the file lacks are removed, the status is not touched.
pub(super) async fn apply_configuration(client: &kube::Client, given: &Value, ledger: &Ledger) -> anyhow::Result<()> {
    let api = kkp_namespaced(client, "KubermaticConfiguration");
    let name = field(given, "/metadata/name")
        .as_str()
        .context("the configuration has no name")?;
    match optional(within("get the configuration", api.get(name)).await)? {
        None => {
            let object: DynamicObject = serde_json::from_value(given.clone())?;
            within("create the configuration", api.create(&PostParams::default(), &object)).await?;
        }
        Some(live) => {
            let mut spec = field(given, "/spec").clone();
            if let (Some(wanted), Some(present)) = (spec.as_object_mut(), field(&live.data, "/spec").as_object()) {
                let gone: Vec<_> = present
                    .keys()
                    .filter(|key| !wanted.contains_key(*key))
                    .cloned()
                    .collect();
                wanted.extend(gone.into_iter().map(|key| (key, Value::Null)));
            }
            let patch = Patch::Merge(json!({"spec": spec}));
            within(
                "patch the configuration",
                api.patch(name, &PatchParams::default(), &patch),
            )
            .await?;
        }
    }
    ledger.record("effect", json!({"effect": "kubermatic-configuration"}))
}

/// Deletes the Ingress objects that the Gateway replaces.
pub(super) async fn delete_ingresses(client: &kube::Client, ledger: &Ledger) -> anyhow::Result<()> {
    for (namespace, name) in [("kubermatic", "kubermatic"), ("dex", "dex")] {
        let api: Api<Ingress> = Api::namespaced(client.clone(), namespace);
        if optional(within("delete an Ingress", api.delete(name, &DeleteParams::default())).await)?.is_some() {
            ledger.record(
                "effect",
                json!({"effect": "ingress-deleted", "namespace": namespace, "name": name}),
            )?;
        }
    }
    Ok(())
}

/// Install, upgrade, or leave alone (KKP source, `pkg/install/util/helm.go`, `DeployHelmChart`).
pub(super) fn needs_installation(
    existing: Option<&HelmRelease>,
    chart: &Chart,
    values: &Value,
    force: bool,
    log: &Log,
) -> bool {
    let Some(existing) = existing else { return true };
    let (old, new) = (&existing.chart().version, &chart.version);
    match (parse_version(old), parse_version(new)) {
        (Ok(from), Ok(to)) if from > to => log.info(format!("Downgrading release from {old} to {new}…")),
        (Ok(from), Ok(to)) if from < to => log.info(format!("Updating release from {old} to {new}…")),
        _ if force => log.info("Re-installing because --force is set…"),
        _ if existing.config == *values => {
            log.info("Release is up-to-date, nothing to do. Set --force to re-install anyway.");
            return false;
        }
        _ => log.info("Re-installing because values have been changed…"),
    }
    true
}
