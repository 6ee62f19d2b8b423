//! Drops a process to the user of its container.

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::spec::Credentials;
use super::{SandboxError, Step};

/// The ids of `wanted` that exist in this user namespace.
///
/// A user namespace made without privileges maps one user only; every container then runs as that user. Has to be
/// called while the host's `/proc` is visible.
pub(super) fn mapped(wanted: &Credentials) -> Credentials {
    let users = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let groups = std::fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
    Credentials {
        user: if is_mapped(&users, wanted.user) { wanted.user } else { 0 },
        group: if is_mapped(&groups, wanted.group) {
            wanted.group
        } else {
            0
        },
        groups: wanted
            .groups
            .iter()
            .copied()
            .filter(|id| is_mapped(&groups, *id))
            .collect(),
    }
}

/// Whether the text of a `uid_map` or `gid_map` knows this id.
fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match numbers.as_slice() {
            [first, _, count] => (*first..first + count).contains(&u64::from(id)),
            _ => false,
        }
    })
}

/// Becomes user and groups for good.
pub(super) fn become_user(credentials: &Credentials) -> Result<(), SandboxError> {
    let groups: Vec<Gid> = credentials.groups.iter().copied().map(Gid::from_raw).collect();
    match setgroups(&groups) {
        // In a user namespace made without privileges groups can't be set, and there are none to drop.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno).step(|| "set the supplementary groups".to_owned()),
    }
    let group = Gid::from_raw(credentials.group);
    setresgid(group, group, group).step(|| format!("become group {group}"))?;
    let user = Uid::from_raw(credentials.user);
    setresuid(user, user, user).step(|| format!("become user {user}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_with_one_user_maps_only_that_one() {
        assert!(is_mapped("         0       1000          1\n", 0));
        assert!(!is_mapped("         0       1000          1\n", 65534));
        assert!(is_mapped("0 0 4294967295\n", 65534));
        assert!(is_mapped("0 1000 1\n1 100000 65536\n", 65534));
    }
}
