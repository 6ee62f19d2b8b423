//! A lane: one platform with the operator on it that is put back to where it was before every run. Starting all
//! programs of a control plane anew on the copied data of its store takes about two seconds; making a lab takes four times as long.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use kkp_lab::platform::{COMMUNITY_SEED, MASTER, Topology};
use kkp_upgrade_connection::Peer;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::json;

use super::evidence::{self, CANARY, Evidence};
use super::workload::{REFUSING_CLAIM, Workload};
use crate::bed::{Bed, NAMESPACE};
use crate::fault::{Fault, Line, Plan, Strike};

/// The platform's own limit.
pub const ORIGINAL: i64 = 7;
/// Without a write of the operator's programs for so long, a run is quiet.
const QUIET: Duration = Duration::from_millis(1_500);
/// How long a run may take to become quiet.
const SETTLED: Duration = Duration::from_secs(40);
const READY: Duration = Duration::from_mins(2);
/// Short durations of the operator: the stand-ins move in tenths of a second. Watches tell almost everything; every look
/// that nothing asked for costs processor time that another run could use.
pub const FLAGS: [&str; 5] = [
    "--poll=800",
    "--resync=3000",
    "--unknown-grace=5000",
    "--retry-pause=200",
    "--call-deadline=3000",
];

/// One platform.
pub struct Lane {
    /// The platform.
    pub bed: Bed,
    snapshot: tempfile::TempDir,
    kinds: Vec<ApiResource>,
}

/// Where the time of a run went.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub struct Times {
    /// Putting the platform back until the operator can be given work, in seconds.
    pub restore: f64,
    /// The workload, in seconds.
    pub workload: f64,
    /// Until nothing moved, in seconds.
    pub settle: f64,
    /// Reading what was left, in seconds.
    pub oracles: f64,
}

/// What came of a run.
#[derive(Debug)]
pub struct Run {
    /// What it left behind.
    pub evidence: Evidence,
    /// Its calls.
    pub calls: Vec<Line>,
    /// How often each fault struck.
    pub struck: Vec<usize>,
    /// Where its time went.
    pub times: Times,
}

