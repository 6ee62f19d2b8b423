//! A file that is being received: readable by its owner alone, under another name until it is whole, never written over. Talks to
//! the file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::exit::Exit;
use crate::failure::Failure;

/// A file that is not whole yet; dropped before it is, it is removed again.
pub(super) struct Incoming {
    temporary: PathBuf,
    target: PathBuf,
    file: File,
    digest: Sha256,
    length: u64,
}

impl Incoming {
    /// Begins it, and makes its folder, for the owner alone.
    pub(super) fn create(target: &Path) -> Result<Self, Failure> {
        if let Some(folder) = target.parent() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| refused("make", folder, &error))?;
        }
        if target.exists() {
            return Err(refused("write", target, &io::Error::from(io::ErrorKind::AlreadyExists)));
        }
        let mut temporary = target.as_os_str().to_owned();
        temporary.push(".partial");
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(|error| refused("create", &temporary, &error))?;
        Ok(Self {
            temporary,
            target: target.to_owned(),
            file,
            digest: Sha256::new(),
            length: 0,
        })
    }

    /// A small one, at once.
    pub(super) fn whole(target: &Path, content: &[u8]) -> Result<(), Failure> {
        let mut incoming = Self::create(target)?;
        incoming.write(content)?;
        incoming.publish()
    }

    /// Bytes so far.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// `sha256:` and the digest so far.
    pub(super) fn digest(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::from("sha256:");
        for byte in self.digest.clone().finalize() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let written = self.file.write_all(piece);
        written.map_err(|error| refused("write", &self.temporary, &error))?;
        self.digest.update(piece);
        self.length += piece.len() as u64;
        Ok(())
    }

    /// Gives it its name, on the medium, unless somebody took that name meanwhile.
    pub(super) fn publish(self) -> Result<(), Failure> {
        let named = self
            .file
            .sync_all()
            .and_then(|()| fs::hard_link(&self.temporary, &self.target));
        named.map_err(|error| refused("write", &self.target, &error))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}

fn refused(action: &str, path: &Path, error: &io::Error) -> Failure {
    let text = format!("cannot {action} {}: {error}", path.display());
    let hint = match error.kind() {
        io::ErrorKind::AlreadyExists => {
            "nothing is ever written over: choose another folder with --to, or move it away"
        }
        _ => "choose another folder with --to",
    };
    Failure::new(Exit::Usage, text).hint(hint)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_has_its_name_only_when_it_is_whole_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("run/master/archive");
        let mut broken = Incoming::create(&target).unwrap();
        broken.write(b"half").unwrap();
        assert!(!target.exists());
        drop(broken);
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 0);
        Incoming::whole(&target, b"whole").unwrap();
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, fs::read(&target).unwrap()), (0o600, b"whole".to_vec()));
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
        let again = Incoming::whole(&target, b"other").unwrap_err();
        assert!(again.hint.unwrap().contains("--to") && fs::read(&target).unwrap() == b"whole");
    }

    #[test]
    fn a_name_that_was_taken_meanwhile_stays_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        let mut incoming = Incoming::create(&target).unwrap();
        incoming.write(b"ours").unwrap();
        assert_eq!(incoming.digest(), kkp_upgrade_core::request::sha256(b"ours"));
        fs::write(&target, b"theirs").unwrap();
        assert!(incoming.publish().is_err());
        assert_eq!(fs::read(&target).unwrap(), b"theirs");
    }
}
