//! What our accounts may not do, asked before anything is begun: a right that is missing in the middle of a run holds it
//! where nobody wants to stand. Asking creates nothing that lasts.

use futures::{StreamExt, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, ResourceRule, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SelfSubjectRulesReview,
    SelfSubjectRulesReviewSpec, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kkp_upgrade_core::rules::{AccountFacts, Field};
use kube::Api;
use kube::api::PostParams;

use super::observer::{Observer, WriteChecks};
use crate::call::{CallError, call};
use crate::permissions::{ACCOUNTS, INSTALLER, OPERATOR, Permission, Place};

/// Questions at the same time.
const PARALLEL: usize = 8;
const WRITING: [&str; 4] = ["create", "update", "patch", "delete"];
/// Resources that only some runs write, each before anything is changed: a fix, and the key of a backup. An administrator who
/// wants neither may take these rights away.
const NOT_IN_EVERY_RUN: [&str; 3] = ["clustertemplates", "seeds", "secrets"];

/// One write that every run needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Write {
    verb: &'static str,
    group: &'static str,
    /// With its subresource behind a slash.
    resource: &'static str,
    name: Option<&'static str>,
}

/// What each account may not do; nothing is asked for somebody who only reads.
pub(super) async fn read(observer: &Observer<'_>) -> Vec<(String, AccountFacts)> {
    if observer.write_checks == WriteChecks::NotAsked {
        return Vec::new();
    }
    let (own, installer) = tokio::join!(own(observer), installer(observer));
    let facts = |answer: Result<Vec<String>, CallError>| AccountFacts {
        forbidden: Field::from_result(answer.map_err(|error| error.to_string())),
    };
    vec![
        (OPERATOR.to_owned(), facts(own)),
        (INSTALLER.to_owned(), facts(installer)),
    ]
}

/// One question for all rights; one each for those that its answer lacks while the API server says that it is not complete,
/// as with authorizers that cannot list.
async fn own(observer: &Observer<'_>) -> Result<Vec<String>, CallError> {
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec {
            namespace: Some(observer.namespace.to_owned()),
        },
        ..SelfSubjectRulesReview::default()
    };
    let reviews = Api::<SelfSubjectRulesReview>::all(observer.client.clone());
    let what = format!("review of our rights in namespace {}", observer.namespace);
    let status = call(what, reviews.create(&PostParams::default(), &review))
        .await?
        .status;
    let status = status.unwrap_or_default();
    let missing = writes()
        .into_iter()
        .filter(|write| !status.resource_rules.iter().any(|rule| write.is_granted_by(rule)));
    if !status.incomplete {
        return Ok(missing.map(Write::to_text).collect());
    }
    let asked = stream::iter(missing)
        .map(|write| async move { Ok((write, is_allowed(observer, write).await?)) })
        .buffered(PARALLEL);
    let answers: Vec<Result<(Write, bool), CallError>> = asked.collect().await;
    let mut forbidden = Vec::new();
    for answer in answers {
        let (write, allowed) = answer?;
        forbidden.extend((!allowed).then(|| write.to_text()));
    }
    Ok(forbidden)
}

