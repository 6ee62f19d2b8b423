//! The plan: what would happen to every object of the backup, asked of the API server by dry run, without any write.
//!
//! Talks to the cluster by GET and dry runs alone. Must never plan a deletion. Everything that would be written is tried, but for what the
//! API server cannot try: objects whose Namespace or kind comes with the same restore, the status of what is only created, and
//! owners that are joined at the end.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::archive::{CheckedArchive, StoredObject};
use super::around::{Around, Offer};
use super::error::RestoreError;
use super::judge::{Reason, foreign, refusal};
use super::object::{as_update, desired, essence, fingerprint, list, status, text, with_status};
use super::report::{Finding, RestoreReport, Verdict};
use super::stage::{Stage, is_of_kkp};
use super::target::{Ask, CallFailure, Target};
use crate::canonical::render_digest;

/// Tries of a dry run that gets no answer.
const TRIES: u32 = 3;

/// What is to be written for one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Its content, created or replaced.
    pub(crate) content: bool,
    /// Its status, which nobody has written yet.
    pub(crate) status: bool,
    /// Owners that come with this restore, after it.
    pub(crate) owners: bool,
    /// Fingerprint of what lived when it was planned; `None`: nothing.
    pub(crate) live: Option<String>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// By path in the archive; what is not here is left as it is.
    pub(crate) work: HashMap<String, Work>,
    pub(crate) report: RestoreReport,
}

/// What is restored, and how.
pub(crate) struct Session {
    pub(crate) target: Target,
    pub(crate) archive: CheckedArchive,
    /// UID of the cluster that is written to.
    pub(crate) cluster_uid: String,
    /// Whether CRDs may go back to an older release.
    pub(crate) crds_backward: bool,
}

impl Session {
    /// Looks at every object of the backup.
    pub(crate) async fn plan(&self) -> Result<Plan, RestoreError> {
        let mut planner = Planner {
            session: self,
            around: Around::default(),
            coming: HashSet::new(),
            orphans: Vec::new(),
            plan: Plan::default(),
            digest: Sha256::new(),
        };
        let start = format!(
            "{}\n{}\n{}\n",
            self.archive.manifest_digest, self.cluster_uid, self.crds_backward
        );
        planner.digest.update(start.as_bytes());
        for stage in Stage::ALL {
            let mut objects = self.archive.objects(move |resource| Stage::of(resource) == stage);
            while let Some(object) = objects.next().await? {
                planner.consider(&object).await?;
            }
        }
        Ok(planner.finish())
    }
}

/// What was found out about one object.
enum Judged {
    Work(Work),
    Equal,
    Foreign(Reason),
    Refused(Reason),
}

/// An object whose owner does not live yet.
struct Orphan {
    path: String,
    object: String,
    owner: String,
    address: String,
    created: bool,
}

struct Planner<'a> {
    session: &'a Session,
    around: Around,
    /// Addresses, Namespaces and kinds that this restore will create, as [`Planner::announce`] notes them.
    coming: HashSet<String>,
    orphans: Vec<Orphan>,
    plan: Plan,
    digest: Sha256,
}

