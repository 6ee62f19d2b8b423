//! Volumes that refuse: full, read-only, not writable.

use nix::mount::{MsFlags, mount, umount};
use serde_json::json;
use std::io::Write as _;
use std::path::Path;

use super::fake_api::{CLUSTERS, FakeApi};
use crate::{AttemptFolder, BackupError, VolumeFault, write_snapshot};

/// A small file system in memory, unmounted at the end.
struct SmallVolume {
    folder: tempfile::TempDir,
}

impl SmallVolume {
    /// `None`, and a line that says so, where mounting is not allowed.
    fn mounted(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        match mount(
            Some("tmpfs"),
            folder.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some(options.as_str()),
        ) {
            Ok(()) => Some(Self { folder }),
            Err(error) => {
                // Past the test's captured output.
                let note =
                    format!("SKIPPED a test with a small volume: cannot mount a tmpfs here ({error}); run as root\n");
                drop(std::io::stderr().write_all(note.as_bytes()));
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn make_read_only(&self) {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, self.path(), None::<&str>, flags, None::<&str>).unwrap();
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        umount(self.path()).unwrap();
    }
}

/// Text that does not compress.
fn noise(seed: u64) -> String {
    (0..400)
        .map(|step: u64| crate::digest(format!("{seed}-{step}").as_bytes()))
        .collect()
}

fn large_platform() -> FakeApi {
    let api = FakeApi::platform();
    api.change(|state| {
        state.write(CLUSTERS, |clusters| {
            clusters.extend((100..150).map(|number| {
                json!({"metadata": {"name": format!("c{number}"), "resourceVersion": "1"}, "spec": {"note": noise(number)}})
            }));
        });
    });
    api
}

#[tokio::test]
async fn a_full_volume_is_named_and_left_without_rubbish() {
    let Some(volume) = SmallVolume::mounted("128k") else {
        return;
    };
    let api = large_platform();
    let error = api.run(volume.path()).back_up().await.unwrap_err();
    assert!(
        matches!(
            error,
            BackupError::Volume {
                fault: VolumeFault::NoSpace,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("enlarge the claim"), "{error}");
    let folder = volume.path().join("run-1/master");
    assert_eq!(
        std::fs::read_dir(folder).unwrap().count(),
        0,
        "a partial file fills the volume"
    );
}

#[tokio::test]
async fn a_volume_that_is_full_before_the_manifest_holds_no_backup() {
    let Some(volume) = SmallVolume::mounted("16k") else {
        return;
    };
    // The archive of the small platform fits into one block, the manifest needs another.
    let api = FakeApi::platform();
    let folder = AttemptFolder::claim(volume.path(), "run-1", "master").unwrap();
    std::fs::write(volume.path().join("ballast"), vec![1_u8; 8192]).unwrap();
    let error = write_snapshot(&api.source(3), &api.request().await, &folder)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            BackupError::Volume {
                fault: VolumeFault::NoSpace,
                ..
            }
        ),
        "{error}"
    );
    assert!(folder.archive().exists() && !folder.is_complete().unwrap());
}

#[tokio::test]
async fn a_read_only_volume_is_named() {
    let Some(volume) = SmallVolume::mounted("1m") else {
        return;
    };
    volume.make_read_only();
    let error = FakeApi::platform().run(volume.path()).back_up().await.unwrap_err();
    assert!(
        matches!(
            error,
            BackupError::Volume {
                fault: VolumeFault::ReadOnly,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("read-only"), "{error}");
}
