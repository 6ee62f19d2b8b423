//! A whole run as a story of named events, made of compact objects; tests change one thing of it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    Actor, Event, Expectations, History, Identity, InstallerRecord, ObjectKey, Verb, Violation, What, Write, judge,
};

pub(super) const UID: &str = "uid-u";
pub(super) const JOB: &str = "kkpu-installer-0123456789";
pub(super) const BACKUP_JOB: &str = "kkpu-backup-0123456789";
pub(super) const LIMIT: i64 = 3;

/// Named events in order.
pub(super) struct Story {
    pub(super) events: Vec<(&'static str, Event)>,
    pub(super) upgrade: Value,
    pub(super) configuration: Value,
    version: u64,
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(super) fn by(identity: Identity) -> Actor {
    let pod = (identity == Identity::Installer).then(|| format!("{JOB}-abcde"));
    Actor {
        identity,
        name: format!("{identity:?}"),
        pod_uid: None,
        pod,
    }
}

pub(super) fn key(group: &str, resource: &str, name: &str) -> ObjectKey {
    ObjectKey {
        cluster: "master".to_owned(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        namespace: "kubermatic".to_owned(),
        name: name.to_owned(),
    }
}

pub(super) fn upgrade_key() -> ObjectKey {
    key("upgrade.k8c.io", "kkpupgrades", "u")
}

pub(super) fn configuration_key() -> ObjectKey {
    key("kubermatic.k8c.io", "kubermaticconfigurations", "kubermatic")
}

pub(super) fn write(identity: Identity, verb: Verb, object: ObjectKey, after: Value) -> Write {
    Write {
        actor: by(identity),
        verb,
        object,
        subresource: None,
        uid_precondition: None,
        version_precondition: Some("1".to_owned()),
        before: None,
        after: Some(Arc::new(after)),
        gone: false,
    }
}

pub(super) fn deletion(identity: Identity, object: ObjectKey, uid: Option<&str>) -> Write {
    Write {
        verb: Verb::Delete,
        uid_precondition: uid.map(str::to_owned),
        after: None,
        gone: true,
        ..write(identity, Verb::Delete, object, Value::Null)
    }
}

pub(super) fn record(event: &str) -> InstallerRecord {
    InstallerRecord {
        run: "run-1".to_owned(),
        event: event.to_owned(),
        pod: format!("{JOB}-abcde"),
        server: "https://master".to_owned(),
        stack: "kubermatic-master".to_owned(),
        version: "2.31.0".to_owned(),
        step: String::new(),
        exit_code: None,
    }
}

pub(super) fn job(name: &str, step: &str, condition: Option<&str>) -> Value {
    let conditions: Vec<Value> = condition
        .into_iter()
        .map(|kind| json!({"type": kind, "status": "True"}))
        .collect();
    json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {
            "upgrade.k8c.io/upgrade-uid": UID, "upgrade.k8c.io/step": step, "upgrade.k8c.io/target": "master"}},
        "spec": {"backoffLimit": 0, "template": {"spec": {"containers": [{"image": "quay.io/kubermatic/kubermatic:v2.31.0"}]}}},
        "status": {"conditions": conditions},
    })
}

pub(super) fn deployment(name: &str, version: &str, ready: i64) -> Value {
    json!({
        "metadata": {"name": name, "generation": 2},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [
            {"image": format!("quay.io/kubermatic/kubermatic:v{version}"), "args": ["-max-parallel-reconcile=3"]}]}}},
        "status": {"observedGeneration": 2, "updatedReplicas": 1, "replicas": 1, "availableReplicas": ready},
    })
}

pub(super) fn release(status: &str, revision: u64) -> Value {
    json!({"metadata": {"name": format!("sh.helm.release.v1.kubermatic-operator.v{revision}"), "labels": {
        "owner": "helm", "name": "kubermatic-operator", "version": revision.to_string(), "status": status}}})
}

pub(super) fn condition(kind: &str, status: &str, reason: &str, second: i64) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": "m", "observedGeneration": 1,
        "lastTransitionTime": at(second).to_string()})
}

pub(super) fn cluster(version: &str) -> Value {
    let condition = json!({"status": "True", "kubermaticVersion": version});
    json!({"metadata": {"name": "c1"}, "status": {"conditions": {
        "ClusterControllerReconciledSuccessfully": condition, "CloudControllerReconciledSuccessfully": condition,
        "UpdateControllerReconciledSuccessfully": condition, "MonitoringControllerReconciledSuccessfully": condition}}})
}

/// Sets the value at a path of objects, which are made where they are missing.
pub(super) fn set(value: &mut Value, path: &str, new: Value) {
    let mut place = value;
    for part in path.split('/').skip(1) {
        let part = part.replace("~1", "/");
        place = place.as_object_mut().unwrap().entry(part).or_insert_with(|| json!({}));
    }
    *place = new;
}

impl Story {
    pub(super) fn empty() -> Self {
        Self {
            events: Vec::new(),
            upgrade: json!({"metadata": {"name": "u", "namespace": "kubermatic", "uid": UID, "generation": 1},
                "spec": {"targetVersion": "2.31.0", "maximumParallelReconciles": LIMIT}, "status": {"observedGeneration": -1}}),
            configuration: json!({"metadata": {"name": "kubermatic"}, "spec": {"seedController": {"maximumParallelReconciles": 7}}}),
            version: 10,
        }
    }

    pub(super) fn push(&mut self, name: &'static str, what: What) -> &mut Self {
        let second = i64::try_from(self.events.len()).unwrap();
        self.events.push((name, Event { time: at(second), what }));
        self
    }

