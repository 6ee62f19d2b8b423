//! Laws that hold for every rule of the catalogue and every item.

use super::super::judgement::Verdict;
use super::super::selftest::verdict;
use super::*;
use proptest::prelude::*;
use serde_json::Value;

/// Any value that the schema allows for a field, taken from a small world so that rules meet their special cases.
fn value(field: &FieldSpec) -> BoxedStrategy<Value> {
    let words = prop::sample::select(vec![
        "", "v2.30.6", "v2.31.0", "2.30.6", "1.33.5", "1.32.1", "True", "Healthy", "Running", "deployed", "docker",
        "CE", "x",
    ]);
    let set = match field.field_type {
        FieldType::String => words.prop_map(Value::from).boxed(),
        FieldType::Integer => (-1i64..40).prop_map(Value::from).boxed(),
        FieldType::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        FieldType::Strings => prop::collection::vec(words.prop_map(ToOwned::to_owned), 0..3)
            .prop_map(Value::from)
            .boxed(),
    };
    if field.nullable {
        prop_oneof![3 => set, 1 => Just(Value::Null)].boxed()
    } else {
        set
    }
}

/// A rule's index, the index of one of its tests, and an item of its kind with every field.
fn case() -> impl Strategy<Value = (usize, usize, Item)> {
    (0..embedded().rules().len()).prop_flat_map(|index| {
        let fields = embedded().vocabulary().schema(embedded().rules()[index].each);
        let values: Vec<_> = fields.iter().map(value).collect();
        (0..embedded().rules()[index].tests.len(), values).prop_map(move |(test, values)| {
            (
                index,
                test,
                Item::from_fields(fields.iter().map(|field| field.name.clone()).zip(values).collect()),
            )
        })
    })
}

proptest! {
    /// Taking away any field that a rule reads never makes it hold, nor makes it look as if it did not concern the item
    /// unless it already did not.
    #[test]
    fn a_missing_field_never_becomes_a_pass((index, test, item) in case()) {
        let rule = &embedded().rules()[index];
        let test = &rule.tests[test];
        let whole = verdict(embedded().releases(), rule, test, &item);
        for name in rule.reads() {
            let mut without = item.clone();
            without.fields.remove(name);
            let verdict = verdict(embedded().releases(), rule, test, &without);
            prop_assert!(!matches!(verdict, Verdict::Pass), "{} without {name}: {verdict:?}", rule.id);
            prop_assert!(!matches!(verdict, Verdict::Fail(_)), "{} without {name}: {verdict:?}", rule.id);
            prop_assert!(!matches!(verdict, Verdict::NotApplicable) || whole == Verdict::NotApplicable, "{} without {name}", rule.id);
        }
    }

    /// Fields that a rule does not read make no difference to whether it finds something.
    #[test]
    fn other_fields_make_no_difference((index, test, item) in case()) {
        let rule = &embedded().rules()[index];
        let mut bare = item.clone();
        bare.fields.retain(|name, _| rule.reads().contains(&name.as_str()));
        let kind = |item: &Item| std::mem::discriminant(&verdict(embedded().releases(), rule, &rule.tests[test], item));
        prop_assert_eq!(kind(&item), kind(&bare));
    }

    /// No text gets longer than a status field takes, and none keeps a control character.
    #[test]
    fn messages_fit_and_are_printable(text in any::<String>(), kubernetes in any::<String>()) {
        let mut evaluation = healthy(&input());
        let mut facts = cluster(&kubernetes);
        facts.pause_reason = Some(text.clone()).into();
        facts.paused = true.into();
        evaluation.item(ItemKind::Cluster, "eu", &text, facts.item());
        for finding in evaluation.finish() {
            prop_assert!(finding.message.len() <= 256 && finding.target.len() <= 256);
            prop_assert!(!finding.message.chars().chain(finding.target.chars()).any(char::is_control));
        }
    }
}
