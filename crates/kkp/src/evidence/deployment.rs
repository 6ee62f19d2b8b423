//! When a Deployment runs a tag, and nothing but it.
//!
//! Pure.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Container;

use crate::image::ImageReference;
use crate::version;

/// Which containers of a Deployment carry KKP's tag.
#[derive(Clone, Copy)]
pub(super) enum Tagged {
    /// All but init containers, which often come from other repositories with tags of their own.
    Containers,
    /// Init containers too, and all containers but the one with this name.
    AllExcept(&'static str),
}

/// What a Deployment must look like.
pub(super) struct Expectation<'a> {
    pub(super) name: &'static str,
    pub(super) tag: &'a str,
    pub(super) tagged: Tagged,
    /// Whether nothing is proven unless at least one Pod runs.
    pub(super) must_run: bool,
}

impl<'a> Expectation<'a> {
    /// The usual case: every container at the tag, at least one Pod.
    pub(super) const fn controller(name: &'static str, tag: &'a str) -> Self {
        Self {
            name,
            tag,
            tagged: Tagged::Containers,
            must_run: true,
        }
    }

    pub(super) fn judge(&self, deployment: &Deployment) -> Result<(), String> {
        if deployment.metadata.deletion_timestamp.is_some() {
            return Err("being deleted".to_owned());
        }
        self.judge_images(deployment)?;
        rolled_out(deployment)?;
        if self.must_run && wanted_replicas(deployment) == 0 {
            return Err("scaled to zero, so nothing runs".to_owned());
        }
        Ok(())
    }

    fn judge_images(&self, deployment: &Deployment) -> Result<(), String> {
        let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let Some(pod) = pod else {
            return Err("no Pod template".to_owned());
        };
        let mut judged = 0_usize;
        if matches!(self.tagged, Tagged::AllExcept(_)) {
            for container in pod.init_containers.iter().flatten() {
                self.judge_image(container)?;
            }
        }
        for container in &pod.containers {
            if !matches!(self.tagged, Tagged::AllExcept(name) if name == container.name) {
                self.judge_image(container)?;
                judged += 1;
            }
        }
        if judged == 0 {
            Err("no container to judge".to_owned())
        } else {
            Ok(())
        }
    }

    fn judge_image(&self, container: &Container) -> Result<(), String> {
        let name = &container.name;
        let Some(image) = &container.image else {
            return Err(format!("container {name} has no image"));
        };
        let image = ImageReference::parse(image).map_err(|error| format!("container {name}: {error}"))?;
        match &image.tag {
            Some(tag) if version::same(tag, self.tag) => Ok(()),
            Some(tag) => Err(format!("container {name} at {tag}, wanted {}", self.tag)),
            None => Err(format!(
                "container {name} has an image without a tag, wanted {}",
                self.tag
            )),
        }
    }
}

/// Kubernetes' default of one replica applies when none are named.
fn wanted_replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Whether the newest template of a Deployment is what runs: the controller has seen it, every replica is updated, ready and
/// available, and no Pod of an older template is counted.
///
/// # Errors
/// The first thing that is not so, in few words.
pub fn rolled_out(deployment: &Deployment) -> Result<(), String> {
    let status = deployment.status.as_ref();
    let generation = deployment.metadata.generation;
    let observed = status.and_then(|status| status.observed_generation);
    match (generation, observed) {
        (Some(generation), Some(observed)) if observed >= generation => {}
        _ => return Err("newest generation not observed yet".to_owned()),
    }
    let count =
        |read: fn(&k8s_openapi::api::apps::v1::DeploymentStatus) -> Option<i32>| status.and_then(read).unwrap_or(0);
    let wanted = wanted_replicas(deployment);
    let updated = count(|status| status.updated_replicas);
    for (word, replicas) in [
        ("updated", updated),
        ("ready", count(|status| status.ready_replicas)),
        ("available", count(|status| status.available_replicas)),
    ] {
        if replicas != wanted {
            return Err(format!("{replicas} of {wanted} replicas {word}"));
        }
    }
    let all = count(|status| status.replicas);
    if all != updated {
        return Err(format!("{} old replicas left", all - updated));
    }
    Ok(())
}
