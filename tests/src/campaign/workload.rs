//! Workloads: what people do to a platform in a run, as data. A run of a workload without faults is the measure for all runs
//! with faults.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Secret;
use kkp_lab::platform::{COMMUNITY_SEED, MASTER};
use kkp_upgrade_core::status::Status;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::bed::{Bed, NAMESPACE};
use crate::faults::reason_of;

/// Claim whose volume takes no files.
pub const REFUSING_CLAIM: &str = "refusing";
/// Longest that a step of a story may take; generous, because other lanes want the cores too.
const DEADLINE: Duration = Duration::from_mins(5);
/// User clusters that occupy their places of the throttle for ever.
const STUCK: &str = "seed: {clusters: {'*': {neverConverges: true}}}";

/// One workload.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Short name.
    pub name: &'static str,
    /// What it is.
    pub title: &'static str,
    /// Behaviour of the stand-ins.
    pub script: &'static str,
    /// What happens, in this order.
    pub story: &'static [Step],
}

/// One thing that a person does or waits for.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// Creates a `KKPUpgrade` to 2.31.0 of this name, with more of a spec as JSON.
    Create(&'static str, &'static str),
    /// Waits for a sight of a `KKPUpgrade`.
    See(&'static str, Sight),
    /// Changes the behaviour of the stand-ins.
    Script(&'static str),
    /// Annotates with a command.
    Command(&'static str, &'static str),
    /// Deletes without waiting.
    Delete(&'static str),
    /// Changes the spec by a JSON merge patch.
    Change(&'static str, &'static str),
    /// Sets the platform's limit, as Git would.
    Limit(i64),
    /// Makes the kubeconfig of the seed lead nowhere, or back.
    Seed {
        /// Whether it leads to the seed.
        reachable: bool,
    },
}

/// What can be seen of a `KKPUpgrade`.
#[derive(Debug, Clone, Copy)]
pub enum Sight {
    /// It has ended like this and does nothing more.
    Ended(&'static str),
    /// It stalls for this reason.
    Stalled(&'static str),
    /// It is at this step.
    Step(&'static str),
    /// It does not exist any more.
    Gone,
}

/// All workloads.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "w1",
        title: "success",
        script: "{}",
        story: &[Step::Create("u", "{}"), Step::See("u", Sight::Ended("Done"))],
    },
    Workload {
        name: "w2",
        title: "preflight refuses",
        script: "{}",
        story: &[
            Step::Create("u", r#"{"backup": {"policy": "Skip"}}"#),
            Step::See("u", Sight::Stalled("PreflightBlocked")),
        ],
    },
    Workload {
        name: "w3",
        title: "backup target fails",
        script: "{}",
        story: &[
            Step::Create(
                "u",
                r#"{"backup": {"storage": {"persistentVolumeClaim": {"claimName": "refusing"}}}}"#,
            ),
            Step::See("u", Sight::Ended("Failed")),
        ],
    },
    Workload {
        name: "w4",
        title: "installer fails",
        script: "installer: {faults: [{step: chart/kubermatic-operator, when: after, action: fail}]}",
        story: &[Step::Create("u", "{}"), Step::See("u", Sight::Ended("Failed"))],
    },
    Workload {
        name: "w5",
        title: "user clusters do not converge, then do",
        script: STUCK,
        story: &[
            Step::Create("u", "{}"),
            Step::See("u", Sight::Step("UserClusters")),
            Step::Script("{}"),
            Step::See("u", Sight::Ended("Done")),
        ],
    },
    Workload {
        name: "w6",
        title: "abort in the middle",
        script: STUCK,
        story: &[
            Step::Create("u", "{}"),
            Step::See("u", Sight::Step("UserClusters")),
            Step::Command("u", "abort"),
            Step::See("u", Sight::Ended("Aborted")),
        ],
    },
    Workload {
        name: "w7",
        title: "deleted in the middle",
        script: STUCK,
        story: &[
            Step::Create("u", "{}"),
            Step::See("u", Sight::Step("UserClusters")),
            Step::Delete("u"),
            Step::See("u", Sight::Gone),
        ],
    },
    Workload {
        name: "w8",
        title: "spec changed in the middle",
        script: STUCK,
        story: &[
            Step::Create("u", "{}"),
            Step::See("u", Sight::Step("UserClusters")),
            Step::Change("u", r#"{"maximumParallelReconciles": 1}"#),
            Step::Script("{}"),
            Step::See("u", Sight::Ended("Done")),
        ],
    },
    Workload {
        name: "w9",
        title: "two compete",
        script: STUCK,
        story: &[
            Step::Create("u", "{}"),
            Step::See("u", Sight::Step("UserClusters")),
            Step::Create("v", "{}"),
            Step::Script("{}"),
            Step::See("u", Sight::Ended("Done")),
            Step::See("v", Sight::Ended("Done")),
        ],
    },
    Workload {
        name: "w11",
        title: "the seed cannot be reached, then can",
        script: "{}",
        story: &[
            Step::Seed { reachable: false },
            Step::Create("u", "{}"),
            Step::See("u", Sight::Stalled("PreflightBlocked")),
            Step::Seed { reachable: true },
            Step::See("u", Sight::Ended("Done")),
        ],
    },
    Workload {
        name: "w14",
        title: "Git fights over the limit",
        script: STUCK,
        story: &[
            Step::Create("u", "{}"),
            Step::See("u", Sight::Step("UserClusters")),
            Step::Limit(5),
            Step::Script("{}"),
            Step::See("u", Sight::Stalled("ThrottleContested")),
            Step::Limit(2),
            Step::See("u", Sight::Ended("Done")),
        ],
    },
];

impl Workload {
    /// The workload of a name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> anyhow::Result<&'static Self> {
        let known = || WORKLOADS.iter().map(|workload| workload.name).collect::<Vec<_>>();
        WORKLOADS
            .iter()
            .find(|workload| workload.name == name)
            .with_context(|| format!("there is no workload {name}; there are {:?}", known()))
    }

    /// Lets everything happen.
    ///
    /// # Errors
    /// The step that was not possible or did not come.
    pub async fn play(&self, bed: &Bed) -> anyhow::Result<()> {
        for step in self.story {
            step.take(bed).await.with_context(|| format!("{step:?}"))?;
        }
        Ok(())
    }
}

impl Step {
    async fn take(self, bed: &Bed) -> anyhow::Result<()> {
        let kubectl = async |arguments: &[&str]| bed.kubectl(arguments).await.map(drop);
        match self {
            Self::Create(name, spec) => bed.apply(&upgrade(name, spec)?).await.map(drop),
            Self::See(name, sight) => sight.wait(bed, name).await,
            Self::Script(yaml) => Ok(bed.running.platform.script(yaml)?),
            Self::Command(name, command) => bed.command(name, command, "now").await,
            Self::Delete(name) => kubectl(&["delete", "kkpupgrade", name, "-n", NAMESPACE, "--wait=false"]).await,
            Self::Change(name, spec) => {
                let patch = format!("{{\"spec\": {spec}}}");
                kubectl(&[
                    "patch",
                    "kkpupgrade",
                    name,
                    "-n",
                    NAMESPACE,
                    "--type=merge",
                    "-p",
                    &patch,
                ])
                .await
            }
            Self::Limit(limit) => bed.set_limit(limit).await,
            Self::Seed { reachable } => seed(bed, reachable).await,
        }
    }
}

fn upgrade(name: &str, more: &str) -> anyhow::Result<String> {
    let mut spec =
        json!({"targetVersion": "2.31.0", "maximumParallelReconciles": 2, "verification": {"soakSeconds": 0}});
    let more: Value = serde_json::from_str(more)?;
    for (key, value) in more.as_object().into_iter().flatten() {
        spec.as_object_mut()
            .context("a spec is an object")?
            .insert(key.clone(), value.clone());
    }
    let object = json!({
        "apiVersion": "upgrade.k8c.io/v1alpha1", "kind": "KKPUpgrade",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
    });
    Ok(object.to_string())
}

impl Sight {
    async fn wait(self, bed: &Bed, name: &str) -> anyhow::Result<()> {
        if matches!(self, Self::Gone) {
            let upgrades = bed.upgrades();
            return bed
                .wait("the end of the object", DEADLINE, || async {
                    upgrades.get_opt(name).await.ok()?.is_none().then_some(())
                })
                .await;
        }
        let seen = bed
            .until(name, DEADLINE, |status| self.is(status) || self.is_out_of_reach(status))
            .await?;
        ensure!(self.is(&seen), "it ended as {} instead", seen.phase.unwrap_or_default());
        if !matches!(self, Self::Ended("Done")) {
            return Ok(());
        }
        // The last effect of a run that holds nothing.
        let upgrades = bed.upgrades();
        bed.wait("the release of the finalizer", DEADLINE, || async {
            let upgrade = upgrades.get(name).await.ok()?;
            let at_rest = self.is(&upgrade.status.unwrap_or_default());
            let held = upgrade.metadata.finalizers.unwrap_or_default();
            (at_rest && held.is_empty()).then_some(())
        })
        .await
    }

    /// Whether the run has ended in another way than the one that is waited for.
    fn is_out_of_reach(self, status: &Status) -> bool {
        let terminal = status.has_ended() && status.step.is_none();
        terminal && matches!(self, Self::Ended(wanted) if status.phase.as_deref() != Some(wanted))
    }

    fn is(self, status: &Status) -> bool {
        match self {
            Self::Ended(wanted) => status.phase.as_deref() == Some(wanted) && status.step.is_none(),
            Self::Stalled(reason) => reason_of(status, "Stalled") == reason,
            Self::Step(name) => status.step.as_ref().is_some_and(|step| step.name == name),
            Self::Gone => false,
        }
    }
}

/// Breaks or mends the address in the kubeconfig of the platform's only seed: the discard port refuses connections.
async fn seed(bed: &Bed, reachable: bool) -> anyhow::Result<()> {
    let secrets = kube::Api::<Secret>::namespaced(bed.client.clone(), NAMESPACE);
    let name = format!("kubeconfig-{COMMUNITY_SEED}");
    let mut secret = secrets.get(&name).await.with_context(|| format!("Secret {name}"))?;
    let data = secret.data.get_or_insert_default();
    let kubeconfig = data.get_mut("kubeconfig").context("no kubeconfig")?;
    let port = bed.running.lab.cluster(MASTER)?.port;
    let (good, bad) = (format!("127.0.0.1:{port}"), "127.0.0.1:9".to_owned());
    let (from, to) = if reachable { (bad, good) } else { (good, bad) };
    kubeconfig.0 = String::from_utf8(kubeconfig.0.clone())?
        .replace(&from, &to)
        .into_bytes();
    secrets.replace(&name, &PostParams::default(), &secret).await?;
    Ok(())
}
