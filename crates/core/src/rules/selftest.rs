//! The rules' own tests: every record brings its examples, and this runs them. Pure.

use super::catalogue::{Catalogue, Rule};
use super::evaluation::{Verdict, judge};
use super::finding::Hop;
use super::functions::{ConfiguredVersions, context, item_value};
use super::record::{Expectation, TestRecord};
use super::schema::{Field, Item};

/// A rule's own test that did not come out as it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule `{rule}`, test `{test}`: expected {expected}, got {got}")]
pub struct TestFailure {
    /// Id of the rule.
    pub rule: String,
    /// Name of the test.
    pub test: String,
    /// What the test expects.
    pub expected: Expectation,
    /// What came out, with its message.
    pub got: String,
}

impl Catalogue {
    /// Runs the tests of all rules; empty = all came out as they say.
    #[must_use]
    pub fn run_tests(&self) -> Vec<TestFailure> {
        self.rules()
            .iter()
            .flat_map(|rule| rule.tests.iter().filter_map(|test| self.run_test(rule, test)))
            .collect()
    }

    fn run_test(&self, rule: &Rule, test: &TestRecord) -> Option<TestFailure> {
        let verdict = self.verdict(rule, test, &Item::from_fields(test.it.clone()));
        let got = match &verdict {
            Verdict::NotApplicable => Expectation::NotApplicable,
            Verdict::Pass => Expectation::Pass,
            // A failing rule must be able to say so in its own words.
            Verdict::Fail(message) if *message == rule.title => Expectation::Unknown,
            Verdict::Fail(_) => Expectation::Fail,
            Verdict::Unknown(_) => Expectation::Unknown,
        };
        (got != test.expect).then(|| TestFailure {
            rule: rule.id.clone(),
            test: test.name.clone(),
            expected: test.expect,
            got: match verdict {
                Verdict::Fail(message) if got == Expectation::Unknown => {
                    format!("{message:?}, the title instead of an own message")
                }
                verdict => format!("{verdict:?}"),
            },
        })
    }

    /// What `rule` says about `item` in the situation of `test`.
    pub(super) fn verdict(&self, rule: &Rule, test: &TestRecord, item: &Item) -> Verdict {
        let hop = Hop {
            from: test.hop.from,
            to: test.hop.to,
        };
        let spec = Item::from_fields(test.spec.clone());
        let configured = Field::Known(ConfiguredVersions::default());
        let context = context(self.releases(), hop, test.hop.started, &spec, &configured);
        let mut inner = context.new_inner_scope();
        inner.add_variable_from_value("it", item_value(item));
        judge(rule, &inner, item, &spec)
    }
}
