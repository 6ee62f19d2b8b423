//! RBAC manifests and their page of documentation, from the operator's one list. Talks to no cluster.

use std::fmt::Write as _;

use kkp_upgrade_operator::permissions::{ACCOUNTS, Account, CHART_NAMESPACES, Grant, NAMESPACE, Permission, Place};

use crate::outputs::{PAGE_HEADER, YAML_HEADER};

/// Roles and bindings that every platform needs.
pub(crate) fn base_yaml() -> anyhow::Result<String> {
    let mut text = String::from(YAML_HEADER);
    for account in &ACCOUNTS {
        if let Some((role, why)) = account.bound_to {
            writeln!(text, "---\n# {why}.")?;
            binding(
                &mut text,
                "ClusterRoleBinding",
                account.name,
                None,
                ("ClusterRole", role),
                account.name,
            )?;
        }
        for grant in account.grants {
            role(&mut text, account, grant)?;
        }
    }
    Ok(text)
}

/// Bindings in the namespaces of KKP's charts.
pub(crate) fn chart_namespaces_yaml() -> anyhow::Result<String> {
    let mut text = String::from(YAML_HEADER);
    for account in &ACCOUNTS {
        for grant in account
            .grants
            .iter()
            .filter(|grant| grant.place == Place::ChartNamespaces)
        {
            let name = role_name(account, grant);
            for namespace in CHART_NAMESPACES {
                text.push_str("---\n");
                binding(
                    &mut text,
                    "RoleBinding",
                    &name,
                    Some(namespace),
                    ("ClusterRole", &name),
                    account.name,
                )?;
            }
        }
    }
    Ok(text)
}

fn role_name(account: &Account, grant: &Grant) -> String {
    match grant.place {
        Place::Cluster | Place::Namespace => account.name.to_owned(),
        Place::ChartNamespaces => format!("{}-chart-releases", account.name),
    }
}

fn role(text: &mut String, account: &Account, grant: &Grant) -> anyhow::Result<()> {
    let name = role_name(account, grant);
    let (kind, namespace) = match grant.place {
        Place::Cluster | Place::ChartNamespaces => ("ClusterRole", None),
        Place::Namespace => ("Role", Some(NAMESPACE)),
    };
    text.push_str("---\n");
    if grant.place == Place::ChartNamespaces {
        text.push_str("# Bound only in the namespaces of KKP's charts: see ../chart-namespaces.\n");
    }
    head(text, kind, &name, namespace)?;
    text.push_str("rules:\n");
    for permission in grant.permissions {
        rule(text, permission)?;
    }
    if grant.place != Place::ChartNamespaces {
        text.push_str("---\n");
        binding(
            text,
            &format!("{kind}Binding"),
            &name,
            namespace,
            (kind, &name),
            account.name,
        )?;
    }
    Ok(())
}

fn rule(text: &mut String, permission: &Permission) -> anyhow::Result<()> {
    let list = |items: &[&str]| serde_json::to_string(items);
    writeln!(text, "  # {}.", permission.why)?;
    if permission.groups.is_empty() {
        writeln!(text, "  - nonResourceURLs: {}", list(permission.resources)?)?;
    } else {
        writeln!(text, "  - apiGroups: {}", list(permission.groups)?)?;
        writeln!(text, "    resources: {}", list(permission.resources)?)?;
    }
    if !permission.names.is_empty() {
        writeln!(text, "    resourceNames: {}", list(permission.names)?)?;
    }
    writeln!(text, "    verbs: {}", list(permission.verbs)?)?;
    Ok(())
}

fn head(text: &mut String, kind: &str, name: &str, namespace: Option<&str>) -> anyhow::Result<()> {
    writeln!(
        text,
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}"
    )?;
    if let Some(namespace) = namespace {
        writeln!(text, "  namespace: {namespace}")?;
    }
    Ok(())
}

fn binding(
    text: &mut String,
    kind: &str,
    name: &str,
    namespace: Option<&str>,
    role: (&str, &str),
    account: &str,
) -> anyhow::Result<()> {
    head(text, kind, name, namespace)?;
    let (role_kind, role_name) = role;
    writeln!(
        text,
        "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {role_kind}\n  name: {role_name}"
    )?;
    writeln!(
        text,
        "subjects:\n  - kind: ServiceAccount\n    name: {account}\n    namespace: {NAMESPACE}"
    )?;
    Ok(())
}

/// The page for those who have to agree to it.
pub(crate) fn page() -> String {
    let mut text = format!(
        "{PAGE_HEADER}# Permissions\n\nEverything that the operator and its Jobs may do on the master. Seeds are read with the kubeconfig that each Seed\nnames, with what that grants.\n"
    );
    for account in &ACCOUNTS {
        let _ = write!(
            text,
            "\n## ServiceAccount `{}`\n\nFor {}.\n",
            account.name, account.purpose
        );
        if let Some((role, why)) = account.bound_to {
            let _ = write!(text, "\nBound to the ClusterRole `{role}`: {why}.\n");
        }
        for grant in account.grants {
            let place = match grant.place {
                Place::Cluster => "In the whole cluster".to_owned(),
                Place::Namespace => format!("In the namespace `{NAMESPACE}`"),
                Place::ChartNamespaces => format!(
                    "In those of the namespaces `{}` that exist",
                    CHART_NAMESPACES.join("`, `")
                ),
            };
            let _ = write!(
                text,
                "\n### {place}\n\n| API group | Resources | Verbs | Why |\n|---|---|---|---|\n"
            );
            for permission in grant.permissions {
                row(&mut text, permission);
            }
        }
    }
    text
}

/// Writing to a String cannot fail.
fn row(text: &mut String, permission: &Permission) {
    let groups = if permission.groups == [""] {
        "core".to_owned()
    } else {
        permission.groups.join(", ")
    };
    let mut resources = permission.resources.join(", ");
    if !permission.names.is_empty() {
        let _ = write!(resources, " named {}", permission.names.join(", "));
    }
    let _ = writeln!(
        text,
        "| {groups} | {resources} | {} | {} |",
        permission.verbs.join(", "),
        permission.why
    );
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_manifests_hold_every_permission_and_bind_every_role() {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&base_yaml().unwrap()).unwrap();
        let rules: usize = documents
            .iter()
            .filter_map(|document| document["rules"].as_array())
            .map(Vec::len)
            .sum();
        let listed: usize = ACCOUNTS
            .iter()
            .flat_map(|account| account.grants)
            .map(|grant| grant.permissions.len())
            .sum();
        assert_eq!(rules, listed);
        let key = |document: &Value, kind: &str| format!("{kind} {}", document["metadata"]["name"]);
        for document in documents.iter().filter(|document| document.get("rules").is_some()) {
            let name = &document["metadata"]["name"];
            let binding = format!("{}Binding", document["kind"].as_str().unwrap());
            let bound = documents
                .iter()
                .any(|other| key(other, other["kind"].as_str().unwrap()) == format!("{binding} {name}"));
            assert!(bound || name == "kkp-upgrade-operator-chart-releases", "{name}");
        }
        let bindings: Vec<Value> = serde_saphyr::from_multiple(&chart_namespaces_yaml().unwrap()).unwrap();
        assert_eq!(bindings.len(), CHART_NAMESPACES.len());
    }
}
