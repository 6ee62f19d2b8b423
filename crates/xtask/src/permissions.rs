//! RBAC manifests and their page of documentation, from the operator's one list. Talks to no cluster.

use std::fmt::Write as _;

use kkp_upgrade_operator::permissions::{
    ACCOUNTS, Account, CHART_NAMESPACES, Grant, NAMESPACE, Permission, Place, READER, READER_CREDENTIALS,
    READER_SECRETS, RESTORE_ACCOUNT, ReaderRule, credential_rules, reader_rules,
};

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

/// Roles for people who make plans themselves; nobody is bound to them.
pub(crate) fn reader_yaml() -> anyhow::Result<String> {
    let mut text = String::from(YAML_HEADER);
    text.push_str("# For people who run `kubectl kkp-upgrade plan`: what the operator reads, without Secrets. Bind them to whom you choose.\n");
    let cluster = reader_rules(Place::Cluster).collect();
    reader_role(&mut text, "ClusterRole", READER, None, cluster)?;
    let namespaced = reader_rules(Place::Namespace).collect();
    reader_role(&mut text, "Role", READER, Some(NAMESPACE), namespaced)?;
    let credentials = credential_rules().collect();
    reader_role(&mut text, "ClusterRole", READER_CREDENTIALS, None, credentials)?;
    Ok(text)
}

/// The account of restores, which is applied only for one.
pub(crate) fn restore_yaml() -> anyhow::Result<String> {
    let mut text = String::from(YAML_HEADER);
    text.push_str("# As mighty as cluster-admin in effect. Apply it for a restore and delete it afterwards: docs/how-to/restore.md.\n");
    writeln!(
        text,
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {}\n  namespace: {NAMESPACE}",
        RESTORE_ACCOUNT.name
    )?;
    for grant in RESTORE_ACCOUNT.grants {
        role(&mut text, &RESTORE_ACCOUNT, grant)?;
    }
    Ok(text)
}

fn reader_role(
    text: &mut String,
    kind: &str,
    name: &str,
    namespace: Option<&str>,
    rules: Vec<ReaderRule>,
) -> anyhow::Result<()> {
    text.push_str("---\n");
    head(text, kind, name, namespace)?;
    text.push_str("rules:\n");
    for ReaderRule {
        groups,
        resources,
        names,
        verbs,
    } in rules
    {
        lines(text, (groups, &resources), names, &verbs)?;
    }
    Ok(())
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
    writeln!(text, "  # {}.", permission.why)?;
    lines(
        text,
        (permission.groups, permission.resources),
        permission.names,
        permission.verbs,
    )
}

fn lines(
    text: &mut String,
    (groups, resources): (&[&str], &[&str]),
    names: &[&str],
    verbs: &[&str],
) -> anyhow::Result<()> {
    let list = |items: &[&str]| serde_json::to_string(items);
    if groups.is_empty() {
        writeln!(text, "  - nonResourceURLs: {}", list(resources)?)?;
    } else {
        writeln!(text, "  - apiGroups: {}", list(groups)?)?;
        writeln!(text, "    resources: {}", list(resources)?)?;
    }
    if !names.is_empty() {
        writeln!(text, "    resourceNames: {}", list(names)?)?;
    }
    writeln!(text, "    verbs: {}", list(verbs)?)?;
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
        "{PAGE_HEADER}# Permissions\n\nEverything that the operator and its Jobs may do on the master. Seeds are read, and restored, with the kubeconfig that each\nSeed names, with what that grants.\n"
    );
    for account in ACCOUNTS.iter().chain([&RESTORE_ACCOUNT]) {
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
    readers(&mut text);
    text
}

/// Writing to a String cannot fail.
fn readers(text: &mut String) {
    let _ = write!(
        text,
        "\n## People who plan: `{READER}`\n\nThe ClusterRole and the Role in `{NAMESPACE}` of this name hold what the \
         operator reads, without Secrets, Presets and logs, and nothing else. Nobody is bound to them. They are enough for \
         `kubectl kkp-upgrade plan`, which names what it could not see. The `KubermaticConfiguration` holds credentials of \
         the dashboard: who has the Role can read them.\n\nA plan that shows a digest to approve also needs what is left \
         out: the ClusterRole `{READER_CREDENTIALS}` (Presets hold credentials of cloud providers), and the ClusterRole \
         `{READER_SECRETS}` bound in `{NAMESPACE}` and in those of the namespaces above that exist. **Who may read Secrets \
         in `{NAMESPACE}` holds the kubeconfigs of all seeds.**\n"
    );
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
            assert!(bound || name.as_str().unwrap().ends_with("-chart-releases"), "{name}");
        }
        let readers: Vec<Value> = serde_saphyr::from_multiple(&reader_yaml().unwrap()).unwrap();
        let kinds: Vec<&str> = readers.iter().map(|role| role["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["ClusterRole", "Role", "ClusterRole"]);
        assert!(documents.iter().any(|role| role["metadata"]["name"] == READER_SECRETS));
        let how_to = include_str!("../../../docs/how-to/plan-before.md");
        for name in [READER, READER_CREDENTIALS, READER_SECRETS, NAMESPACE]
            .iter()
            .chain(&CHART_NAMESPACES)
        {
            assert!(how_to.contains(name), "{name} is not in the how-to for readers");
        }
        let restore: Vec<Value> = serde_saphyr::from_multiple(&restore_yaml().unwrap()).unwrap();
        let kinds: Vec<&str> = restore.iter().map(|one| one["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["ServiceAccount", "ClusterRole", "ClusterRoleBinding"]);
        let bindings: Vec<Value> = serde_saphyr::from_multiple(&chart_namespaces_yaml().unwrap()).unwrap();
        // Of the operator and of the backup.
        assert_eq!(bindings.len(), 2 * CHART_NAMESPACES.len());
    }
}
