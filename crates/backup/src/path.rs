//! Names of entries in the archive and of folders on the volume, safe whatever an object is called.
//!
//! Talks to nothing. Must never give a path that leaves its folder, nor one path for two objects.

use std::fmt::Write as _;

use crate::BackupError;
use crate::canonical::digest;
use crate::discovery::Resource;

/// Folder of objects without a namespace; cannot be a namespace, whose encoding never starts with `_`.
pub const CLUSTER_SCOPED: &str = "_cluster";
/// Longest component that is used as it is; most file systems allow 255 bytes with the ending.
const LONGEST: usize = 240;

/// Path of an object in the archive: `objects/<group>/<version>/<plural>/<namespace or _cluster>/<name>.json`.
#[must_use]
pub fn object_path(resource: &Resource, namespace: Option<&str>, name: &str) -> String {
    let folder = namespace.map_or_else(|| CLUSTER_SCOPED.to_owned(), component);
    format!("{}/{folder}/{}.json", kind_path(resource), component(name))
}

/// Folder of a kind in the archive: `objects/<group>/<version>/<plural>`.
pub(crate) fn kind_path(resource: &Resource) -> String {
    let group = if resource.group.is_empty() {
        "core"
    } else {
        &resource.group
    };
    format!(
        "objects/{}/{}/{}",
        component(group),
        component(&resource.version),
        component(&resource.plural)
    )
}

/// One path component: letters, digits, `-`, `.` and `_` stay, everything else and a leading `.` or `_` becomes `%XX`;
/// what is too long for a file system is cut and gets `~` and the start of its digest.
fn component(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for (index, byte) in name.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || byte == b'-' || (index > 0 && matches!(byte, b'.' | b'_'));
        if plain {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    if encoded.len() <= LONGEST {
        return encoded;
    }
    let hash: String = digest(name.as_bytes()).chars().skip("sha256:".len()).take(32).collect();
    let start: String = encoded.chars().take(LONGEST - 33).collect();
    format!("{start}~{hash}")
}

/// Refuses a run or target name that is not exactly one harmless folder name.
///
/// # Errors
/// [`BackupError::InvalidName`], saying what is wrong.
pub(crate) fn check_folder_name(what: &'static str, value: &str) -> Result<(), BackupError> {
    let refuse = |reason| {
        Err(BackupError::InvalidName {
            what,
            value: value.to_owned(),
            reason,
        })
    };
    if value.is_empty() {
        return refuse("it is empty");
    }
    if value.len() > 200 {
        return refuse("it is longer than 200 characters");
    }
    if !value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
    {
        return refuse("only letters, digits, '-' and '.' are allowed");
    }
    if value.starts_with(['.', '-']) {
        return refuse("it starts with '.' or '-'");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    fn clusters() -> Resource {
        Resource::new("kubermatic.k8c.io", "v1", "clusters", "Cluster", false)
    }

    #[test]
    fn ordinary_names_stay_readable() {
        assert_eq!(
            object_path(&clusters(), None, "abc-1.x"),
            "objects/kubermatic.k8c.io/v1/clusters/_cluster/abc-1.x.json"
        );
        let maps = Resource::new("", "v1", "configmaps", "ConfigMap", true);
        assert_eq!(
            object_path(&maps, Some("kubermatic"), "a"),
            "objects/core/v1/configmaps/kubermatic/a.json"
        );
    }

    #[test]
    fn traversal_and_collisions_are_impossible() {
        for hostile in [
            "..",
            ".",
            "../../etc/passwd",
            "/etc",
            "_cluster",
            "a/b",
            "a\\b",
            "a\0b",
            "%2e",
            "~",
        ] {
            let path = object_path(&clusters(), Some(hostile), hostile);
            assert_eq!(path.split('/').count(), 6, "{path}");
            assert!(
                Path::new(&path)
                    .components()
                    .all(|part| matches!(part, Component::Normal(_))),
                "{path}"
            );
            assert_ne!(path.split('/').nth(4), Some(CLUSTER_SCOPED));
        }
    }

    #[test]
    fn the_longest_names_fit_a_file_system_and_stay_apart() {
        let (one, other) = (format!("{}1", "a".repeat(252)), format!("{}2", "a".repeat(252)));
        let (one, other) = (
            object_path(&clusters(), None, &one),
            object_path(&clusters(), None, &other),
        );
        assert_ne!(one, other);
        assert!(one.rsplit('/').next().unwrap().len() <= 255);
    }

    #[test]
    fn folder_names_are_one_harmless_component() {
        for bad in ["", "..", ".a", "-rf", "a/b", "a_2", "ä", "a b", &"x".repeat(201)] {
            assert!(check_folder_name("--name", bad).is_err(), "{bad}");
        }
        for good in ["master", "eu-west.1", "Run-7"] {
            assert!(check_folder_name("--name", good).is_ok(), "{good}");
        }
    }

    proptest! {
        #[test]
        fn different_names_have_different_paths(one in ".{0,300}", other in ".{0,300}") {
            prop_assume!(one != other);
            prop_assert_ne!(object_path(&clusters(), None, &one), object_path(&clusters(), None, &other));
        }
    }
}
