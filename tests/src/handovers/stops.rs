//! The leader stopped at a write whose request has left it and is still on its way, until another one leads and has
//! written. Then the request arrives, and the old leader goes on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::ensure;
use kkp_lab::platform::MASTER;
use kube::ResourceExt;

use super::gate::{Call, Gate, Held, Request};
use super::replicas::DEADLINE;
use crate::bed::Bed;

/// So many writes begin: the last but one, which is the new leader's effect behind its status, has been answered then.
const WRITES: usize = 3;
/// How long the others may have nothing to write, counted anew at each of their writes.
const SILENCE: Duration = Duration::from_secs(8);

/// At which writes a leader is stopped, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// Every one that is not alike to an earlier one.
    All,
    /// Effects, the statuses that name a Job, and the election.
    Effects,
    /// The creation of this kind of Job, until the whole run is over.
    JobUntilDone(&'static str),
}

/// One stop.
#[derive(Debug, Clone)]
pub struct Stop {
    /// The write.
    pub what: String,
    /// Writes that others began meanwhile, the election and events aside.
    pub others: usize,
    /// How long it lasted.
    pub lasted: Duration,
    /// What the API server said to the late request.
    pub answer: u16,
}

/// What was stopped at, and what was not, by the words of the writes.
#[derive(Debug, Default)]
pub struct Stops {
    /// Each stop, in order.
    pub stops: Vec<Stop>,
    /// Every write that was seen.
    pub seen: BTreeSet<String>,
    /// Every write that was stopped at.
    pub stopped_at: BTreeSet<String>,
}

impl Stops {
    /// Writes that were seen and at which nobody was stopped.
    #[must_use]
    pub fn missed(&self) -> Vec<&String> {
        self.seen.difference(&self.stopped_at).collect()
    }
}

struct Stopped {
    pod: String,
    name: String,
    request: Request,
    what: String,
    others: usize,
    since: Instant,
    /// When the last of them began.
    last: Instant,
}

/// Lets a run pass through the gate and stops each leader at the next write that was not stopped at before, until the run
/// is over. The run must have been applied.
///
/// # Errors
/// When the run does not end, or a process cannot be signalled.
pub async fn stop_at(bed: &Bed, gate: &mut Gate, writes: Writes, stops: &mut Stops) -> anyhow::Result<()> {
    let uid = bed.upgrades().get("u").await?.uid().unwrap_or_default();
    let mut stopped = None::<Stopped>;
    let mut last = Instant::now();
    gate.close();
    loop {
        if let Ok(held) = tokio::time::timeout(Duration::from_millis(50), gate.next()).await {
            let held = held?;
            if let Some(what) = new(bed, &held.call, writes, &uid, stops).await
                && stopped.is_none()
            {
                stops.stopped_at.insert(what.clone());
                stopped = Some(halt(bed, held, what).await?);
                last = Instant::now();
            } else {
                if let Some(now) = stopped.as_mut() {
                    now.saw(&held.call);
                }
                held.pass().await;
            }
        }
        let status = bed.status("u").await.unwrap_or_default();
        let over = status.phase.as_deref() == Some("Done") && status.step.is_none();
        if let Some(now) = stopped.take_if(|now| now.is_over(writes, over)) {
            stops.stops.push(go_on(bed, now).await?);
        }
        if stopped.is_none() && over {
            return Ok(());
        }
        ensure!(
            last.elapsed() < DEADLINE,
            "the run does not end; {stops:#?}; {status:?}"
        );
    }
}

impl Stopped {
    fn saw(&mut self, call: &Call) {
        if call.pod != self.pod && !call.election && !call.what.contains(" events ") {
            self.others += 1;
            self.last = Instant::now();
        }
    }

    fn is_over(&self, writes: Writes, run: bool) -> bool {
        if matches!(writes, Writes::JobUntilDone(_)) {
            return run;
        }
        self.others >= WRITES || self.last.elapsed() > SILENCE
    }
}

/// The words of a write at which nobody was stopped yet.
async fn new(bed: &Bed, call: &Call, writes: Writes, uid: &str, stops: &mut Stops) -> Option<String> {
    let what = in_general(&call.what, uid);
    let named = what.contains(" with its Job ");
    let minor = (what.starts_with("status ") && !named) || what.contains(" events ");
    let wanted = match writes {
        Writes::All => true,
        Writes::Effects => !minor,
        Writes::JobUntilDone(kind) => what.starts_with("POST jobs/") && what.contains(kind),
    };
    if !wanted || (!call.election && stops.stopped_at.contains(&what)) {
        return None;
    }
    let leads = bed.leader().await.as_deref() == Some(&*call.pod);
    let what = match (call.election, leads) {
        (true, true) => "renewal of the leader's lease".to_owned(),
        (true, false) => "claim of the leader's lease".to_owned(),
        (false, true) => what,
        // One that was stopped and has not noticed yet that it does not lead any more.
        (false, false) => return None,
    };
    stops.seen.insert(what.clone());
    (!stops.stopped_at.contains(&what)).then_some(what)
}

/// Without what is another one in each run: the UID, and the end of a Job's name.
fn in_general(what: &str, uid: &str) -> String {
    let what = what.replace(uid, "UID");
    match what.rsplit_once('-') {
        Some((start, _)) if what.contains("jobs/") => start.to_owned(),
        _ => what,
    }
}

async fn halt(bed: &Bed, held: Held, what: String) -> anyhow::Result<Stopped> {
    let pod = held.call.pod.clone();
    let name = bed.operator(&pod).await?.name_any();
    let request = held.take().await;
    // One that ends at this very moment leaves its request behind all the same.
    let _ = bed.signal(&name, "SIGSTOP").await;
    Ok(Stopped {
        pod,
        name,
        request,
        what,
        others: 0,
        since: Instant::now(),
        last: Instant::now(),
    })
}

async fn go_on(bed: &Bed, stopped: Stopped) -> anyhow::Result<Stop> {
    let kubeconfig = &bed.running.lab.cluster(MASTER)?.kubeconfig_path;
    let answer = stopped.request.deliver(kubeconfig).await?;
    let _ = bed.signal(&stopped.name, "SIGCONT").await;
    Ok(Stop {
        what: stopped.what,
        others: stopped.others,
        lasted: stopped.since.elapsed(),
        answer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_write_of_another_run_has_the_same_words() {
        assert_eq!(
            in_general("POST jobs/kkpu-installer-a42ce1df98", "u-1"),
            "POST jobs/kkpu-installer"
        );
        assert_eq!(
            in_general("POST leases/kkp-upgrade-active u-1", "u-1"),
            "POST leases/kkp-upgrade-active UID"
        );
    }
}
