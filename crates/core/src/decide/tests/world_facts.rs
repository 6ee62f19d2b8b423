//! What the shell would read of the simulated platform.

use super::world::{FROM, SimJob, SimSeed, World};
use crate::decide::needs;
use crate::facts::*;
use crate::request::{Edition, Storage};
use crate::rules::RouteError;
use crate::status::ClusterCounts;
use crate::version::KkpVersion;

impl World {
    fn evidence(&self, after: u32, target: KkpVersion) -> Evidence {
        match self.since_install.filter(|_| self.installed == target) {
            _ if self.evidence_gone => Evidence::Missing(vec!["a Deployment is rolling out".to_owned()]),
            Some(rounds) if rounds >= after => Evidence::Proven,
            _ => Evidence::Missing(vec![format!("operator runs {FROM}")]),
        }
    }

    pub(super) fn fully_proven(&self, target: KkpVersion) -> bool {
        !self.evidence_gone && self.installed == target && self.since_install.is_some_and(|rounds| rounds >= 3)
    }

    fn route(&self) -> Known<Result<Vec<Stop>, RouteError>> {
        let (Some(version), Ok(request)) = (self.version, &self.request) else {
            return Known::NotRead;
        };
        let stop = |version: &KkpVersion| Stop {
            version: *version,
            one_way: Vec::new(),
        };
        let on_the_way = |stop: &&KkpVersion| **stop > version && **stop <= request.target;
        Known::Is(Ok(self.stops.iter().filter(on_the_way).map(stop).collect()))
    }

    fn platform(&self, evidence: Option<KkpVersion>, installer: bool) -> Known<PlatformFacts> {
        if self.unreadable {
            return Known::Unknown("connection refused".to_owned());
        }
        let proof = |after| {
            evidence.map_or_else(
                || Evidence::Unknown("not read".to_owned()),
                |target| self.evidence(after, target),
            )
        };
        let counts = ClusterCounts {
            total: self.clusters,
            converged: if evidence.is_some_and(|target| self.fully_proven(target)) {
                self.clusters
            } else {
                1
            },
            ..ClusterCounts::default()
        };
        let seed = |seed: &SimSeed| SeedFacts {
            name: seed.name.clone(),
            uid: format!("uid-{}", seed.name),
            reachable: seed
                .cluster
                .as_ref()
                .map_or(Known::Unknown("no route".to_owned()), |_| Known::Is(())),
            cluster_uid: seed.cluster.clone(),
            etcd_destination: self.etcd.destination.clone(),
            evidence: proof(2),
            limit_in_force: Known::Is(Some(seed.limit)),
            clusters: if evidence.is_some() {
                Known::Is(counts)
            } else {
                Known::NotRead
            },
            lagging: (0..self.clusters.min(20))
                .map(|n| format!("{}/c{n}: {}", seed.name, "ä".repeat(200)))
                .collect(),
            unhealthy: (0..self.clusters / 1000)
                .map(|n| format!("{}/cluster-{n}", seed.name))
                .collect(),
        };
        Known::Is(PlatformFacts {
            configuration: ConfigurationFacts {
                namespace: "kubermatic".to_owned(),
                name: "kubermatic".to_owned(),
                uid: "kkp".to_owned(),
                resource_version: self.revision.to_string(),
                maximum_parallel_reconciles: self.field,
                throttle_mark: self.mark.clone(),
            },
            version: self.version,
            edition: Some(Edition::CE),
            cluster_uid: "master-cluster".to_owned(),
            route: self.route(),
            crd_version: if evidence.is_some() {
                Known::Is(Some(format!("v{}", self.crd)))
            } else {
                Known::NotRead
            },
            evidence: proof(1),
            seeds: self.seeds.iter().map(seed).collect(),
            backup_storage: Some(Storage::Claim {
                claim: "backups".to_owned(),
                path: "/".to_owned(),
            }),
            backup_key: self.backup_key.clone(),
            installer: if installer {
                Known::Is(InstallerFacts {
                    image: "kubermatic:v2.31.0".to_owned(),
                    values_digest: "sha256:v".to_owned(),
                    values_secret: None,
                    proxies: Vec::new(),
                    flags: Vec::new(),
                })
            } else {
                Known::NotRead
            },
        })
    }

    fn job(&self, name: &str) -> Known<JobFacts> {
        if self.job_unreadable {
            return Known::Unknown("timeout".to_owned());
        }
        let fence = self.fences.get(name).copied().unwrap_or(Fence::Absent);
        let intent = self.status.step.as_ref().and_then(|step| step.intent.clone());
        Known::Is(match self.jobs.get(name) {
            _ if self.foreign => JobFacts::Foreign,
            None => JobFacts::Absent { fence },
            Some(job) if Some(job.intent.digest()) != intent => JobFacts::Foreign,
            Some(job) => match job.ended {
                None => JobFacts::Running {
                    uid: job.uid.clone(),
                    fence,
                    waiting: self.waiting.clone(),
                },
                Some(true) => JobFacts::Succeeded {
                    uid: job.uid.clone(),
                    message: self.receipt(job),
                },
                Some(false) => JobFacts::Failed {
                    uid: job.uid.clone(),
                    message: "exit 1; no such host".to_owned(),
                },
            },
        })
    }

    fn receipt(&self, job: &SimJob) -> String {
        let mut result = serde_json::json!({"path": job.intent.name, "manifestDigest": self.digest, "objects": 10, "bytes": 100,
            "verifiedTime": (self.now + jiff::SignedDuration::from_hours(self.job_clock)).to_string()});
        let more = self.retention.result(job);
        let fields = more.as_object().into_iter().flatten();
        fields.for_each(|(key, value)| result[key] = value.clone());
        if let Some(comparison) = &self.comparison {
            result["comparison"] = comparison.clone();
        }
        result.to_string()
    }

    /// What the shell would read in this round: no more than `needs` asks for.
    pub(super) fn facts(&mut self) -> Facts {
        self.serial += 1;
        let needs = needs(self.request.as_ref().ok(), &self.status, &self.object);
        Facts {
            now: self.now,
            holder: format!("pod-{}", self.serial),
            object: self.object.clone(),
            platform_namespace: self.namespace.clone(),
            platform: if needs.platform {
                self.platform(needs.evidence, needs.installer.is_some())
            } else {
                Known::NotRead
            },
            findings: if needs.rules.is_some() {
                self.with_fixable()
            } else {
                Known::NotRead
            },
            catalogue: self.catalogue.clone(),
            others: self.others.clone(),
            lease: Known::Is(self.lease.clone()),
            job: needs.job.map_or(Known::NotRead, |job| self.job(&job)),
            plan: needs.plan.map_or(Known::NotRead, |_| Known::Is(self.plan.clone())),
            refused: self.refused.clone(),
            refusal_stands: self.refusal_stands,
            etcd: needs
                .etcd
                .map_or(Known::NotRead, |run| self.etcd.facts(run, &self.seeds)),
            marked: if needs.marked { self.marked() } else { Known::NotRead },
        }
    }
}
