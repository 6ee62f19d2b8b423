//! Objects of the simulated platform that rules with a fix look at.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::world::{FROM, TO, World, finding};
use crate::facts::Known;
use crate::fix::{FixIntent, FixMark, FixTarget, MarkedObject, ProposedFix, SeenObject};
use crate::rules::{Finding, Hop, ItemKind, Severity};

/// An object with one value that a rule is about.
#[derive(Debug, Clone)]
pub(super) struct SimObject {
    pub(super) target: FixTarget,
    pub(super) rule: &'static str,
    pub(super) path: &'static str,
    pub(super) value: Option<Value>,
    /// Values that the rule's fix goes through; the rule passes with the last one.
    pub(super) way: Vec<Option<Value>>,
    pub(super) temporary: bool,
    pub(super) throttled: bool,
    pub(super) severity: Severity,
    pub(super) refused: Option<String>,
    pub(super) marks: Vec<FixMark>,
    pub(super) revision: u64,
    /// Ticks until it has got where its value wants it; `None` = it is there.
    pub(super) moves: Option<u32>,
}

impl SimObject {
    /// A user cluster on a Kubernetes version that the target refuses.
    pub(super) fn cluster(name: &str, way: &[&str]) -> Self {
        Self {
            target: FixTarget {
                kind: ItemKind::Cluster,
                name: name.to_owned(),
            },
            rule: "cluster-version-unsupported",
            path: ".spec.version",
            value: Some(json!("1.32.13")),
            way: way.iter().map(|version| Some(json!(version))).collect(),
            temporary: false,
            throttled: true,
            severity: Severity::Blocker,
            refused: None,
            marks: Vec::new(),
            revision: 1,
            moves: None,
        }
    }

    /// A user cluster that is paused.
    pub(super) fn paused(name: &str) -> Self {
        Self {
            rule: "cluster-paused",
            path: ".spec.pause",
            value: Some(json!(true)),
            way: vec![Some(json!(false))],
            temporary: true,
            throttled: false,
            severity: Severity::Warning,
            ..Self::cluster(name, &[])
        }
    }

    /// The platform with a gate that the target does not want.
    pub(super) fn gate() -> Self {
        Self {
            target: FixTarget {
                kind: ItemKind::Platform,
                name: "platform".to_owned(),
            },
            rule: "gateway-sync-off",
            path: ".spec.featureGates[\"HTTPRouteGatewaySync\"]",
            value: Some(json!(false)),
            way: vec![None],
            throttled: false,
            ..Self::cluster("", &[])
        }
    }

    fn next(&self) -> Option<&Option<Value>> {
        let at = self.way.iter().position(|stop| *stop == self.value);
        self.way.get(at.map_or(0, |at| at + 1))
    }

    fn seen(&self) -> SeenObject {
        SeenObject {
            resource_version: self.revision.to_string(),
            marks: Known::Is(self.marks.clone()),
            values: BTreeMap::from([(self.path.to_owned(), self.value.clone())]),
        }
    }

    fn finding(&self, requested: bool) -> Option<Finding> {
        let value = self.next()?.clone();
        Some(Finding {
            rule: self.rule.to_owned(),
            severity: self.severity,
            kind: self.target.kind,
            target: self.target.name.clone(),
            hop: Hop { from: FROM, to: TO },
            message: "has to be mended".to_owned(),
            fix: Some(ProposedFix {
                title: "mend it".to_owned(),
                path: self.path.to_owned(),
                value,
                temporary: self.temporary,
                throttled: self.throttled,
                requested,
                refused: self.refused.clone(),
                seen: Some(self.seen()),
            }),
            ..finding(false)
        })
    }
}

impl World {
    pub(super) fn with_fixable(&self) -> Known<Vec<Finding>> {
        let Known::Is(findings) = &self.findings else {
            return self.findings.clone();
        };
        let fixes = self
            .request
            .as_ref()
            .map_or_else(|_| Vec::new(), |request| request.fixes.clone());
        let more = self
            .fixable
            .iter()
            .filter_map(|object| object.finding(fixes.iter().any(|rule| rule == object.rule)));
        let mut all: Vec<Finding> = findings.iter().cloned().chain(more).collect();
        all.sort_by_key(|finding| !finding.blocks());
        Known::Is(all)
    }

    pub(super) fn marked(&self) -> Known<Vec<MarkedObject>> {
        if self.marks_unreadable {
            return Known::Unknown("seed eu: no route".to_owned());
        }
        let noted = self.fixable.iter().filter(|object| !object.marks.is_empty());
        Known::Is(
            noted
                .map(|object| MarkedObject {
                    target: object.target.clone(),
                    seen: object.seen(),
                    waiting: object.moves.map(|_| "its control plane is at 1.32.13".to_owned()),
                })
                .collect(),
        )
    }

    /// Whether the write was against the newest version.
    pub(super) fn write_fix(&mut self, intent: &FixIntent) -> bool {
        let on_the_way = self.fixable.iter().filter(|object| object.moves.is_some()).count();
        let limit = self.request.as_ref().unwrap().maximum_parallel_reconciles.unwrap_or(1);
        let object = self
            .fixable
            .iter_mut()
            .find(|object| object.target == intent.target)
            .unwrap();
        if object.revision.to_string() != intent.resource_version {
            return false;
        }
        assert!(object.moves.is_none(), "written over what is on its way");
        assert!(
            !object.throttled || on_the_way < usize::try_from(limit).unwrap(),
            "too many at the same time"
        );
        for (path, value) in &intent.values {
            assert_eq!(path, object.path);
            object.value.clone_from(value);
            object.moves = object.throttled.then_some(3);
        }
        object.marks.clone_from(&intent.marks);
        object.revision += 1;
        true
    }

    pub(super) fn move_fixed(&mut self) {
        for object in &mut self.fixable {
            object.moves = object.moves.and_then(|rest| rest.checked_sub(1));
        }
    }

    /// Somebody else writes the value.
    pub(super) fn human_writes(&mut self, index: usize, value: Option<Value>) {
        self.fixable[index].value = value;
        self.fixable[index].revision += 1;
    }
}
