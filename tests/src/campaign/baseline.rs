//! What clean runs have in common, and in what a run with faults differs from it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Effects, Evidence, Objects};

/// The measure for runs of one workload.
#[derive(Debug, Clone, Default)]
pub struct Baseline {
    objects: Objects,
    effects: Effects,
    varying_fields: BTreeSet<(String, String)>,
    varying_objects: BTreeSet<String>,
    varying_effects: BTreeSet<String>,
}

impl Baseline {
    /// What these clean runs have in common; what differs among them is left out of every comparison.
    #[must_use]
    pub fn of(runs: &[Evidence]) -> Self {
        let mut baseline = Self::default();
        let Some((first, rest)) = runs.split_first() else {
            return baseline;
        };
        baseline.objects.clone_from(&first.objects);
        baseline.effects.clone_from(&first.effects);
        for run in rest {
            for key in different(&first.effects, &run.effects) {
                baseline.varying_effects.insert(key);
            }
            for key in first.objects.keys().chain(run.objects.keys()) {
                let (Some(one), Some(other)) = (first.objects.get(key), run.objects.get(key)) else {
                    baseline.varying_objects.insert(key.clone());
                    continue;
                };
                for path in different(one, other) {
                    baseline.varying_fields.insert((key.clone(), path));
                }
            }
        }
        baseline
    }

    /// How much is left out: (objects, fields, effects).
    #[must_use]
    pub fn masked(&self) -> (usize, usize, usize) {
        (
            self.varying_objects.len(),
            self.varying_fields.len(),
            self.varying_effects.len(),
        )
    }

    /// What is left out, for people.
    #[must_use]
    pub fn mask(&self) -> Vec<String> {
        let fields = self.varying_fields.iter().map(|(key, path)| format!("{key} {path}"));
        let objects = self.varying_objects.iter().cloned();
        fields
            .chain(objects)
            .chain(self.varying_effects.iter().cloned())
            .collect()
    }

    /// Effects of the clean runs.
    #[must_use]
    pub fn effects(&self) -> &Effects {
        &self.effects
    }

    /// In what a run differs.
    #[must_use]
    pub fn compare(&self, run: &Evidence) -> Vec<String> {
        let mut found = Vec::new();
        for key in different(&self.effects, &run.effects) {
            if !self.varying_effects.contains(&key) {
                let count = |effects: &Effects| effects.get(&key).copied().unwrap_or(0);
                found.push(format!(
                    "effect {key}: {} instead of {}",
                    count(&run.effects),
                    count(&self.effects)
                ));
            }
        }
        let keys: BTreeSet<&String> = self.objects.keys().chain(run.objects.keys()).collect();
        for key in keys.into_iter().filter(|key| !self.varying_objects.contains(*key)) {
            match (self.objects.get(key), run.objects.get(key)) {
                (Some(_), None) => found.push(format!("{key} is missing")),
                (None, Some(_)) => found.push(format!("{key} should not be there")),
                (Some(wanted), Some(is)) => found.extend(self.fields(key, wanted, is)),
                (None, None) => {}
            }
        }
        found
    }

    fn fields(&self, key: &str, wanted: &BTreeMap<String, String>, is: &BTreeMap<String, String>) -> Vec<String> {
        let text = |leaves: &BTreeMap<String, String>, path: &str| {
            leaves.get(path).map_or("nothing", String::as_str).to_owned()
        };
        different(wanted, is)
            .into_iter()
            .filter(|path| !self.varying_fields.contains(&(key.to_owned(), path.clone())))
            .map(|path| {
                format!(
                    "{key} {path}: {:?} instead of {:?}",
                    text(is, &path),
                    text(wanted, &path)
                )
            })
            .collect()
    }
}

/// Keys whose values differ or that only one side has.
fn different<V: PartialEq>(one: &BTreeMap<String, V>, other: &BTreeMap<String, V>) -> Vec<String> {
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    keys.into_iter()
        .filter(|key| one.get(*key) != other.get(*key))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(size: &str, noise: &str, jobs: usize) -> Evidence {
        let leaves = [("/size", size), ("/noise", noise)].map(|(path, value)| (path.to_owned(), value.to_owned()));
        Evidence {
            objects: Objects::from([("A a".to_owned(), BTreeMap::from(leaves))]),
            effects: Effects::from([("create jobs".to_owned(), jobs)]),
            wrong: Vec::new(),
        }
    }

    #[test]
    fn what_differs_among_clean_runs_is_no_difference_and_everything_else_is() {
        let baseline = Baseline::of(&[run("1", "a", 1), run("1", "b", 1), run("1", "c", 1)]);
        assert_eq!(baseline.masked(), (0, 1, 0));
        assert_eq!(baseline.compare(&run("1", "d", 1)), Vec::<String>::new());
        assert_eq!(
            baseline.compare(&run("2", "a", 2)),
            [
                "effect create jobs: 2 instead of 1",
                "A a /size: \"2\" instead of \"1\""
            ]
        );
        assert_eq!(baseline.compare(&Evidence::default()).len(), 2);
    }
}
