//! Does what a plan says, object by object, each by comparison with what lives: killed anywhere, the next run finds what is left.
//!
//! Talks to the cluster. Must never delete, never recreate, and never write over what somebody else wrote since the plan.

use serde_json::Value;

use super::archive::StoredObject;
use super::around::{Around, Offer};
use super::error::RestoreError;
use super::judge::{Reason, refusal};
use super::object::{as_update, desired, essence, fingerprint, status, with_status};
use super::plan::{Plan, Session, Work, no_place, not_accepted, written_meanwhile};
use super::report::{Finding, RestoreReport};
use super::stage::Stage;
use super::target::{Ask, CallFailure};

/// Tries of a write that gets no answer, each after a fresh look.
const TRIES: u32 = 3;

/// Why one try ended.
enum Stop {
    /// The API server's answer to a write.
    Call(CallFailure),
    /// Nothing more can be done.
    End(RestoreError),
}

impl From<CallFailure> for Stop {
    fn from(failure: CallFailure) -> Self {
        Self::Call(failure)
    }
}

impl From<RestoreError> for Stop {
    fn from(error: RestoreError) -> Self {
        Self::End(error)
    }
}

struct Executor<'a> {
    session: &'a Session,
    around: Around,
    written: u64,
    report: RestoreReport,
}

impl Session {
    /// Does what the plan says. What cannot be done for one object is a finding, and the others go on; an API server or a webhook that
    /// does not answer ends it.
    pub(crate) async fn execute(&self, plan: Plan) -> Result<RestoreReport, RestoreError> {
        let Plan { work, report } = plan;
        let mut executor = Executor {
            session: self,
            around: Around::default(),
            written: 0,
            report,
        };
        for stage in Stage::ALL {
            let mut written = Vec::new();
            let mut objects = self.archive.objects(move |resource| Stage::of(resource) == stage);
            while let Some(object) = objects.next().await? {
                if let Some(work) = work.get(&object.path).filter(|work| work.content || work.status) {
                    executor.apply(&object, work).await?;
                    written.push(object.name);
                }
            }
            if stage == Stage::Definitions {
                self.established(&written).await?;
                executor.around.forget_kinds();
            }
        }
        executor.join_owners(&work).await?;
        executor.report.written = Some(executor.written);
        Ok(executor.report)
    }

    /// Waits until these CRDs take objects.
    async fn established(&self, names: &[String]) -> Result<(), RestoreError> {
        let crds = crate::discovery::Resource::crds();
        for name in names {
            let address = super::target::object_address(&crds, None, name);
            let wait = async {
                loop {
                    let live = self.target.read(&address, name).await?;
                    // One that was not created is a finding already.
                    if live.is_none_or(|crd| is_established(&crd)) {
                        return Ok::<(), RestoreError>(());
                    }
                    tokio::time::sleep(self.target.limits.pause).await;
                }
            };
            let longest = self.target.limits.established;
            tokio::time::timeout(longest, wait)
                .await
                .map_err(|_| RestoreError::NotEstablished {
                    name: name.clone(),
                    seconds: longest.as_secs(),
                })??;
        }
        Ok(())
    }
}

fn is_established(crd: &Value) -> bool {
    super::object::list(crd, "/status/conditions")
        .iter()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True")
}

