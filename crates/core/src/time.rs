//! Points in time as status shows them: UTC, whole seconds. Pure.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A point in time, RFC 3339 in UTC with whole seconds, as the Kubernetes API writes its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(Timestamp);

impl Time {
    /// The given instant, cut to whole seconds.
    #[must_use]
    pub fn new(instant: Timestamp) -> Self {
        Self(Timestamp::from_second(instant.as_second()).unwrap_or(instant))
    }

    /// The instant itself.
    #[must_use]
    pub const fn timestamp(self) -> Timestamp {
        self.0
    }

    /// How long before `now` this was; zero when it lies in the future (a clock was set back: no gate may skip).
    #[must_use]
    pub fn elapsed(self, now: Timestamp) -> Duration {
        now.duration_since(self.0).try_into().unwrap_or(Duration::ZERO)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_cut_and_a_clock_set_back_counts_as_no_time() {
        let time = Time::new("2026-11-21T03:00:00.9Z".parse().unwrap());
        assert_eq!(serde_json::to_string(&time).unwrap(), "\"2026-11-21T03:00:00Z\"");
        assert_eq!(
            time.elapsed("2026-11-21T03:00:05Z".parse().unwrap()),
            Duration::from_secs(5)
        );
        assert_eq!(time.elapsed("2026-11-21T02:00:00Z".parse().unwrap()), Duration::ZERO);
    }
}
