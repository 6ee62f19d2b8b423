//! The `KubermaticConfiguration` kind: the settings of the platform.
//!
//! Pure. It holds secrets inline; of those only the length is read.

use kube::core::NamespaceResourceScope;

use super::field::{Field, List, SecretText, Table};
use super::object::object;
use super::slice::slice;

slice! {
    /// What of the configuration's spec is read.
    pub struct KubermaticConfigurationSpec {
        /// The API server of the dashboard.
        "api" => pub api: Component,
        /// The dashboard.
        "ui" => pub ui: Component,
        /// The controller of the seeds.
        "seedController" => pub seed_controller: SeedController,
        /// Feature gates by name.
        "featureGates" => pub feature_gates: Table<bool>,
        /// Kubernetes versions of user clusters; empty means the built-in list.
        "versions" => pub versions: Versions,
        /// Login settings.
        "auth" => pub auth: Auth,
        /// How the dashboard is reached.
        "ingress" => pub ingress: Ingress,
        /// How API servers of user clusters are exposed.
        "exposeStrategy" => pub expose_strategy: Field<String>,
        /// Proxy of the platform.
        "proxy" => pub proxy: Proxy,
        /// Docker credentials, inline.
        "imagePullSecret" => pub image_pull_secret: Field<SecretText>,
        /// Where the CA bundle lies.
        "caBundle" => pub ca_bundle: ConfigMapReference,
    }
}

slice! {
    /// A component whose image can be overridden.
    pub struct Component {
        /// Repository instead of the built-in one.
        "dockerRepository" => pub docker_repository: Field<String>,
        /// Tag that replaces KKP's own: the component then stays at it.
        "dockerTag" => pub docker_tag: Field<String>,
        /// Suffix that is joined to KKP's own tag with a hyphen.
        "dockerTagSuffix" => pub docker_tag_suffix: Field<String>,
    }
}

slice! {
    /// Settings of the seed controller.
    pub struct SeedController {
        /// How many clusters of a seed may be reconciled at once; unset or 0 means 10.
        "maximumParallelReconciles" => pub maximum_parallel_reconciles: Field<i64>,
        /// Repository instead of the built-in one.
        "dockerRepository" => pub docker_repository: Field<String>,
    }
}

slice! {
    /// Kubernetes versions of user clusters.
    pub struct Versions {
        /// The list; when it is not empty it replaces the built-in one completely.
        "versions" => pub versions: List<String>,
        /// The version of new clusters.
        "default" => pub default: Field<String>,
        /// Update rules.
        "updates" => pub updates: List<Update>,
    }
}

slice! {
    /// One update rule.
    pub struct Update {
        /// Versions it is for.
        "from" => pub from: Field<String>,
        /// Version it leads to.
        "to" => pub to: Field<String>,
        /// Whether KKP does it unasked.
        "automatic" => pub automatic: Field<bool>,
    }
}

slice! {
    /// Login settings.
    pub struct Auth {
        /// Client of the dashboard.
        "clientID" => pub client_id: Field<String>,
        /// Client of the issuer.
        "issuerClientID" => pub issuer_client_id: Field<String>,
        /// Secret of the issuer's client.
        "issuerClientSecret" => pub issuer_client_secret: Field<SecretText>,
        /// Key of the issuer's cookies.
        "issuerCookieKey" => pub issuer_cookie_key: Field<SecretText>,
        /// Key of KKP's service accounts.
        "serviceAccountKey" => pub service_account_key: Field<SecretText>,
    }
}

slice! {
    /// How the dashboard is reached.
    pub struct Ingress {
        /// Domain of the dashboard.
        "domain" => pub domain: Field<String>,
        /// Ingress class.
        "className" => pub class_name: Field<String>,
        /// Who issues the certificate.
        "certificateIssuer" => pub certificate_issuer: CertificateIssuer,
    }
}

slice! {
    /// The issuer of the dashboard's certificate.
    pub struct CertificateIssuer {
        /// Kind of the issuer.
        "kind" => pub kind: Field<String>,
        /// Name of the issuer; empty means none.
        "name" => pub name: Field<String>,
    }
}

slice! {
    /// Proxy of the platform.
    pub struct Proxy {
        /// For plain HTTP.
        "http" => pub http: Field<String>,
        /// For HTTPS.
        "https" => pub https: Field<String>,
        /// What goes without it.
        "noProxy" => pub no_proxy: Field<String>,
    }
}

slice! {
    /// A reference to a ConfigMap in the same namespace.
    pub struct ConfigMapReference {
        /// Name of the ConfigMap.
        "name" => pub name: Field<String>,
    }
}

slice! {
    /// What of the configuration's status is read.
    pub struct KubermaticConfigurationStatus {
        /// Git tag of the master's controller manager, which writes it about itself.
        "kubermaticVersion" => pub kubermatic_version: Field<String>,
        /// `CE` or `EE`.
        "kubermaticEdition" => pub kubermatic_edition: Field<String>,
    }
}

object!(
    /// The configuration of the platform; exactly one may exist.
    KubermaticConfiguration,
    "kubermaticconfigurations",
    NamespaceResourceScope,
    KubermaticConfigurationSpec,
    KubermaticConfigurationStatus
);

impl KubermaticConfiguration {
    /// Whether the platform runs without API and dashboard; unset when the gate is not there.
    #[must_use]
    pub fn headless(&self) -> Field<&bool> {
        self.spec.feature_gates.entry("HeadlessInstallation")
    }
}
