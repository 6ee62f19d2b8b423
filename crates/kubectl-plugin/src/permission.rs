//! What an API server says of a right that is missing, in words that name the right. Pure.

use kkp_upgrade_core::rules::Finding;

/// How a refused call begins, in errors of the operator's crate.
const FORBIDDEN: &str = "403 Forbidden: ";

/// How the message of a finding begins that comes of a missing right.
const EXPLAINED: &str = "cannot be decided: not permitted (";

/// The right that a refusal is about, for example `list secrets in namespace dex`; `None` where the text tells of no
/// refusal by an API server.
pub(crate) fn missing_right(text: &str) -> Option<String> {
    let (_, refusal) = text.split_once(FORBIDDEN)?;
    // Kubernetes: `secrets "x" is forbidden: User "jane" cannot get resource "secrets" in API group "" in the namespace "dex"`.
    if !refusal.contains("forbidden: User ") {
        return None;
    }
    let Some((_, deed)) = refusal.split_once(" cannot ") else {
        return Some("a read that the message has no room for".to_owned());
    };
    let verb = deed.split(' ').next().unwrap_or_default();
    if let Some(path) = quoted(deed, "path ") {
        return Some(format!("{verb} {path}"));
    }
    let resource = quoted(deed, "resource ").unwrap_or_default();
    let group = quoted(deed, "API group ").filter(|group| !group.is_empty());
    let resource = group.map_or_else(|| resource.to_owned(), |group| format!("{resource}.{group}"));
    Some(match quoted(deed, "in the namespace ") {
        Some(namespace) => format!("{verb} {resource} in namespace {namespace}"),
        None => format!("{verb} {resource}"),
    })
}

/// What stands in quotation marks behind `label`.
fn quoted<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("{label}\""))?;
    rest.split_once('"').map(|(word, _)| word)
}

/// A finding that comes of a missing right, as such: undecided, with the right. The right is given back.
pub(crate) fn explain(finding: &mut Finding) -> Option<String> {
    let right = missing_right(&finding.message)?;
    finding.message = format!("{EXPLAINED}{right})");
    finding.unknown = true;
    Some(right)
}

/// Whether a finding is there only because of a missing right.
pub(crate) fn is_explained(finding: &Finding) -> bool {
    finding.unknown && finding.message.starts_with(EXPLAINED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_right_is_named() {
        for (text, right) in [
            (
                r#"Helm releases in dex: 403 Forbidden: secrets is forbidden: User "jane" cannot list resource "secrets" in API group "" in the namespace "dex""#,
                Some("list secrets in namespace dex"),
            ),
            (
                r#"403 Forbidden: seeds.kubermatic.k8c.io is forbidden: User "jane" cannot list resource "seeds" in API group "kubermatic.k8c.io" at the cluster scope"#,
                Some("list seeds.kubermatic.k8c.io"),
            ),
            (
                r#"version: 403 Forbidden: forbidden: User "jane" cannot get path "/version""#,
                Some("get /version"),
            ),
            (
                r#"x: 403 Forbidden: secrets is forbidden: User "system:serviceaccount:a-very-long-name…"#,
                Some("a read that the message has no room for"),
            ),
            (
                r#"x: 403 Forbidden: secrets is forbidden: User "jane" cannot list resource "secrets" in API gr…"#,
                Some("list secrets"),
            ),
            ("403 Forbidden: the user of Secret a/b may not read the cluster", None),
            ("connection refused", None),
        ] {
            assert_eq!(missing_right(text).as_deref(), right, "{text}");
        }
    }
}
