//! Looks at one seed every now and then and writes `Seed.status`: kubeconfig, number of user clusters, versions, phase
//! (KKP 2.31 source, pkg/controller/master-controller-manager/seed-status-controller). `versions.kubermatic` is the version
//! of this process, not of the seed: no proof that the seed was rolled.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::phase::{Facts, phase, status_of};
use super::seed_sync;
use crate::Error;
use crate::apply::merge_status;
use crate::cluster_access::{SeedAccess, call, open_seed};
use crate::condition::{self, Statement};
use crate::follow::wait;
use crate::objects::{clusters, is_skipped, seeds};
use crate::script::Script;
use crate::start::Process;

/// The shortest time between two looks.
const FAST: Duration = Duration::from_secs(1);

/// What a look at the seed found.
struct Finding {
    is_valid: bool,
    reason: &'static str,
    message: String,
    clusters: Option<i64>,
    version: Option<String>,
}

/// Looks at the seed `name` for ever.
pub(super) async fn run(process: Arc<Process>, name: String, nudge: Arc<Notify>) {
    loop {
        let script = Script::load().master;
        let regular = Duration::from_millis(script.seed_status_ms).max(FAST);
        let next = match look(&process, &name, &script.silent_seeds, &script.unsynchronised_seeds).await {
            Ok(true) => regular,
            Ok(false) => FAST,
            Err(error) => {
                tracing::warn!(seed = name, %error, "the seed's status is not complete");
                FAST
            }
        };
        wait(&nudge, next).await;
    }
}

/// True if the kubeconfig works.
async fn look(process: &Process, name: &str, silent: &[String], unsynchronised: &[String]) -> Result<bool, Error> {
    let all = seeds(&process.client, &process.namespace);
    let Some(seed) = call(&format!("read Seed {name}"), all.get_opt(name)).await? else {
        return Ok(true);
    };
    let access = open_seed(&process.client, &seed).await;
    let finding = match &access {
        Ok(access) => ask(access, &process.namespace).await,
        Err(error) => Finding::invalid("KubeconfigUnavailable", error),
    };
    if !silent.iter().any(|silent| silent == name) {
        merge_status(&all, &seed, status(&seed, &finding, &process.release.version)).await?;
    }
    if let (Ok(access), true, false) = (
        &access,
        finding.is_valid,
        unsynchronised.iter().any(|other| other == name),
    ) {
        seed_sync::copy(process, access, &seed).await?;
    }
    Ok(finding.is_valid)
}

impl Finding {
    fn invalid(reason: &'static str, error: &Error) -> Self {
        Self {
            is_valid: false,
            reason,
            message: error.to_string(),
            clusters: None,
            version: None,
        }
    }
}

async fn ask(access: &SeedAccess, namespace: &str) -> Finding {
    let namespaces: Api<Namespace> = Api::all(access.client.clone());
    if let Err(error) = call(
        &format!("read namespace {namespace} of the seed"),
        namespaces.get_opt(namespace),
    )
    .await
    {
        return Finding::invalid("KubeconfigInvalid", &error);
    }
    let version = call("read the version of the seed", access.client.apiserver_version())
        .await
        .ok();
    // One object and the number of those that follow are enough.
    let (all, one) = (clusters(&access.client), ListParams::default().limit(1));
    let list = call("count the Clusters of the seed", all.list_metadata(&one)).await;
    let clusters = list.ok().map(|list| {
        list.metadata
            .remaining_item_count
            .unwrap_or(0)
            .saturating_add(i64::try_from(list.items.len()).unwrap_or(0))
    });
    Finding {
        is_valid: true,
        reason: "KubeconfigValid",
        message: String::new(),
        clusters,
        version: version.map(|version| version.git_version),
    }
}

fn status(seed: &DynamicObject, finding: &Finding, own_version: &str) -> Value {
    let conditions = seed.data.pointer("/status/conditions");
    let old = conditions.and_then(|conditions| conditions.get("KubeconfigValid"));
    let statement = Statement {
        status: finding.is_valid,
        reason: finding.reason,
        message: &finding.message,
        kubermatic_version: None,
    };
    let facts = Facts {
        is_deleted: seed.metadata.deletion_timestamp.is_some(),
        is_skipped: is_skipped(seed),
        kubeconfig: Some(if finding.is_valid { "True" } else { "False" }),
        reconciled: status_of(conditions, "ResourcesReconciled"),
    };
    let mut status = json!({ "phase": phase(facts), "versions": { "kubermatic": own_version } });
    if let Some(condition) = condition::update(old, statement, &condition::now()) {
        merge(&mut status, "conditions", json!({ "KubeconfigValid": condition }));
    }
    if let Some(clusters) = finding.clusters {
        merge(&mut status, "clusters", json!(clusters));
    }
    if let (Some(version), Some(versions)) = (&finding.version, status.get_mut("versions")) {
        merge(versions, "cluster", json!(version));
    }
    status
}

fn merge(target: &mut Value, key: &str, value: Value) {
    if let Some(fields) = target.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::seed_resource;

    fn finding() -> Finding {
        Finding {
            is_valid: true,
            reason: "KubeconfigValid",
            message: String::new(),
            clusters: Some(3),
            version: Some("v1.36.3".to_owned()),
        }
    }

    #[test]
    fn the_seed_gets_the_version_of_the_master_although_nothing_was_rolled() {
        let old = json!({"status": {"versions": {"kubermatic": "v2.30.6"}, "conditions": {"ResourcesReconciled": {"status": "True"}}}});
        let seed = DynamicObject::new("eu", &seed_resource()).data(old);
        let status = status(&seed, &finding(), "v2.31.0");
        assert_eq!(
            status.pointer("/versions"),
            Some(&json!({"kubermatic": "v2.31.0", "cluster": "v1.36.3"}))
        );
        assert_eq!(status.pointer("/phase"), Some(&json!("Healthy")));
        assert_eq!(status.pointer("/clusters"), Some(&json!(3)));
        assert_eq!(status.pointer("/conditions/ResourcesReconciled"), None);
    }

    #[test]
    fn a_broken_kubeconfig_keeps_the_last_known_numbers() {
        let seed = DynamicObject::new("eu", &seed_resource()).data(json!({}));
        let error = Error::Refused("no Secret".to_owned());
        let status = status(&seed, &Finding::invalid("KubeconfigUnavailable", &error), "v2.31.0");
        assert_eq!(status.pointer("/phase"), Some(&json!("Invalid")));
        assert_eq!(
            status.pointer("/conditions/KubeconfigValid/reason"),
            Some(&json!("KubeconfigUnavailable"))
        );
        assert_eq!(status.pointer("/clusters"), None);
    }
}
