//! What a ConfigMap adds to the compiled-in catalogue, and what it replaces of it. Pure.
//!
//! Records are put beside or in place of the compiled-in ones, and the result is loaded like any other catalogue: whole, or
//! not at all. A record replaces the one of the same rule id, minor, field or tally; nothing can be taken away.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::{Catalogue, FORMAT, identity};
use super::problem::{CatalogueError, Located, Problems};
use super::records::{FACTS, RELEASES, Records, RuleEntry};
use super::release_file;
use super::releases::Releases;
use crate::version::KkpVersion;

/// The key that says which form the others have.
const VERSION: &str = "version";
/// Most bytes of all keys together: no ConfigMap holds more.
const BYTES: usize = 1024 * 1024;
/// What a rule keeps that guards something which may never be accepted: without one of these it would not guard any more.
const GUARDED: [&str; 4] = ["severity", "acceptable", "hop", "stage"];

/// What an overlay changes.
struct Changes {
    /// Whether rules may see other facts than before.
    facts: bool,
    /// Rules that are new or replaced.
    rules: BTreeSet<String>,
}

impl Catalogue {
    /// The catalogue of `files` with what `overlay` adds and replaces: `version` (`v1`), and any of `releases.yaml`,
    /// `facts.yaml` and `rules.<any or target minor>.yaml`, in the form of the compiled-in files. The tests of all rules that
    /// are new or replaced are run, and of all others where facts are.
    ///
    /// # Errors
    /// Everything that is wrong, each with key, line, rule and reason. Then nothing of the overlay counts.
    pub fn overlaid(files: &[(&str, &str)], overlay: &BTreeMap<String, String>) -> Result<Self, CatalogueError> {
        let mut problems = Problems::default();
        let added = read(overlay, &mut problems);
        // What was not read cannot be judged by what it would have replaced.
        problems.none()?;
        let mut problems = Problems::default();
        let mut records = Records::read(files, "compiled-in ", &mut problems);
        let releases = release_file::build(&records.minors, &mut Problems::default());
        complete(&added, releases.list_names(), &mut problems);
        let changes = merge(&mut records, added, &mut problems);
        records.check_size("the catalogue", &mut problems);
        problems.none()?;
        let places = places(&records);
        let all: Vec<(&str, &str)> = files
            .iter()
            .copied()
            .chain(overlay.iter().map(|(key, text)| (key.as_str(), text.as_str())))
            .collect();
        let catalogue = Self::build(records, identity("ConfigMap", &all), Problems::default())?;
        catalogue
            .keeps_its_tests(&changes, &releases, &places)
            .map(|()| catalogue)
    }

    /// The tests of compiled-in rules were written for the compiled-in `releases`: what is unknown there may be known now.
    fn keeps_its_tests(&self, changes: &Changes, releases: &Releases, places: &Places) -> Result<(), CatalogueError> {
        let mut problems = Problems::default();
        let mut failures = self.run_tests_of(self.releases(), |id| changes.rules.contains(id));
        if changes.facts {
            failures.extend(self.run_tests_of(releases, |id| !changes.rules.contains(id)));
        }
        for failure in failures {
            let (file, line) = places.get(&failure.rule).cloned().unwrap_or_default();
            let reason = format!(
                "test `{}`: expected {}, got {}",
                failure.test, failure.expected, failure.got
            );
            problems.add(&file, line, Some(failure.rule), &reason);
        }
        problems.none()
    }
}

/// File and line of each rule.
type Places = BTreeMap<String, (String, Option<u64>)>;

fn places(records: &Records) -> Places {
    let place = |rule: &Located<RuleEntry>| Some((rule.record.id()?.to_owned(), (rule.file.clone(), rule.line)));
    records.rules.iter().filter_map(place).collect()
}