impl Planner<'_> {
    async fn consider(&mut self, object: &StoredObject) -> Result<(), RestoreError> {
        let judged = self.look(object).await?;
        let (verdict, live) = match &judged {
            Judged::Work(work) if work.live.is_none() => (Verdict::Create, "-"),
            Judged::Work(work) => (Verdict::Update, work.live.as_deref().unwrap_or_default()),
            Judged::Equal => (Verdict::Equal, ""),
            Judged::Foreign(_) => (Verdict::Foreign, ""),
            Judged::Refused(_) => (Verdict::Refused, ""),
        };
        if verdict != Verdict::Equal {
            let entry = format!("{} {} {} {live}\n", verdict.word(), object.path, object.digest);
            self.digest.update(entry.as_bytes());
        }
        self.plan.report.list(verdict, object.label());
        match judged {
            Judged::Work(work) => {
                self.announce(object, work.live.is_none());
                self.plan.work.insert(object.path.clone(), work);
            }
            Judged::Equal => {}
            Judged::Foreign(reason) | Judged::Refused(reason) => {
                self.plan.report.note(Finding::new(object.label(), reason));
            }
        }
        Ok(())
    }

    async fn look(&mut self, object: &StoredObject) -> Result<Judged, RestoreError> {
        if let Some(reason) = foreign(object, None) {
            return Ok(Judged::Foreign(reason));
        }
        let session = self.session;
        let has_status = match self.around.offer(&session.target, &object.resource).await? {
            Offer::Served { has_status } => has_status,
            Offer::Gone { .. } if self.coming.contains(&kind_mark(object)) => {
                self.absent_owners(object, true).await?;
                return Ok(Judged::Work(Work {
                    content: true,
                    status: keeps_status(object),
                    ..Work::default()
                }));
            }
            Offer::Gone { others } => return Ok(Judged::Refused(not_served(object, &others))),
        };
        let live = session.target.live(object).await?;
        if let Some(reason) = refusal(object, live.as_ref(), session.crds_backward) {
            return Ok(Judged::Refused(reason));
        }
        let owners = self.absent_owners(object, live.is_none()).await?;
        let wanted = desired(&object.resource, &object.body, live.as_ref(), &owners, has_status);
        match live {
            None => self.creation(object, &wanted, has_status).await,
            Some(live) => self.update(object, &wanted, &live, has_status).await,
        }
    }

    /// Owners that live; the others are remembered.
    async fn absent_owners(&mut self, object: &StoredObject, created: bool) -> Result<Vec<Value>, RestoreError> {
        let Session { target, archive, .. } = self.session;
        let (owners, absent) = self.around.owners(target, &archive.manifest, object).await?;
        self.orphans.extend(absent.into_iter().map(|owner| Orphan {
            path: object.path.clone(),
            object: object.label(),
            owner: owner.label,
            address: owner.address,
            created,
        }));
        Ok(owners)
    }

    async fn creation(&self, object: &StoredObject, wanted: &Value, has_status: bool) -> Result<Judged, RestoreError> {
        let work = Work {
            content: true,
            status: has_status && keeps_status(object),
            ..Work::default()
        };
        let namespace = object.namespace.as_deref().unwrap_or_default();
        // The API server cannot try what has no namespace yet.
        if !namespace.is_empty() && self.coming.contains(&namespace_mark(namespace)) {
            return Ok(Judged::Work(work));
        }
        match self.session.dry_run(object, Ask::Create, wanted).await? {
            Ok(_) => Ok(Judged::Work(work)),
            Err(reason) => Ok(Judged::Refused(reason)),
        }
    }

    async fn update(
        &self,
        object: &StoredObject,
        wanted: &Value,
        live: &Value,
        has_status: bool,
    ) -> Result<Judged, RestoreError> {
        let now = essence(&object.resource, live, has_status);
        let mut work = Work {
            status: has_status && keeps_status(object) && status(live).is_none(),
            live: Some(fingerprint(&now)),
            ..Work::default()
        };
        if now != *wanted {
            if let Some(reason) = foreign(object, Some(live)) {
                return Ok(Judged::Foreign(reason));
            }
            let body = as_update(wanted, live);
            match self.session.dry_run(object, Ask::Update, &body).await? {
                // Defaults that came with a newer CRD would be there again after every write.
                Ok(after) => work.content = essence(&object.resource, &after, has_status) != now,
                Err(reason) => return Ok(Judged::Refused(reason)),
            }
        }
        if let Some(data) = status(&object.body).filter(|_| work.status)
            && let Err(reason) = self
                .session
                .dry_run(object, Ask::Status, &with_status(live, data))
                .await?
        {
            return Ok(Judged::Refused(of_its_status(reason)));
        }
        if work.content || work.status {
            return Ok(Judged::Work(work));
        }
        Ok(Judged::Equal)
    }

    /// Notes what others may count on from now on.
    fn announce(&mut self, object: &StoredObject, created: bool) {
        if object.resource.is_crds() {
            let (group, plural) = (
                text(&object.body, "/spec/group"),
                text(&object.body, "/spec/names/plural"),
            );
            for version in list(&object.body, "/spec/versions") {
                let version = text(version, "/name");
                self.coming.insert(format!("kind {group}/{version}/{plural}"));
            }
        }
        if created && Stage::of(&object.resource) == Stage::Namespaces {
            self.coming.insert(namespace_mark(&object.name));
        }
        if created {
            let namespace = object.namespace.as_deref();
            let address = super::target::object_address(&object.resource, namespace, &object.name);
            self.coming.insert(address);
        }
    }

    fn finish(mut self) -> Plan {
        for orphan in std::mem::take(&mut self.orphans) {
            let refused = orphan.created && !self.plan.work.contains_key(&orphan.path);
            if refused {
                continue;
            }
            if self.coming.contains(&orphan.address) {
                self.plan.work.entry(orphan.path).or_default().owners = true;
            } else if orphan.created {
                let reason = Reason::new(
                    format!(
                        "its owner {} does not live: it comes back without that owner",
                        orphan.owner
                    ),
                    "remove it yourself when you do not need it any more: nobody else will",
                );
                self.plan.report.note(Finding::new(orphan.object, reason));
            }
        }
        self.plan.report.plan_digest = render_digest(self.digest);
        self.plan
            .report
            .manifest_digest
            .clone_from(&self.session.archive.manifest_digest);
        self.plan
    }
}

