//! `backup restore`: a Job makes the plan, a person confirms it by typing where the backup lies, a second Job carries it out. Talks to
//! the master; its client can write, and creates Jobs.

use k8s_openapi::api::core::v1::ServiceAccount;
use kkp_upgrade_kkp::types::Seed;
use kkp_upgrade_operator::call::call;
use kkp_upgrade_operator::execute::backup::{SeedKubeconfig, reference};
use kkp_upgrade_operator::execute::restore::RestoreJob;
use kkp_upgrade_operator::permissions::RESTORE;
use kube::Api;

use super::choice::{Choice, choices, image};
use super::job::{Ending, Place, Sum, to_its_end};
use crate::arguments::BackupRestoreArguments;
use crate::cluster::failed;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;

/// The target that is the master itself.
const MASTER: &str = "master";

/// Plans, asks, and restores.
pub(crate) async fn run(arguments: &BackupRestoreArguments, console: &mut Console) -> Result<Exit, Failure> {
    let place = Place::of(&arguments.cluster).await?;
    carry_out(&place, arguments, console).await
}

/// The same on any cluster.
pub(crate) async fn carry_out(
    place: &Place,
    arguments: &BackupRestoreArguments,
    console: &mut Console,
) -> Result<Exit, Failure> {
    account(place).await?;
    let (location, request) = request(place, arguments).await?;
    let confirmed = match &arguments.confirm {
        Some(digest) => digest.clone(),
        None => match plan(place, arguments, &location, request.clone(), console).await? {
            Step::Confirmed(digest) => digest,
            Step::Ends(exit) => return Ok(exit),
        },
    };
    console.say("restoring; whatever happens to this terminal, the Job goes on");
    let request = RestoreJob {
        confirm: Some(confirmed),
        ..request
    };
    let ending = job(place, arguments, &request).await?;
    console.print(&ending.report);
    stopped(place, &ending)?;
    let written = ending.sum.written.unwrap_or_default();
    console.say(&format!(
        "restored {location}: {written} writes, {} notes",
        ending.sum.findings
    ));
    Ok(if ending.sum.counts.refused > 0 {
        Exit::Blocked
    } else {
        Exit::Done
    })
}

/// What follows a plan.
enum Step {
    Confirmed(String),
    Ends(Exit),
}

async fn plan(
    place: &Place,
    arguments: &BackupRestoreArguments,
    location: &str,
    request: RestoreJob,
    console: &mut Console,
) -> Result<Step, Failure> {
    console.say(&format!(
        "planning the restore of {location}: a Job reads and asks, and changes nothing"
    ));
    let ending = job(place, arguments, &request).await?;
    console.print(&ending.report);
    stopped(place, &ending)?;
    let counts = ending.sum.counts;
    if counts.create + counts.update == 0 {
        console.say("there is nothing to restore");
        let blocked = counts.refused > 0;
        return Ok(Step::Ends(if blocked { Exit::Blocked } else { Exit::Done }));
    }
    let digest = ending.sum.plan_digest.unwrap_or_default();
    let answer = if arguments.plan {
        None
    } else {
        console.ask(&format!("To carry this out, type `{location}`:"))
    };
    match answer {
        Some(answer) if answer == location => Ok(Step::Confirmed(digest)),
        Some(_) => Err(Failure::new(
            Exit::Usage,
            format!("that is not `{location}`; nothing was changed"),
        )),
        None => {
            console.say(&format!(
                "nothing was changed; to carry this out: the same command with --confirm={digest}"
            ));
            Ok(Step::Ends(if arguments.plan { Exit::Done } else { Exit::Waits }))
        }
    }
}

async fn job(place: &Place, arguments: &BackupRestoreArguments, request: &RestoreJob) -> Result<Ending<Sum>, Failure> {
    let job = request.manifest().map_err(|error| Failure::new(Exit::Usage, error))?;
    to_its_end(place, &job, arguments.job_timeout).await
}

fn stopped(place: &Place, ending: &Ending<Sum>) -> Result<(), Failure> {
    let Some(error) = &ending.sum.error else { return Ok(()) };
    let hint = format!("the whole log: kubectl -n {} logs job/{}", place.namespace, ending.job);
    Err(Failure::new(Exit::Blocked, error.clone()).hint(hint))
}

/// The account is not always there, and a Job without it would wait for ever.
async fn account(place: &Place) -> Result<(), Failure> {
    let accounts = Api::<ServiceAccount>::namespaced(place.client.clone(), &place.namespace);
    let what = format!("ServiceAccount {}/{RESTORE}", place.namespace);
    match call(what.clone(), accounts.get(RESTORE)).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Err(Failure::new(Exit::NotFound, format!("there is no {what}"))
            .hint("apply it for the restore: kubectl apply -k deploy/restore")),
        Err(error) => Err(failed(&error)),
    }
}

/// The backup that is meant, and the Job for its plan.
async fn request(place: &Place, arguments: &BackupRestoreArguments) -> Result<(String, RestoreJob), Failure> {
    let found = choices(place, &arguments.backup, Some(&arguments.target)).await?;
    let [choice] = <[Choice; 1]>::try_from(found).map_err(|found| {
        let text = format!("{} backups are meant, and one is restored at a time", found.len());
        Failure::new(Exit::Usage, text)
    })?;
    let location = choice.location;
    let request = RestoreJob {
        namespace: place.namespace.clone(),
        image: image(place, arguments.image.as_deref()).await?,
        storage: choice.storage,
        run: location.run,
        kubeconfig: kubeconfig(place, &location.target).await?,
        target: location.target,
        manifest_digest: choice.digest,
        identity_secret: arguments.identity_secret.clone(),
        confirm: None,
        other_cluster: arguments.other_cluster.clone(),
        crds_backward: arguments.crds_backward,
    };
    Ok((choice.text, request))
}

/// A seed is restored with the kubeconfig that its Seed names, as it is backed up.
async fn kubeconfig(place: &Place, target: &str) -> Result<Option<SeedKubeconfig>, Failure> {
    if target == MASTER {
        return Ok(None);
    }
    let seeds = Api::<Seed>::namespaced(place.client.clone(), &place.namespace);
    let seed = call(format!("Seed {}/{target}", place.namespace), seeds.get(target)).await;
    let seed = seed.map_err(|error| failed(&error).hint("restore the master first: the Seed comes back with it"))?;
    reference(&seed, &place.namespace)
        .map(Some)
        .map_err(|problem| Failure::new(Exit::Unexpected, format!("Seed {target}: {problem}")))
}
