//! One fleet measured from its start to its rest after an upgrade: reaction, memory, writes at rest, calls per phase.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use kkp_lab::platform::MASTER;
use kkp_upgrade_core::phase::Phase;
use kkp_upgrade_core::status::Status;
use kube::api::PostParams;

use super::fleet::{Fleet, Shape, TO, upgrade};
use super::player::{self, LimitFollower};
use super::record::Record;
use super::{Options, Teller, audit, reaction, rest, shipped};
use crate::bed::Bed;
use crate::bench::figures::{Figure, load};

/// Longest wait for one step of a measurement.
pub const DEADLINE: Duration = Duration::from_mins(10);
/// The limit that the measured upgrades ask for.
pub const WANTED_LIMIT: i64 = 3;
/// Soak time of the measured upgrades.
pub const SOAK: Duration = Duration::from_secs(3);

/// A fleet under measurement.
pub struct Scenario {
    /// The platform.
    pub fleet: Fleet,
    /// Plays KKP's part.
    pub follower: LimitFollower,
    /// What was seen.
    pub record: Record,
    /// Samples of reaction: name of the edge and seconds.
    pub edges: Vec<(&'static str, f64)>,
}

/// Measures one shape; every figure that it yields goes into `figures`, also those before something did not come about.
///
/// # Errors
/// When something does not come about at all; slowness is a figure, not an error.
pub async fn measure(
    shape: Shape,
    operator: &std::path::Path,
    options: &Options,
    tell: &Teller,
    figures: &mut Vec<Figure>,
) -> anyhow::Result<()> {
    tell.say(&format!(
        "{shape} user clusters: starting master, {} light seeds",
        shape.seeds
    ));
    let mut scenario = Scenario::start(shape, operator).await?;
    let result = Box::pin(scenario.run(options, tell, figures)).await;
    reaction::figures(&scenario.edges, shape, figures);
    scenario.stop(result, tell)
}

/// Measures what a plan costs on one shape: from the KKPUpgrade to the plan that says what blocks, or that nothing does.
///
/// # Errors
/// When no plan comes about.
pub async fn measure_rules(
    shape: Shape,
    operator: &std::path::Path,
    tell: &Teller,
    figures: &mut Vec<Figure>,
) -> anyhow::Result<()> {
    tell.say(&format!("{shape} user clusters: a plan"));
    let scenario = Scenario::start(shape, operator).await?;
    let result = Box::pin(scenario.plan(figures)).await;
    scenario.stop(result, tell)
}

impl Scenario {
    async fn start(shape: Shape, operator: &std::path::Path) -> anyhow::Result<Self> {
        let fleet = Fleet::start(shape, operator).await?;
        let follower = LimitFollower::start(&fleet)?;
        fleet.bed.install_operator().await?;
        let record = Record::start(&fleet.bed, &format!("v{TO}"));
        Ok(Self {
            fleet,
            follower,
            record,
            edges: Vec::new(),
        })
    }

    fn stop(self, result: anyhow::Result<()>, tell: &Teller) -> anyhow::Result<()> {
        drop(self.record);
        drop(self.follower);
        let lab = self.fleet.bed.running.lab;
        if result.is_err() {
            tell.say(&format!("logs are in {}", lab.keep_folder()?.display()));
        }
        lab.stop()?;
        result
    }

    async fn plan(&self, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
        let name = "measured-plan";
        let began = Timestamp::now();
        let worked = shipped::processor_time(self.bed())?;
        self.create(upgrade(name, "Plan", SOAK, false)).await?;
        let planned = |status: &Status| status.plan.as_ref().is_some_and(|plan| !plan.digest.is_empty());
        self.until(name, planned).await?;
        let seen = self
            .record
            .seen()
            .first(name, planned)
            .context("the plan was not seen")?;
        let worked = shipped::processor_time(self.bed())? - worked;
        let highest = shipped::memory(self.bed())?.highest;
        let calls = self.fleet.seeds.iter().flat_map(|seed| seed.api.store.calls());
        let calls = calls.filter(|call| call.time >= began && call.time <= seen).count();
        let conditions = format!("{} light seeds, {}", self.fleet.shape, load());
        let figure = |name: &str, value, unit| Figure::new(name, value, unit, conditions.clone());
        figures.push(figure("from KKPUpgrade to its plan", seconds(began, seen).as_secs_f64(), "s").at_most(20.0));
        figures.push(figure("memory, highest, of a plan", highest, "MiB").at_most(300.0));
        figures.push(figure("processor time of a plan", worked, "s"));
        figures.push(figure("API calls on all seeds for a plan", float(calls), ""));
        Ok(())
    }

    /// The bed.
    #[must_use]
    pub fn bed(&self) -> &Bed {
        &self.fleet.bed
    }

    async fn run(&mut self, options: &Options, tell: &Teller, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
        let shape = self.fleet.shape;
        let before = rest::writes(self, options.rest(), "no KKPUpgrade", figures).await?;
        memory_figures(figures, "at rest, no KKPUpgrade", shape, before, false);
        if options.wants_reaction() {
            tell.say(&format!("{shape}: blockers that come and go, aborts"));
            Box::pin(reaction::plans(self, options.repeat())).await?;
            Box::pin(reaction::aborts(self, options.repeat())).await?;
        }
        tell.say(&format!("{shape}: upgrade"));
        let began = Timestamp::now();
        let worked = shipped::processor_time(self.bed())?;
        let length = Box::pin(self.upgrade(options)).await?;
        let worked = shipped::processor_time(self.bed())? - worked;
        let highest = shipped::memory(self.bed())?;
        memory_figures(figures, "highest, through an upgrade", shape, highest, true);
        let after = rest::writes(self, options.rest(), "KKPUpgrade Done", figures).await?;
        memory_figures(figures, "at rest, KKPUpgrade Done", shape, after, false);
        let conditions = format!("{shape} light seeds, {}", load());
        figures.push(Figure::new(
            "processor time of the operator through an upgrade",
            worked,
            "s",
            conditions.clone(),
        ));
        figures.push(Figure::new(
            "upgrade from KKPUpgrade to Done",
            length.as_secs_f64(),
            "s",
            conditions.clone(),
        ));
        self.calls(began, figures)?;
        Ok(())
    }

