//! The hand-written Job of the official installer, as an administrator without an operator would write it. Pure.
//!
//! The kubeconfig names the mounted ServiceAccount token, because in-cluster configuration alone is not enough for the installer
//! (KKP source, `cmd/kubermatic-installer/cmd_deploy.go`).

use serde_json::{Value, json};

use super::field::slot;
use super::objects::NAMESPACE;

/// Name of ServiceAccount, binding and Secret.
pub(super) const NAME: &str = "lab-installer";
const TOKEN_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A run of the installer.
#[derive(Clone, Debug)]
pub struct InstallerRun {
    /// Name of the Job.
    pub name: String,
    /// Image with the installer.
    pub image: String,
    /// Stack, for example `kubermatic-master`.
    pub stack: String,
    /// More arguments.
    pub arguments: Vec<String>,
}

/// ServiceAccount with all rights, and the Secret with kubeconfig and values.
pub(super) fn prerequisites(server: &str, values: &Value, configuration: Option<&Value>) -> Vec<Value> {
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "master",
        "clusters": [{"name": "master", "cluster": {"server": server, "certificate-authority": format!("{TOKEN_FOLDER}/ca.crt")}}],
        "users": [{"name": "installer", "user": {"tokenFile": format!("{TOKEN_FOLDER}/token")}}],
        "contexts": [{"name": "master", "context": {"cluster": "master", "user": "installer"}}],
    });
    let mut data = json!({"kubeconfig": kubeconfig.to_string(), "values.yaml": values.to_string()});
    if let Some(configuration) = configuration {
        *slot(&mut data, &["kubermatic.yaml"]) = json!(configuration.to_string());
    }
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": NAMESPACE}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": NAME},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
        }),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME, "namespace": NAMESPACE}, "stringData": data}),
    ]
}

/// The Job.
pub(super) fn job(run: &InstallerRun) -> Value {
    let mut arguments: Vec<Value> = [
        "deploy",
        &run.stack,
        "-o",
        "json",
        "--skip-dependencies",
        "--helm-timeout",
        "60s",
    ]
    .into_iter()
    .chain(["--helm-values", "/installer/values.yaml"])
    .chain(run.arguments.iter().map(String::as_str))
    .map(Value::from)
    .collect();
    arguments.insert(0, json!("kubermatic-installer"));
    let variables = [
        ("KUBECONFIG", "/installer/kubeconfig"),
        ("HOME", "/work"),
        ("TMPDIR", "/work"),
        ("HELM_CACHE_HOME", "/work/helm/cache"),
        ("HELM_CONFIG_HOME", "/work/helm/config"),
        ("HELM_DATA_HOME", "/work/helm/data"),
    ];
    let variables: Vec<Value> = variables
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": run.name, "namespace": NAMESPACE},
        "spec": {
            "backoffLimit": 0,
            "template": {"spec": {
                "serviceAccountName": NAME, "restartPolicy": "Never",
                "containers": [{
                    "name": "installer", "image": run.image, "command": arguments, "env": variables, "workingDir": "/work",
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "volumeMounts": [
                        {"name": "installer", "mountPath": "/installer", "readOnly": true},
                        {"name": "work", "mountPath": "/work"},
                    ],
                }],
                "volumes": [
                    {"name": "installer", "secret": {"secretName": NAME}},
                    {"name": "work", "emptyDir": {}},
                ],
            }},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_runs_the_installer_once_with_a_kubeconfig_in_the_environment() {
        let run = InstallerRun {
            name: "install".into(),
            image: "quay.io/kubermatic/kubermatic:v2.31.0".into(),
            stack: "kubermatic-master".into(),
            arguments: vec!["--disable-telemetry".into()],
        };
        let job = job(&run);
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(job["spec"]["backoffLimit"], 0);
        assert_eq!(container["env"][0]["name"], "KUBECONFIG");
        let command = container["command"].as_array().unwrap();
        assert_eq!(command.first().unwrap(), "kubermatic-installer");
        assert_eq!(command.last().unwrap(), "--disable-telemetry");
        let made = prerequisites("https://127.0.0.1:1", &json!({"a": 1}), None);
        let secret = made.last().unwrap();
        assert!(
            secret["stringData"]["kubeconfig"]
                .as_str()
                .unwrap()
                .contains("tokenFile")
        );
        assert!(secret["stringData"].get("kubermatic.yaml").is_none());
    }
}
