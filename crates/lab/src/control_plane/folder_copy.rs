//! Copies a folder with its holes: etcd reserves 64 MiB per log file and uses a fraction. Reads and writes files only.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

const BLOCK: usize = 64 * 1024;

/// Copies `from` to `to`, which may exist; sockets and other special files are left out.
pub(super) fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_file() {
            copy_file(&entry.path(), &target)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = File::create(to)?;
    let metadata = source.metadata()?;
    let mut block = vec![0; BLOCK];
    loop {
        let length = source.read(&mut block)?;
        let Some(bytes) = block.get(..length).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        if bytes.iter().all(|byte| *byte == 0) {
            target.seek(SeekFrom::Current(i64::try_from(length).map_err(io::Error::other)?))?;
        } else {
            target.write_all(bytes)?;
        }
    }
    target.set_len(metadata.len())?;
    target.set_permissions(metadata.permissions())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_copy_is_equal_and_keeps_holes() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        fs::create_dir_all(from.join("inner")).unwrap();
        let mut content = vec![0_u8; 4 * 1024 * 1024];
        content[3_000_000] = 7;
        fs::write(from.join("inner/data"), &content).unwrap();
        let to = folder.path().join("to");
        copy_folder(&from, &to).unwrap();
        let copy = to.join("inner/data");
        assert_eq!(fs::read(&copy).unwrap(), content);
        let used = fs::metadata(&copy).unwrap().blocks() * 512;
        assert!(used < 1024 * 1024, "{used} bytes on disk");
    }
}
