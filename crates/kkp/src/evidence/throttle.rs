//! What the seed-controller-manager of a seed was started with.
//!
//! Pure. The value in the configuration says nothing: KKP's operator carries it into the Deployment's arguments, at times
//! half a minute later, and not at all while the Seed is held.

use k8s_openapi::api::apps::v1::Deployment;

use super::rolled_out;

/// The limit of parallel reconciles that is in force: the flag of the seed-controller-manager, once it is rolled out.
#[must_use]
pub fn seed_throttle(deployment: &Deployment) -> Option<u32> {
    rolled_out(deployment).ok()?;
    flag(deployment, "max-parallel-reconcile")?.parse().ok()
}

/// The worker name that the seed-controller-manager looks for on Clusters; empty by default.
#[must_use]
pub fn seed_worker_name(deployment: &Deployment) -> &str {
    flag(deployment, "worker-name").unwrap_or_default()
}

/// The value of a flag as Go's `flag` package reads it: one or two hyphens, `=` or the next argument, the last one wins.
fn flag<'a>(deployment: &'a Deployment, name: &str) -> Option<&'a str> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    let mut value = None;
    for container in &pod.containers {
        let mut arguments = container.args.iter().flatten().map(String::as_str);
        while let Some(argument) = arguments.next() {
            let bare = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
            match bare.and_then(|bare| bare.strip_prefix(name)) {
                Some("") => value = arguments.next(),
                Some(rest) => value = rest.strip_prefix('=').or(value),
                None => {}
            }
        }
    }
    value
}
