//! Where the platform ends: which namespaces are the platform's, and which single Secrets outside of them, as its own objects
//! say.
//!
//! Talks to the cluster, reading only. Must never take a user cluster's namespace from its name: its Cluster says it.

use std::collections::BTreeSet;

use kube::api::ListParams;
use serde_json::Value;

use crate::BackupError;
use crate::api::{Source, Subject};
use crate::discovery::Resource;
use crate::scope::{CHART_NAMESPACES, KEY_SECRET, Omission, Reach, Scope};

/// Secret of a seed's `kube-system` that no Seed names where KKP's old etcd backups are used (KKP source, `pkg/resources`).
const OLD_BACKUP_CREDENTIALS: &str = "kube-system/kubermatic-s3-credentials";

/// The scope as far as it is known, and what was seen beside it.
#[derive(Debug, Clone)]
pub(crate) struct Boundary {
    scope: Scope,
    reach: Reach,
    /// Namespaces that are not in scope so far.
    others: BTreeSet<String>,
    /// Secrets of the platform elsewhere that are out of reach, as `<namespace>/<name>`.
    unreached: BTreeSet<String>,
    /// What is read was chosen by it: it must not move any more.
    fixed: bool,
}

impl Boundary {
    /// Only KKP's namespace is known.
    pub(crate) fn new(namespace: &str, reach: Reach) -> Self {
        let mut boundary = Self {
            scope: Scope::kkp(namespace),
            reach,
            others: BTreeSet::new(),
            unreached: BTreeSet::new(),
            fixed: false,
        };
        boundary.secrets().insert(OLD_BACKUP_CREDENTIALS.to_owned());
        boundary
    }

    /// What is known so far.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Learns from the objects as they are now, and fixes it.
    pub(crate) async fn look_up(&mut self, source: &Source, resources: &[Resource]) -> Result<(), BackupError> {
        for resource in resources.iter().filter(|resource| resource.tells_scope()) {
            let label = resource.label();
            let subject = Subject::of(&label);
            let mut size = source.first_page();
            let mut parameters = ListParams::default();
            // Like [`Pages::next`](crate::api::Pages::next), but at no revision: what the cluster is like now.
            loop {
                let page = source.page(resource, &parameters, &mut size, &subject).await?;
                self.learn(resource, &page.items()?)?;
                let Some(token) = page.next else { break };
                if parameters.continue_token.as_ref() == Some(&token) {
                    return Err(subject.leads_back());
                }
                parameters = parameters.continue_token(&token);
            }
        }
        self.fixed = true;
        Ok(())
    }

    /// Takes in what these objects say of it.
    ///
    /// # Errors
    /// When something of the platform came after it was fixed: that would be half in the backup.
    pub(crate) fn learn(&mut self, resource: &Resource, objects: &[Value]) -> Result<(), BackupError> {
        for object in objects {
            if resource.is_seeds() {
                let secrets = credentials(object);
                self.secrets().extend(secrets);
            } else if resource.is_clusters() {
                self.include(text(object, "/status/namespaceName"))?;
            } else if resource.is_namespaces() {
                let name = text(object, "/metadata/name");
                if CHART_NAMESPACES.contains(&name) {
                    self.include(name)?;
                }
                self.others.insert(name.to_owned());
            }
        }
        Ok(())
    }

    fn include(&mut self, namespace: &str) -> Result<(), BackupError> {
        if namespace.is_empty() || self.scope.namespaces.contains(namespace) {
            return Ok(());
        }
        if self.fixed {
            return Err(BackupError::Unsettled {
                namespace: namespace.to_owned(),
            });
        }
        self.scope.namespaces.insert(namespace.to_owned());
        Ok(())
    }

    /// Where Secrets in namespaces that are not the platform's belong.
    fn secrets(&mut self) -> &mut BTreeSet<String> {
        match self.reach {
            Reach::Everywhere => &mut self.scope.secrets,
            Reach::Named => &mut self.unreached,
        }
    }

    /// The scope, and what is left out because of it: known when everything was learned.
    pub(crate) fn settle(self) -> (Scope, Vec<Omission>) {
        let Self {
            scope,
            others,
            unreached,
            ..
        } = self;
        let mut omitted = Vec::new();
        if !unreached.is_empty() {
            omitted.push(Omission::new(
                format!("Secrets {}", joined(&unreached)),
                "used on seeds, and in the backups of those",
            ));
        }
        let others: BTreeSet<String> = others.difference(&scope.namespaces).cloned().collect();
        if !others.is_empty() {
            omitted.push(Omission::new(
                format!(
                    "Secrets, ConfigMaps, Ingresses and RBAC in the namespaces {}",
                    joined(&others)
                ),
                "not of KKP, of its charts or of user clusters",
            ));
        }
        omitted.push(Omission::new(
            format!("Secret {}/{KEY_SECRET}", scope.platform_namespace),
            "the key that opens this archive: keep it outside of the cluster",
        ));
        (scope, omitted)
    }
}

fn joined(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// The Secrets of the destinations of etcd backups, as a Seed names them.
fn credentials(seed: &Value) -> Vec<String> {
    let destinations = seed
        .pointer("/spec/etcdBackupRestore/destinations")
        .and_then(Value::as_object);
    let references = destinations.into_iter().flat_map(|all| all.values());
    references
        .map(|destination| {
            (
                text(destination, "/credentials/namespace"),
                text(destination, "/credentials/name"),
            )
        })
        .filter(|(_, name)| !name.is_empty())
        .map(|(namespace, name)| {
            let namespace = if namespace.is_empty() { "kube-system" } else { namespace };
            format!("{namespace}/{name}")
        })
        .collect()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
