//! Watches a KKPUpgrade from its creation on: every status that is written, in order, and what is wrong with any.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt;
use kkp_upgrade_api::KKPUpgrade;
use kkp_upgrade_core::conditions::kstatus_violations;
use kkp_upgrade_core::status::Status;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::task::AbortHandle;

/// Pause between two looks at what was delivered.
const POLL: Duration = Duration::from_millis(20);
/// Longest that the watch may be behind a read.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Everything that was seen of all upgrades.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<(String, i64, Status)>>>);

/// An observer; it ends with the value.
pub struct Observer {
    /// What was seen.
    pub seen: Seen,
    task: AbortHandle,
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Observer {
    /// Starts to watch; `tell` is called for each status as it comes.
    #[must_use]
    pub fn start(upgrades: Api<KKPUpgrade>, tell: impl Fn(&str, &Status) + Send + 'static) -> Self {
        let seen = Seen::default();
        let kept = seen.clone();
        let task = tokio::spawn(async move {
            let mut stream = std::pin::pin!(
                watcher(upgrades, watcher::Config::default())
                    .default_backoff()
                    .applied_objects()
            );
            while let Some(event) = stream.next().await {
                let Ok(upgrade) = event else { continue };
                let name = upgrade.name_any();
                let generation = upgrade.metadata.generation.unwrap_or(0);
                let status = upgrade.status.unwrap_or_default();
                tell(&name, &status);
                kept.0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((name, generation, status));
            }
        });
        Self {
            seen,
            task: task.abort_handle(),
        }
    }

    /// Waits until the watch has delivered a status that was read already: what was seen up to it is complete then.
    ///
    /// # Errors
    /// When the watch does not deliver it.
    pub async fn catch_up(&self, name: &str, status: &Status) -> anyhow::Result<()> {
        let delivered = async {
            while !self.seen.of(name).contains(status) {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(CATCH_UP, delivered)
            .await
            .with_context(|| format!("the watch never delivered the status of {name} that was read"))
    }
}

impl Seen {
    /// Every status seen of a KKPUpgrade, in order.
    #[must_use]
    pub fn of(&self, name: &str) -> Vec<Status> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .filter(|(of, ..)| of == name)
            .map(|(_, _, status)| status.clone())
            .collect()
    }

    /// The phases in the order in which they came, each once in a row.
    #[must_use]
    pub fn phases(&self, name: &str) -> Vec<String> {
        let mut phases: Vec<String> = self.of(name).into_iter().filter_map(|status| status.phase).collect();
        phases.dedup();
        phases
    }

    /// What breaks the rules of kstatus or of our own API, in any status that was seen.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |(name, generation, status): &(String, i64, Status)| {
            let wrong = kstatus_violations(*generation, status);
            wrong
                .into_iter()
                .map(|wrong| format!("{name} in {}: {wrong}", status.phase.clone().unwrap_or_default()))
                .collect::<Vec<_>>()
        };
        seen.iter().flat_map(text).collect()
    }
}
