//! The plan with what people need beside it: how long it may take, what cannot be undone, and all findings in words. Pure.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::facts::{Known, Stop};
use crate::plan::{Plan, finding_status};
use crate::rules::{Finding, RouteError};
use crate::status::{CatalogueStatus, FindingStatus};

/// What the point of no return means, for people.
pub const POINT_OF_NO_RETURN: &str = "Until the installer starts on the master, an abort puts everything back. After that KKP goes only \
     forward: its CRDs are never downgraded, and what helps then is repair, retry and the backup.";

/// A plan as people read it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanDocument<'a> {
    /// Digest that the plan can be approved with; `None` = it is not one that anybody could approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The catalogue that the findings come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<&'a CatalogueStatus>,
    /// How long the rest of the route may take.
    pub expected_duration: ExpectedDuration,
    /// What cannot be undone.
    pub point_of_no_return: ForGood,
    /// The plan of the hop.
    pub plan: &'a Plan,
    /// All findings, worst first.
    #[serde(serialize_with = "in_words")]
    pub findings: &'a [Finding],
}

/// What cannot be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForGood {
    /// What the point of no return means.
    pub meaning: &'static str,
    /// What the releases on the way change for good, each with its version in front.
    pub for_good: Vec<String>,
}

/// How long hops may take, as those before them on this platform did: from the first backup to the proof. Waiting for a person is
/// no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DurationRange {
    /// As long as the fastest of the earlier hops, in seconds, for all hops together.
    pub least_seconds: i64,
    /// As long as the slowest of them.
    pub most_seconds: i64,
    /// Hops that are still to be made.
    pub hops: i64,
    /// Earlier hops that this rests on.
    pub earlier_hops: i64,
}

/// The range, or that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedDuration(pub Option<DurationRange>);

impl Serialize for ExpectedDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(range) => range.serialize(serializer),
            None => serializer.serialize_str("unknown"),
        }
    }
}

impl fmt::Display for ExpectedDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(range) = &self.0 else {
            return formatter.write_str("unknown: no upgrade of this platform has been finished yet");
        };
        // Rounded up: half a minute is a minute to wait.
        let minutes = |seconds: i64| seconds.max(0).saturating_add(59) / 60;
        let (least, most) = (minutes(range.least_seconds), minutes(range.most_seconds));
        if least == most {
            write!(formatter, "about {most} min")?;
        } else {
            write!(formatter, "{least} to {most} min")?;
        }
        let hops = |count: i64| if count == 1 { "hop" } else { "hops" };
        write!(
            formatter,
            " for {} {}, by {} earlier {} of this platform",
            range.hops,
            hops(range.hops),
            range.earlier_hops,
            hops(range.earlier_hops)
        )
    }
}

impl ExpectedDuration {
    /// For the rest of the plan's route, by how long earlier hops took, in seconds.
    #[must_use]
    pub fn of(plan: &Plan, earlier: &[i64]) -> Self {
        let (Some(least), Some(most)) = (earlier.iter().min(), earlier.iter().max()) else {
            return Self(None);
        };
        let hops = i64::from(plan.hop.total.saturating_sub(plan.hop.index).saturating_add(1).max(1));
        Self(Some(DurationRange {
            least_seconds: least.saturating_mul(hops),
            most_seconds: most.saturating_mul(hops),
            hops,
            earlier_hops: i64::try_from(earlier.len()).unwrap_or(i64::MAX),
        }))
    }
}

impl ForGood {
    /// Of the releases on the way.
    #[must_use]
    pub fn on(route: &Known<Result<Vec<Stop>, RouteError>>) -> Self {
        let stops = route.value().and_then(|route| route.as_ref().ok());
        let for_good = stops.into_iter().flatten().flat_map(|stop| {
            let version = stop.version;
            stop.one_way.iter().map(move |what| format!("{version}: {what}"))
        });
        Self {
            meaning: POINT_OF_NO_RETURN,
            for_good: for_good.collect(),
        }
    }
}

impl PlanDocument<'_> {
    /// As YAML.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).unwrap_or_else(|error| format!("# the plan cannot be written as YAML: {error}\n"))
    }
}

fn in_words<S: Serializer>(findings: &&[Finding], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(findings.iter().map(finding_status).collect::<Vec<FindingStatus>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Hop;
    use crate::version::KkpVersion;

    fn plan(index: i32, total: i32) -> Plan {
        Plan {
            upgrade: "u".to_owned(),
            path: Vec::new(),
            hop: Hop {
                index,
                total,
                ..Hop::default()
            },
            maximum_parallel_reconciles: None,
            fixes: Vec::new(),
            targets: Vec::new(),
            findings: Vec::new(),
        }
    }

    #[test]
    fn what_is_expected_is_what_earlier_hops_took_or_unknown() {
        let text = |index, total, earlier: &[i64]| ExpectedDuration::of(&plan(index, total), earlier).to_string();
        assert_eq!(
            text(1, 1, &[]),
            "unknown: no upgrade of this platform has been finished yet"
        );
        assert_eq!(
            text(1, 1, &[61]),
            "about 2 min for 1 hop, by 1 earlier hop of this platform"
        );
        assert_eq!(
            text(2, 3, &[600, 1200, 900]),
            "20 to 40 min for 2 hops, by 3 earlier hops of this platform"
        );
        let yaml = |earlier: &[i64]| serde_json::to_string(&ExpectedDuration::of(&plan(1, 1), earlier)).unwrap();
        assert_eq!(yaml(&[]), r#""unknown""#);
        assert_eq!(
            yaml(&[5, 9]),
            r#"{"leastSeconds":5,"mostSeconds":9,"hops":1,"earlierHops":2}"#
        );
    }

    #[test]
    fn what_changes_for_good_is_told_by_release() {
        let stop = |patch, one_way: &[&str]| Stop {
            version: KkpVersion::new(2, 30, patch),
            one_way: one_way.iter().map(|what| (*what).to_owned()).collect(),
        };
        let route = Known::Is(Ok(vec![stop(1, &[]), stop(2, &["CRDs", "etcd"])]));
        assert_eq!(ForGood::on(&route).for_good, ["2.30.2: CRDs", "2.30.2: etcd"]);
        assert!(ForGood::on(&Known::NotRead).for_good.is_empty());
    }
}
