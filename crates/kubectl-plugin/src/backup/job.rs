//! A Job from its creation to its end, and what it said. Talks to the master; creates Jobs, changes nothing else.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kkp_upgrade_operator::call::call;
use kube::api::{ListParams, LogParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::arguments::ClusterArguments;
use crate::cluster::{self, failed};
use crate::exit::Exit;
use crate::failure::Failure;

/// Pause between two looks at a Job.
const PAUSE: Duration = Duration::from_secs(2);

/// Where the Jobs run.
pub(crate) struct Place {
    /// One that can write.
    pub(crate) client: Client,
    /// KKP's namespace.
    pub(crate) namespace: String,
    /// Between two looks at a Job.
    pub(crate) pause: Duration,
}

impl Place {
    /// The one that the command line names.
    pub(super) async fn of(arguments: &ClusterArguments) -> Result<Self, Failure> {
        let client = cluster::connect_to_write(arguments).await?;
        let namespace = cluster::namespace(&client, arguments.namespace.as_deref()).await?;
        Ok(Self {
            client,
            namespace,
            pause: PAUSE,
        })
    }
}

/// How a Job ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ending<Sum> {
    /// Name of the Job.
    pub(crate) job: String,
    /// The report, line by line, without the Job's log.
    pub(crate) report: String,
    /// The sum that it left.
    pub(crate) sum: Sum,
}

/// What a restore Job leaves as its last word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Sum {
    /// Digest of the plan.
    pub(crate) plan_digest: Option<String>,
    /// Objects by verdict.
    pub(crate) counts: Counts,
    /// Number of writes.
    pub(crate) written: Option<u64>,
    /// Number of findings.
    pub(crate) findings: u64,
    /// Why it stopped.
    pub(crate) error: Option<String>,
}

/// Objects by verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub(crate) create: u64,
    pub(crate) update: u64,
    pub(crate) refused: u64,
}

/// Creates the Job and waits for its end.
pub(crate) async fn to_its_end<Sum: DeserializeOwned>(
    place: &Place,
    job: &Job,
    limit: Duration,
) -> Result<Ending<Sum>, Failure> {
    let Place {
        client,
        namespace,
        pause,
    } = place;
    let jobs = Api::<Job>::namespaced(client.clone(), namespace);
    let created = call("create the Job", jobs.create(&PostParams::default(), job)).await;
    let name = created.map_err(|error| failed(&error))?.name_any();
    let waiting = async {
        loop {
            let job = call(format!("Job {namespace}/{name}"), jobs.get(&name)).await;
            if ended(&job.map_err(|error| failed(&error))?) {
                return Ok(());
            }
            tokio::time::sleep(*pause).await;
        }
    };
    tokio::time::timeout(limit, waiting).await.unwrap_or_else(|_| {
        let text = format!(
            "Job {namespace}/{name} has not ended within {} s and goes on",
            limit.as_secs()
        );
        let hint = format!("see why with: kubectl -n {namespace} describe pods -l job-name={name}");
        Err(Failure::new(Exit::Timeout, text).hint(hint))
    })?;
    last_words(client, namespace, name).await
}

fn ended(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|condition| ["Complete", "Failed"].contains(&condition.type_.as_str()) && condition.status == "True")
    })
}

async fn last_words<Sum: DeserializeOwned>(
    client: &Client,
    namespace: &str,
    job: String,
) -> Result<Ending<Sum>, Failure> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let of_the_job = ListParams::default().labels(&format!("job-name={job}"));
    let found = call(format!("Pod of Job {namespace}/{job}"), pods.list(&of_the_job)).await;
    let pod = found.map_err(|error| failed(&error))?.items.into_iter().next_back();
    let Some(pod) = pod else {
        return Err(
            Failure::new(Exit::Unexpected, format!("Job {namespace}/{job} ended without a Pod"))
                .hint(format!("see why with: kubectl -n {namespace} describe job {job}")),
        );
    };
    let name = pod.name_any();
    let sum = message(&pod).and_then(|text| serde_json::from_str::<Sum>(&text).ok());
    let log = call(
        format!("log of Pod {namespace}/{name}"),
        pods.logs(&name, &LogParams::default()),
    )
    .await;
    // The sum is enough where the log may not be read.
    let report: Vec<String> = log
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.starts_with('{'))
        .map(printable)
        .collect();
    Ok(Ending {
        sum: sum.ok_or_else(|| {
            Failure::new(
                Exit::Unexpected,
                format!("Pod {namespace}/{name} ended without a result"),
            )
            .hint(format!("see why with: kubectl -n {namespace} logs {name}"))
        })?,
        report: report.join("\n"),
        job,
    })
}

/// Names in a log are anybody's: no escape sequence reaches the terminal.
pub(super) fn printable(line: &str) -> String {
    line.chars().filter(|letter| !letter.is_control()).collect()
}

fn message(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let state = containers.first()?.state.as_ref()?;
    state.terminated.as_ref()?.message.clone()
}