impl Lane {
    /// Starts a platform with the operator on it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn open(program: &Path) -> anyhow::Result<Self> {
        let mut topology = Topology::master("2.30.6").shared_seed(COMMUNITY_SEED, 1);
        topology.helm_values = json!({"kubermaticOperator": {}, "canary": CANARY});
        let bed = Bed::with_operator(program, &topology, &["2.31.0"], &FLAGS).await?;
        bed.set_limit(ORIGINAL).await?;
        let refusing = bed.claim(REFUSING_CLAIM).await?;
        std::fs::set_permissions(&refusing, std::os::unix::fs::PermissionsExt::from_mode(0o555))?;
        let platform = &bed.running.platform;
        platform.wait_for("2.30.6", READY).await?;
        let kinds = evidence::kinds(&bed.client).await?;
        let snapshot = tempfile::tempdir()?;
        bed.running.lab.snapshot(snapshot.path()).await?;
        Ok(Self { bed, snapshot, kinds })
    }

    /// One run of a workload under a plan, on the platform as it was at first.
    ///
    /// # Errors
    /// When the lab itself does not work; what the operator did wrong is in the evidence.
    pub async fn run(&self, workload: &Workload, plan: &Plan) -> anyhow::Result<Run> {
        let began = Instant::now();
        self.restore(workload, plan)
            .await
            .context("putting the platform back")?;
        let mut times = Times {
            restore: began.elapsed().as_secs_f64(),
            ..Times::default()
        };
        let mut wrong = Vec::new();
        let began = Instant::now();
        if let Err(error) = workload.play(&self.bed).await {
            wrong.push(format!("the run did not get there: {error:#}"));
        }
        times.workload = began.elapsed().as_secs_f64();
        let began = Instant::now();
        if let Err(error) = self.settle(plan).await {
            wrong.push(format!("{error:#}"));
        }
        times.settle = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let mut evidence = self.look().await?;
        evidence.wrong.extend(wrong);
        let struck = self.bed.faults.struck(plan)?;
        times.oracles = began.elapsed().as_secs_f64();
        Ok(Run {
            evidence,
            calls: self.bed.faults.lines(&plan.record)?,
            struck,
            times,
        })
    }

    async fn restore(&self, workload: &Workload, plan: &Plan) -> anyhow::Result<()> {
        let lab = &self.bed.running.lab;
        lab.stop_pod_runner(MASTER).await?;
        let folder = self.bed.node_folder(MASTER)?;
        empty(&folder.join("logs"))?;
        for claim in std::fs::read_dir(folder.join("claims"))? {
            empty(&claim?.path())?;
        }
        let state = self.bed.running.platform.folder().state();
        match std::fs::remove_file(state.join("ledger.jsonl")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        self.bed.running.platform.script(workload.script)?;
        empty(self.bed.faults.path())?;
        self.bed.faults.set(plan)?;
        lab.restore(self.snapshot.path()).await?;
        self.ready(plan).await
    }

    /// The operator leads, and KKP's webhook answers.
    async fn ready(&self, plan: &Plan) -> anyhow::Result<()> {
        let gvk = GroupVersionKind::gvk("kubermatic.k8c.io", "v1", "KubermaticConfiguration");
        let resource = ApiResource::from_gvk(&gvk);
        let configurations = Api::<DynamicObject>::namespaced_with(self.bed.client.clone(), NAMESPACE, &resource);
        let dry = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        self.bed
            .wait("KKP's webhook", READY, || async {
                let patch = Patch::Merge(json!({"metadata": {"annotations": {"campaign.invalid/asks": "1"}}}));
                configurations.patch("kubermatic", &dry, &patch).await.ok().map(drop)
            })
            .await?;
        self.bed
            .wait("the operator", READY, || async {
                let lines = self.bed.faults.lines(&plan.record).ok()?;
                let watches = |line: &&Line| matches!(line, Line::Call { call, .. } if call.resource == "kkpupgrades");
                lines.iter().find(watches).map(drop)
            })
            .await
    }

    /// Waits until the operator's programs write nothing any more.
    async fn settle(&self, plan: &Plan) -> anyhow::Result<()> {
        let began = Instant::now();
        let (mut count, mut since) = (0, Instant::now());
        loop {
            let lines = self.bed.faults.lines(&plan.record)?;
            let election = crate::fault::peer_name(&Peer::LeaderElection);
            let writes =
                |line: &&Line| matches!(line, Line::Call { call, .. } if call.verb.is_write() && call.peer != election);
            let now = lines.iter().filter(writes).count();
            if now != count || has_just_crashed(&lines, plan) {
                (count, since) = (now, Instant::now());
            }
            if since.elapsed() >= quiet(plan) {
                return Ok(());
            }
            ensure!(
                began.elapsed() < SETTLED,
                "it is not quiet after {} s",
                SETTLED.as_secs()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn look(&self) -> anyhow::Result<Evidence> {
        // A busy machine may not even connect in time: that is no finding.
        let looked = async || evidence::objects(&self.bed.client, &self.kinds).await.ok();
        let objects = self.bed.wait("an answer of the API server", READY, looked).await?;
        let audit = evidence::audit_log(&self.bed, MASTER)?;
        let mut wrong = evidence::scan(&self.bed, &audit, &objects)?;
        wrong.extend(evidence::ledger(&self.bed));
        let (_, broken) = self.bed.judged(&self.bed.expectations())?;
        wrong.extend(broken.iter().map(|violation| format!("monitor: {violation}")));
        Ok(Evidence {
            effects: evidence::effects(&audit),
            objects,
            wrong,
        })
    }

    /// Ends the platform.
    ///
    /// # Errors
    /// When the lab had to be killed.
    pub fn close(self) -> anyhow::Result<()> {
        Ok(self.bed.running.lab.stop()?)
    }
}

/// How long a run must be quiet: longer than a call may wait that nobody answers.
fn quiet(plan: &Plan) -> Duration {
    let is_silent = |fault: &Fault| matches!(fault.strike, Strike::Silence { .. });
    if plan.faults.iter().any(is_silent) {
        QUIET * 3
    } else {
        QUIET
    }
}

/// Whether nothing has been heard of the program since a crash: it may be waiting to be started again.
fn has_just_crashed(lines: &[Line], plan: &Plan) -> bool {
    let last = lines.iter().rev().find_map(|line| match line {
        Line::Call { fault, .. } => Some(*fault),
        _ => None,
    });
    let fault = last.flatten().and_then(|number| plan.faults.get(number));
    fault.is_some_and(|fault| matches!(fault.strike, Strike::Crash { .. }))
}

/// Removes everything in a folder, and leaves the folder.
fn empty(folder: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.with_context(|| path.display().to_string())?;
    }
    Ok(())
}
