//! What is said about seeded bugs: a line while they run and a table in the end. Pure but for the writer that it is given.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use super::bug::Bug;

/// How many of the tests that noticed a bug are named.
const NAMED: usize = 3;

/// What became of one bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// These tests failed.
    Caught(Vec<String>),
    /// This part of the suite noticed nothing.
    Survived(String),
    /// An edit does not fit the code any more.
    DoesNotApply(String),
    /// The bug is no code.
    DoesNotCompile(String),
    /// The tests cannot tell: they fail without the bug too.
    NoControl(String),
    /// The part that it would be in does not exist.
    NotBuilt(String),
}

impl Verdict {
    /// Whether nobody has to do anything about it.
    pub(super) const fn is_good(&self) -> bool {
        matches!(self, Self::Caught(_) | Self::NotBuilt(_))
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Caught(_) => "caught",
            Self::Survived(_) => "SURVIVED",
            Self::DoesNotApply(_) => "DOES NOT APPLY",
            Self::DoesNotCompile(_) => "DOES NOT COMPILE",
            Self::NoControl(_) => "NO CONTROL",
            Self::NotBuilt(_) => "not built",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Caught(tests) => {
                let named = tests.iter().take(NAMED).map(|test| format!("`{test}`"));
                let named = named.collect::<Vec<_>>().join(", ");
                match tests.len().saturating_sub(NAMED) {
                    0 => named,
                    more => format!("{named} and {more} more"),
                }
            }
            Self::Survived(why)
            | Self::DoesNotApply(why)
            | Self::DoesNotCompile(why)
            | Self::NoControl(why)
            | Self::NotBuilt(why) => why.clone(),
        }
    }
}

/// One bug and what became of it.
pub(super) struct Finding {
    pub(super) bug: Bug,
    pub(super) verdict: Verdict,
    pub(super) duration: Duration,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bug, verdict, duration } = self;
        write!(
            formatter,
            "{} {}: {} ({:.0} s) {}",
            bug.id,
            bug.title,
            verdict.word(),
            duration.as_secs_f64(),
            verdict.detail()
        )
    }
}

/// The bugs, and who must notice them.
pub(super) fn list(bugs: &[Bug], out: &mut dyn Write) -> io::Result<()> {
    for bug in bugs {
        writeln!(out, "{}  {}\n      {}", bug.id, bug.title, bug.wrong)?;
        if let Some(reason) = &bug.not_built {
            writeln!(out, "      not built: {reason}")?;
        }
        for suite in &bug.caught_by {
            writeln!(out, "      caught by: {suite}")?;
        }
    }
    Ok(())
}

/// A table in Markdown, and the counts.
pub(super) fn table(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n| Bug | Mistake | Result | s | By |\n|---|---|---|---:|---|")?;
    for Finding { bug, verdict, duration } in findings {
        let detail = verdict.detail().replace('|', "\\|");
        let seconds = duration.as_secs_f64();
        writeln!(
            out,
            "| {} | {} | {} | {seconds:.0} | {detail} |",
            bug.id,
            bug.title,
            verdict.word()
        )?;
    }
    let count = |wanted: fn(&Verdict) -> bool| findings.iter().filter(|finding| wanted(&finding.verdict)).count();
    let caught = count(|verdict| matches!(verdict, Verdict::Caught(_)));
    let not_built = count(|verdict| matches!(verdict, Verdict::NotBuilt(_)));
    let other = findings.len() - caught - not_built;
    let seconds: f64 = findings.iter().map(|finding| finding.duration.as_secs_f64()).sum();
    writeln!(
        out,
        "\n{caught} caught, {other} not caught, {not_built} not built; {seconds:.0} s"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_tests_are_counted_and_only_caught_or_not_built_is_good() {
        let tests = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        assert_eq!(Verdict::Caught(tests).detail(), "`a`, `b`, `c` and 1 more");
        assert!(Verdict::NotBuilt(String::new()).is_good());
        for bad in [
            Verdict::Survived,
            Verdict::DoesNotApply,
            Verdict::DoesNotCompile,
            Verdict::NoControl,
        ] {
            assert!(!bad(String::new()).is_good());
        }
    }
}
