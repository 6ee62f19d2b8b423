//! The environment of a container, and `$(NAME)` in its command, arguments and variables.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod};
use kube::ResourceExt;

use super::downward;
use super::sources::{Problem, Sources};
use crate::image_folder::{DEFAULT_PATH, Image};

/// Variables in the order in which they were set; a later value replaces an earlier one.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    variables: Vec<(String, String)>,
}

impl Environment {
    fn set(&mut self, name: &str, value: String) {
        match self.variables.iter_mut().find(|(present, _)| present == name) {
            Some((_, present)) => *present = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .iter()
            .find(|(present, _)| present == name)
            .map(|(_, value)| value.as_str())
    }

    fn set_default(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.set(name, value.to_owned());
        }
    }

    /// Replaces `$(NAME)`; `$$(NAME)` stands for the text `$(NAME)`, and unknown names stay as written.
    pub(super) fn expand(&self, text: &str) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, from_dollar) = rest.split_at(at);
            expanded.push_str(before);
            let after = from_dollar.get(1..).unwrap_or_default();
            if let Some(escaped) = after.strip_prefix('$') {
                expanded.push('$');
                rest = escaped;
            } else if let Some((name, behind)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
                match self.get(name) {
                    Some(value) => expanded.push_str(value),
                    None => {
                        for part in ["$(", name, ")"] {
                            expanded.push_str(part);
                        }
                    }
                }
                rest = behind;
            } else {
                expanded.push('$');
                rest = after;
            }
        }
        expanded.push_str(rest);
        expanded
    }

    /// All variables.
    pub(super) fn into_variables(self) -> Vec<(String, String)> {
        self.variables
    }
}

/// Image, API server, host name, `envFrom`, `env`: later ones win.
pub(super) async fn of_container(
    pod: &Pod,
    container: &Container,
    image: &Image,
    api_port: u16,
    sources: &Sources<'_>,
) -> Result<Environment, Problem> {
    let mut all = Environment::default();
    for (name, value) in image
        .config
        .env
        .iter()
        .flatten()
        .filter_map(|line| line.split_once('='))
    {
        all.set(name, value.to_owned());
    }
    all.set_default("PATH", DEFAULT_PATH);
    // Only what the Pod sets can be referred to, never the image's own variables.
    let mut of_pod = Environment::default();
    of_pod.set("KUBERNETES_SERVICE_HOST", "127.0.0.1".to_owned());
    for name in ["KUBERNETES_SERVICE_PORT", "KUBERNETES_SERVICE_PORT_HTTPS"] {
        of_pod.set(name, api_port.to_string());
    }
    let hostname = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.hostname.clone())
        .unwrap_or_else(|| pod.name_any());
    of_pod.set("HOSTNAME", hostname);
    for (name, value) in from_whole_objects(container, sources).await? {
        of_pod.set(&name, value);
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => value_from(pod, container, variable, source, sources).await?,
            None => Some(of_pod.expand(variable.value.as_deref().unwrap_or_default())),
        };
        if let Some(value) = value {
            of_pod.set(&variable.name, value);
        }
    }
    for (name, value) in of_pod.into_variables() {
        all.set(&name, value);
    }
    all.set_default("HOME", "/");
    Ok(all)
}

async fn from_whole_objects(container: &Container, sources: &Sources<'_>) -> Result<BTreeMap<String, String>, Problem> {
    let mut variables = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let mut values = BTreeMap::new();
        if let Some(wanted) = &source.config_map_ref {
            values.extend(
                sources
                    .config_map(&wanted.name, wanted.optional.unwrap_or(false))
                    .await?,
            );
        }
        if let Some(wanted) = &source.secret_ref {
            values.extend(sources.secret(&wanted.name, wanted.optional.unwrap_or(false)).await?);
        }
        let prefix = source.prefix.clone().unwrap_or_default();
        variables.extend(
            values
                .into_iter()
                .map(|(key, value)| (format!("{prefix}{key}"), text(&value))),
        );
    }
    Ok(variables)
}

async fn value_from(
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    source: &EnvVarSource,
    sources: &Sources<'_>,
) -> Result<Option<String>, Problem> {
    let missing = |kind: &str, name: &str, key: &str| {
        Problem::config(format!(
            "couldn't find key {key} in {kind} {name} for variable {}",
            variable.name
        ))
    };
    if let Some(field) = &source.field_ref {
        let value = downward::field(pod, &field.field_path);
        return value
            .map(Some)
            .ok_or_else(|| Problem::config(format!("unsupported fieldPath: {}", field.field_path)));
    }
    if let Some(resource) = &source.resource_field_ref {
        return Ok(Some(downward::resource(
            container,
            &resource.resource,
            resource.divisor.as_ref(),
        )));
    }
    if let Some(wanted) = &source.config_map_key_ref {
        let optional = wanted.optional.unwrap_or(false);
        let value = sources.config_map(&wanted.name, optional).await?.remove(&wanted.key);
        return required(value, optional, || missing("ConfigMap", &wanted.name, &wanted.key));
    }
    if let Some(wanted) = &source.secret_key_ref {
        let optional = wanted.optional.unwrap_or(false);
        let value = sources.secret(&wanted.name, optional).await?.remove(&wanted.key);
        return required(value, optional, || missing("Secret", &wanted.name, &wanted.key));
    }
    Err(Problem::config(format!(
        "variable {} has an unsupported source",
        variable.name
    )))
}

fn required(
    value: Option<Vec<u8>>,
    optional: bool,
    problem: impl FnOnce() -> Problem,
) -> Result<Option<String>, Problem> {
    match value {
        Some(value) => Ok(Some(text(&value))),
        None if optional => Ok(None),
        None => Err(problem()),
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_as_the_kubelet_does() {
        let mut environment = Environment::default();
        environment.set("A", "1".to_owned());
        environment.set("A", "2".to_owned());
        for (text, expanded) in [
            ("x$(A)y", "x2y"),
            ("$(A)$(A)", "22"),
            ("$$(A)", "$(A)"),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("cost: 5$", "cost: 5$"),
            ("$$$(A)", "$2"),
        ] {
            assert_eq!(environment.expand(text), expanded, "{text}");
        }
    }
}
