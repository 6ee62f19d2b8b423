//! The Job that sends a piece of a stored backup, as its log. Made by the kubectl plugin for a person. Talks to nothing, and
//! neither does its Pod, the storage aside: it gets no token.

use k8s_openapi::api::batch::v1::Job;
use kkp_upgrade_backup::StoredFile;
use kkp_upgrade_core::request::Storage;

use super::backup_storage::mounted;
use super::job::Work;
use super::restore::by_hand;

/// Name of these Jobs, in the label [`NAME_LABEL`](super::restore::NAME_LABEL).
pub const NAME: &str = "kkp-upgrade-download";

/// How long an ended Job and its log stay where the plugin may not remove it, in seconds: its log is a piece of a backup.
const KEPT: i32 = 600;

/// What such a Job is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendJob {
    /// KKP's namespace.
    pub namespace: String,
    /// The operator's image.
    pub image: String,
    /// Where the backup lies.
    pub storage: Storage,
    /// Name of the run that made the backup.
    pub run: String,
    /// Its folder in that of the run.
    pub folder: String,
    /// Which file.
    pub file: StoredFile,
    /// Where the piece begins, in bytes.
    pub offset: u64,
}

impl SendJob {
    /// The Job. The API server gives it its name.
    ///
    /// # Errors
    /// When the folder leaves its volume.
    pub fn manifest(&self) -> Result<Job, String> {
        let mut mounted = mounted(&self.storage)?.reading_only();
        mounted.arguments.extend([
            format!("--name={}", self.run),
            format!("--folder={}", self.folder),
            format!("--file={}", self.file),
            format!("--offset={}", self.offset),
        ]);
        let work = Work::of_program("send", &self.image, mounted);
        Ok(by_hand(NAME, &self.namespace, KEPT, work))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::arguments::{Arguments, Command};
    use crate::execute::tests::writable;

    #[test]
    fn the_program_understands_the_job_which_can_write_nothing_and_knows_no_cluster() {
        for file in [StoredFile::Archive, StoredFile::Manifest, StoredFile::Receipt] {
            let request = SendJob {
                namespace: "kubermatic".to_owned(),
                image: "image".to_owned(),
                storage: Storage::Claim {
                    claim: "backups".to_owned(),
                    path: String::new(),
                },
                run: "run-1".to_owned(),
                folder: "eu_2".to_owned(),
                file,
                offset: 7,
            };
            let pod = request.manifest().unwrap().spec.unwrap().template.spec.unwrap();
            assert_eq!(pod.automount_service_account_token, Some(false));
            let container = pod.containers.into_iter().next().unwrap();
            assert_eq!(writable(&container), ["/tmp"]);
            let line = [container.command.unwrap(), container.args.unwrap()].concat();
            let Command::Send(arguments) = Arguments::try_parse_from(line).unwrap().command else {
                panic!("not `send`")
            };
            assert_eq!((arguments.file, arguments.offset), (file, 7));
            assert_eq!((arguments.name.as_str(), arguments.folder.as_str()), ("run-1", "eu_2"));
        }
    }
}
