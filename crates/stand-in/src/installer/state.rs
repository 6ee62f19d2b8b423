//! `ValidateState`: what the live platform must be like; nothing is written before it has passed (KKP source,
//! `pkg/install/stack/kubermatic-master/validation.go`). Reads the master and every seed, never writes.

use crate::installer::field::field;
use anyhow::Context;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use semver::VersionReq;
use serde_json::Value;

use super::access::{client_from, optional, within};
use super::arguments::Deploy;
use super::log::Log;
use crate::release::{Edition, Release, parse_version};

/// Items per page of a list.
const PAGE: u32 = 500;

/// An API for one of KKP's kinds.
#[must_use]
pub(super) fn kkp(client: &kube::Client, kind: &str) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &resource(kind))
}

/// An API for one of KKP's kinds in the namespace `kubermatic`.
#[must_use]
pub(super) fn kkp_namespaced(client: &kube::Client, kind: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), "kubermatic", &resource(kind))
}

fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("kubermatic.k8c.io", "v1", kind))
}

/// The platform as the checks see it.
pub(super) struct Checks<'a> {
    /// Client of the master.
    pub(super) client: &'a kube::Client,
    /// What the installer brings.
    pub(super) release: &'a Release,
    /// The command line.
    pub(super) deploy: &'a Deploy,
    /// The configuration in use.
    pub(super) configuration: &'a Value,
    /// Log.
    pub(super) log: &'a Log,
}

impl Checks<'_> {
    /// All errors; none when KKP is not installed yet.
    ///
    /// # Errors
    /// When the master can't be read.
    pub(super) async fn run(&self) -> anyhow::Result<Vec<String>> {
        if !self.is_installed().await? {
            return Ok(Vec::new());
        }
        let live = live_configuration(self.client).await?;
        let errors = self.platform_errors(live.as_ref());
        if !errors.is_empty() {
            return Ok(errors);
        }
        let mut errors = Vec::new();
        for seed in within(
            "list Seeds",
            kkp_namespaced(self.client, "Seed").list(&ListParams::default()),
        )
        .await?
        {
            let name = seed.metadata.name.clone().unwrap_or_default();
            if !self.release.reconciles_seed(&name) || self.deploy.skip_seed_validation.contains(&name) {
                continue;
            }
            self.log.with("seed", name.clone()).info("Checking seed cluster…");
            match self.seed_error(&name, &seed.data) {
                Some(error) => errors.push(error),
                None => errors.extend(self.cluster_errors(&name, &seed.data).await),
            }
        }
        Ok(errors)
    }

    async fn is_installed(&self) -> anyhow::Result<bool> {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for name in ["clusters.kubermatic.k8c.io", "seeds.kubermatic.k8c.io"] {
            let definition = optional(within("check for CRDs", definitions.get(name)).await)?;
            if !definition.is_some_and(|definition| is_established(&definition)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Only the minor counts, and only downwards: a newer platform is not refused.
    fn platform_errors(&self, live: Option<&Value>) -> Vec<String> {
        let Some(status) = live.map(|live| field(live, "/status")) else {
            return Vec::new();
        };
        let installer = self.release.semantic_version().minor;
        if let Some(current) = field(status, "/kubermaticVersion")
            .as_str()
            .filter(|version| !version.is_empty())
        {
            match parse_version(current) {
                Err(error) => return vec![format!("failed to parse existing KKP version \"{current}\": {error}")],
                // The real message names the installer's minor, not the one that is needed.
                Ok(version) if version.minor + 1 < installer => {
                    return vec![format!(
                        "existing installation is on version {current} and must be updated to KKP 2.{installer} first (sequentially to all minor releases in-between)"
                    )];
                }
                Ok(_) => {}
            }
        }
        let edition = field(status, "/kubermaticEdition").as_str().unwrap_or_default();
        let own = self.release.edition;
        if edition.is_empty() || edition == own.short_name() {
            return Vec::new();
        }
        if self.deploy.switches.allow_edition_change {
            self.log.warn(format!(
                "This installation will change KKP to the {}.",
                title(own.short_name())
            ));
            return Vec::new();
        }
        vec![format!(
            "existing installation uses the {}, refusing to change to {} (if this is intended, please add the --allow-edition-change flag)",
            title(edition),
            title(own.short_name())
        )]
    }

    fn seed_error(&self, name: &str, seed: &Value) -> Option<String> {
        let status = field(seed, "/status");
        if let Some(version) = field(status, "/versions/kubermatic")
            .as_str()
            .filter(|version| !version.is_empty())
        {
            match parse_version(version) {
                Err(error) => {
                    return Some(format!(
                        "Seed cluster \"{name}\" version \"{version}\" is invalid: {error}"
                    ));
                }
                Ok(parsed) if parsed.minor + 1 < self.release.semantic_version().minor => {
                    return Some(format!(
                        "Seed cluster \"{name}\" is on version {version} and must be updated first"
                    ));
                }
                Ok(_) => {}
            }
        }
        let condition = |name: &str| field(status, &format!("/conditions/{name}/status")) == "True";
        (condition("KubeconfigValid") && !condition("ResourcesReconciled")).then(|| {
            format!(
                "Seed cluster \"{name}\" is not healthy, please verify the operator logs or events on the Seed object"
            )
        })
    }

    async fn cluster_errors(&self, name: &str, seed: &Value) -> Vec<String> {
        let client = match seed_client(self.client, seed).await {
            Ok(client) => client,
            Err(error) => {
                return vec![format!(
                    "failed to create client for Seed cluster \"{name}\": {error:#}"
                )];
            }
        };
        let mut errors = Vec::new();
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let page = match within("list clusters", kkp(&client, "Cluster").list(&parameters)).await {
                Ok(page) => page,
                Err(error) => {
                    errors.push(format!("failed to list user clusters on Seed \"{name}\": {error:#}"));
                    return errors;
                }
            };
            errors.extend(page.items.iter().flat_map(|cluster| self.cluster_error(name, cluster)));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return errors,
            }
        }
    }

    fn cluster_error(&self, seed: &str, cluster: &DynamicObject) -> Vec<String> {
        let name = cluster.metadata.name.as_deref().unwrap_or_default();
        let spec = field(&cluster.data, "/spec");
        let version = field(spec, "/version").as_str().unwrap_or_default();
        let mut errors = Vec::new();
        if !accepts(self.release, self.configuration, version) {
            errors.push(format!(
                "cluster {name} (version {version}) on Seed {seed} would not be supported anymore"
            ));
        }
        if field(spec, "/containerRuntime") == "docker" {
            errors.push(format!(
                "cluster {name} on Seed {seed} uses the container runtime docker, which is not supported anymore"
            ));
        }
        errors
    }
}

