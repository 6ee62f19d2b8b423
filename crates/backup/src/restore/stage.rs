//! In which order objects come back: what others need first. Pure.

use crate::discovery::Resource;
use crate::scope::{KKP_GROUPS, is_one_of};

/// A step of a restore, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Namespaces.
    Namespaces,
    /// CRDs, which have to be established before their objects come.
    Definitions,
    /// Roles and bindings.
    Rights,
    /// Secrets and `ConfigMap`s: Seeds, Clusters and Presets name them.
    Content,
    /// KKP's own settings: what its operator and controllers start with.
    Configuration,
    /// Users and Projects, the owners of nearly everything else of KKP.
    Accounts,
    /// Everything else without a namespace.
    Wide,
    /// User clusters.
    Clusters,
    /// Everything else in namespaces, which may be those of user clusters.
    Inside,
    /// Webhook configurations: before whom they ask is there, they would refuse everything.
    Webhooks,
}

impl Stage {
    /// All of them, in their order.
    pub(crate) const ALL: [Self; 10] = [
        Self::Namespaces,
        Self::Definitions,
        Self::Rights,
        Self::Content,
        Self::Configuration,
        Self::Accounts,
        Self::Wide,
        Self::Clusters,
        Self::Inside,
        Self::Webhooks,
    ];

    /// When objects of this kind come.
    pub(crate) fn of(resource: &Resource) -> Self {
        match (resource.group.as_str(), resource.kind.as_str()) {
            ("", "Namespace") => Self::Namespaces,
            ("apiextensions.k8s.io", _) => Self::Definitions,
            ("rbac.authorization.k8s.io", _) => Self::Rights,
            ("", _) => Self::Content,
            ("kubermatic.k8c.io", "KubermaticConfiguration" | "KubermaticSetting" | "Seed") => Self::Configuration,
            ("kubermatic.k8c.io", "User" | "Project") => Self::Accounts,
            ("kubermatic.k8c.io", "Cluster") => Self::Clusters,
            ("admissionregistration.k8s.io", _) => Self::Webhooks,
            _ if resource.namespaced => Self::Inside,
            _ => Self::Wide,
        }
    }
}

/// Whether the kind is KKP's own.
pub(crate) fn is_of_kkp(resource: &Resource) -> bool {
    is_one_of(&resource.group, KKP_GROUPS.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KKP: &str = "kubermatic.k8c.io";

    /// Group, kind, and whether it is in namespaces.
    type Kind = (&'static str, &'static str, bool);

    /// The whole order, with kinds of each step.
    const ORDER: [(Stage, &[Kind]); 10] = [
        (Stage::Namespaces, &[("", "Namespace", false)]),
        (
            Stage::Definitions,
            &[("apiextensions.k8s.io", "CustomResourceDefinition", false)],
        ),
        (
            Stage::Rights,
            &[
                ("rbac.authorization.k8s.io", "ClusterRole", false),
                ("rbac.authorization.k8s.io", "ClusterRoleBinding", false),
                ("rbac.authorization.k8s.io", "Role", true),
                ("rbac.authorization.k8s.io", "RoleBinding", true),
            ],
        ),
        (
            Stage::Content,
            &[
                ("", "ConfigMap", true),
                ("", "Secret", true),
                ("", "ServiceAccount", true),
            ],
        ),
        (
            Stage::Configuration,
            &[
                (KKP, "KubermaticConfiguration", true),
                (KKP, "KubermaticSetting", false),
                (KKP, "Seed", true),
            ],
        ),
        (Stage::Accounts, &[(KKP, "Project", false), (KKP, "User", false)]),
        (
            Stage::Wide,
            &[
                (KKP, "ExternalCluster", false),
                (KKP, "Preset", false),
                (KKP, "UserProjectBinding", false),
                ("apps.kubermatic.k8c.io", "ApplicationDefinition", false),
                ("cert-manager.io", "ClusterIssuer", false),
            ],
        ),
        (Stage::Clusters, &[(KKP, "Cluster", false)]),
        (
            Stage::Inside,
            &[
                (KKP, "Addon", true),
                (KKP, "EtcdBackupConfig", true),
                ("cert-manager.io", "Certificate", true),
                ("networking.k8s.io", "Ingress", true),
                ("operatingsystemmanager.k8c.io", "OperatingSystemProfile", true),
                // Of another group than that of the user clusters.
                ("later.k8c.io", "Cluster", true),
            ],
        ),
        (
            Stage::Webhooks,
            &[
                ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", false),
                ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", false),
            ],
        ),
    ];

    #[test]
    fn every_kind_comes_after_what_it_needs() {
        assert_eq!(Stage::ALL, ORDER.map(|(stage, _)| stage));
        for (stage, kinds) in ORDER {
            for &(group, kind, namespaced) in kinds {
                let resource = Resource::new(group, "v1", "x", kind, namespaced);
                assert_eq!(Stage::of(&resource), stage, "{kind} of {group}");
            }
        }
    }
}