impl Executor<'_> {
    /// After everything else: owners that came with this restore.
    async fn join_owners(&mut self, work: &std::collections::HashMap<String, Work>) -> Result<(), RestoreError> {
        if !work.values().any(|work| work.owners) {
            return Ok(());
        }
        let mut objects = self.session.archive.objects(|_| true);
        while let Some(object) = objects.next().await? {
            if work.get(&object.path).is_some_and(|work| work.owners) {
                self.repeat(&object, None).await?;
            }
        }
        Ok(())
    }

    async fn apply(&mut self, object: &StoredObject, work: &Work) -> Result<(), RestoreError> {
        self.repeat(object, Some(work)).await
    }

    /// Tries until there is an answer, looking afresh each time; without `work`, only its owners are joined.
    async fn repeat(&mut self, object: &StoredObject, work: Option<&Work>) -> Result<(), RestoreError> {
        let mut tries = 1;
        loop {
            let outcome = match work {
                Some(work) => self.once(object, work).await,
                None => self.join(object).await,
            };
            let reason = match outcome {
                Ok(reason) => reason,
                Err(Stop::End(error)) => return Err(error),
                Err(Stop::Call(CallFailure::Refused(words))) => Some(not_accepted(&words)),
                Err(Stop::Call(CallFailure::Missing(words))) => Some(no_place(&words)),
                Err(Stop::Call(CallFailure::Conflict)) if tries >= TRIES => Some(written_meanwhile()),
                Err(Stop::Call(failure)) if tries >= TRIES || matches!(failure, CallFailure::Forbidden(_)) => {
                    return Err(failure.fatal(object.label()));
                }
                Err(Stop::Call(_)) => {
                    tries += 1;
                    tokio::time::sleep(self.session.target.limits.pause).await;
                    continue;
                }
            };
            if let Some(reason) = reason {
                self.report.note(Finding::new(object.label(), reason));
            }
            return Ok(());
        }
    }

    /// One try for one object; why it was left as it is, where it was.
    async fn once(&mut self, object: &StoredObject, work: &Work) -> Result<Option<Reason>, Stop> {
        let session = self.session;
        let Offer::Served { has_status } = self.around.offer(&session.target, &object.resource).await? else {
            return Ok(Some(no_place("its kind is not served")));
        };
        let live = session.target.live(object).await?;
        if let Some(reason) = refusal(object, live.as_ref(), session.crds_backward) {
            return Ok(Some(reason));
        }
        let (owners, _) = self
            .around
            .owners(&session.target, &session.archive.manifest, object)
            .await?;
        let wanted = desired(&object.resource, &object.body, live.as_ref(), &owners, has_status);
        let now = match live {
            None if work.live.is_none() => self.write(object, Ask::Create, &wanted).await?,
            None => return Ok(Some(Reason::new("somebody deleted it since the plan", "plan again"))),
            Some(live) => match self.content(object, work, &wanted, live, has_status).await? {
                Ok(now) => now,
                Err(reason) => return Ok(Some(reason)),
            },
        };
        if let Some(data) = status(&object.body).filter(|_| work.status && has_status && status(&now).is_none()) {
            self.write(object, Ask::Status, &with_status(&now, data)).await?;
        }
        Ok(None)
    }

    /// The content of an object that lives: replaced when it is what the plan saw, left when it is right already.
    async fn content(
        &mut self,
        object: &StoredObject,
        work: &Work,
        wanted: &Value,
        live: Value,
        has_status: bool,
    ) -> Result<Result<Value, Reason>, Stop> {
        let now = essence(&object.resource, &live, has_status);
        if !work.content || now == *wanted {
            return Ok(Ok(live));
        }
        let body = as_update(wanted, &live);
        if work.live.as_deref() == Some(fingerprint(&now).as_str()) {
            return Ok(Ok(self.write(object, Ask::Update, &body).await?));
        }
        // Perhaps it is our own write, whose answer was lost, with the API server's defaults.
        match self.session.dry_run(object, Ask::Update, &body).await? {
            Ok(after) if essence(&object.resource, &after, has_status) == now => Ok(Ok(live)),
            _ => Ok(Err(Reason::new(
                "somebody else wrote it since the plan",
                "look at it, then plan again",
            ))),
        }
    }

    /// Adds owners that live now; nothing else of the object is touched.
    async fn join(&mut self, object: &StoredObject) -> Result<Option<Reason>, Stop> {
        let session = self.session;
        let Some(live) = session.target.live(object).await? else {
            return Ok(None);
        };
        let (owners, _) = self
            .around
            .owners(&session.target, &session.archive.manifest, object)
            .await?;
        // What lives, as it is, with the owners: the same rule for them as everywhere, and no other change.
        let with_owners = desired(&object.resource, &live, Some(&live), &owners, false);
        if with_owners != essence(&object.resource, &live, false) {
            self.write(object, Ask::Update, &as_update(&with_owners, &live)).await?;
        }
        Ok(None)
    }

    async fn write(&mut self, object: &StoredObject, ask: Ask, body: &Value) -> Result<Value, CallFailure> {
        let answer = self.session.target.write(object, ask, body, false).await?;
        self.written += 1;
        tracing::info!(object = object.label(), ?ask, "written");
        Ok(answer)
    }
}
