//! Which Kubernetes version a user cluster can be brought to, so that all releases of a route list it. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use semver::Version;

use super::finding::Hop;
use super::functions::{ConfiguredVersions, kubernetes_version};
use super::releases::{Release, Releases};
use super::schema::Field;

/// The releases of a route that have to list a version: what runs now, and what comes.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// What each release lists: the running one first, then the end of each hop.
    listed: Result<Vec<BTreeSet<Version>>, String>,
    /// How many of these have to list a version at least: the running one up to the end of the rule's hop.
    least: usize,
}

impl Route {
    /// The releases of `route` as far as the catalogue knows them, for a rule that is asked about `hop`.
    pub(super) fn new(releases: &Releases, hop: Hop, route: &[Hop], configured: &Field<ConfiguredVersions>) -> Self {
        let start = route.first().map_or(hop.from, |first| first.from);
        let position = route.iter().position(|other| *other == hop);
        let ends = route.iter().map(|hop| hop.to);
        let listed = std::iter::once(start)
            .chain(ends.chain(position.is_none().then_some(hop.to)))
            .map_while(|version| releases.share(version))
            .map(|release| listed(&release, configured))
            .collect();
        Self {
            listed,
            least: position.map_or(route.len() + 2, |index| index + 2),
        }
    }

    /// Versions to go to one after the other, at most one minor at a time, until all releases of the route list where the
    /// cluster is; where no version does that for all, for the most of them. The lowest such version; empty = there is none.
    pub(super) fn way(&self, version: &str) -> Result<Vec<Version>, String> {
        let (listed, version) = (
            self.listed.as_ref().map_err(Clone::clone)?,
            kubernetes_version(version)?,
        );
        let way = (self.least..=listed.len()).rev().find_map(|releases| {
            let goal = common(listed.get(..releases)?)
                .into_iter()
                .find(|goal| *goal > version)?;
            steps(listed.first()?, &version, goal)
        });
        Ok(way.unwrap_or_default())
    }

    /// The lowest version, not older than this one, that the most releases of the route list.
    pub(super) fn listed(&self, version: &str) -> Result<Option<Version>, String> {
        let (listed, version) = (
            self.listed.as_ref().map_err(Clone::clone)?,
            kubernetes_version(version)?,
        );
        Ok((self.least..=listed.len()).rev().find_map(|releases| {
            common(listed.get(..releases)?)
                .into_iter()
                .find(|found| *found >= version)
        }))
    }
}

/// What a release offers: an own list of the administrator replaces the built-in one.
fn listed(release: &Arc<Release>, configured: &Field<ConfiguredVersions>) -> Result<BTreeSet<Version>, String> {
    match configured {
        Field::Known(configured) => match configured.versions.as_deref() {
            None | Some([]) => Ok(release.kubernetes.clone()),
            Some(versions) => versions.iter().map(|version| kubernetes_version(version)).collect(),
        },
        Field::NotRead(reason) => Err(format!(
            "spec.versions of the KubermaticConfiguration was not read: {reason}"
        )),
    }
}

fn common(lists: &[BTreeSet<Version>]) -> BTreeSet<Version> {
    let Some((first, others)) = lists.split_first() else {
        return BTreeSet::new();
    };
    let everywhere = |version: &&Version| others.iter().all(|list| list.contains(*version));
    first.iter().filter(everywhere).cloned().collect()
}

/// The way from `version` to `goal`: Kubernetes goes one minor at a time, so each minor between is a stop.
fn steps(offered: &BTreeSet<Version>, version: &Version, goal: Version) -> Option<Vec<Version>> {
    if goal.major != version.major {
        return None;
    }
    let stop = |minor: u64| {
        offered
            .iter()
            .find(|stop| stop.major == goal.major && stop.minor == minor)
    };
    let between = (version.minor + 1..goal.minor).map(|minor| stop(minor).cloned());
    let mut way: Vec<Version> = between.collect::<Option<_>>()?;
    way.push(goal);
    Some(way)
}