impl Session {
    /// Asks whether a write would be accepted; what the object would be, or why not.
    pub(crate) async fn dry_run(
        &self,
        object: &StoredObject,
        ask: Ask,
        body: &Value,
    ) -> Result<Result<Value, Reason>, RestoreError> {
        let mut tries = 1;
        loop {
            match self.target.write(object, ask, body, true).await {
                Ok(after) => return Ok(Ok(after)),
                Err(CallFailure::Refused(words)) => return Ok(Err(not_accepted(&words))),
                Err(CallFailure::Missing(words)) => return Ok(Err(no_place(&words))),
                Err(CallFailure::Conflict) => return Ok(Err(written_meanwhile())),
                Err(CallFailure::Unavailable(_) | CallFailure::Webhook(_)) if tries < TRIES => tries += 1,
                Err(failure) => return Err(failure.fatal(object.label())),
            }
            tokio::time::sleep(self.target.limits.pause).await;
        }
    }
}

/// Whether the status of this object is data that is restored where none was written yet.
fn keeps_status(object: &StoredObject) -> bool {
    is_of_kkp(&object.resource) && status(&object.body).is_some()
}

fn kind_mark(object: &StoredObject) -> String {
    let resource = &object.resource;
    format!("kind {}/{}/{}", resource.group, resource.version, resource.plural)
}

fn namespace_mark(name: &str) -> String {
    format!("namespace {name}")
}

fn not_served(object: &StoredObject, others: &[String]) -> Reason {
    let version = object.resource.api_version();
    if others.is_empty() {
        return Reason::new(
            format!("this cluster does not know the kind ({version})"),
            "install what serves it, then plan again",
        );
    }
    Reason::new(
        format!("{version} is no longer served for it, only {}", others.join(", ")),
        "convert the object by hand: open the backup as docs/backup-format.md says, and apply it in a served version",
    )
}

pub(crate) fn not_accepted(words: &str) -> Reason {
    Reason::new(
        format!("the API server does not accept it ({words})"),
        "correct what it names, or apply the object by hand in the form that it accepts; see docs/how-to/restore.md",
    )
}

/// A refusal of the status alone. The content is not written without it: an object is restored whole, or named.
fn of_its_status(reason: Reason) -> Reason {
    Reason::new(format!("its status: {}", reason.reason), reason.next)
}

pub(crate) fn no_place(words: &str) -> Reason {
    Reason::new(
        format!("it has no place to be ({words})"),
        "see that its namespace exists, then plan again",
    )
}

pub(crate) fn written_meanwhile() -> Reason {
    Reason::new("others write it at this moment", "plan again")
}
