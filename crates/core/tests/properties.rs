//! Laws of the core's parts over random values: versions, texts, conditions, Job names.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kkp_upgrade_core::conditions::{ConditionType, STAGES, Standing, Truth, kstatus_violations};
use kkp_upgrade_core::effect::job_name;
use kkp_upgrade_core::reason::Reason;
use kkp_upgrade_core::status::{MESSAGE_BYTES, Status, message};
use kkp_upgrade_core::version::KkpVersion;
use proptest::prelude::*;
use strum::VariantArray as _;

fn version() -> impl Strategy<Value = KkpVersion> {
    (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(major, minor, patch)| KkpVersion::new(major, minor, patch))
}

fn at(second: u32) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + i64::from(second)).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn standing() -> impl Strategy<Value = Standing> {
    prop_oneof![
        Just(Standing::Working),
        Just(Standing::Stalled),
        Just(Standing::Ended),
        Just(Standing::Good)
    ]
}

fn truth() -> impl Strategy<Value = Truth> {
    prop_oneof![Just(Truth::True), Just(Truth::False), Just(Truth::Unknown)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_version_is_read_as_it_was_written(version in version()) {
        prop_assert_eq!(version.to_string().parse::<KkpVersion>(), Ok(version));
        prop_assert_eq!(version.tag().parse::<KkpVersion>(), Ok(version));
        let json = serde_json::to_string(&version).unwrap();
        prop_assert_eq!(serde_json::from_str::<KkpVersion>(&json).unwrap(), version);
    }

    #[test]
    fn versions_are_ordered_like_their_numbers(one in version(), other in version()) {
        let numbers = |version: KkpVersion| (version.major, version.minor, version.patch);
        prop_assert_eq!(one.cmp(&other), numbers(one).cmp(&numbers(other)));
    }

    #[test]
    fn a_text_is_a_version_or_refused_in_short(text in ".{0,200}|v?[0-9]{1,4}(\\.[0-9]{1,12}){0,4}") {
        match text.parse::<KkpVersion>() {
            Ok(version) => prop_assert_eq!(version.to_string(), text.strip_prefix('v').unwrap_or(&text)),
            Err(error) => prop_assert!(error.to_string().chars().count() < 200),
        }
    }

    #[test]
    fn a_message_fits_and_begins_like_its_text(text in "(?s).{0,400}") {
        let cut = message(&text);
        prop_assert!(cut.len() <= MESSAGE_BYTES);
        prop_assert!(!cut.chars().any(char::is_control));
        prop_assert_eq!(&message(&cut), &cut);
        let kept = cut.strip_suffix('…').unwrap_or(&cut).chars();
        let same = kept.zip(text.chars()).all(|(kept, given)| kept == given || (kept == ' ' && given.is_control()));
        prop_assert!(same, "{cut}");
        if text.len() <= MESSAGE_BYTES {
            prop_assert_eq!(cut.chars().count(), text.chars().count());
        }
    }

    #[test]
    fn every_way_to_stand_is_right_for_kstatus(
        changes in prop::collection::vec((standing(), 0..Reason::VARIANTS.len(), "(?s).{0,300}", 0_usize..8, truth()), 1..12),
        generation in 1_i64..1000,
    ) {
        let mut status = Status { observed_generation: generation, ..Status::default() };
        let mut second = 0;
        for (standing, reason, text, stage, truth) in changes {
            second += 5;
            let before = status.conditions.clone();
            let reason = Reason::VARIANTS[reason];
            status.set_condition(STAGES[stage], truth, reason, &text, at(second));
            status.set_standing(standing, reason, &text, at(second));
            prop_assert_eq!(kstatus_violations(generation, &status), Vec::<String>::new());
            for condition in &status.conditions {
                let old = before.iter().find(|old| old.r#type == condition.r#type);
                let same = old.filter(|old| old.status == condition.status);
                let expected = same.map_or(at(second), |old| old.last_transition_time.timestamp());
                prop_assert_eq!(condition.last_transition_time.timestamp(), expected, "{}", condition.r#type);
            }
            prop_assert!(status.condition(ConditionType::Ready).is_some());
        }
    }

    #[test]
    fn job_names_are_names_and_tell_every_attempt_apart(
        uid in "[0-9a-f]{8}-[0-9a-f]{4}", run in 0_i64..1_000_000, target in ".{1,253}", attempt in 1_i32..1000,
    ) {
        let mut names = BTreeSet::new();
        for step in ["backup", "installer"] {
            let other = format!("{target}-");
            for (run, target, attempt) in [
                (run, target.as_str(), attempt),
                (run + 1, target.as_str(), attempt),
                (run, other.as_str(), attempt),
                (run, target.as_str(), attempt + 1),
            ] {
                let name = job_name(&uid, run, "2.31.0", step, target, attempt);
                prop_assert!(name.len() <= 63);
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
                prop_assert!(name.starts_with("kkpu-") && !name.ends_with('-'));
                names.insert(name);
            }
        }
        prop_assert_eq!(names.len(), 8);
    }
}