/// Reads the keys.
fn read(overlay: &BTreeMap<String, String>, problems: &mut Problems) -> Records {
    let mut records = Records::default();
    let bytes: usize = overlay.iter().map(|(key, text)| key.len() + text.len()).sum();
    if bytes > BYTES {
        problems.of_file("all keys", &format!("have {bytes} bytes together, more than {BYTES}"));
        return records;
    }
    let understood = format!("this operator understands {FORMAT}");
    match overlay.get(VERSION).map(|version| version.trim()) {
        Some(FORMAT) => {}
        // Whoever wrote another form may have meant something else with the other keys.
        Some(other) => {
            problems.of_file(VERSION, &format!("`{other}` is not known: {understood}"));
            return records;
        }
        None => problems.of_file(VERSION, &format!("is missing: {understood}")),
    }
    for (key, text) in overlay.iter().filter(|(key, _)| *key != VERSION) {
        match (key.as_str(), scope(key)) {
            (RELEASES, _) => records.add_releases(key, text, problems),
            (FACTS, _) => records.add_facts(key, text, problems),
            (_, Some(scope)) => records.add_rules(key, scope, text, problems),
            (_, None) => problems.of_file(
                key,
                "the key is neither version, releases.yaml, facts.yaml nor rules.<any or minor>.yaml",
            ),
        }
    }
    records.check_size("all keys", problems);
    if records.images.as_ref().is_some_and(|images| !images.is_empty()) {
        problems.of_file(
            RELEASES,
            "images are refused here: they are those of the running platform",
        );
    }
    records
}

/// `any` or the target minor that a key with rules is for.
fn scope(key: &str) -> Option<&str> {
    let scope = key.strip_prefix("rules.")?.strip_suffix(".yaml")?;
    let minor = || format!("{scope}.0").parse::<KkpVersion>().is_ok();
    (scope == "any" || minor()).then_some(scope)
}

fn merge(records: &mut Records, added: Records, problems: &mut Problems) -> Changes {
    let facts = !added.fields.is_empty() || !added.tallies.is_empty();
    let id = |rule: &RuleEntry| rule.id().map(ToOwned::to_owned);
    let rules = added.rules.iter().filter_map(|rule| id(&rule.record)).collect();
    place(
        &mut records.minors,
        added.minors,
        |minor| Some(minor.line.clone()),
        problems,
    );
    place(
        &mut records.fields,
        added.fields,
        |(kind, field)| Some((*kind, field.name.clone())),
        problems,
    );
    place(
        &mut records.tallies,
        added.tallies,
        |tally| Some((tally.on.clone(), tally.name.clone())),
        problems,
    );
    guard(&records.rules, &added.rules, problems);
    place(&mut records.rules, added.rules, id, problems);
    Changes { facts, rules }
}

/// A list that a release does not have is null to rules, and some take null for "does not matter here".
fn complete(added: &Records, lists: &BTreeSet<String>, problems: &mut Problems) {
    for minor in &added.minors {
        let missing = lists.iter().filter(|name| !minor.record.has_list(name));
        for name in missing {
            let reason = format!(
                "minor {}: list `{name}` is missing from patch release 0 on",
                minor.record.line
            );
            problems.of(minor, &reason);
        }
    }
}

/// Each of `added` in place of the one with the same key, or behind all others. Order counts: tallies may count what earlier
/// ones say.
fn place<T, K: Ord>(
    all: &mut Vec<Located<T>>,
    added: Vec<Located<T>>,
    key: impl Fn(&T) -> Option<K>,
    problems: &mut Problems,
) {
    let mut seen = BTreeSet::new();
    for new in added {
        let Some(name) = key(&new.record) else {
            // The loader says what is wrong with it.
            all.push(new);
            continue;
        };
        match all.iter_mut().find(|old| key(&old.record).as_ref() == Some(&name)) {
            _ if seen.contains(&name) => problems.of(&new, "a record with this name stands there twice"),
            Some(old) => *old = new,
            None => all.push(new),
        }
        seen.insert(name);
    }
}

/// A compiled-in blocker that cannot be accepted stays one, whatever it looks at.
fn guard(compiled: &[Located<RuleEntry>], added: &[Located<RuleEntry>], problems: &mut Problems) {
    let guards = |rule: &RuleEntry| {
        let word = |name: &str| rule.record.get(name);
        word("severity").is_some_and(|severity| severity == "blocker")
            && word("acceptable").is_some_and(|acceptable| acceptable == false)
    };
    for new in added {
        let id = new.record.id();
        let same = |old: &&Located<RuleEntry>| id.is_some() && old.record.id() == id;
        let Some(old) = compiled.iter().find(same).filter(|old| guards(&old.record)) else {
            continue;
        };
        for word in GUARDED {
            let wanted = old.record.record.get(word);
            if new.record.record.get(word) != wanted {
                let wanted = wanted.map(ToString::to_string).unwrap_or_default();
                let reason = format!("it guards what may never be accepted: {word} has to stay {wanted}");
                problems.add(&new.file, new.line, id.map(ToOwned::to_owned), &reason);
            }
        }
    }
}
