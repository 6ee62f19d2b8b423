//! What effects and time do to the simulated platform.

use std::time::Duration;

use super::world::{Outcome, SimJob, UID, World};
use crate::effect::{Effect, JobIntent, JobWork};
use crate::facts::{BackupKey, Fence, Known, LeaseFacts};

impl World {
    /// Carries an effect out like the API server would: by name, and only if its precondition holds.
    pub(super) fn carry_out(&mut self, effect: &Effect) {
        self.effects.push(word(effect));
        if self.refused.is_some() {
            return;
        }
        match effect {
            Effect::AddFinalizer => self.object.finalizer = true,
            Effect::RemoveFinalizer | Effect::Leave { .. } => {
                self.object.finalizer = false;
                self.gone = self.object.deleting;
            }
            Effect::WritePlan { digest, .. } => self.plan = Some(digest.clone()),
            Effect::DeleteWaitingPod { .. } => {}
            Effect::CreateBackupKey => {
                self.backup_key = Known::Is(Some(BackupKey {
                    recipient: "age1made".to_owned(),
                    private: true,
                }));
            }
            Effect::AcquireLease { resource_version } if *resource_version == self.lease.resource_version => {
                self.write_lease(Some(UID.to_owned()));
            }
            Effect::ReleaseLease { resource_version }
                if Some(resource_version) == self.lease.resource_version.as_ref() =>
            {
                self.write_lease(None);
            }
            Effect::CreateJob(intent) => self.create(intent),
            Effect::CreateEtcdBackups(intent) => self.etcd.ask(intent),
            Effect::DeleteJob { name, uid } => {
                if self.jobs.get(name).is_some_and(|job| job.uid == *uid) {
                    self.delete_job(name);
                }
            }
            Effect::TakeFence { job } => {
                self.fences.entry(job.clone()).or_insert(Fence::Operator);
            }
            Effect::SetThrottle { mark, resource_version } if *resource_version == self.revision.to_string() => {
                self.field = Some(mark.applied);
                self.mark = Known::Is(Some(mark.clone()));
                self.revision += 1;
            }
            Effect::RestoreThrottle {
                original,
                write_value,
                resource_version,
            } if *resource_version == self.revision.to_string() => {
                if *write_value {
                    self.field = *original;
                }
                self.mark = Known::Is(None);
                self.revision += 1;
            }
            Effect::WriteFix(intent) => {
                if !self.write_fix(intent) {
                    self.effects.push("conflict".to_owned());
                }
            }
            Effect::AcquireLease { .. }
            | Effect::ReleaseLease { .. }
            | Effect::SetThrottle { .. }
            | Effect::RestoreThrottle { .. } => self.effects.push("conflict".to_owned()),
        }
    }

    fn write_lease(&mut self, holder: Option<String>) {
        self.serial += 1;
        self.lease = LeaseFacts {
            resource_version: Some(self.serial.to_string()),
            holder,
        };
    }

    fn delete_job(&mut self, name: &str) {
        let job = self.jobs.remove(name).unwrap();
        let installer = matches!(job.intent.work, JobWork::Installer { .. });
        let started = self.fences.get(name) == Some(&Fence::Pod);
        assert!(
            !(installer && started && job.ended.is_none()),
            "a running installer was killed"
        );
    }

    fn create(&mut self, intent: &JobIntent) {
        if self.jobs.contains_key(&intent.name) {
            return;
        }
        self.serial += 1;
        let job = SimJob {
            intent: intent.clone(),
            uid: format!("job-{}", self.serial),
            age: 0,
            ended: None,
        };
        self.jobs.insert(intent.name.clone(), job);
    }

    /// Time passes: roll-outs go on and Jobs run.
    pub(super) fn tick(&mut self, pause: Duration) {
        self.now = self.now.checked_add(pause).unwrap();
        if let Some(rounds) = self.since_install.as_mut() {
            *rounds = (*rounds + 1).min(100);
        }
        for seed in &mut self.seeds {
            seed.limit = self.field.filter(|limit| *limit != 0).unwrap_or(10);
        }
        self.move_fixed();
        self.etcd.tick();
        let names: Vec<String> = self.jobs.keys().cloned().collect();
        for name in names {
            let mut job = self.jobs.get(&name).cloned().unwrap();
            job.age += 1;
            if job.ended.is_none() {
                self.run(&mut job);
            }
            self.jobs.insert(name, job);
        }
    }