/// Why nodes with this kubelet keep an API server of `apiserver` away; empty = they do not. A kubelet may be three minors older
/// than the API server, before 1.25 two, and never newer (Kubernetes, version skew policy).
pub(super) fn skew(kubelet: &str, apiserver: &str) -> Result<String, String> {
    let (node, wanted) = (kubernetes_version(kubelet)?, kubernetes_version(apiserver)?);
    let most = if node.minor < 25 { 2 } else { 3 };
    Ok(if (node.major, node.minor) > (wanted.major, wanted.minor) {
        format!("its nodes run kubelet {node}, newer than an API server {wanted}")
    } else if node.major != wanted.major || wanted.minor - node.minor > most {
        format!(
            "its oldest node runs kubelet {node}: raise its MachineDeployment first, an API server {wanted} wants at most {most} minors less"
        )
    } else {
        String::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Catalogue;

    fn hop(from: &str, to: &str) -> Hop {
        Hop {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        }
    }

    fn route(hops: &[Hop], at: usize, own: Option<&[&str]>) -> Route {
        let configured = ConfiguredVersions {
            versions: own.map(|own| own.iter().map(|version| (*version).to_owned()).collect()),
            automatic_updates: None,
        };
        let releases = Catalogue::embedded().unwrap().releases();
        Route::new(releases, hops[at], hops, &Field::Known(configured))
    }

    fn way(route: &Route, version: &str) -> String {
        let way: Vec<String> = route.way(version).unwrap().iter().map(ToString::to_string).collect();
        way.join(" ")
    }

    #[test]
    fn the_lowest_version_that_both_releases_list_by_minors() {
        let one = route(&[hop("2.30.6", "2.31.0")], 0, None);
        assert_eq!(way(&one, "1.32.13"), "1.33.0");
        assert_eq!(way(&one, "v1.33.4"), "1.33.5", "a patch of the same minor comes first");
        assert_eq!(way(&one, "1.31.9"), "1.32.1 1.33.0", "no minor is left out");
        assert_eq!(way(&one, "1.30.0"), "", "the running release lists no 1.31 to stop at");
        assert_eq!(way(&one, "1.35.7"), "", "nothing newer is listed by both");
        assert!(one.way("latest").is_err());
    }

    #[test]
    fn one_move_serves_all_hops_where_a_version_does() {
        let hops = [hop("2.29.5", "2.30.6"), hop("2.30.6", "2.31.0")];
        let release = |text: &str| {
            let releases = Catalogue::embedded().unwrap().releases();
            releases.get(text.parse().unwrap()).unwrap().kubernetes.clone()
        };
        let (first, all) = (route(&hops, 0, None), ["2.29.5", "2.30.6", "2.31.0"].map(release));
        let found = first.way("1.31.1").unwrap();
        let goal = found.last().unwrap();
        assert!(all.iter().all(|list| list.contains(goal)), "{goal}");
        let second = route(&hops, 1, None);
        assert!(all[2].contains(second.way("1.32.1").unwrap().last().unwrap()));
    }

    #[test]
    fn where_no_version_serves_all_hops_the_next_ones_count() {
        let hops = [
            hop("2.25.18", "2.26.13"),
            hop("2.26.13", "2.27.9"),
            hop("2.27.9", "2.28.9"),
            hop("2.28.9", "2.29.5"),
            hop("2.29.5", "2.30.6"),
            hop("2.30.6", "2.31.0"),
        ];
        let found = route(&hops, 0, None).way("1.27.1").unwrap();
        assert!(!found.is_empty());
        assert_eq!(route(&hops, 5, None).way("1.27.1").unwrap(), Vec::new());
    }

    #[test]
    fn an_own_list_replaces_those_of_the_releases() {
        let own = route(&[hop("2.30.6", "2.31.0")], 0, Some(&["1.32.13", "v1.34.3", "1.33.9"]));
        assert_eq!(way(&own, "1.32.13"), "1.33.9");
        assert_eq!(
            own.listed("1.33.10").unwrap().map(|found| found.to_string()).as_deref(),
            Some("1.34.3")
        );
        assert_eq!(own.listed("1.35.0").unwrap(), None);
    }

    #[test]
    fn an_unknown_release_lists_nothing() {
        assert_eq!(way(&route(&[hop("2.31.0", "2.99.0")], 0, None), "1.33.4"), "");
    }

    #[test]
    fn kubelets_are_at_most_three_minors_older_and_never_newer() {
        for (kubelet, apiserver, fits) in [
            ("1.30.4", "1.33.0", true),
            ("v1.29.9", "1.33.0", false),
            ("1.25.1", "1.28.0", true),
            ("1.24.1", "1.27.0", false),
            ("1.24.1", "1.26.0", true),
            ("1.33.9", "1.33.0", true),
            ("1.34.1", "1.33.0", false),
        ] {
            assert_eq!(
                skew(kubelet, apiserver).unwrap().is_empty(),
                fits,
                "{kubelet} {apiserver}"
            );
        }
        assert!(skew("1.29.9", "1.33.0").unwrap().contains("1.29.9"));
    }
}
