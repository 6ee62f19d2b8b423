//! The Job that checks a backup. Made by the kubectl plugin for a person. Talks to nothing, and neither does its Pod, the storage
//! aside: it gets no token.

use k8s_openapi::api::batch::v1::Job;
use kkp_upgrade_core::request::Storage;

use super::backup_storage::mounted;
use super::job::Work;
use super::restore::{KEPT, by_hand, identity_mounted};

/// Name of check Jobs, in the label [`NAME_LABEL`](super::restore::NAME_LABEL).
pub const NAME: &str = "kkp-upgrade-check";

/// What a check Job is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckJob {
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
    /// Digest that the backup's manifest must have, where it is known.
    pub manifest_digest: Option<String>,
    /// Secret with the private key under the key `identity`.
    pub identity_secret: String,
    /// Whether the check goes on without that key where it is missing or does not fit.
    pub identity_optional: bool,
}

impl CheckJob {
    /// The Job. The API server gives it its name.
    ///
    /// # Errors
    /// When the folder leaves its volume.
    pub fn manifest(&self) -> Result<Job, String> {
        let mut mounted = mounted(&self.storage)?;
        mounted.extend([identity_mounted(&self.identity_secret, self.identity_optional)]);
        let mut mounted = mounted.reading_only();
        mounted
            .arguments
            .extend([format!("--name={}", self.run), format!("--folder={}", self.folder)]);
        let digest = self.manifest_digest.iter();
        mounted
            .arguments
            .extend(digest.map(|digest| format!("--manifest-digest={digest}")));
        if self.identity_optional {
            mounted.arguments.push("--identity-optional".to_owned());
        }
        let work = Work::of_program("check", &self.image, mounted);
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
        for optional in [true, false] {
            let request = CheckJob {
                namespace: "kubermatic".to_owned(),
                image: "image".to_owned(),
                storage: Storage::Claim {
                    claim: "backups".to_owned(),
                    path: "prod".to_owned(),
                },
                run: "run-1".to_owned(),
                folder: "eu_2".to_owned(),
                manifest_digest: Some("sha256:1".to_owned()),
                identity_secret: "key".to_owned(),
                identity_optional: optional,
            };
            let pod = request.manifest().unwrap().spec.unwrap().template.spec.unwrap();
            assert_eq!(pod.automount_service_account_token, Some(false));
            let volumes = pod.volumes.clone().unwrap();
            let secret = volumes.iter().find_map(|volume| volume.secret.as_ref()).unwrap();
            assert_eq!(secret.optional, optional.then_some(true));
            let container = pod.containers.into_iter().next().unwrap();
            assert_eq!(writable(&container), ["/tmp"]);
            let line = [container.command.unwrap(), container.args.unwrap()].concat();
            let Command::Check(arguments) = Arguments::try_parse_from(line).unwrap().command else {
                panic!("not `check`")
            };
            assert_eq!((arguments.name.as_str(), arguments.folder.as_str()), ("run-1", "eu_2"));
            assert_eq!(arguments.manifest_digest.as_deref(), Some("sha256:1"));
            assert_eq!(arguments.identity_optional, optional);
            assert_eq!(arguments.identity.unwrap().to_str(), Some("/identity/identity"));
        }
    }
}