    fn run(&mut self, job: &mut SimJob) {
        let installer = matches!(job.intent.work, JobWork::Installer { .. });
        if !installer {
            let removal = matches!(job.intent.work, JobWork::Retention { .. });
            let outcome = if removal { self.retention.outcome } else { self.backup };
            if job.age >= 2 && outcome != Outcome::Hangs {
                job.ended = Some(outcome == Outcome::Good);
            }
            return;
        }
        if self.fences.get(&job.intent.name) != Some(&Fence::Pod) {
            if self.stuck_before_fence || job.age < 2 {
                return;
            }
            // The init container: only for the step that is recorded, and only once.
            let recorded = self.step_job().as_ref() == Some(&job.intent.name);
            if !recorded || self.fences.contains_key(&job.intent.name) {
                job.ended = Some(false);
                return;
            }
            self.start(job);
        } else if job.age >= 4 && self.installer != Outcome::Hangs {
            self.end(job);
        }
    }

    /// The main program starts: everything that must be true then.
    fn start(&mut self, job: &SimJob) {
        self.fences.insert(job.intent.name.clone(), Fence::Pod);
        let starts = self.starts.entry(job.intent.name.clone()).or_default();
        *starts += 1;
        assert_eq!(*starts, 1, "an attempt started twice");
        assert!(
            self.backed_up(),
            "started without a backup of every cluster: {:#?}",
            self.status.targets
        );
    }

    /// Whether each cluster was backed up under the name of one of its targets.
    pub(super) fn backed_up(&self) -> bool {
        let has = |target: &str| self.status.target(target).is_some_and(|target| target.backup.is_some());
        has("master")
            && self.seeds.iter().all(|seed| {
                seed.cluster.as_deref() == Some("master-cluster")
                    || self
                        .seeds
                        .iter()
                        .any(|other| other.cluster == seed.cluster && has(&other.name))
            })
    }

    /// What must hold when an installer is asked for.
    pub(super) fn check_start(&self, effect: &Effect) {
        let Effect::CreateJob(intent) = effect else { return };
        if matches!(intent.work, JobWork::Installer { .. }) {
            let limit = self
                .request
                .as_ref()
                .unwrap()
                .maximum_parallel_reconciles
                .map(i64::from);
            assert!(
                limit.is_none() || self.field == limit,
                "installer without the limit in force"
            );
            assert!(
                self.lease.holder.as_deref() == Some(UID),
                "installer without the platform's lease"
            );
            assert!(self.point() == "Armed" || self.point() == "Passed", "not armed");
        }
    }

    fn end(&mut self, job: &mut SimJob) {
        job.ended = Some(self.installer == Outcome::Good);
        if self.installer != Outcome::FailsEarly {
            self.crd = job.intent.hop.parse().unwrap();
            self.version = Some(self.crd);
        }
        if self.installer == Outcome::Good {
            self.since_install = self.since_install.filter(|_| self.installed == self.crd).or(Some(0));
            self.installed = self.crd;
        }
    }
}

fn word(effect: &Effect) -> String {
    match effect {
        Effect::AddFinalizer => "AddFinalizer".to_owned(),
        Effect::RemoveFinalizer => "RemoveFinalizer".to_owned(),
        Effect::WritePlan { .. } => "WritePlan".to_owned(),
        Effect::AcquireLease { .. } => "AcquireLease".to_owned(),
        Effect::ReleaseLease { .. } => "ReleaseLease".to_owned(),
        Effect::CreateJob(intent) => format!("CreateJob {} {} {}", intent.step, intent.target, intent.attempt),
        Effect::CreateEtcdBackups(intent) => {
            let names = intent
                .backups
                .iter()
                .map(|(cluster, attempt)| format!("{}#{attempt}", cluster.name));
            let names: Vec<String> = names.collect();
            format!("CreateEtcdBackups {} {}", intent.seed, names.join(" "))
        }
        Effect::DeleteJob { .. } => "DeleteJob".to_owned(),
        Effect::TakeFence { .. } => "TakeFence".to_owned(),
        Effect::SetThrottle { mark, .. } => format!("SetThrottle {:?}->{}", mark.original, mark.applied),
        Effect::RestoreThrottle {
            original, write_value, ..
        } => format!("RestoreThrottle {original:?} {write_value}"),
        Effect::Leave { .. } => "Leave".to_owned(),
        Effect::CreateBackupKey => "CreateBackupKey".to_owned(),
        Effect::WriteFix(intent) => {
            let values = intent.values.iter().map(|(_, value)| crate::fix::shown(value.as_ref()));
            let values: Vec<String> = values.collect();
            format!("WriteFix {} {}", intent.target.subject(), values.join(" "))
        }
        Effect::DeleteWaitingPod {
            name, resource_version, ..
        } => format!("DeleteWaitingPod {name} {resource_version}"),
    }
}
