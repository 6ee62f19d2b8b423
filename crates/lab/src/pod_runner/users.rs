//! User and groups of a container: the Pod's security context over the image's `User`.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::sources::Problem;
use crate::image_folder::Image;
use crate::sandbox::{Credentials, rooted_path};

/// Resolves the ids; refuses root where the Pod forbids it.
pub(super) fn resolve(pod: &Pod, container: &Container, image: &Image) -> Result<Credentials, Problem> {
    let of_pod = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.clone())
        .unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let (image_user, image_group) = of_image(image)?;
    let id = |own: Option<i64>, of_pod: Option<i64>| own.or(of_pod).and_then(|id| u32::try_from(id).ok());
    let user = id(own.run_as_user, of_pod.run_as_user).unwrap_or(image_user);
    let group = id(own.run_as_group, of_pod.run_as_group).unwrap_or(image_group);
    if own.run_as_non_root.or(of_pod.run_as_non_root).unwrap_or(false) && user == 0 {
        return Err(Problem::config("container has runAsNonRoot and would run as root"));
    }
    let supplementary = of_pod
        .supplemental_groups
        .iter()
        .flatten()
        .copied()
        .chain(of_pod.fs_group);
    let groups = supplementary.filter_map(|group| u32::try_from(group).ok()).collect();
    Ok(Credentials { user, group, groups })
}

/// `User` of the image: `user[:group]`, numbers or names of its `/etc/passwd` and `/etc/group`.
fn of_image(image: &Image) -> Result<(u32, u32), Problem> {
    let wanted = image.config.user.as_str();
    let (user, group) = wanted
        .split_once(':')
        .map_or((wanted, None), |(user, group)| (user, Some(group)));
    if user.is_empty() {
        return Ok((0, 0));
    }
    let unknown = |name: &str| {
        Problem::config(format!(
            "the image's user {name:?} is not in its /etc/passwd or /etc/group"
        ))
    };
    let known = entry(&image.rootfs, "/etc/passwd", user);
    let number = |text: Option<&String>| text.and_then(|text| text.parse::<u32>().ok());
    let user_id = user
        .parse()
        .ok()
        .or_else(|| number(known.as_ref()?.get(2)))
        .ok_or_else(|| unknown(user))?;
    let group_id = match group {
        Some(name) => {
            let found = || number(entry(&image.rootfs, "/etc/group", name)?.get(2));
            name.parse().ok().or_else(found).ok_or_else(|| unknown(name))?
        }
        None => number(known.as_ref().and_then(|fields| fields.get(3))).unwrap_or(0),
    };
    Ok((user_id, group_id))
}

/// The fields of the line with this name (or user number) in a file of the image.
fn entry(rootfs: &Path, file: &str, name: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(rooted_path::resolve(rootfs, Path::new(file))?).ok()?;
    let fields = text
        .lines()
        .map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
    let mut found = fields.filter(|fields| [fields.first(), fields.get(2)].contains(&Some(&name.to_owned())));
    found.next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_folder::{ImageConfig, LabConfig};
    use serde_json::json;

    fn image(folder: &Path, user: &str) -> Image {
        std::fs::create_dir_all(folder.join("etc")).unwrap();
        std::fs::write(folder.join("etc/passwd"), "root:x:0:0::/:\nnonroot:x:65532:65533::/:\n").unwrap();
        std::fs::write(folder.join("etc/group"), "staff:x:50:\n").unwrap();
        let config = ImageConfig {
            user: user.to_owned(),
            ..ImageConfig::default()
        };
        Image {
            config,
            lab: LabConfig::default(),
            rootfs: folder.to_owned(),
        }
    }

    fn ids(
        user: &str,
        pod: &serde_json::Value,
        container: &serde_json::Value,
    ) -> Result<(u32, u32, Vec<u32>), Problem> {
        let folder = tempfile::tempdir().unwrap();
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [], "securityContext": pod}}))
                .unwrap();
        let container: Container = serde_json::from_value(json!({"name": "c", "securityContext": container})).unwrap();
        resolve(&pod, &container, &image(folder.path(), user)).map(|found| (found.user, found.group, found.groups))
    }

    #[test]
    fn container_over_pod_over_image() {
        let none = json!({});
        assert_eq!(ids("", &none, &none), Ok((0, 0, vec![])));
        assert_eq!(ids("65534", &none, &none), Ok((65534, 0, vec![])));
        assert_eq!(ids("nonroot", &none, &none), Ok((65532, 65533, vec![])));
        assert_eq!(ids("nonroot:staff", &none, &none), Ok((65532, 50, vec![])));
        let pod = json!({"runAsUser": 7, "runAsGroup": 8, "fsGroup": 9, "supplementalGroups": [10]});
        assert_eq!(ids("nonroot", &pod, &none), Ok((7, 8, vec![10, 9])));
        assert_eq!(
            ids("nonroot", &pod, &json!({"runAsUser": 11})),
            Ok((11, 8, vec![10, 9]))
        );
        assert!(ids("nobody-knows", &none, &none).is_err());
        assert!(ids("", &json!({"runAsNonRoot": true}), &none).is_err());
    }
}
