//! The Job that removes older backups: it mounts the storage as a backup Job does, and reads the KKPUpgrades with the same account.
//! Talks to nothing.

use kkp_upgrade_core::effect::{JobIntent, JobWork};

use super::backup_storage::mounted;
use super::job::{Place, Work};
use crate::call::CallError;

pub(super) fn work(place: Place<'_>, intent: &JobIntent) -> Result<Work, CallError> {
    let what = || format!("create Job {}/{}", place.namespace, intent.name);
    let JobWork::Retention {
        storage,
        keep,
        clusters,
    } = &intent.work
    else {
        return Err(CallError::unusable(what(), "the intent is not that of retention"));
    };
    let mut mounted = mounted(storage).map_err(|problem| CallError::unusable(what(), problem))?;
    mounted
        .arguments
        .extend([format!("--namespace={}", place.namespace), format!("--keep={keep}")]);
    let clusters = clusters.iter().map(|(target, uid)| format!("--cluster={target}={uid}"));
    mounted.arguments.extend(clusters);
    Ok(Work {
        token: true,
        ..Work::of_program("retention", place.image, mounted)
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::arguments::{Arguments, Command};
    use crate::execute::backup::SERVICE_ACCOUNT;
    use crate::execute::job::manifest;
    use crate::execute::tests::{backup_on_s3, retention};
    use crate::retention::RetentionArguments;

    const PLACE: Place<'static> = Place {
        namespace: "kubermatic",
        image: "image",
        upgrade: "to-2-31",
    };

    /// What the program makes of the Job's command line.
    fn understood(intent: &JobIntent) -> RetentionArguments {
        let job = manifest(PLACE, intent, work(PLACE, intent).unwrap());
        let pod = job.spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.service_account_name.as_deref(), Some(SERVICE_ACCOUNT));
        let container = pod.containers.into_iter().next().unwrap();
        let line = [container.command.unwrap(), container.args.unwrap()].concat();
        let Command::Retention(arguments) = Arguments::try_parse_from(line).unwrap().command else {
            panic!("not `retention`")
        };
        *arguments
    }

    #[test]
    fn the_program_understands_the_job() {
        let JobWork::Backup { storage, .. } = backup_on_s3().work else {
            panic!("no backup")
        };
        let arguments = understood(&retention(storage));
        let cluster = |target: &str, uid: &str| (target.to_owned(), uid.to_owned());
        assert_eq!(arguments.clusters, [cluster("master", "uid-m"), cluster("eu", "uid-e")]);
        assert_eq!((arguments.keep.get(), arguments.namespace.as_str()), (5, "kubermatic"));
        assert_eq!(arguments.store.bucket.bucket.as_deref(), Some("backups"));
        let claim = kkp_upgrade_core::request::Storage::Claim {
            claim: "backups".to_owned(),
            path: String::new(),
        };
        let arguments = understood(&retention(claim));
        assert_eq!(arguments.store.destination.unwrap().to_str(), Some("/backup"));
    }
}