async fn is_allowed(observer: &Observer<'_>, write: Write) -> Result<bool, CallError> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(write.attributes(observer.namespace)),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews = Api::<SelfSubjectAccessReview>::all(observer.client.clone());
    let what = format!("review of our right to {}", write.to_text());
    let answer = call(what, reviews.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// The installer needs everything: whether its account is bound to `cluster-admin`, or to what is as much.
async fn installer(observer: &Observer<'_>) -> Result<Vec<String>, CallError> {
    let everything = || Some("*".to_owned());
    let namespace = observer.namespace;
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{namespace}:{INSTALLER}")),
            groups: Some(vec![
                "system:authenticated".to_owned(),
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ]),
            resource_attributes: Some(ResourceAttributes {
                verb: everything(),
                group: everything(),
                resource: everything(),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews = Api::<SubjectAccessReview>::all(observer.client.clone());
    let what = format!("review of the rights of ServiceAccount {namespace}/{INSTALLER}");
    let status = call(what, reviews.create(&PostParams::default(), &review))
        .await?
        .status;
    let allowed = status.is_some_and(|status| status.allowed);
    Ok(if allowed {
        Vec::new()
    } else {
        vec!["do everything (ClusterRole cluster-admin)".to_owned()]
    })
}

/// Every write that each run needs, from the list of permissions.
fn writes() -> Vec<Write> {
    let ours = ACCOUNTS.into_iter().filter(|account| account.name == OPERATOR);
    let grants = ours.flat_map(|account| account.grants);
    grants
        .filter(|grant| grant.place != Place::ChartNamespaces)
        .flat_map(|grant| grant.permissions)
        .flat_map(of)
        .filter(|write| WRITING.contains(&write.verb) && !NOT_IN_EVERY_RUN.contains(&write.resource))
        .collect()
}

/// Every single right of one permission.
fn of(permission: &'static Permission) -> Vec<Write> {
    let names = match permission.names {
        [] => vec![None],
        names => names.iter().copied().map(Some).collect(),
    };
    let mut writes = Vec::new();
    for &group in permission.groups {
        for &resource in permission.resources {
            for &verb in permission.verbs {
                writes.extend(names.iter().map(|&name| Write {
                    verb,
                    group,
                    resource,
                    name,
                }));
            }
        }
    }
    writes
}

impl Write {
    fn is_granted_by(&self, rule: &ResourceRule) -> bool {
        let has = |list: Option<&Vec<String>>, wanted: &[&str]| {
            list.is_some_and(|list| list.iter().any(|item| item == "*" || wanted.contains(&item.as_str())))
        };
        let of_all = self.resource.split_once('/').map(|(_, part)| format!("*/{part}"));
        let resources = [self.resource, of_all.as_deref().unwrap_or(self.resource)];
        let names = rule.resource_names.as_ref().filter(|names| !names.is_empty());
        has(Some(&rule.verbs), &[self.verb])
            && has(rule.api_groups.as_ref(), &[self.group])
            && has(rule.resources.as_ref(), &resources)
            && names.is_none_or(|names| self.name.is_some_and(|name| names.iter().any(|item| item == name)))
    }

    fn attributes(&self, namespace: &str) -> ResourceAttributes {
        let (resource, part) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        ResourceAttributes {
            verb: Some(self.verb.to_owned()),
            group: Some(self.group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: Some(part.to_owned()).filter(|part| !part.is_empty()),
            name: self.name.map(str::to_owned),
            namespace: Some(namespace.to_owned()),
            ..ResourceAttributes::default()
        }
    }

    /// `patch kubermaticconfigurations.kubermatic.k8c.io`.
    fn to_text(self) -> String {
        let name = self.name.map(|name| format!(" {name}")).unwrap_or_default();
        match self.group {
            "" => format!("{} {}{name}", self.verb, self.resource),
            group => format!("{} {}.{group}{name}", self.verb, self.resource),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> ResourceRule {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
        ResourceRule {
            verbs: list(verbs),
            api_groups: Some(list(groups)),
            resources: Some(list(resources)),
            resource_names: Some(list(names)),
        }
    }

    const STATUS: Write = Write {
        verb: "update",
        group: "upgrade.k8c.io",
        resource: "kkpupgrades/status",
        name: None,
    };
    const LEASE: Write = Write {
        verb: "update",
        group: "coordination.k8s.io",
        resource: "leases",
        name: Some("kkp-upgrade-active"),
    };

    #[test]
    fn a_right_is_granted_by_its_own_rule_and_by_wider_ones_only() {
        for (write, rule, expected) in [
            (
                STATUS,
                rule(&["update"], &["upgrade.k8c.io"], &["kkpupgrades/status"], &[]),
                true,
            ),
            (STATUS, rule(&["*"], &["*"], &["*"], &[]), true),
            (STATUS, rule(&["update"], &["*"], &["*/status"], &[]), true),
            (STATUS, rule(&["patch"], &["*"], &["*"], &[]), false),
            (STATUS, rule(&["update"], &["apps"], &["*"], &[]), false),
            (STATUS, rule(&["update"], &["*"], &["kkpupgrades"], &[]), false),
            (STATUS, rule(&["update"], &["*"], &["*"], &["one"]), false),
            (
                LEASE,
                rule(&["update"], &["*"], &["leases"], &["other", "kkp-upgrade-active"]),
                true,
            ),
            (LEASE, rule(&["update"], &["*"], &["leases"], &["other"]), false),
        ] {
            assert_eq!(write.is_granted_by(&rule), expected, "{write:?} by {rule:?}");
        }
    }

    #[test]
    fn every_write_of_each_run_is_asked_for_and_no_other() {
        let texts: Vec<String> = writes().into_iter().map(Write::to_text).collect();
        for expected in [
            "patch kubermaticconfigurations.kubermatic.k8c.io",
            "update kkpupgrades/status.upgrade.k8c.io",
            "create jobs.batch",
            "update configmaps",
            "update leases.coordination.k8s.io kkp-upgrade-active",
        ] {
            assert!(texts.iter().any(|text| text == expected), "{expected}: {texts:?}");
        }
        let only_sometimes = |text: &String| {
            ["seeds", "secrets", "clustertemplates", "get ", "list "]
                .iter()
                .any(|word| text.contains(word))
        };
        assert!(!texts.iter().any(only_sometimes), "{texts:?}");
    }
}
