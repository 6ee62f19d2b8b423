//! The installer's Job: an init container of our own image that checks and prepares, then KKP's installer from KKP's own
//! image. Pure. Must never give the installer a deadline: killed within a Helm call it leaves a release that the next run
//! would uninstall (KKP 2.31 source, `pkg/install/util/helm.go`).

use k8s_openapi::api::core::v1::Container;
use kkp_upgrade_core::effect::{JobIntent, JobWork};
use kkp_upgrade_core::plan::MASTER;
use kkp_upgrade_kkp::image::ImageReference;

use super::job::{PROGRAM, Place, Work, field_variable, mount, resources, scratch_volume, variable};
use crate::call::CallError;

/// ServiceAccount of the installer.
pub const SERVICE_ACCOUNT: &str = "kkp-upgrade-installer";
/// Folder that the init container fills and the installer works in.
pub const WORK_FOLDER: &str = "/work";
const VOLUME: &str = "work";

/// Flags that the recipe brings along where the intent has none: name, short name, value.
type Flag<'a> = (&'a str, Option<&'a str>, Option<String>);

pub(super) fn work(place: Place<'_>, intent: &JobIntent) -> Result<Work, CallError> {
    let what = format!("create Job {}/{}", place.namespace, intent.name);
    let JobWork::Installer { image, .. } = &intent.work else {
        return Err(CallError::unusable(what, "the intent is not an installer's"));
    };
    // On a seed it would need the seed's kubeconfig; with the master's it would install a seed's stack on the master.
    if intent.target != MASTER {
        let problem = format!("the installer runs on the master only, not on {}", intent.target);
        return Err(CallError::unusable(what, problem));
    }
    let repository = ImageReference::parse(image)
        .map_err(|error| CallError::unusable(what, error.to_string()))?
        .repository;
    Ok(Work {
        service_account: SERVICE_ACCOUNT,
        token: true,
        init_containers: vec![prepare(place, intent, &repository)],
        container: main(intent),
        volumes: vec![scratch_volume(VOLUME)],
    })
}

fn prepare(place: Place<'_>, intent: &JobIntent, repository: &str) -> Container {
    let mut arguments = Vec::new();
    let mut option = |name: &str, value: &str| arguments.push(format!("--{name}={value}"));
    option("upgrade", place.upgrade);
    option("upgrade-uid", &intent.uid);
    option("job", &intent.name);
    let intent_digest = intent.digest();
    option("intent", &intent_digest);
    if let JobWork::Installer {
        values_digest,
        values_secret,
        ..
    } = &intent.work
    {
        option("values-digest", values_digest);
        if let Some((name, key)) = values_secret {
            option("values-secret", name);
            option("values-key", key);
        }
    }
    option("running-repository", repository);
    option("output", WORK_FOLDER);
    Container {
        name: "prepare".to_owned(),
        image: Some(place.image.to_owned()),
        command: Some(vec![PROGRAM.to_owned(), "prepare".to_owned()]),
        args: Some(arguments),
        env: Some(vec![
            field_variable("POD_NAMESPACE", "metadata.namespace"),
            field_variable("POD_UID", "metadata.uid"),
        ]),
        resources: Some(resources("10m", "64Mi", "256Mi")),
        volume_mounts: Some(vec![mount(VOLUME, WORK_FOLDER)]),
        ..Container::default()
    }
}

fn main(intent: &JobIntent) -> Container {
    let JobWork::Installer {
        stack,
        image,
        proxies,
        flags,
        helm_timeout_seconds,
        ..
    } = &intent.work
    else {
        return Container::default();
    };
    let below = |path: &str| format!("{WORK_FOLDER}/{path}");
    // The installer's own client looks at the variable only, Helm at the flag (KKP 2.31 source, `cmd/kubermatic-installer`).
    let environment = [
        ("KUBECONFIG", "kubeconfig"),
        ("HELM_CACHE_HOME", "helm/cache"),
        ("HELM_CONFIG_HOME", "helm/config"),
        ("HELM_DATA_HOME", "helm/data"),
        ("HOME", "home"),
        ("TMPDIR", "tmp"),
    ];
    Container {
        name: "installer".to_owned(),
        image: Some(image.clone()),
        command: Some(["kubermatic-installer", "deploy", stack].map(str::to_owned).to_vec()),
        args: Some(arguments(flags, *helm_timeout_seconds)),
        env: Some(
            environment
                .iter()
                .map(|(name, path)| variable(name, &below(path)))
                .chain(proxies.iter().map(|(name, value)| variable(name, value)))
                .collect(),
        ),
        resources: Some(resources("100m", "256Mi", "2Gi")),
        volume_mounts: Some(vec![mount(VOLUME, WORK_FOLDER)]),
        working_dir: Some(below("run")),
        ..Container::default()
    }
}

/// The intent's flags, then those of the recipe that it leaves open.
fn arguments(flags: &[String], helm_timeout_seconds: u64) -> Vec<String> {
    let recipe: [Flag<'_>; 5] = [
        ("--kubeconfig", None, Some(format!("{WORK_FOLDER}/kubeconfig"))),
        ("--helm-values", None, Some(format!("{WORK_FOLDER}/values.yaml"))),
        ("--skip-dependencies", None, None),
        ("--helm-timeout", None, Some(format!("{helm_timeout_seconds}s"))),
        ("--output", Some("-o"), Some("json".to_owned())),
    ];
    let mut arguments = flags.to_vec();
    for (name, short, value) in recipe {
        let is_flag = |argument: &String, flag: &str| argument.split('=').next() == Some(flag);
        let given = flags
            .iter()
            .any(|argument| is_flag(argument, name) || short.is_some_and(|short| is_flag(argument, short)));
        if !given {
            arguments.push(short.unwrap_or(name).to_owned());
            arguments.extend(value);
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_the_intent_win_over_those_of_the_recipe() {
        let given = ["--helm-timeout=20m", "--skip-charts", "dex", "-o", "console"].map(str::to_owned);
        assert_eq!(
            arguments(&given, 600).join(" "),
            "--helm-timeout=20m --skip-charts dex -o console --kubeconfig /work/kubeconfig --helm-values /work/values.yaml --skip-dependencies"
        );
        assert_eq!(
            arguments(&[], 600).join(" "),
            "--kubeconfig /work/kubeconfig --helm-values /work/values.yaml --skip-dependencies --helm-timeout 600s -o json"
        );
    }
}
