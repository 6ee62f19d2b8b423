//! Leases of TCP ports on the loopback address, so that labs running side by side never meet.
//!
//! A lease is a locked file: the kernel gives it back when the process ends, however it ends. Never talks to a cluster.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// Below the range from which Linux takes ports of outgoing connections: those could be gone between lease and use.
const RANGE: std::ops::Range<u16> = 20_000..30_000;

/// Why no port could be leased.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The folder with the lock files cannot be used.
    #[error("cannot use the folder of leased ports {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Everything is taken.
    #[error("no free port from {} to {} on 127.0.0.1", RANGE.start, RANGE.end)]
    None,
}

/// One port that no other lab takes while this value lives.
#[derive(Debug)]
pub struct PortLease {
    port: u16,
    _lock: File,
}

impl PortLease {
    /// Leases a free port.
    ///
    /// # Errors
    /// See [`PortError`].
    pub fn acquire() -> Result<Self, PortError> {
        let user = user_outside(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default());
        Self::acquire_in(&std::env::temp_dir().join(format!("kkp-lab-ports-{user}")))
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    fn acquire_in(folder: &Path) -> Result<Self, PortError> {
        let failed = |source| PortError::Folder {
            path: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(failed)?;
        for port in RANGE {
            let lock = File::create(folder.join(port.to_string())).map_err(failed)?;
            match lock.try_lock() {
                // Something that is no lab may listen there.
                Ok(()) if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() => {
                    return Ok(Self { port, _lock: lock });
                }
                Ok(()) | Err(fs::TryLockError::WouldBlock) => {}
                Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        Err(PortError::None)
    }
}

/// The user that this process is outside of its user namespace: inside, everybody is root.
fn user_outside(map: &str) -> u64 {
    let inside = u64::from(nix::unistd::geteuid().as_raw());
    map.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse::<u64>);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .find(|(first, _, count)| (*first..first.saturating_add(*count)).contains(&inside))
        .map_or(inside, |(first, outside, _)| outside + (inside - first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leases_differ_and_a_dropped_one_is_free_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = PortLease::acquire_in(folder.path()).unwrap();
        let second = PortLease::acquire_in(folder.path()).unwrap();
        assert_ne!(first.port(), second.port());
        let path = folder.path().join(first.port().to_string());
        let other = File::open(&path).unwrap();
        assert!(other.try_lock().is_err(), "a lease must hold its lock");
        drop(first);
        other.try_lock().unwrap();
    }

    #[test]
    fn the_user_is_the_one_outside_of_the_namespace() {
        let inside = nix::unistd::geteuid();
        assert_eq!(user_outside(&format!("{inside} 1234 1\n")), 1234);
        assert_eq!(
            user_outside("         0          0 4294967295\n"),
            u64::from(inside.as_raw())
        );
        assert_eq!(user_outside(""), u64::from(inside.as_raw()));
    }

    #[test]
    fn a_port_in_use_by_others_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let lease = PortLease::acquire_in(folder.path()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, lease.port())).unwrap();
        let taken = lease.port();
        drop(lease);
        assert_ne!(PortLease::acquire_in(folder.path()).unwrap().port(), taken);
        drop(listener);
    }
}
