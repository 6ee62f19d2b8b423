//! Etcds of user clusters in the simulated platform, and a KKP that backs them up when it is asked.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::world::{SimSeed, UID};
use crate::effect::EtcdIntent;
use crate::etcd::{EtcdCluster, EtcdFacts, EtcdTally, REQUESTED_ANNOTATION, config_name};
use crate::facts::Known;

/// How KKP answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It fails that many attempts, then it works.
    GoodAfter(i32),
    /// It does not begin.
    Never,
}

#[derive(Debug, Clone)]
struct SimConfig {
    attempt: i32,
    run: i64,
    seed: String,
    cluster: String,
    requested: String,
    age: u32,
}

#[derive(Debug, Clone, Default)]
pub(super) struct SimEtcd {
    /// Where every Seed writes etcd backups.
    pub(super) destination: Option<String>,
    /// Names of the user clusters of every seed.
    pub(super) clusters: Vec<String>,
    /// User clusters that KKP does not look after.
    pub(super) paused: BTreeSet<String>,
    /// Answers that are not simply good.
    pub(super) answers: BTreeMap<String, Answer>,
    /// Seeds whose objects cannot be listed.
    pub(super) unreadable: BTreeSet<String>,
    /// Most that were unfinished on a seed at the same time.
    pub(super) most: usize,
    configs: BTreeMap<String, SimConfig>,
}

impl SimEtcd {
    pub(super) fn with(clusters: &[&str]) -> Self {
        Self {
            destination: Some("s3".to_owned()),
            clusters: clusters.iter().map(|name| (*name).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Creates what is not there, by name.
    pub(super) fn ask(&mut self, intent: &EtcdIntent) {
        assert_eq!(
            (Some(&intent.destination), intent.uid.as_str()),
            (self.destination.as_ref(), UID)
        );
        for (cluster, attempt) in &intent.backups {
            assert!(!self.paused.contains(&cluster.name), "a paused cluster was asked for");
            let name = config_name(&intent.uid, intent.run, *attempt);
            let config = SimConfig {
                attempt: *attempt,
                run: intent.run,
                seed: intent.seed.clone(),
                cluster: cluster.name.clone(),
                requested: intent.requested.to_string(),
                age: 0,
            };
            self.configs
                .entry(format!("{}/{}/{name}", intent.seed, cluster.namespace))
                .or_insert(config);
        }
        let here = |config: &&SimConfig| config.seed == intent.seed && self.phase(config) == "Running";
        self.most = self.most.max(self.configs.values().filter(here).count());
    }

    pub(super) fn tick(&mut self) {
        for config in self.configs.values_mut() {
            config.age += 1;
        }
    }

    /// Every config ever made.
    pub(super) fn made(&self) -> usize {
        self.configs.len()
    }

    fn phase(&self, config: &SimConfig) -> &'static str {
        match self
            .answers
            .get(&config.cluster)
            .copied()
            .unwrap_or(Answer::GoodAfter(0))
        {
            Answer::Never => "Running",
            _ if config.age < 3 => "Running",
            Answer::GoodAfter(attempts) if config.attempt > attempts => "Completed",
            Answer::GoodAfter(_) => "Failed",
        }
    }

    pub(super) fn facts(&self, run: i64, seeds: &[SimSeed]) -> Known<BTreeMap<String, Known<EtcdFacts>>> {
        let told = |seed: &SimSeed| {
            if self.unreadable.contains(&seed.name) {
                return Known::Unknown("timeout".to_owned());
            }
            let mut tally = EtcdTally::new(UID, run);
            for config in self
                .configs
                .values()
                .filter(|config| config.seed == seed.name && config.run == run)
            {
                tally.add_config(&self.object(config));
            }
            for name in &self.clusters {
                let cluster = EtcdCluster {
                    name: name.clone(),
                    uid: format!("uid-{name}"),
                    namespace: format!("cluster-{name}"),
                    project: None,
                };
                tally.add_cluster((!self.paused.contains(name)).then_some(cluster));
            }
            Known::Is(tally.facts())
        };
        Known::Is(seeds.iter().map(|seed| (seed.name.clone(), told(seed))).collect())
    }

    fn object(&self, config: &SimConfig) -> Value {
        json!({"metadata": {"name": config_name(UID, config.run, config.attempt),
                "namespace": format!("cluster-{}", config.cluster),
                "annotations": {REQUESTED_ANNOTATION: config.requested}},
            "status": {"currentBackups": [{"backupPhase": self.phase(config), "backupMessage": "no bucket"}]}})
    }
}