    /// A whole upgrade; how long it took. The seeds move only when the operator waits for them, so that each wait is one edge.
    async fn upgrade(&mut self, options: &Options) -> anyhow::Result<Duration> {
        let name = "measured";
        let began = Timestamp::now();
        self.create(upgrade(name, "Upgrade", SOAK, false)).await?;
        let in_force = self.follower.since(WANTED_LIMIT).await?;
        self.until(name, |status| step(status) == Some("Seeds")).await?;
        self.follower.tag.send_replace(format!("v{TO}"));
        let seeds = player::roll_seeds(&self.fleet, WANTED_LIMIT).await?;
        self.until(name, |status| step(status) == Some("UserClusters")).await?;
        let limit = usize::try_from(WANTED_LIMIT)?;
        let clusters = player::converge(&self.fleet, limit, options.convergence()).await;
        self.until(name, |status| step(status) == Some("PutBack") || is_terminal(status))
            .await?;
        let back = self.follower.since(super::fleet::LIMIT).await?;
        let last = self.until(name, is_terminal).await?;
        ensure!(
            last.phase() == Some(Phase::Done),
            "the upgrade ended as {:?}",
            last.phase
        );
        let moments = reaction::Moments {
            began,
            in_force,
            seeds,
            clusters,
            back,
        };
        let seen = self.record.seen();
        self.edges.extend(reaction::edges(&seen, name, &moments)?);
        let done = seen.first(name, is_terminal).context("Done was not seen")?;
        Ok(seconds(began, done))
    }

    /// Creates a KKPUpgrade, without the time that kubectl takes.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create(&self, object: serde_json::Value) -> anyhow::Result<()> {
        self.bed()
            .upgrades()
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?;
        Ok(())
    }

    /// Waits for a status.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn until(&self, name: &str, wanted: impl Fn(&Status) -> bool) -> anyhow::Result<Status> {
        self.bed().until(name, DEADLINE, wanted).await
    }

    fn calls(&self, began: Timestamp, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
        let folder = &self.bed().running.lab.cluster(MASTER)?.folder;
        let on_master = audit::requests(folder)?;
        let on_seeds: Vec<_> = self
            .fleet
            .seeds
            .iter()
            .flat_map(|seed| seed.api.store.calls())
            .collect();
        let mut phases = self.record.seen().phases("measured");
        if let Some(first) = phases.first_mut() {
            first.0 = began;
        }
        for (index, (start, phase)) in phases.iter().enumerate() {
            if phase == "Done" {
                break;
            }
            let end = phases.get(index + 1).map_or_else(Timestamp::now, |next| next.0);
            let inside = |time: Timestamp| time >= *start && time < end;
            let master: Vec<_> = on_master
                .iter()
                .filter(|request| inside(request.time) && !request.is_leader_lease())
                .collect();
            let seeds: Vec<_> = on_seeds.iter().filter(|call| inside(call.time)).collect();
            let names = master
                .iter()
                .map(|request| (request.verb.as_str(), request.resource.as_str()));
            let names = names.chain(seeds.iter().map(|call| (call.verb, call.resource.as_str())));
            let top: Vec<String> = audit::tally(names)
                .into_iter()
                .take(4)
                .map(|(name, count)| format!("{count} {name}"))
                .collect();
            let writes = master.iter().filter(|request| request.writes()).count();
            let conditions = format!(
                "{} light seeds: {} on the master ({writes} writes), {} on seeds, in {:.1} s; {}",
                self.fleet.shape,
                master.len(),
                seeds.len(),
                seconds(*start, end).as_secs_f64(),
                top.join(", ")
            );
            figures.push(Figure::new(
                format!("API calls in {phase}"),
                float(master.len() + seeds.len()),
                "calls",
                conditions,
            ));
        }
        Ok(())
    }
}

fn memory_figures(figures: &mut Vec<Figure>, when: &str, shape: Shape, memory: shipped::Memory, highest: bool) {
    let conditions = format!(
        "{shape} light seeds = {} user clusters, {}",
        shape.seeds * shape.clusters,
        load()
    );
    let (what, value) = if highest {
        ("VmHWM", memory.highest)
    } else {
        ("VmRSS", memory.now)
    };
    figures.push(Figure::new(format!("memory {when} ({what})"), value, "MiB", conditions).at_most(200.0));
}

/// Name of the step.
#[must_use]
pub fn step(status: &Status) -> Option<&str> {
    status.step.as_ref().map(|step| step.name.as_str())
}

/// Whether the run has ended.
#[must_use]
pub fn is_terminal(status: &Status) -> bool {
    status.has_ended()
}

/// From one moment to another; zero where the second is earlier.
#[must_use]
pub fn seconds(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or(Duration::ZERO)
}

#[expect(clippy::cast_precision_loss, reason = "a count")]
fn float(count: usize) -> f64 {
    count as f64
}