    pub(super) fn write(&mut self, name: &'static str, write: Write) -> &mut Self {
        self.push(name, What::Write(Box::new(write)))
    }

    /// The operator writes status: phase and Ready's reason, and whatever else is set.
    pub(super) fn status(
        &mut self,
        name: &'static str,
        phase: &str,
        reason: &str,
        sets: &[(&str, Value)],
    ) -> &mut Self {
        let (ready, other) = match phase {
            "Done" => ("True", None),
            "Failed" | "Aborted" => ("False", Some("Stalled")),
            _ => ("Unknown", Some("Reconciling")),
        };
        set(&mut self.upgrade, "/status/phase", json!(phase));
        set(&mut self.upgrade, "/status/observedGeneration", json!(1));
        for (path, value) in sets {
            set(&mut self.upgrade, &format!("/status{path}"), value.clone());
        }
        let old = self
            .upgrade
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .cloned();
        let mut conditions = old.unwrap_or_default();
        conditions.retain(|one| !["Ready", "Reconciling", "Stalled"].contains(&one["type"].as_str().unwrap()));
        conditions.push(condition("Ready", ready, reason, 0));
        conditions.extend(other.map(|kind| condition(kind, "True", reason, 0)));
        set(&mut self.upgrade, "/status/conditions", json!(conditions));
        self.upgrade_write(name, Some("status"))
    }

    pub(super) fn truth(&mut self, kind: &str) -> &mut Self {
        let conditions = self
            .upgrade
            .pointer_mut("/status/conditions")
            .unwrap()
            .as_array_mut()
            .unwrap();
        conditions.push(condition(kind, "True", "PlanReady", 5));
        self
    }

    pub(super) fn upgrade_write(&mut self, name: &'static str, subresource: Option<&str>) -> &mut Self {
        self.version += 1;
        set(
            &mut self.upgrade,
            "/metadata/resourceVersion",
            json!(self.version.to_string()),
        );
        let mut made = write(Identity::Operator, Verb::Update, upgrade_key(), self.upgrade.clone());
        made.subresource = subresource.map(str::to_owned);
        self.write(name, made)
    }

    pub(super) fn lease(&mut self, name: &'static str, verb: Verb, holder: &str) -> &mut Self {
        let lease = json!({"spec": {"holderIdentity": holder}});
        self.write(
            name,
            write(
                Identity::Operator,
                verb,
                key("coordination.k8s.io", "leases", "kkp-upgrade-active"),
                lease,
            ),
        )
    }

    pub(super) fn limit(&mut self, name: &'static str, limit: i64, note: Option<Value>) -> &mut Self {
        set(
            &mut self.configuration,
            "/spec/seedController/maximumParallelReconciles",
            json!(limit),
        );
        set(&mut self.configuration, "/metadata/annotations", json!({}));
        if let Some(note) = note {
            set(
                &mut self.configuration,
                "/metadata/annotations/upgrade.k8c.io~1throttle",
                json!(note.to_string()),
            );
        }
        let configuration = self.configuration.clone();
        self.write(
            name,
            write(Identity::Operator, Verb::Update, configuration_key(), configuration),
        )
    }

    pub(super) fn place(&self, name: &str) -> usize {
        self.events.iter().position(|(found, _)| *found == name).unwrap()
    }

    /// Changes the object that this event, and every later one up to `until`, leaves behind.
    pub(super) fn edit(mut self, from: &str, until: &str, change: impl Fn(&mut Value)) -> Self {
        let (from, until) = (self.place(from), self.place(until));
        let object = match &self.events[from].1.what {
            What::Write(write) => write.object.clone(),
            _ => panic!("no write"),
        };
        for (_, event) in &mut self.events[from..=until] {
            if let What::Write(write) = &mut event.what
                && write.object == object
                && let Some(after) = &mut write.after
            {
                change(Arc::make_mut(after));
            }
        }
        self
    }

    /// Changes a write.
    pub(super) fn alter(mut self, name: &str, change: impl FnOnce(&mut Write)) -> Self {
        let place = self.place(name);
        let What::Write(write) = &mut self.events[place].1.what else {
            panic!("no write")
        };
        change(write);
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        let place = self.place(name);
        self.events.remove(place);
        self
    }

    /// Puts an event behind another one, half a second later.
    pub(super) fn then(mut self, name: &str, what: What) -> Self {
        let place = self.place(name);
        let time = self.events[place].1.time + SignedDuration::from_millis(500);
        self.events.insert(place + 1, ("inserted", Event { time, what }));
        self
    }

    pub(super) fn then_write(self, name: &str, write: Write) -> Self {
        self.then(name, What::Write(Box::new(write)))
    }

    /// The object that an event left behind.
    pub(super) fn object(&self, name: &str) -> Value {
        match &self.events[self.place(name)].1.what {
            What::Write(write) => (**write.after.as_ref().unwrap()).clone(),
            _ => panic!("no write"),
        }
    }

    /// Ends the story after this event.
    pub(super) fn until(mut self, name: &str) -> Self {
        self.events.truncate(self.place(name) + 1);
        self
    }

    /// Everything from this event on is so much later.
    pub(super) fn late(mut self, name: &str, by: SignedDuration) -> Self {
        let place = self.place(name);
        for (_, event) in &mut self.events[place..] {
            event.time += by;
        }
        self
    }

    pub(super) fn judged(&self) -> Vec<Violation> {
        self.judged_by(&Expectations::default())
    }

    pub(super) fn judged_by(&self, expectations: &Expectations) -> Vec<Violation> {
        let events = self.events.iter().map(|(_, event)| event.clone()).collect();
        judge(&History { events, torn_lines: 0 }, expectations)
    }
}
