//! The way to the platform: a client that cannot write, the namespace of KKP, the KKPUpgrade, and what the operator there was
//! started with. Talks to the master, by GET alone.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_connection::{Connector, Peer};
use kkp_upgrade_kkp::types::KubermaticConfiguration;
use kkp_upgrade_operator::call::{CallError, call};
use kkp_upgrade_operator::permissions::{NAMESPACE, OPERATOR};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config, ResourceExt};

use crate::arguments::ClusterArguments;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::permission::missing_right;

/// Flag of the operator that names the claim for backups.
const CLAIM_FLAG: &str = "--default-backup-claim";

/// A client of the master that cannot write.
pub(crate) async fn connect(arguments: &ClusterArguments) -> Result<Client, Failure> {
    connect_by(&Connector::reader(), arguments).await
}

/// A client of the master that can write, for the one command that does.
pub(crate) async fn connect_to_write(arguments: &ClusterArguments) -> Result<Client, Failure> {
    connect_by(&Connector::default(), arguments).await
}

async fn connect_by(connector: &Connector, arguments: &ClusterArguments) -> Result<Client, Failure> {
    let config = config(arguments).await?;
    connector.connect(&Peer::Master, config).map_err(|_| {
        let text = "the kubeconfig has certificates, keys or addresses that cannot be used";
        Failure::new(Exit::Unexpected, text).hint("check that `kubectl version` works with the same context")
    })
}

async fn config(arguments: &ClusterArguments) -> Result<Config, Failure> {
    let options = KubeConfigOptions {
        context: arguments.context.clone(),
        ..KubeConfigOptions::default()
    };
    let read = match &arguments.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let kubeconfig = read.map_err(|error| unusable(&error))?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| unusable(&error))?;
    if let Some(user) = &arguments.impersonate {
        config.auth_info.impersonate = Some(user.clone());
        config.auth_info.impersonate_groups =
            Some(arguments.impersonate_groups.clone()).filter(|groups| !groups.is_empty());
    }
    Ok(config)
}

/// The kind of error, without a text that may quote the file.
fn unusable(error: &KubeconfigError) -> Failure {
    let text = match error {
        KubeconfigError::CurrentContextNotSet => "the kubeconfig has no current context".to_owned(),
        KubeconfigError::LoadContext(name) => format!("the kubeconfig has no context `{name}`"),
        KubeconfigError::LoadClusterOfContext(name) => format!("the kubeconfig has no cluster `{name}`"),
        KubeconfigError::MissingClusterUrl => "the kubeconfig names no server".to_owned(),
        KubeconfigError::FindPath => "there is no kubeconfig".to_owned(),
        KubeconfigError::ReadConfig(_, path) => format!("kubeconfig {} cannot be read", path.display()),
        _ => "the kubeconfig cannot be used".to_owned(),
    };
    Failure::new(Exit::Unexpected, text).hint("choose one with --kubeconfig and --context")
}

/// A call that failed, as the end of a command.
pub(crate) fn failed(error: &CallError) -> Failure {
    let text = error.to_string();
    if let Some(right) = missing_right(&text) {
        return Failure::new(Exit::NotFound, format!("not permitted ({right})"))
            .hint("the ClusterRole and Role `kkp-upgrade-reader` of deploy/reader grant what a plan needs");
    }
    Failure::new(
        if error.is_not_found() {
            Exit::NotFound
        } else {
            Exit::Unexpected
        },
        text,
    )
}

