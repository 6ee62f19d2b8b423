//! Latencies and faults of the installer: section `installer` of `script.yaml`, read again at every step.

use std::time::Duration;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ledger::Ledger;
use super::log::Log;

/// Section `installer` of the script.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InstallerScript {
    /// How long every step takes, in milliseconds.
    pub step_ms: u64,
    /// How long each CRD takes, in milliseconds.
    pub crd_ms: u64,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

/// One fault. Steps are `start`, `configuration`, `state`, `storage-class`, `crds`, `kubermatic-configuration`, `ingress-cleanup`,
/// `dns`, `end`, and `chart/<name>` for every chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// The step it strikes at.
    pub step: String,
    /// Before, in the middle (charts: the release is `pending-*`; CRDs: half of them are written) or after the step.
    #[serde(default)]
    pub when: Moment,
    /// What happens.
    pub action: Action,
    /// For `delay`.
    #[serde(default)]
    pub ms: u64,
    /// The error's text, for `fail`.
    #[serde(default)]
    pub message: Option<String>,
    /// Say that everything went well before failing: the text of the log is no evidence.
    #[serde(default)]
    pub pretend_success: bool,
    /// Strike only so often, counted in the ledger over all runs.
    #[serde(default)]
    pub times: Option<usize>,
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Moment {
    /// Before the step.
    #[default]
    Before,
    /// In its middle.
    During,
    /// After it.
    After,
}

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// The step ends with an error.
    Fail,
    /// The step takes longer.
    Delay,
    /// The step never ends.
    Hang,
    /// The process ends at once, like a panic of a Go program: exit code 2, nothing tidied.
    Crash,
}

/// The fault that ends the process at once.
#[derive(Debug, thiserror::Error)]
#[error("crash asked for by the script")]
pub struct Crash;

impl Fault {
    fn name(&self) -> String {
        format!("{:?}/{:?}/{}", self.when, self.action, self.step)
    }
}

impl InstallerScript {
    /// Lets the script act at one moment of one step.
    ///
    /// # Errors
    /// The error that the script asks for; [`Crash`] for a crash.
    pub async fn strike(&self, ledger: &Ledger, log: &Log, step: &str, moment: Moment) -> anyhow::Result<()> {
        for fault in self
            .faults
            .iter()
            .filter(|fault| fault.step == step && fault.when == moment)
        {
            let name = fault.name();
            if fault.times.is_some_and(|times| ledger.count_of_fault(&name) >= times) {
                continue;
            }
            ledger.record("fault", json!({"fault": name, "step": step}))?;
            if fault.pretend_success {
                log.info("✅ Success.");
                log.info("🛬 Installation completed successfully. Time for a break, maybe? ☺");
            }
            match fault.action {
                Action::Fail => {
                    let default = format!("failed at step {step}");
                    bail!("{}", fault.message.clone().unwrap_or(default))
                }
                Action::Delay => tokio::time::sleep(Duration::from_millis(fault.ms)).await,
                Action::Hang => std::future::pending::<()>().await,
                Action::Crash => return Err(Crash.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn a_fault_strikes_at_its_moment_and_as_often_as_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let script: InstallerScript = serde_saphyr::from_str(
            "faults: [{step: crds, when: after, action: fail, message: no more, times: 1, pretendSuccess: true}]",
        )
        .unwrap();
        let buffer = Arc::new(Mutex::new(Vec::new()));
        let log = Log::new(buffer.clone(), true);
        let strike = |moment| {
            let (script, log) = (script.clone(), log.clone());
            let ledger = Ledger::open(folder.path()).unwrap();
            async move { script.strike(&ledger, &log, "crds", moment).await }
        };
        strike(Moment::Before).await.unwrap();
        let error = strike(Moment::After).await.unwrap_err();
        assert_eq!(error.to_string(), "no more");
        let said = String::from_utf8(buffer.lock().unwrap().clone()).unwrap();
        assert!(said.contains("completed successfully"), "it lied first");
        strike(Moment::After).await.unwrap();
    }
}
