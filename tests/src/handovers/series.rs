//! Many handovers in a row during one run: asked to stop, killed, stopped past the lease.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use kube::ResourceExt;

use super::judge::Judgement;
use super::replicas::DEADLINE;
use crate::bed::{Bed, NAMESPACE};

/// How a leader is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// SIGTERM: it gives the lease back.
    Asked,
    /// SIGKILL, and its Pod is gone.
    Killed,
    /// SIGSTOP, and SIGCONT once the next one has written.
    Stopped,
}

/// One handover.
#[derive(Debug, Clone)]
pub struct Handover {
    /// How the leader was lost.
    pub loss: Loss,
    /// When.
    pub at: Timestamp,
}

/// How long a handover took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// How the leader was lost.
    pub loss: Loss,
    /// Until another one had the lease.
    pub lease: Duration,
    /// Until its first write.
    pub acting: Duration,
}

/// So many handovers, each finished by a write of the new leader: it answers a command of a person.
///
/// # Errors
/// When nobody takes over, or the new leader does not act.
pub async fn handovers(bed: &Bed, count: usize) -> anyhow::Result<Vec<Handover>> {
    let kinds = [Loss::Asked, Loss::Killed, Loss::Stopped];
    let mut all = Vec::new();
    for (number, loss) in kinds.into_iter().cycle().take(count).enumerate() {
        all.push(
            hand_over(bed, number, loss)
                .await
                .with_context(|| format!("handover {number}, {loss:?}"))?,
        );
    }
    Ok(all)
}

async fn hand_over(bed: &Bed, number: usize, loss: Loss) -> anyhow::Result<Handover> {
    let signal = match loss {
        Loss::Asked => "SIGTERM",
        Loss::Killed => "SIGKILL",
        Loss::Stopped => "SIGSTOP",
    };
    // On a busy machine a leader may lose the lease by itself, and its process with it: then it is the next one's turn.
    let (at, name, uid) = bed
        .wait("a leader with a process", DEADLINE, || async {
            let uid = bed.leader().await?;
            let name = bed.operator(&uid).await.ok()?.name_any();
            let at = Timestamp::now();
            bed.signal(&name, signal).await.ok()?;
            Some((at, name, uid))
        })
        .await?;
    if loss == Loss::Killed {
        // With its Pod: the one in its place has another identity.
        bed.kubectl(&["delete", "pod", &name, "-n", NAMESPACE, "--grace-period=0", "--force"])
            .await?;
    }
    let token = format!("handover-{number}");
    bed.command("u", "retry", &token).await?;
    bed.next_leader(&uid).await?;
    bed.until("u", DEADLINE, |status| {
        status.last_handled_retry.as_deref() == Some(&*token)
    })
    .await?;
    if loss == Loss::Stopped {
        bed.signal(&name, "SIGCONT").await?;
    }
    Ok(Handover { loss, at })
}

/// How long each of them took, by the audit log.
#[must_use]
pub fn took(handovers: &[Handover], judgement: &Judgement) -> Vec<Took> {
    let after = |handover: &Handover| -> Option<Took> {
        let mut reigns = judgement.reigns.iter().filter(|reign| reign.since >= handover.at);
        let first = reigns.clone().next()?;
        // Who loses the lease again before it has written anything does not count as acting.
        let acting = reigns.find_map(|reign| reign.acting)?;
        let since = |time: Timestamp| time.duration_since(handover.at).unsigned_abs();
        Some(Took {
            loss: handover.loss,
            lease: since(first.since),
            acting: since(acting),
        })
    };
    handovers.iter().filter_map(after).collect()
}

/// Median and maximum.
#[must_use]
pub fn median_and_maximum(mut durations: Vec<Duration>) -> (Duration, Duration) {
    durations.sort_unstable();
    let at = |index: usize| durations.get(index).copied().unwrap_or_default();
    (at(durations.len() / 2), at(durations.len().saturating_sub(1)))
}
