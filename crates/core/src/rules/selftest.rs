//! The rules' own tests: every record brings its examples, and this runs them. Pure.

use kube_cel::cel::Context;

use super::catalogue::Catalogue;
use super::finding::Hop;
use super::functions::{ConfiguredVersions, context, item_value};
use super::judgement::{Verdict, judge};
use super::record::{Expectation, TestRecord};
use super::releases::Releases;
use super::rule::Rule;
use super::schema::{Field, Item};
use crate::fix::{ProposedFix, shown};

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

/// Most writes after which a rule has to pass: a user cluster may have some minors in front of it.
const MOST_STEPS: usize = 4;

impl Catalogue {
    /// Runs the tests of all rules; empty = all came out as they say.
    #[must_use]
    pub fn run_tests(&self) -> Vec<TestFailure> {
        self.run_tests_of(self.releases(), |_| true)
    }

    /// Runs the tests of the rules whose id is wanted, with these releases.
    pub(super) fn run_tests_of(&self, releases: &Releases, wanted: impl Fn(&str) -> bool) -> Vec<TestFailure> {
        let rules = self.rules().iter().filter(|rule| wanted(&rule.id));
        rules
            .flat_map(|rule| rule.tests.iter().filter_map(|test| run_test(releases, rule, test)))
            .collect()
    }
}

fn run_test(releases: &Releases, rule: &Rule, test: &TestRecord) -> Option<TestFailure> {
    let verdict = verdict(releases, rule, test, &Item::from_fields(test.it.clone()));
    let got = match &verdict {
        Verdict::NotApplicable => Expectation::NotApplicable,
        Verdict::Pass => Expectation::Pass,
        // A failing rule must be able to say so in its own words.
        Verdict::Fail(message) if *message == rule.title => Expectation::Unknown,
        Verdict::Fail(_) => Expectation::Fail,
        Verdict::Unknown(_) => Expectation::Unknown,
    };
    if got == test.expect {
        return fix_failure(releases, rule, test);
    }
    Some(TestFailure {
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

/// What is wrong with the fix of a rule that came out as it should.
fn fix_failure(releases: &Releases, rule: &Rule, test: &TestRecord) -> Option<TestFailure> {
    let failure = |got: String| TestFailure {
        rule: rule.id.clone(),
        test: test.name.clone(),
        expected: test.expect,
        got,
    };
    let mut item = Item::from_fields(test.it.clone());
    let first = proposal(releases, rule, test, &item);
    let proposed = first.map(|proposal| proposal.refused.map_or(Ok(proposal.value), Err));
    let wanted = match (&test.fixed, &test.refused) {
        (Some(value), _) => Some(Ok(Some(value.clone()).filter(|value| !value.is_null()))),
        (None, Some(why)) => Some(Err(why.clone())),
        (None, None) => None,
    };
    if proposed != wanted {
        return Some(failure(match proposed {
            None => "no fix".to_owned(),
            Some(Ok(value)) => format!("the fix {}", shown(value.as_ref())),
            Some(Err(why)) => format!("no fix: {why}"),
        }));
    }
    if !matches!(wanted, Some(Ok(_))) {
        return None;
    }
    for _ in 0..MOST_STEPS {
        let Some(proposal) = proposal(releases, rule, test, &item) else {
            break;
        };
        item = rule.fix.as_ref()?.applied(&proposal, &item);
        if verdict(releases, rule, test, &item) == Verdict::Pass {
            return None;
        }
    }
    Some(failure("the rule does not pass once it is fixed".to_owned()))
}

/// What `rule` says about `item` in the situation of `test`.
pub(super) fn verdict(releases: &Releases, rule: &Rule, test: &TestRecord, item: &Item) -> Verdict {
    let spec = Item::from_fields(test.spec.clone());
    let context = situation(releases, test, &spec);
    let mut inner = context.new_inner_scope();
    inner.add_variable_from_value("it", item_value(item));
    judge(rule, &inner, item, &spec)
}

/// The fix that `rule` has for `item`, where it finds something.
fn proposal(releases: &Releases, rule: &Rule, test: &TestRecord, item: &Item) -> Option<ProposedFix> {
    let fix = rule.fix.as_ref()?;
    let spec = Item::from_fields(test.spec.clone());
    let context = situation(releases, test, &spec);
    let mut inner = context.new_inner_scope();
    inner.add_variable_from_value("it", item_value(item));
    let finds = matches!(judge(rule, &inner, item, &spec), Verdict::Fail(_));
    finds.then(|| fix.propose(&inner, item, &spec, None))?
}

fn situation(releases: &Releases, test: &TestRecord, spec: &Item) -> Context<'static> {
    let hop = Hop {
        from: test.hop.from,
        to: test.hop.to,
    };
    let configured = Field::Known(ConfiguredVersions::default());
    context(releases, hop, &[hop], test.hop.started, spec, &configured, test.now)
}