/// The namespace of KKP: the given one, or that of the `KubermaticConfiguration`. Who may not look for it everywhere looks
/// where it normally is.
pub(crate) async fn namespace(client: &Client, given: Option<&str>) -> Result<String, Failure> {
    if let Some(given) = given {
        return checked(client, given).await;
    }
    let everywhere = Api::<KubermaticConfiguration>::all(client.clone());
    let found = call(
        "list of KubermaticConfigurations",
        everywhere.list_metadata(&ListParams::default()),
    )
    .await;
    let found = match found {
        Ok(found) => found,
        Err(error) if error.code() == Some(403) => return Ok(NAMESPACE.to_owned()),
        Err(error) if error.is_not_found() => {
            return Err(Failure::new(
                Exit::NotFound,
                "there is no KKP on this cluster: it has no KubermaticConfigurations",
            )
            .hint("choose the master cluster with --context"));
        }
        Err(error) => return Err(failed(&error)),
    };
    let namespaces: BTreeSet<String> = found.items.iter().filter_map(ResourceExt::namespace).collect();
    let names: Vec<String> = namespaces.into_iter().collect();
    match names.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Failure::new(
            Exit::NotFound,
            "there is no KubermaticConfiguration in any namespace: is KKP installed here?",
        )
        .hint("choose the master cluster with --context")),
        several => Err(Failure::new(
            Exit::Usage,
            format!("there are KubermaticConfigurations in {}", several.join(", ")),
        )
        .hint("choose one with -n")),
    }
}

/// A given namespace, where it is KKP's as far as can be seen.
async fn checked(client: &Client, given: &str) -> Result<String, Failure> {
    let here = Api::<KubermaticConfiguration>::namespaced(client.clone(), given);
    let what = format!("KubermaticConfigurations in namespace {given}");
    let found = call(what, here.list_metadata(&ListParams::default())).await;
    if found.is_ok_and(|found| found.items.is_empty()) {
        let text = format!("there is no KubermaticConfiguration in namespace {given}");
        return Err(Failure::new(Exit::NotFound, text).hint("leave -n away to have it looked for"));
    }
    Ok(given.to_owned())
}

/// The KKPUpgrade of this name.
pub(crate) async fn upgrade(client: &Client, namespace: &str, name: &str) -> Result<KKPUpgradeObject, Failure> {
    let upgrades = Api::<KKPUpgradeObject>::namespaced(client.clone(), namespace);
    match call(format!("KKPUpgrade {namespace}/{name}"), upgrades.get(name)).await {
        Ok(found) => Ok(found),
        Err(error) if error.is_not_found() => {
            let others = call("list of KKPUpgrades", upgrades.list(&ListParams::default())).await;
            let names: Vec<String> = others
                .map(|list| list.items.iter().map(ResourceExt::name_any).collect())
                .unwrap_or_default();
            let hint = if names.is_empty() {
                "plan a file with -f, or a version with --target-version".to_owned()
            } else {
                format!("there are: {}", names.join(", "))
            };
            Err(Failure::new(
                Exit::NotFound,
                format!("there is no KKPUpgrade {name} in namespace {namespace}"),
            )
            .hint(hint))
        }
        Err(error) => Err(failed(&error)),
    }
}

/// The claim for backups that the operator was started with, where a KKPUpgrade names none.
///
/// # Errors
/// When there is no operator, or its Deployment cannot be read.
pub(crate) async fn default_claim(client: &Client, namespace: &str) -> Result<Option<String>, CallError> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let found = call(format!("Deployment {namespace}/{OPERATOR}"), deployments.get(OPERATOR)).await?;
    let pod = found.spec.and_then(|spec| spec.template.spec);
    let containers = pod.map(|pod| pod.containers).unwrap_or_default();
    Ok(containers
        .into_iter()
        .find_map(|container| flag(&container.args.unwrap_or_default(), CLAIM_FLAG)))
}

/// Value of `--flag=value` or `--flag value`.
fn flag(arguments: &[String], name: &str) -> Option<String> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let Some(rest) = argument.strip_prefix(name) else {
            continue;
        };
        match rest.strip_prefix('=') {
            Some(value) => return Some(value.to_owned()),
            None if rest.is_empty() => return arguments.next().cloned(),
            None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_found_in_either_form_and_not_by_its_beginning() {
        let list = |arguments: &[&str]| arguments.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        assert_eq!(flag(&list(&["run", "--claim=a"]), "--claim").as_deref(), Some("a"));
        assert_eq!(flag(&list(&["run", "--claim", "b"]), "--claim").as_deref(), Some("b"));
        assert_eq!(flag(&list(&["run", "--claims=a", "--claim"]), "--claim"), None);
    }
}
