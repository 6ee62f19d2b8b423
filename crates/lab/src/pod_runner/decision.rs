//! Which containers of a Pod run as processes. Pure but for looking into the image folder.
//!
//! - A container *can run* if its image is in the image folder and `argv[0]` exists in the image's root.
//! - A Pod of a Job is never faked: what can't run waits (`ErrImagePull`, `RunContainerError`) and the Pod stays Pending.
//! - Any other Pod is faked as a whole if none of its main containers can run; its init containers are skipped then.
//! - If at least one main container can run, those run, and the other containers are faked: a main container (a sidecar
//!   of a foreign image) as ready, an init container as succeeded.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;

use crate::image_folder::{DEFAULT_PATH, Image, ImageFolder};

/// What becomes of one container.
#[derive(Debug)]
pub(super) enum ContainerDecision {
    /// It runs as a process.
    Run(Box<Program>),
    /// Only its status is written.
    Faked,
    /// It can't run, and says so.
    Refused {
        /// Reason of the waiting state.
        reason: &'static str,
        /// For the user.
        message: String,
    },
}

/// A container that can run.
#[derive(Debug)]
pub(super) struct Program {
    /// Its image.
    pub image: Image,
    /// The program file inside the image.
    pub file: PathBuf,
    /// Arguments as written: `$(NAME)` is not yet replaced.
    pub argv: Vec<String>,
    /// Working directory inside.
    pub working_directory: PathBuf,
}

/// Whether a Job owns the Pod.
pub(super) fn belongs_to_job(pod: &Pod) -> bool {
    pod.owner_references().iter().any(|owner| owner.kind == "Job")
}

/// Whether no process runs for this Pod.
pub(super) fn is_faked(pod: &Pod, images: &ImageFolder) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    !belongs_to_job(pod)
        && containers
            .map(|container| find(container, images))
            .all(|found| found.is_err())
}

/// What becomes of one container of a Pod that is not faked as a whole.
pub(super) fn decide(pod: &Pod, container: &Container, images: &ImageFolder) -> ContainerDecision {
    match find(container, images) {
        Ok(program) => ContainerDecision::Run(Box::new(program)),
        Err(_) if !belongs_to_job(pod) => ContainerDecision::Faked,
        Err((reason, message)) => ContainerDecision::Refused { reason, message },
    }
}

fn find(container: &Container, images: &ImageFolder) -> Result<Program, (&'static str, String)> {
    let reference = container.image.clone().unwrap_or_default();
    let image = images.resolve(&reference).ok_or_else(|| {
        (
            "ErrImagePull",
            format!(
                "image {reference:?} is not in the lab's image folder {}",
                images.path().display()
            ),
        )
    })?;
    let argv = arguments(container, &image);
    let working_directory = container.working_dir.clone().filter(|folder| !folder.is_empty());
    let working_directory = match working_directory.as_deref().unwrap_or(&image.config.working_dir) {
        "" => PathBuf::from("/"),
        folder => PathBuf::from(folder),
    };
    let of_container = container.env.iter().flatten().find(|variable| variable.name == "PATH");
    let of_container = of_container.and_then(|variable| variable.value.as_deref());
    let search_path = of_container
        .or_else(|| image.config.variable("PATH"))
        .unwrap_or(DEFAULT_PATH);
    let name = argv.first().map_or("", String::as_str);
    let file = image
        .find_program(name, search_path, &working_directory)
        .ok_or_else(|| {
            (
                "RunContainerError",
                format!("exec: {name:?}: executable file not found in image {reference:?}"),
            )
        })?;
    Ok(Program {
        image,
        file,
        argv,
        working_directory,
    })
}

/// `command` and `args` over the image's entry point and arguments.
fn arguments(container: &Container, image: &Image) -> Vec<String> {
    let command = container.command.clone().unwrap_or_default();
    let args = container.args.clone().unwrap_or_default();
    let entrypoint = image.config.entrypoint.clone().unwrap_or_default();
    let default_args = image.config.cmd.clone().unwrap_or_default();
    match (command.is_empty(), args.is_empty()) {
        (true, true) => [entrypoint, default_args].concat(),
        (true, false) => [entrypoint, args].concat(),
        (false, _) => [command, args].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_folder::{ImageConfig, ImageSource};
    use serde_json::json;

    fn images() -> (tempfile::TempDir, ImageFolder) {
        let folder = tempfile::tempdir().unwrap();
        let images = ImageFolder::new(folder.path());
        let config = ImageConfig {
            entrypoint: Some(vec!["tool".into()]),
            cmd: Some(vec!["--default".into()]),
            ..ImageConfig::default()
        };
        let source = ImageSource {
            program: "/bin/sh".into(),
            names: vec!["tool".into()],
            config,
            ..ImageSource::default()
        };
        images.add("known:1", &source).unwrap();
        (folder, images)
    }

    fn pod(owner: &str, containers: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "ownerReferences": [{"apiVersion": "v1", "kind": owner, "name": "o", "uid": "u"}]},
            "spec": {"containers": containers},
        }))
        .unwrap()
    }

    fn argv(images: &ImageFolder, container: &serde_json::Value) -> Vec<String> {
        find(&serde_json::from_value(container.clone()).unwrap(), images)
            .unwrap()
            .argv
    }

    #[test]
    fn command_replaces_entrypoint_and_its_arguments() {
        let (_folder, images) = images();
        assert_eq!(
            argv(&images, &json!({"name": "c", "image": "known:1"})),
            ["tool", "--default"]
        );
        assert_eq!(
            argv(&images, &json!({"name": "c", "image": "known:1", "args": ["-x"]})),
            ["tool", "-x"]
        );
        assert_eq!(
            argv(&images, &json!({"name": "c", "image": "known:1", "command": ["tool"]})),
            ["tool"]
        );
    }

    #[test]
    fn only_pods_of_jobs_are_never_faked() {
        let (_folder, images) = images();
        let unknown = json!([{"name": "c", "image": "unknown:1"}]);
        assert!(is_faked(&pod("ReplicaSet", &unknown), &images));
        assert!(!is_faked(&pod("Job", &unknown), &images));
        let mixed = pod(
            "ReplicaSet",
            &json!([{"name": "c", "image": "known:1"}, {"name": "s", "image": "unknown:1"}]),
        );
        assert!(!is_faked(&mixed, &images));
        let containers = mixed.spec.clone().unwrap().containers;
        assert!(matches!(
            decide(&mixed, &containers[0], &images),
            ContainerDecision::Run(_)
        ));
        assert!(matches!(
            decide(&mixed, &containers[1], &images),
            ContainerDecision::Faked
        ));
    }

    #[test]
    fn a_job_says_what_is_missing() {
        let (_folder, images) = images();
        let job = pod(
            "Job",
            &json!([{"name": "a", "image": "unknown:1"}, {"name": "b", "image": "known:1", "command": ["x"]}]),
        );
        let containers = job.spec.clone().unwrap().containers;
        let reason = |index: usize| match decide(&job, &containers[index], &images) {
            ContainerDecision::Refused { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(0), "ErrImagePull");
        assert_eq!(reason(1), "RunContainerError");
    }
}
