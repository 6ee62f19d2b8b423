//! What people need who make a plan themselves: what the operator reads for one, less what is secret. Pure data.

use super::{ACCOUNTS, OPERATOR, Place};

/// Name of the `ClusterRole` and of the `Role` in KKP's namespace for people who only look.
pub const READER: &str = "kkp-upgrade-reader";

/// `ClusterRole` that grants Secrets where it is bound. It is the operator's own, bound by whoever decides that somebody may
/// see Secrets: without them a plan leaves out Helm releases, Helm values and seeds, and says so.
pub const READER_SECRETS: &str = "kkp-upgrade-operator-chart-releases";

/// `ClusterRole` for the objects of KKP that hold credentials of cloud providers and that rules look at, for the same few
/// people.
pub const READER_CREDENTIALS: &str = "kkp-upgrade-reader-credentials";

/// Verbs that change nothing.
const READING: [&str; 3] = ["get", "list", "watch"];
/// What is not for everybody who looks: credentials, and logs, which nobody has checked for them.
const SECRET: [&str; 3] = ["secrets", "presets", "pods/log"];
/// What [`READER_CREDENTIALS`] is for: Presets hold the credentials of cloud providers as plain text.
const CREDENTIALS: [&str; 1] = ["presets"];

/// One rule of RBAC for people who look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderRule {
    /// API groups; `""` is the core group.
    pub groups: &'static [&'static str],
    /// Resources; paths where `groups` is empty.
    pub resources: Vec<&'static str>,
    /// Names that it is restricted to; empty = any.
    pub names: &'static [&'static str],
    /// Verbs.
    pub verbs: Vec<&'static str>,
}

/// What people who look may do in the whole cluster, or in KKP's namespace.
pub fn reader_rules(place: Place) -> impl Iterator<Item = ReaderRule> {
    reading(place, |resource| !SECRET.contains(resource))
}

/// What [`READER_CREDENTIALS`] grants in the whole cluster.
pub fn credential_rules() -> impl Iterator<Item = ReaderRule> {
    reading(Place::Cluster, |resource| CREDENTIALS.contains(resource))
}

/// The operator's permissions in one place, as far as they read these resources.
fn reading(place: Place, wanted: fn(&&'static str) -> bool) -> impl Iterator<Item = ReaderRule> {
    let operator = ACCOUNTS.iter().filter(|account| account.name == OPERATOR);
    let grants = operator
        .flat_map(|account| account.grants)
        .filter(move |grant| grant.place == place);
    grants
        .flat_map(|grant| grant.permissions)
        .map(move |permission| ReaderRule {
            groups: permission.groups,
            resources: kept(permission.resources, wanted),
            names: permission.names,
            verbs: kept(permission.verbs, |verb| READING.contains(verb)),
        })
        .filter(|rule| !rule.resources.is_empty() && !rule.verbs.is_empty())
}

fn kept(words: &'static [&'static str], keep: impl Fn(&&'static str) -> bool) -> Vec<&'static str> {
    words.iter().copied().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<ReaderRule> {
        [Place::Cluster, Place::Namespace]
            .into_iter()
            .flat_map(reader_rules)
            .collect()
    }

    #[test]
    fn who_looks_changes_nothing_and_sees_no_secret() {
        for rule in all() {
            assert!(
                !rule.verbs.is_empty() && rule.verbs.iter().all(|verb| READING.contains(verb)),
                "{rule:?}"
            );
            assert!(
                !rule
                    .resources
                    .iter()
                    .any(|resource| ["secrets", "presets", "pods/log", "*"].contains(resource)),
                "{rule:?}"
            );
        }
        let credentials: Vec<ReaderRule> = credential_rules().collect();
        assert_eq!(credentials.len(), 1);
        assert_eq!(
            (credentials[0].resources.as_slice(), credentials[0].verbs.as_slice()),
            (&["presets"][..], &["list"][..])
        );
    }

    #[test]
    fn who_looks_sees_everything_else_that_the_operator_reads() {
        let sees = |resource: &str| all().iter().any(|rule| rule.resources.contains(&resource));
        for resource in [
            "kubermaticconfigurations",
            "seeds",
            "clusters",
            "kkpupgrades",
            "deployments",
            "namespaces",
            "/version",
        ] {
            assert!(sees(resource), "{resource}");
        }
        let read = ACCOUNTS[0]
            .grants
            .iter()
            .filter(|grant| grant.place != Place::ChartNamespaces);
        for permission in read.flat_map(|grant| grant.permissions) {
            let reads = permission.verbs.iter().any(|verb| READING.contains(verb));
            for resource in permission
                .resources
                .iter()
                .filter(|resource| reads && !SECRET.contains(resource))
            {
                assert!(sees(resource), "{resource}");
            }
        }
    }
}