fn title(edition: &str) -> &'static str {
    if edition == Edition::Enterprise.short_name() {
        "Enterprise Edition"
    } else {
        "Community Edition"
    }
}

/// The one live configuration.
///
/// # Errors
/// When it can't be read, or there is more than one.
pub(super) async fn live_configuration(client: &kube::Client) -> anyhow::Result<Option<Value>> {
    let api = kkp_namespaced(client, "KubermaticConfiguration");
    let Some(list) = optional(within("list KubermaticConfigurations", api.list(&ListParams::default())).await)? else {
        return Ok(None);
    };
    if list.items.len() > 1 {
        anyhow::bail!("more than one KubermaticConfiguration in namespace kubermatic");
    }
    Ok(list.items.into_iter().next().map(serde_json::to_value).transpose()?)
}

/// Whether a CRD is served.
#[must_use]
pub(super) fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Established" && condition.status == "True")
}

async fn seed_client(master: &kube::Client, seed: &Value) -> anyhow::Result<kube::Client> {
    let reference = field(seed, "/spec/kubeconfig");
    let namespace = field(reference, "/namespace").as_str().unwrap_or("kubermatic");
    let key = field(reference, "/fieldPath")
        .as_str()
        .filter(|key| !key.is_empty())
        .unwrap_or("kubeconfig");
    let name = field(reference, "/name").as_str().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(master.clone(), namespace);
    let secret = within("get the kubeconfig Secret", secrets.get(name)).await?;
    let data = secret.data.unwrap_or_default();
    let kubeconfig = data
        .get(key)
        .with_context(|| format!("Secret {name} has no key {key}"))?;
    client_from(std::str::from_utf8(&kubeconfig.0)?, None).await
}

/// Whether a user cluster's version may stay: in the exact list, or the start of an automatic update. A non-empty list of the
/// configuration replaces the built-in one.
fn accepts(release: &Release, configuration: &Value, version: &str) -> bool {
    let versions = field(configuration, "/spec/versions");
    let own = field(versions, "/versions").as_array().filter(|list| !list.is_empty());
    let listed = match own {
        Some(list) => list
            .iter()
            .any(|known| known.as_str().is_some_and(|known| plain(known) == plain(version))),
        None => release
            .kubernetes
            .versions
            .iter()
            .any(|known| plain(known) == plain(version)),
    };
    let updates = field(versions, "/updates").as_array().into_iter().flatten();
    let mut automatic = updates
        .filter(|update| field(update, "/automatic") == true)
        .filter_map(|update| field(update, "/from").as_str());
    listed
        || automatic
            .any(|from| constraint(from).is_some_and(|from| parse_version(version).is_ok_and(|v| from.matches(&v))))
}

fn plain(version: &str) -> &str {
    version.trim_start_matches('v')
}

/// A constraint of KKP's library, where a bare version means exactly that version.
fn constraint(text: &str) -> Option<VersionReq> {
    let bare = text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(['*', 'x', 'X', ',']);
    VersionReq::parse(&if bare { format!("={text}") } else { text.to_owned() }).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_are_exact_unless_an_automatic_update_starts_there() {
        let release = Release::of("2.31.0", Edition::Community).unwrap();
        assert!(accepts(&release, &json!({}), "1.34.10"));
        assert!(!accepts(&release, &json!({}), "1.32.13"), "dropped by 2.31");
        assert!(!accepts(&release, &json!({}), "1.33.99"), "no range, the exact patch");
        let rule = |automatic: bool, from: &str| json!({"spec": {"versions": {"updates": [{"from": from, "automatic": automatic}]}}});
        assert!(accepts(&release, &rule(true, "1.32.*"), "1.32.13"));
        assert!(accepts(&release, &rule(true, ">=1.32.0,<1.32.14"), "1.32.13"));
        assert!(
            !accepts(&release, &rule(true, "1.32.1"), "1.32.13"),
            "a bare version is one version"
        );
        assert!(
            !accepts(&release, &rule(false, "1.32.*"), "1.32.13"),
            "a manual rule does not help"
        );
        let own = json!({"spec": {"versions": {"versions": ["v1.32.13"]}}});
        assert!(
            accepts(&release, &own, "1.32.13") && !accepts(&release, &own, "1.34.10"),
            "an own list replaces"
        );
    }
}
